#!/usr/bin/env python3
"""Start llama-server with each of several sets of arguments, ask it once, and print its log and its memory as JSON.

It runs inside a bed, with the Python that is there: `serve_and_measure.py PROGRAM < runs.json`, a list of lists.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

PORT = 8099
DEADLINE_SECONDS = 60.0
# More tokens than are computed at once, so that every page of the compute buffer is written.
PROMPT = "one two three four five " * 26


def main() -> None:
    """Print one line of JSON for each run."""
    for arguments in json.load(sys.stdin):
        print(json.dumps(measure([sys.argv[1], *arguments, "--port", str(PORT)])), flush=True)


def measure(command: list[str]) -> dict[str, Any]:
    """Return the log, the answer and the process's memory in bytes: after loading, and after an answer."""
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        result: dict[str, Any] = {"answer": "", "loaded": {}, "answered": {}}
        try:
            if wait_until_ready(server):
                result["loaded"] = memory_of(server.pid)
                result["answer"] = ask()
                result["answered"] = memory_of(server.pid)
        finally:
            server.terminate()
            server.wait()
        log.seek(0)
        return {**result, "log": log.read()}


def wait_until_ready(server: subprocess.Popen[bytes]) -> bool:
    """Wait until the server has loaded its model; return whether it has."""
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5):
                return True
        except OSError:
            time.sleep(0.02)
    return False


def ask() -> str:
    """Return a few tokens after a long question, whatever the model says; nothing when the server gives up."""
    question = {"prompt": PROMPT, "n_predict": 4, "ignore_eos": True, "temperature": 0}
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/completion",
        data=json.dumps(question).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as response:
            return str(json.load(response)["content"])
    except OSError as error:
        print(f"no answer: {error}", file=sys.stderr)
        return ""


def memory_of(pid: int) -> dict[str, int]:
    """Return what the kernel counts for a process: all of it, and what is not a file's; nothing once it is gone."""
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {row.split(":")[0].lower(): int(row.split()[1]) * 1024 for row in rows}


if __name__ == "__main__":
    main()

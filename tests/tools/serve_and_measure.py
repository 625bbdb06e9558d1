#!/usr/bin/env python3
"""Start llama-server with each of several sets of arguments, ask it once, and print its log and its memory as JSON.

It runs inside a bed, with the Python that is there: `serve_and_measure.py PROGRAM < runs.json`, a list of
{"arguments": […], "question": "…"}.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 60.0


def main() -> None:
    """Print one line of JSON for each run."""
    for run in json.load(sys.stdin):
        print(json.dumps(measure([sys.argv[1], *run["arguments"]], run["question"])), flush=True)


def measure(command: list[str], question: str) -> dict[str, Any]:
    """Return the log, the answer and the process's memory in bytes: after loading, and after an answer."""
    port = free_port()
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=subprocess.STDOUT)
        result: dict[str, Any] = {"answer": "", "loaded": {}, "answered": {}}
        try:
            if wait_until_ready(server, port):
                result["loaded"] = memory_of(server.pid)
                result["answer"] = ask(question, port)
                result["answered"] = memory_of(server.pid)
        finally:
            server.kill()  # it has said all, and may take its time to end
            server.wait()
        log.seek(0)
        return {**result, "log": log.read()}


def free_port() -> int:
    """Return a port that nothing uses: that of a server which was killed stays in use for a while."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until_ready(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server has loaded its model; return whether it has."""
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return True
        except OSError:
            time.sleep(0.02)
    return False


def ask(question: str, port: int) -> str:
    """Return a few tokens, whatever the model says; nothing when the server gives up."""
    body = {"prompt": question, "n_predict": 4, "ignore_eos": True, "temperature": 0}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/completion",
        data=json.dumps(body).encode(),
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

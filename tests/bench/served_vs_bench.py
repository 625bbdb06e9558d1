#!/usr/bin/env python3
"""Tokens per second that a client gets, against what llama-bench reaches with the same program, model and threads.

Runs on the host itself, as root, with nothing installed: `python3 served_vs_bench.py`. The two are measured in turn, so
that a machine that slows down slows both; the server is idle while llama-bench runs. A client's rate counts from its
first token to its last, as it receives them in a stream.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

UNIT = "llmhost-inference"
KEY_FILE = Path("/etc/llmhost/credentials/api_key")
# What the server's arguments are called in llama-bench.
SHARED = {
    "--model": "--model",
    "--threads": "--threads",
    "--cache-type-k": "--cache-type-k",
    "--cache-type-v": "--cache-type-v",
    "--flash-attn": "--flash-attn",
    "--n-gpu-layers": "--n-gpu-layers",
    "--ubatch-size": "--ubatch-size",
}
PROMPT = [{"role": "user", "content": "Tell me a long story."}]


@dataclass(frozen=True)
class Server:
    """The service that runs now, from its own command line."""

    program: str
    options: dict[str, str]
    key: str

    @classmethod
    def running(cls) -> Server:
        """Look at the process of the unit."""
        show = ["systemctl", "show", "--property=MainPID", "--value", UNIT]
        pid = subprocess.run(show, check=True, capture_output=True, text=True).stdout.strip()
        if pid in ("", "0"):
            sys.exit(f"{UNIT} does not run on this host. Run the playbook first.")
        program, *words = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")[:-1]
        options = {name: value for name, value in pairwise(words) if name.startswith("--")}
        return cls(program, options, KEY_FILE.read_text(encoding="ascii").strip())

    def served(self, tokens: int) -> float:
        """Return the tokens a second that a client of the stream gets."""
        connection = http.client.HTTPConnection(self.options["--host"], int(self.options["--port"]), timeout=600)
        body = {"messages": PROMPT, "max_tokens": tokens, "temperature": 0, "stream": True, "ignore_eos": True}
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != 200:
            sys.exit(f"the server answers {response.status}: {response.read(500)!r}")
        times = [time.perf_counter() for line in response if _has_content(line)]
        connection.close()
        if len(times) < tokens // 2:
            sys.exit(f"the server sent {len(times)} of {tokens} tokens; the rate would mean nothing.")
        return (len(times) - 1) / (times[-1] - times[0])

    def bench(self, tokens: int) -> float:
        """Return the tokens a second of llama-bench."""
        command = [str(Path(self.program).with_name("llama-bench")), "--n-prompt", "0", "--n-gen", str(tokens)]
        command += ["--repetitions", "1", "--output", "json"]
        for name, value in self.options.items():
            if name in SHARED:
                command += [SHARED[name], value]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(json.loads(done.stdout)[0]["avg_ts"])


def main() -> int:
    """Measure in turn, print medians and the ratio; the exit status tells whether the target is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--target", type=float, default=0.97)
    options = parser.parse_args()

    server = Server.running()
    server.served(options.tokens)
    served, bench = [], []
    for number in range(options.rounds):
        served.append(server.served(options.tokens))
        bench.append(server.bench(options.tokens))
        print(line(f"round {number + 1}", served[-1], bench[-1]), flush=True)
    medians = statistics.median(served), statistics.median(bench)
    ratio = medians[0] / medians[1]
    print(line("median", *medians))
    print(f"ratio {ratio:.3f} (target {options.target})")
    return 0 if ratio >= options.target else 1


def line(name: str, served: float, bench: float) -> str:
    """Return one line of the table."""
    return f"{name:9} served {served:8.2f} tokens/s   llama-bench {bench:8.2f} tokens/s"


def _has_content(line: bytes) -> bool:
    """Tell whether a line of the stream carries a token."""
    if not line.startswith(b"data: {"):
        return False
    choices = json.loads(line[6:]).get("choices") or [{}]
    return bool(choices[0].get("delta", {}).get("content"))


if __name__ == "__main__":
    sys.exit(main())

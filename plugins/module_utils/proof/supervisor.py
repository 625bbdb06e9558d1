"""Watches a process that may hang, and takes what it said for the result whatever becomes of it."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.llmhost.core.plugins.module_utils.proof.work import ERROR, HANG, NOT_TRIED

# A context of CUDA with much memory takes its time to go.
_TIDY_SECONDS, _KILL_SECONDS = 10.0, 10.0
_READ_BYTES = 1 << 16


@dataclass
class Account:
    """What is known of one piece of work: its steps in their order, and what became of each."""

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: list[str] | None = None
    running: str = ""
    error: dict[str, Any] = field(default_factory=dict)
    stuck: bool = False  # a process that not even SIGKILL ends: it hangs in the kernel

    def take(self, line: str) -> None:
        """Take one line that the process wrote; libraries write on the same output, and are passed over."""
        try:
            said = json.loads(line)
        except ValueError:
            return
        if not isinstance(said, dict):
            return
        if isinstance(said.get("steps"), list):
            self.names = [str(name) for name in said["steps"]]
        elif "begin" in said:
            self.running = str(said["begin"])
        elif "end" in said:
            self.running = ""
            data = said.get("data")
            self.steps[str(said["end"])] = data if isinstance(data, dict) else {"outcome": ERROR}
        elif "error" in said:
            self.error = {"outcome": ERROR, "message": str(said["error"]), "remedy": str(said.get("remedy", ""))}
            self.error["status"] = said.get("status", 0)

    def left(self) -> list[str]:
        """Return the steps of which nothing is known yet."""
        return [name for name in self.names or () if name not in self.steps]


class Watch(Protocol):
    """Runs one piece of work to its end, be that what it may."""

    def __call__(self, request: Mapping[str, Any], seconds: float, again: bool = True) -> Account: ...


@dataclass(frozen=True)
class Supervisor:
    """Starts ``command`` for each piece of work; each step of it has a limit in seconds."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, request: Mapping[str, Any], seconds: float, again: bool = True) -> Account:
        """Do the work; what is left after a step that hung or failed is done by a fresh process if ``again``."""
        account = Account()
        while True:
            known = len(account.steps)
            self._attempt(account, request, seconds)
            # Each attempt must account for a step at least, or there would be no end.
            if not account.left() or not again or account.stuck or len(account.steps) == known:
                break
        account.steps |= {name: {"outcome": NOT_TRIED} for name in account.left()}
        return account

    def _attempt(self, account: Account, request: Mapping[str, Any], seconds: float) -> None:
        account.error, account.running = {}, ""
        asked = {**request, "skip": list(account.steps), "alarm_seconds": int(seconds * 20 + 60)}
        process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **self.environment, **request.get("environment", {})},
            start_new_session=True,
        )
        assert process.stdin
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(json.dumps(asked).encode())
        in_time = False
        try:
            in_time = _listen(process, account, seconds)
        finally:
            account.stuck = not _end(process, _TIDY_SECONDS if in_time else 0.0)
        running = account.running
        if not in_time:
            message = f"nothing came of it within {seconds:.0f} s"
            account.error = {"outcome": HANG, "message": message, "remedy": _REBOOT if account.stuck else ""}
        elif (running or account.names is None) and not account.error:
            account.error = {"outcome": ERROR, "message": _last_word(process.returncode), "remedy": ""}
        if running:
            account.steps[running] = account.error


_REBOOT = "The process hangs in the kernel, and so will the next one: reboot the host."


def _listen(process: subprocess.Popen[bytes], account: Account, seconds: float) -> bool:
    """Take what the process says until it has ended; tell whether it never was silent for too long."""
    assert process.stdout
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        deadline = time.monotonic() + seconds
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return False
            read = os.read(process.stdout.fileno(), _READ_BYTES)
            if not read:
                return True
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                account.take(line.decode("utf-8", "replace"))
            if lines:
                deadline = time.monotonic() + seconds


def _end(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """End the process, after some time to tidy up, and all that it started; tell whether it is gone."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    assert process.stdout
    process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILL_SECONDS)
    return process.poll() is not None


def _last_word(status: int | None) -> str:
    if status is not None and status < 0:
        return f"the process was ended by signal {-status}"
    return f"the process ended with status {status} and no result"

"""Run something in a child process that may hang or crash without taking this process along."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any

_CHUNK = 1 << 16


def run_isolated(work: Callable[[], object], seconds: float) -> Any:
    """Return what ``work`` returned, by way of JSON; None where it failed, crashed or took longer."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _work(work, reader, writer)
    os.close(writer)
    try:
        told = _read(reader, time.monotonic() + seconds)
    finally:
        os.close(reader)
        _end(child)
    try:
        return json.loads(told)
    except ValueError:
        return None


def _work(work: Callable[[], object], reader: int, writer: int) -> None:
    """Do the work in the child, which ends here whatever happens: no handler of the parent's may run in it."""
    try:
        os.close(reader)
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(work()).encode())
    finally:
        os._exit(0)


def _read(reader: int, deadline: float) -> bytes:
    told = b""
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(reader, _CHUNK) if ready else b""
        if not chunk:
            return told
        told += chunk


def _end(child: int) -> None:
    """End the child and forget it. One that a broken driver keeps in the kernel cannot end, and is not waited for."""
    os.kill(child, signal.SIGKILL)
    for _ in range(20):
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.05)

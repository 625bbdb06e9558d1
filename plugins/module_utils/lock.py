"""One run at a time: a lock that the programs started under it keep, too."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.command import NOT_FOUND, CommandResult

_POLL_SECONDS = 0.2


class LockedError(Exception):
    """Somebody else holds the lock, and went on holding it."""


@dataclass(frozen=True)
class Lock:
    """A held lock."""

    descriptor: int

    def run(self, argv: Sequence[str]) -> CommandResult:
        """Run a program that inherits the lock, for as long as it takes.

        When this process is killed the program goes on, and so does the lock: the next run waits until, say, mkfs is
        done with the disk, and does not start a second one beside it.
        """
        try:
            done = subprocess.run(
                argv,
                capture_output=True,
                check=False,
                encoding="utf-8",
                env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                errors="replace",
                pass_fds=(self.descriptor,),
                stdin=subprocess.DEVNULL,
            )
        except OSError as reason:
            return CommandResult(NOT_FOUND, "", f"{argv[0]} cannot be run: {reason}")
        return CommandResult(done.returncode, done.stdout, done.stderr)


@contextmanager
def hold(name: str, timeout: float, directory: str = "/run/lock") -> Iterator[Lock]:
    """Hold the lock ``name`` in a block; raise LockedError when it stays taken for ``timeout`` seconds."""
    path = os.path.join(directory, f"llmhost-{name}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _wait(descriptor, path, time.monotonic() + timeout)
        yield Lock(descriptor)
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: str, until: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                raise LockedError(
                    f"{path}: held by another run, or by a program that a killed run left behind. "
                    "Wait until it is done and run again."
                ) from None
            time.sleep(_POLL_SECONDS)

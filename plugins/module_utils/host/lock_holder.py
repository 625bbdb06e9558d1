"""Who holds a lock on a file, as the kernel tells it, without taking the lock."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.files import read_text, read_word
from ansible_collections.llmhost.core.plugins.module_utils.host.sockets import parse_unit

# struct flock of 64-bit Linux: type, whence, start, length, process.
_FLOCK = "hhqqi"
_INTERPRETERS = ("python", "perl", "sh", "bash", "dash")


@dataclass(frozen=True)
class LockHolder:
    """A process that holds a lock; ``pid`` is 0 for one that this system may not see."""

    pid: int
    command: str = ""
    unit: str = ""

    @classmethod
    def from_proc(cls, pid: int, proc: str = "/proc") -> LockHolder:
        """Return what /proc tells of the process."""
        argv = [word for word in (read_text(proc, str(pid), "cmdline") or "").split("\0") if word]
        unit = parse_unit(read_text(proc, str(pid), "cgroup") or "") or ""
        return cls(pid, _program(argv) or read_word(proc, str(pid), "comm"), unit)

    def __str__(self) -> str:
        if self.pid <= 0:
            return "a process outside of this system"
        # A login session is no unit that anybody could look at.
        service = f" of {self.unit}" if self.unit.endswith(".service") else ""
        return f"{self.command or 'a process'} (pid {self.pid}{service})"


def find_holder(paths: Sequence[str], holder_of: Callable[[str], int | None] | None = None) -> LockHolder | None:
    """Return who holds the first lock that is held among the files; None when all are free, or are not there."""
    for path in paths:
        pid = (holder_of or lock_pid)(path)
        if pid is not None:
            return LockHolder.from_proc(pid)
    return None


def lock_pid(path: str) -> int | None:
    """Return the process that holds a write lock on the file; None where nobody does, or it cannot be asked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, wanted))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else max(0, pid)


def _program(argv: Sequence[str]) -> str:
    """Return the program that a person would name: the script, where an interpreter runs one."""
    words = [os.path.basename(word) for word in argv[:1]]
    if words and words[0].rstrip("0123456789.") in _INTERPRETERS:
        words += [os.path.basename(word) for word in argv[1:] if not word.startswith("-")][:1]
    name = words[-1] if words else ""
    return "".join(char for char in name if char.isprintable())[:40]

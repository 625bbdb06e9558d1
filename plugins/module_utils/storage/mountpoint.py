"""The bare directory that a disk is mounted on: sealed, so that nothing fills the root disk while the disk is away."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct

_GET_FLAGS = 0x80086601
_SET_FLAGS = 0x40086602
_IMMUTABLE = 0x10


def seal(path: str) -> None:
    """Make the directory, and let nobody write into it.

    Mode 0000 stops everyone but root; the immutable flag stops root's services too, where the filesystem knows it and
    the process may set it (a container often may not).
    """
    os.makedirs(path, mode=0o755, exist_ok=True)
    if os.stat(path).st_mode & 0o7777:
        _flag(path, immutable=False)
        os.chmod(path, 0)
    _flag(path, immutable=True)


def unseal(path: str) -> None:
    """Make the directory an ordinary one again."""
    _flag(path, immutable=False)
    os.chmod(path, 0o755)


def _flag(path: str, immutable: bool) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            (flags,) = struct.unpack("l", fcntl.ioctl(descriptor, _GET_FLAGS, struct.pack("l", 0)))
            wanted = flags | _IMMUTABLE if immutable else flags & ~_IMMUTABLE
            if wanted != flags:
                fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", wanted))
    finally:
        os.close(descriptor)

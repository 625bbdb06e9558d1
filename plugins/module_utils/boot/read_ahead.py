"""Bring a model into the page cache beside the server that reads it, as fast as its disk can.

The server reads from one place at a time and has no more than one read-ahead window under way, so that a fast disk, or
one behind a network, waits for it more than it waits for the disk. Here all is asked for at once. The server finds most
pages there, and the same pages: nothing is read twice. Figures: README.md, "How fast".
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable

# The kernel cuts what is asked for at once to the read-ahead of the disk; so much is Linux's least.
STEP_BYTES = 128 << 10
_PART = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")

Advise = Callable[[int, int, int, int], None]


def parts_of(model_path: str) -> list[str]:
    """Return the files of a model in the order in which the server reads them, given its first."""
    folder, name = os.path.split(model_path)
    match = _PART.fullmatch(name)
    if not match:
        return [model_path]
    count = match["count"]
    return [os.path.join(folder, f"{match['name']}-{part:05}-of-{count}.gguf") for part in range(1, int(count) + 1)]


def ask_for(path: str, advise: Advise = os.posix_fadvise) -> None:
    """Ask the kernel for a file from beginning to end; it makes us wait only while the disk has enough to do."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for offset in range(0, os.fstat(descriptor).st_size, STEP_BYTES):
            advise(descriptor, offset, STEP_BYTES, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(descriptor)


def read_beside(model_path: str, fork: Callable[[], int] = os.fork) -> int:
    """Ask for the whole model from a process of its own, so that systemd does not wait for it.

    It stays in the service's control group: it ends with it, and what it reads is counted there. A file that cannot be
    read is the server's to complain of.
    """
    if fork():
        return 0
    for path in parts_of(model_path):
        with contextlib.suppress(OSError):
            ask_for(path)
    return 0

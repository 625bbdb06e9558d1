"""Disks kept from other programs between the proof that they are blank and the first byte that is written.

An exclusive open would keep mkfs and mdadm out as well: they make one of their own, which fails when somebody has
mounted the disk in the meantime. What is held here is the lock that udev, systemd-repart, sfdisk and other tools that
know it take on a disk before they touch it. The open file also pins the device: its number is not given to another disk
while it is held, so that a node with this number is this disk.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import RefusedError

_TIMEOUT_SECONDS = 30.0
_POLL_SECONDS = 0.1


@contextmanager
def hold_disks(paths: Sequence[str], timeout: float = _TIMEOUT_SECONDS) -> Iterator[list[str]]:
    """Hold the disks in a block, and give their numbers; raise RefusedError when somebody else holds one."""
    with ExitStack() as stack:
        yield [_hold(path, stack, timeout) for path in paths]


def _hold(path: str, stack: ExitStack, timeout: float) -> str:
    # For writing, though nothing is written: when such a file is closed udev looks at the disk again.
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    stack.callback(os.close, descriptor)
    status = os.fstat(descriptor)
    if not stat.S_ISBLK(status.st_mode):
        raise RefusedError("storage.changed", f"{path}: is no block device any more. Nothing was changed. Run again.")
    until = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        except BlockingIOError:
            if time.monotonic() >= until:
                raise RefusedError(
                    "storage.locked",
                    f"{path}: another program has locked the disk, as installers and partitioning tools do. Nothing "
                    "was changed. Wait until it is done and run again.",
                ) from None
            time.sleep(_POLL_SECONDS)

"""What the kernel has said about disks that fail."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

PATH = "/dev/kmsg"
_RECORD_BYTES = 1 << 16
_SAID = re.compile(
    r"(?:I/O|critical (?:medium|target|space allocation|nexus)|protection) error, dev (?P<disk>\w+)"
    r"|Buffer I/O error on dev(?:ice)? (?P<buffer>\w+)"
    r"|EXT4-fs error \(device (?P<ext4>\w+)\)"
    r"|XFS \((?P<xfs>\w+)\): .*(?:I/O error|[Cc]orruption|shut)"
)


def records(path: str = PATH) -> Iterator[str]:
    """Yield what the kernel has in its log, oldest first; nothing where it can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        while True:
            try:
                record = os.read(descriptor, _RECORD_BYTES)
            except BrokenPipeError:  # the oldest records were overwritten while they were read
                continue
            except OSError:
                return
            if not record:
                return
            yield record.decode("utf-8", "replace")
    finally:
        os.close(descriptor)


def disk_errors(names: Iterable[str], log: Iterable[str], since: float = 0.0) -> list[str]:
    """Return what the kernel said about errors of these disks (or their partitions) since a second of its clock."""
    # A partition of nvme0n1 is nvme0n1p1, one of sda is sda1.
    wanted = [rf"{re.escape(name)}({'p' if name[-1:].isdigit() else ''}\d+)?" for name in names]
    found = []
    for record in log:
        prefix, _semicolon, message = record.partition(";")
        match = _SAID.search(message)
        disk = next(filter(None, match.groups()), "") if match else ""
        ours = any(re.fullmatch(pattern, disk) for pattern in wanted)
        if ours and _seconds(prefix) >= since:
            found.append(message.split("\n")[0].strip())
    return found


def _seconds(prefix: str) -> float:
    fields = prefix.split(",")
    return int(fields[2]) / 1e6 if len(fields) > 2 and fields[2].isdigit() else 0.0

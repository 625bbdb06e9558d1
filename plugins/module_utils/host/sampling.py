"""Where a disk is looked at when no tool knows what is on it, and how that is read in a fraction of a second.

What this cannot see: data that lies only between the places that are read. 512 reads find any run of data longer than a
512th of the disk, and every format keeps something at an end of its disk or in one of the known places; scattered
blocks that nothing describes any more, fewer than one in some hundred, may be missed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, KIB, MIB

BLOCK = 4 * KIB

# Both ends whole: partition tables and what partitions begin with, labels of RAID controllers, md, ZFS, LUKS2, bcache.
_EDGE = 4 * MIB
_SPREAD = 512

# Partitions begin here, by today's tools and by those of 30 years ago, and the copies inside them lie as far behind.
_STARTS = (0, MIB, 63 * 512)
# ext2 to ext4 keep copies of the superblock in the first group and in those with a power of 3, 5 or 7.
_EXT_GROUPS = (1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343, 625, 729)
_EXT_BLOCKS = (KIB, 2 * KIB, 4 * KIB)
# XFS divides a disk into equal parts, and each begins with a superblock. Beyond 4 TiB a part has 1 TiB.
_XFS_SHIFTS = (1, 2, 3, 4, 5)
_KNOWN = (
    64 * MIB,  # btrfs: copies of the superblock
    256 * GIB,
    16 * MIB,  # LUKS2: where the data begins
    18 * MIB,  # VMFS
    21 * MIB,  # btrfs: its first trees
    29 * MIB,
    33 * MIB,  # md: where the data of members begins, next to powers of two
    129 * MIB,
    8 * MIB - 8 * KIB,  # Oracle ASM: copy of the header
    GIB,  # Ceph: copies of the label
    10 * GIB,
    100 * GIB,
    1000 * GIB,
)


def sample_ranges(size: int) -> list[tuple[int, int]]:
    """Return the parts of a device that are read, in order, from byte to byte; a small one is read whole."""
    edge = min(_EDGE, size)
    wanted = [(0, edge), (size - edge, size)]
    wanted += [(at, min(at + BLOCK, size)) for at in _places(size) if 0 <= at < size]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(wanted):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return [(start, end) for start, end in merged if end > start]


def read_samples(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Yield what is at each of those places, and where, a MiB at most at a time; raise OSError for a bad sector."""
    ranges = sample_ranges(os.lseek(descriptor, 0, os.SEEK_END))
    for start, end in ranges:
        # All at once, so that the device works on many; without this each read waits for the one before.
        os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_WILLNEED)
    for start, end in ranges:
        # A read ends early before a bad sector, and only the next one fails: go on until the end.
        while start < end and (read := os.pread(descriptor, min(end - start, MIB), start)):
            yield start, read
            start += len(read)


def erase_samples(path: str) -> None:
    """Write zeros at every place that is read, so that a disk that was given up is seen to hold nothing."""
    descriptor = os.open(path, os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC)
    try:
        for start, end in sample_ranges(os.lseek(descriptor, 0, os.SEEK_END)):
            at = start
            while at < end:
                at += os.pwrite(descriptor, bytes(min(end - at, MIB)), at)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _places(size: int) -> Iterator[int]:
    """Yield where a block is read: places known to hold something, and places as even as possible."""
    for start in _STARTS:
        yield from (_aligned(start + place) for place in _KNOWN)
        yield from (_aligned(start + place) for place in _ext_copies())
    yield from _xfs_copies(size)
    yield from (_aligned(size * (2 * number + 1) // (2 * _SPREAD)) for number in range(_SPREAD))


def _ext_copies() -> Iterator[int]:
    for block in _EXT_BLOCKS:
        group = 8 * block * block  # one block of bits, a bit for each block
        first = block if block == KIB else 0
        yield from (first + number * group for number in _EXT_GROUPS)


def _xfs_copies(size: int) -> Iterator[int]:
    for start in _STARTS[:2]:
        blocks = (size - start) // BLOCK
        for shift in _XFS_SHIFTS:
            part = -(-blocks >> shift) * BLOCK
            yield from (start + number * part for number in range(1, 1 << shift))
        yield from range(start + 1024 * GIB - BLOCK, size, 1024 * GIB - BLOCK)


def _aligned(offset: int) -> int:
    return offset // BLOCK * BLOCK

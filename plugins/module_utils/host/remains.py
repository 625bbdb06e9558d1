"""What is left of a filesystem, table or container whose beginning was wiped: magic numbers of copies and inner parts.

libblkid looks where a format begins. These are found at any place that is read, on the boundary that the format keeps.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass


def _always(data: bytes, start: int) -> bool:
    return True


def _is_ext(data: bytes, start: int) -> bool:
    """Tell whether the fields around two bytes that might be ext4's are those of a superblock."""
    if len(data) < start + 92:
        return False
    inodes, blocks = struct.unpack_from("<LL", data, start)
    block_size, cluster_size, per_group = struct.unpack_from("<LLL", data, start + 24)
    revision = struct.unpack_from("<L", data, start + 76)[0]
    return bool(inodes and blocks and per_group) and block_size <= 6 and cluster_size <= 30 and revision <= 1


@dataclass(frozen=True)
class _Magic:
    """A magic number, how far behind the beginning of its structure it is, and where such structures begin."""

    words: str
    magic: bytes
    offset: int = 0
    boundary: int = 512
    proves: Callable[[bytes, int], bool] = _always


_MAGICS = (
    _Magic("a superblock of ext2, ext3 or ext4", b"\x53\xef", 56, 512, _is_ext),
    _Magic("a superblock of XFS", b"XFSB"),
    _Magic("a header of XFS", b"XAGF"),
    _Magic("a header of XFS", b"XAGI"),
    _Magic("a superblock of btrfs", b"_BHRfS_M", 64),
    _Magic("a header of a GUID partition table", b"EFI PART"),
    _Magic("a header of LUKS", b"LUKS\xba\xbe"),
    _Magic("a second header of LUKS", b"SKUL\xba\xbe"),
    _Magic("a label of LVM", b"LABELONE"),
    _Magic("metadata of LVM", b" LVM2 x[5A%r0N*>", 4),
    _Magic("a superblock of a Linux software RAID", struct.pack("<L", 0xA92B4EFC)),
    _Magic("a superblock of a Linux software RAID", struct.pack(">L", 0xA92B4EFC)),
    _Magic("an uberblock of ZFS", struct.pack("<Q", 0x00BAB10C)),
    _Magic("an uberblock of ZFS", struct.pack(">Q", 0x00BAB10C)),
    _Magic("a superblock of bcache", bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81"), 24),
    _Magic("a header of a DDF RAID", b"\xde\x11\xde\x11"),
    _Magic("a label of an Intel RAID", b"Intel Raid ISM Cfg Sig."),
    _Magic("a swap area", b"SWAPSPACE2", 4086),
    _Magic("an image of a hibernated machine", b"S1SUSPEND", 4086),
    _Magic("a boot sector of NTFS", b"NTFS    ", 3),
    _Magic("a boot sector of exFAT", b"EXFAT   ", 3),
    _Magic("a boot sector of FAT", b"FAT32   ", 82),
    _Magic("a boot sector of FAT", b"FAT16   ", 54),
    _Magic("a superblock of APFS", b"NXSB", 32),
    _Magic("a descriptor of ISO 9660", b"CD001", 1),
    _Magic("a superblock of F2FS", b"\x10\x20\xf5\xf2\x01\x00"),
    _Magic("a superblock of ReiserFS", b"ReIsEr2Fs", 52),
    _Magic("a journal of ext3 or ext4", b"\xc0\x3b\x39\x98\x00\x00\x00\x04"),
    _Magic("a label of Ceph", b"bluestore block device"),
    _Magic("a header of Oracle ASM", b"ORCLDISK", 32),
    _Magic("a header of VMFS", b"\x0d\xd0\x01\xc0"),
)


def find_remains(offset: int, data: bytes) -> str:
    """Return in words the first structure in ``data``, which was read at ``offset`` of the device; "" for none."""
    found = sorted((start, magic.words) for magic in _MAGICS for start in _starts(magic, offset, data))
    return f"{found[0][1]} at byte {offset + found[0][0]}" if found else ""


def _starts(magic: _Magic, offset: int, data: bytes) -> Iterator[int]:
    at = data.find(magic.magic)
    while at >= 0:
        start = at - magic.offset
        if start >= 0 and (offset + start) % magic.boundary == 0 and magic.proves(data, start):
            yield start
            return
        at = data.find(magic.magic, at + 1)

"""What other people's disks begin with, byte by byte: no tool of LVM, mdadm, LUKS or ZFS is needed to make them."""

from __future__ import annotations

import struct
import zlib

Patch = tuple[int, bytes]

_GPT_TYPE = bytes.fromhex("af3dc60f838472478e793d69d8477de4")
_UBERBLOCK = 0x00BAB10C


def mbr() -> list[Patch]:
    """Return a DOS partition table with one Linux partition."""
    entry = struct.pack("<B3sB3sLL", 0, b"\0\2\0", 0x83, b"\0\2\0", 2048, 20480)
    return [(446, entry), (510, b"\x55\xaa")]


def gpt(size: int) -> list[Patch]:
    """Return a GUID partition table with one partition, behind its protective MBR."""
    last = size // 512 - 1
    entry = struct.pack("<16s16sQQQ72s", _GPT_TYPE, b"partition-guid-1", 2048, 20480, 0, "data".encode("utf-16-le"))
    entries = entry.ljust(128 * 128, b"\0")
    fields = (b"EFI PART", 0x10000, 92, 0, 0, 1, last, 34, last - 33, b"the-disk-guid-16", 2, 128, 128)
    layout = "<8sLLLLQQQQ16sQLLL"
    header = struct.pack(layout, *fields, zlib.crc32(entries))
    header = struct.pack(layout, *fields[:3], zlib.crc32(header), *fields[4:], zlib.crc32(entries))
    protective = struct.pack("<B3sB3sLL", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, last)
    return [(446, protective), (510, b"\x55\xaa"), (512, header), (1024, entries)]


def lvm(size: int) -> list[Patch]:
    """Return the label of an LVM physical volume."""
    content = struct.pack("<L8s32sQ", 32, b"LVM2 001", b"a" * 32, size).ljust(492, b"\0")
    checksum = zlib.crc32(content, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    return [(512, struct.pack("<8sQL", b"LABELONE", 1, checksum) + content)]


def md() -> list[Patch]:
    """Return the superblock, version 1.2, of a member of a software RAID."""
    block = bytearray(256)
    struct.pack_into("<LLLL16s32s", block, 0, 0xA92B4EFC, 1, 0, 0, b"the-array-uuid-1", b"host:0")
    struct.pack_into("<LLQLL", block, 72, 1, 0, 100000, 0, 2)
    struct.pack_into("<QQQ", block, 128, 2048, 100000, 8)
    words = struct.unpack("<64L", bytes(block))
    total = sum(words)
    struct.pack_into("<L", block, 216, ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF)
    return [(4096, bytes(block))]


def luks() -> list[Patch]:
    """Return the header of a LUKS container."""
    return [(0, struct.pack(">6sH32s32s32s", b"LUKS\xba\xbe", 1, b"aes", b"xts-plain64", b"sha256").ljust(592, b"\0"))]


def zfs() -> list[Patch]:
    """Return uberblocks of the first two labels of a member of a ZFS pool."""
    block = struct.pack("<QQQ", _UBERBLOCK, 5000, 1)
    return [(label * 2**18 + 2**17 + number * 1024, block) for label in (0, 1) for number in range(16)]

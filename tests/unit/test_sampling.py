"""Disks are read in many places, every one of which is found, and at little cost."""

from __future__ import annotations

import itertools
import os
import struct
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.host.remains import find_remains
from ansible_collections.llmhost.core.plugins.module_utils.host.sampling import erase_samples, sample_ranges
from ansible_collections.llmhost.core.plugins.module_utils.host.signatures import Look, look_exclusively
from ansible_collections.llmhost.core.plugins.module_utils.host.uses import Uses
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, KIB, MIB
from hypothesis import given
from hypothesis import strategies as st

TIB = 1024 * GIB


def look(path: Path | str) -> Look:
    return look_exclusively(str(path), Uses())


def image(directory: Path, size: int) -> Path:
    """Return a sparse file that reads as zeros."""
    file = directory / "image"
    with file.open("wb") as opened:
        opened.truncate(size)
    return file


def write_at(file: Path, offset: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(data)


def is_read(size: int, place: int, length: int) -> bool:
    return any(start <= place and place + length <= end for start, end in sample_ranges(size))


def test_look_says_why_not(tmp_path: Path) -> None:
    assert "No such file" in look(tmp_path / "absent").problem
    assert look("a\0b").problem.startswith("it cannot be opened")
    assert look(tmp_path).problem.startswith("it cannot be read")


@pytest.mark.parametrize("size", [0, 1, 512, MIB, MIB + 512, 3 * MIB, 64 * MIB, 10**9])
def test_a_disk_of_zeros_reads_as_zeros(tmp_path: Path, size: int) -> None:
    assert look(image(tmp_path, size)) == Look()


def test_one_byte_is_found_wherever_a_disk_is_read(tmp_path: Path) -> None:
    file = image(tmp_path, 10**9)
    for start, end in sample_ranges(10**9):
        for place in (start, end - 1):
            write_at(file, place, b"x")
            assert look(file) == Look(data=True)
            write_at(file, place, b"\0")
    assert look(file) == Look()


@pytest.mark.parametrize("size", [1, 2 * MIB, 8 * MIB])
def test_a_small_disk_is_read_whole(tmp_path: Path, size: int) -> None:
    assert sample_ranges(size) == [(0, size)]


@given(st.integers(0, 2**60))
def test_places_are_few_in_order_and_on_the_disk(size: int) -> None:
    ranges = sample_ranges(size)
    assert all(start < end for start, end in ranges)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges))
    assert not ranges or (ranges[0][0], ranges[-1][1]) == (0, size)
    assert sum(end - start for start, end in ranges) <= 8 * MIB + 4 * KIB * (900 + 2 * size // TIB)


@given(st.integers(64 * MIB, 64 * TIB), st.integers(0, 2**40))
def test_no_run_of_data_longer_than_a_five_hundredth_of_the_disk_is_missed(size: int, at: int) -> None:
    size = size // 512 * 512
    length = size // 500 + 8 * KIB
    at %= size - length
    assert any(start < at + length and end > at for start, end in sample_ranges(size))


@pytest.mark.parametrize(
    ("size", "place", "length"),
    [
        (TIB, 128 * MIB, KIB),  # ext4, blocks of 4 KiB: first copy
        (TIB, 32 * MIB, KIB),  # 2 KiB
        (TIB, 8 * MIB + KIB, KIB),  # 1 KiB
        (TIB, MIB + 3 * 128 * MIB, KIB),  # in a first partition
        (TIB, TIB // 4, 2 * KIB),  # XFS: second allocation group
        (TIB + 5 * 4096, (TIB // 4096 + 5 + 3) // 4 * 4096 * 3, 2 * KIB),
        (10 * TIB, TIB - 4 * KIB, 2 * KIB),
        (TIB, 64 * MIB, 4 * KIB),  # btrfs
        (TIB, 256 * GIB, 4 * KIB),
        (TIB, TIB - 33 * 512, 33 * 512),  # GPT
        (TIB + 12 * KIB, TIB - 64 * KIB, 4 * KIB),  # md 0.90
        (TIB, TIB - 512 * KIB, 512 * KIB),  # ZFS labels 2 and 3
        (TIB, 4 * KIB, KIB),  # bcache, md 1.2
        (TIB, 2 * MIB, KIB),  # LUKS2: second header
        (TIB, GIB, 4 * KIB),  # Ceph
        (TIB, 512, 512),  # LVM
        (TIB, TIB - 1024, 1024),  # isw, DDF
    ],
)
def test_known_copies_are_read(size: int, place: int, length: int) -> None:
    assert is_read(size, place, length)


def test_a_bad_sector_in_a_sample_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(descriptor: int, length: int, offset: int) -> bytes:
        if offset:
            raise OSError(5, "Input/output error")
        return bytes(4096)

    monkeypatch.setattr(os, "pread", read)
    assert look(image(tmp_path, MIB)).problem == "it cannot be read: Input/output error"


@pytest.mark.parametrize("size", [20 * MIB + 512, 300 * MIB])
def test_what_was_erased_is_seen_to_hold_nothing(tmp_path: Path, size: int) -> None:
    file = tmp_path / "disk"
    file.write_bytes(b"x" * size)
    erase_samples(str(file))
    assert file.stat().st_size == size
    assert look(file) == Look()


def ext4_copy() -> bytes:
    block = bytearray(KIB)
    struct.pack_into("<LL", block, 0, 65536, 262144)
    struct.pack_into("<LLL", block, 24, 2, 2, 32768)
    struct.pack_into("<H", block, 56, 0xEF53)
    struct.pack_into("<L", block, 76, 1)
    return bytes(block)


@pytest.mark.parametrize(
    ("offset", "data", "says"),
    [
        (128 * MIB, ext4_copy(), "a superblock of ext2, ext3 or ext4 at byte 134217728"),
        (MIB, bytes(3 * KIB) + b"XFSB", f"a superblock of XFS at byte {MIB + 3 * KIB}"),
        (64 * MIB, bytes(64) + b"_BHRfS_M", "a superblock of btrfs at byte 67108864"),
        (0, bytes(512) + b"EFI PART", "a header of a GUID partition table at byte 512"),
        (16 * KIB, b"SKUL\xba\xbe", "a second header of LUKS at byte 16384"),
        (
            0,
            bytes(4096 + 24) + bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81"),
            "a superblock of bcache at byte 4096",
        ),
        (4 * MIB, bytes(4086) + b"SWAPSPACE2", "a swap area at byte 4194304"),
        # Not where such a thing begins, or not what it looks like.
        (0, bytes(100) + b"XFSB", ""),
        (128 * MIB, bytes(56) + b"\x53\xef" + bytes(966), ""),
        (0, bytes(56) + b"\x53\xef", ""),
        (0, b"", ""),
    ],
)
def test_remains_are_named(offset: int, data: bytes, says: str) -> None:
    assert find_remains(offset, data) == says


def test_a_look_names_the_copy_of_a_wiped_superblock(tmp_path: Path) -> None:
    file = image(tmp_path, 10**9)
    write_at(file, 5 * MIB // 2, b"noise")
    write_at(file, 128 * MIB, ext4_copy())
    assert look(file) == Look(data=True, remains="a superblock of ext2, ext3 or ext4 at byte 134217728")


@given(st.binary(max_size=3000))
def test_noise_is_no_remains_unless_a_magic_number_is_in_it(data: bytes) -> None:
    found = find_remains(0, data)
    assert found == "" or any(data[start:].strip(b"\0") for start in range(0, len(data), 512))

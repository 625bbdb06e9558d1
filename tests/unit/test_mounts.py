"""Mounts as /proc/self/mountinfo tells them."""

from __future__ import annotations

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.host.mounts import Mounts

MOUNTINFO = """\
29 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 29 0:5 / /proc rw,nosuid shared:2 master:3 - proc proc rw
31 29 7:0 / /srv/llm\\040host rw,noatime - ext4 /dev/loop0 rw
32 29 7:0 / /data rw,noatime - ext4 /dev/loop0 rw
33 29 7:1 / /data rw,noatime - xfs /dev/loop1 rw
this is no line of mountinfo
"""


@pytest.fixture
def mounts() -> Mounts:
    return Mounts.from_mountinfo(MOUNTINFO)


def test_the_mount_on_top_counts(mounts: Mounts) -> None:
    top = mounts.at("/data")
    assert top is not None
    assert (top.source, top.fstype, top.number) == ("/dev/loop1", "xfs", "7:1")


def test_names_with_spaces_and_odd_lines(mounts: Mounts) -> None:
    assert mounts.at("/srv/llm host") is not None
    assert len(mounts.mounts) == 5


@pytest.mark.parametrize(
    ("path", "device"),
    [
        ("/", "/dev/vda"),
        ("/database/x", "/dev/vda"),
        ("/data/deep/new/file", "/dev/loop1"),
        ("/srv/llm host/swapfile", "/dev/loop0"),
    ],
)
def test_finds_the_mount_that_holds_a_path(mounts: Mounts, path: str, device: str) -> None:
    holding = mounts.holding(path)
    assert holding is not None
    assert holding.source == device


def test_no_mounts_hold_nothing() -> None:
    assert Mounts.from_mountinfo("").holding("/a/b") is None
    assert Mounts.from_mountinfo("").holding("a") is None


def test_reads_its_own() -> None:
    assert Mounts.from_proc().at("/") is not None

"""The fstab editor touches its own line and nothing else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.storage.fstab import Entry, Fstab
from hypothesis import given
from hypothesis import strategies as st

MODELS = Entry("UUID=0a1b", "/srv/llmhost", "ext4", "defaults,noatime,nofail", 0, 2)

UBUNTU = """\
# /etc/fstab: static file system information.
#
# <file system> <mount point>   <type>  <options>       <dump>  <pass>
/dev/disk/by-uuid/5c3d / ext4 defaults 0 1
\t
/dev/disk/by-uuid/77AB\t/boot/efi\tvfat\tdefaults 0 1
/swap.img\tnone\tswap\tsw\t0\t0
"""


def is_models(entry: Entry) -> bool:
    return entry.target == "/srv/llmhost"


def test_reads_what_mount_reads() -> None:
    entries = Fstab(UBUNTU).entries
    assert [entry.target for entry in entries] == ["/", "/boot/efi", "none"]
    assert entries[0] == Entry("/dev/disk/by-uuid/5c3d", "/", "ext4", "defaults", 0, 1)


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("", None),
        ("   # UUID=1 /srv ext4", None),
        ("UUID=1 /srv", None),
        ("UUID=1 /srv ext4", Entry("UUID=1", "/srv", "ext4")),
        ("UUID=1 /srv ext4 ro x y", Entry("UUID=1", "/srv", "ext4", "ro")),
        ("\tUUID=1\t/a\\040b  ext4 ro 1 2 # three", Entry("UUID=1", "/a b", "ext4", "ro", 1, 2)),
        ("UUID=1 /back\\134slash ext4", Entry("UUID=1", "/back\\slash", "ext4")),
    ],
)
def test_reads_a_line(line: str, entry: Entry | None) -> None:
    assert Entry.from_line(line) == entry


def test_appends_replaces_and_removes_one_line() -> None:
    added = Fstab(UBUNTU).with_entry(MODELS, is_models)
    assert added.text == UBUNTU + "UUID=0a1b /srv/llmhost ext4 defaults,noatime,nofail 0 2\n"
    moved = Entry("UUID=ffff", "/srv/llmhost", "xfs")
    replaced = added.with_entry(moved, is_models)
    assert replaced.text == UBUNTU + "UUID=ffff /srv/llmhost xfs defaults 0 0\n"
    assert replaced.without(is_models).text == UBUNTU


def test_a_line_that_says_the_same_keeps_its_spacing() -> None:
    text = "UUID=0a1b\t/srv/llmhost\text4 defaults,noatime,nofail\t0  2\n"
    assert Fstab(text).with_entry(MODELS, is_models).text == text


def test_a_last_line_without_an_end_gets_one_when_another_follows() -> None:
    assert Fstab("a /b ext4").with_entry(MODELS, is_models).text == f"a /b ext4\n{MODELS.line}\n"
    assert Fstab("a /b ext4").without(is_models).text == "a /b ext4"


def test_doubled_lines_become_one() -> None:
    text = f"{MODELS.line}\n# keep\nUUID=old /srv/llmhost ext4\n{MODELS.line}\n"
    assert Fstab(text).with_entry(MODELS, is_models).text == f"{MODELS.line}\n# keep\n"


FIELDS = st.text(min_size=1, max_size=12).filter(lambda text: not text.startswith("#") and "\r" not in text)
ENTRIES = st.builds(Entry, FIELDS, FIELDS, FIELDS, FIELDS, st.integers(0, 1), st.integers(0, 2))
LINES = st.one_of(
    st.text(max_size=30).map(lambda text: text.replace("\n", " ")),
    ENTRIES.map(lambda entry: entry.line),
    st.sampled_from(["", "# comment", "/dev/sda1 / ext4 errors=remount-ro 0 1", "\x0b/dev/x\x85/y ext4", "\r"]),
)


@given(ENTRIES)
def test_an_entry_survives_its_line(entry: Entry) -> None:
    assert Entry.from_line(entry.line) == entry


@given(st.lists(LINES), st.booleans(), ENTRIES)
def test_other_lines_are_kept_byte_for_byte(lines: list[str], ended: bool, wanted: Entry) -> None:
    text = "\n".join(lines) + ("\n" if ended and lines else "")

    def same_target(entry: Entry) -> bool:
        return entry.target == wanted.target

    def others(text: str) -> list[str]:
        return [
            line
            for line in text.split("\n")
            if not ((entry := Entry.from_line(line)) and (entry == wanted or same_target(entry)))
        ]

    changed = Fstab(text).with_entry(wanted, same_target)
    assert [entry for entry in changed.entries if same_target(entry)] == [wanted]
    assert [line for line in others(changed.text) if line] == [line for line in others(text) if line]
    assert changed.with_entry(wanted, same_target) == changed
    assert [line for line in changed.without(same_target).text.split("\n") if line] == [
        line for line in others(text) if line
    ]


@given(st.binary(max_size=200))
def test_any_bytes_come_back(content: bytes) -> None:
    text = content.decode("utf-8", "surrogateescape")
    assert Fstab(text).without(lambda entry: False).text.encode("utf-8", "surrogateescape") == content


def test_saves_in_one_step_and_keeps_mode_and_bytes(tmp_path: Path) -> None:
    real = tmp_path / "fstab.real"
    real.write_bytes(b"# caf\xe9\n/dev/sda1 / ext4 defaults 0 1")
    real.chmod(0o600)
    link = tmp_path / "fstab"
    link.symlink_to(real)
    Fstab.from_file(str(link)).with_entry(MODELS, is_models).save(str(link))
    assert link.is_symlink()
    assert real.read_bytes() == b"# caf\xe9\n/dev/sda1 / ext4 defaults 0 1\n" + MODELS.line.encode() + b"\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["fstab", "fstab.real"]


def test_a_host_without_fstab_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "fstab"
    Fstab.from_file(str(path)).with_entry(MODELS, is_models).save(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert Fstab.from_file(str(path)).entries == [MODELS]

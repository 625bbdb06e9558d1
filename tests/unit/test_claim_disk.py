"""A disk becomes ours only when it may, and a killed run is completed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.host.disks import Disk
from ansible_collections.llmhost.core.plugins.module_utils.host.lsblk import BlockDevice
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import (
    Claim,
    Decision,
    Identity,
    Record,
    RefusedError,
    decide,
)
from ansible_collections.llmhost.core.plugins.module_utils.storage.mountpoint import unseal
from ansible_collections.llmhost.core.plugins.module_utils.storage.storage import Host, MissingToolError, Storage

UUID = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"
IDENTITY = Identity("S1", "Fast Disk", None, 10**12)
DEVICE = "/dev/disk/by-id/nvme-Fast_Disk_S1"
OS_LINE = "/dev/sda1 / ext4 defaults 0 1\n"


def disk(**changes: Any) -> Disk:
    node = {"kname": "nvme1n1", "path": "/dev/nvme1n1", "type": "disk", "size": 10**12}
    node |= {"model": "Fast Disk", "serial": "S1", "wwn": "eui.1"}
    return replace(Disk.from_block_device(BlockDevice.from_json(node), "/none", "/none"), **changes)


BLANK = disk()
LABELLED = disk(filesystem="ext4", label="llmhost-models", uuid=UUID, not_blank=["it has a signature (ext4)"])
FOREIGN = disk(filesystem="ext4", label="data", uuid=OTHER, not_blank=["it has a signature (ext4)", "it is mounted"])


def claim(path: str = "/srv/llmhost", **changes: Any) -> Claim:
    return replace(Claim(DEVICE, IDENTITY, "ext4", "llmhost-models", path, "defaults,nofail"), **changes)


def record(**changes: Any) -> Record:
    now = Identity.from_disk(BLANK)
    return replace(Record("disk", UUID, DEVICE, now, "/srv/llmhost", "ext4", "llmhost-models"), **changes)


BEGUN = record(phase="formatting")
RAW = disk(unrecognised_data=True)
MISSING = disk(size_bytes=0, not_blank=["there is no such block device"])


@pytest.mark.parametrize(
    ("found", "before", "decision"),
    [
        (BLANK, Record(), Decision("make", "ext4", None)),
        (BLANK, record(), Decision("make", "ext4", None)),
        (BLANK, BEGUN, Decision("make", "ext4", UUID)),
        (BLANK, replace(BEGUN, filesystem="xfs"), Decision("make", "ext4", None)),
        (BLANK, replace(BEGUN, identity=Identity("S2")), Decision("make", "ext4", None)),
        (LABELLED, Record(), Decision("keep", "ext4", UUID)),
        (LABELLED, BEGUN, Decision("finish", "ext4", UUID)),
        (LABELLED, replace(BEGUN, uuid=OTHER), Decision("keep", "ext4", UUID)),
        (replace(LABELLED, label="renamed"), record(), Decision("keep", "ext4", UUID)),
        (replace(LABELLED, filesystem="xfs", label="llmhost-mode"), Record(), Decision("keep", "xfs", UUID)),
        # Half a filesystem of ours reads as data that no test recognises.
        (RAW, BEGUN, Decision("make", "ext4", UUID)),
    ],
)
def test_decides(found: Disk, before: Record, decision: Decision) -> None:
    assert decide(claim(), found, before) == decision


@pytest.mark.parametrize(
    ("found", "before", "code", "says"),
    [
        (FOREIGN, Record(), "storage.not_blank", "it has a signature (ext4); it is mounted"),
        (FOREIGN, BEGUN, "storage.not_blank", "signature"),
        (FOREIGN, record(), "storage.not_blank", "signature"),
        (replace(LABELLED, partition_table="gpt"), Record(), "storage.not_blank", "signature"),
        (replace(LABELLED, filesystem="btrfs"), Record(), "storage.not_blank", "signature"),
        (disk(serial="S2"), Record(), "storage.other_disk", "its serial is S2, not S1"),
        (disk(size_bytes=5), Record(), "storage.other_disk", "its size is 5, not 1000000000000"),
        (disk(model=""), Record(), "storage.other_disk", "its model is unknown, not Fast Disk"),
        (replace(LABELLED, serial="S2"), Record(), "storage.other_disk", "S2"),
        (MISSING, Record(), "storage.disk_missing", "there is no such block device"),
        (RAW, Record(), "storage.unrecognised_data", "it holds data that no test recognises"),
        (RAW, record(), "storage.unrecognised_data", "llmhost_storage_disk"),
        (RAW, replace(BEGUN, device="/dev/nvme7n1"), "storage.unrecognised_data", "blkdiscard"),
        (RAW, replace(BEGUN, identity=Identity("S2")), "storage.unrecognised_data", "blkdiscard"),
    ],
)
def test_refuses(found: Disk, before: Record, code: str, says: str) -> None:
    with pytest.raises(RefusedError, match="Nothing was changed") as refusal:
        decide(claim(), found, before)
    assert refusal.value.code == code
    assert says in str(refusal.value)
    assert DEVICE in str(refusal.value)
    assert refusal.value.reasons


def test_data_without_a_signature_goes_only_when_the_plan_allows_it() -> None:
    allowed = claim(overwrite_unrecognised=True)
    assert decide(allowed, RAW, Record()) == Decision("make", "ext4", None)
    with pytest.raises(RefusedError, match="signature"):
        decide(allowed, FOREIGN, Record())


@pytest.mark.parametrize("told", [{}, {"unrecognised_data": True}])
def test_a_record_survives_its_file(told: dict[str, Any]) -> None:
    begun = replace(BEGUN, **told)
    assert Record.from_dict(json.loads(json.dumps(begun.as_dict()))) == begun
    assert Record.from_dict({"kind": 3, "identity": "no"}) == Record()


class Machine:
    """A machine whose programs change a fake disk and a fake mount table; ``dies_at`` kills the run at a command."""

    def __init__(self, root: Path, found: Disk) -> None:
        self.disk = found
        self.path = str(root / "srv")
        self.commands: list[str] = []
        self.dies_at = ""
        self.whole = True
        self.missing: list[str] = []
        self.mountinfo = root / "self" / "mountinfo"
        self.mountinfo.parent.mkdir()
        self.mountinfo.write_text("29 1 254:0 / / rw - ext4 /dev/vda rw\n")
        self.fstab = root / "fstab"
        self.fstab.write_text(OS_LINE)
        self.state = StateFile("storage", str(root / "etc/llmhost/state"))
        self.host = Host(
            self.run,
            lambda path: self.disk,
            self.state,
            str(self.fstab),
            str(root),
            str(root / "no-systemd"),
            lambda path: "259:1",
            lambda: UUID,
            lambda program: f"/sbin/{program}" if program not in self.missing else None,
            lambda path: self.commands.append(f"erase {path}"),
        )

    def run(self, argv: Sequence[str]) -> CommandResult:
        self.commands.append(" ".join(argv))
        if argv[0] == self.dies_at:
            raise KeyboardInterrupt
        if argv[0].startswith("mkfs."):
            made: dict[str, Any] = {"filesystem": argv[0][5:], "uuid": UUID, "label": "x", "not_blank": ["signature"]}
            self.disk = replace(self.disk, **made, unrecognised_data=False)
        elif argv[0] in ("e2fsck", "xfs_repair"):
            return CommandResult(0 if self.whole else 8, "", "")
        elif argv[0] == "mount" and "remount" not in argv:
            self.mount(argv[-1], "259:1")
        elif argv[0] == "umount":
            self.mountinfo.write_text(self.mountinfo.read_text().splitlines()[0] + "\n")
        return CommandResult(0, "", "")

    def mount(self, path: str, number: str) -> None:
        with self.mountinfo.open("a") as file:
            file.write(f"40 29 {number} / {path} rw - ext4 /dev/nvme1n1 rw\n")

    def claim(self, check: bool = False, **changes: Any) -> list[str]:
        storage = Storage(self.host, check)
        storage.claim(claim(self.path, **changes))
        return storage.actions

    def remove(self, data: bool = False, check: bool = False) -> list[str]:
        storage = Storage(self.host, check)
        storage.remove(data)
        return storage.actions


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path, BLANK)
    yield made
    if os.path.isdir(made.path):
        unseal(made.path)


def test_claims_a_blank_disk_once(machine: Machine) -> None:
    assert len(machine.claim()) == 4
    assert machine.commands == [
        f"mkfs.ext4 -q -m 0 -T largefile -L llmhost-models -U {UUID} {DEVICE}",
        f"mount {machine.path}",
    ]
    assert machine.fstab.read_text() == OS_LINE + f"UUID={UUID} {machine.path} ext4 defaults,nofail 0 2\n"
    assert os.stat(machine.path).st_mode & 0o777 == 0
    assert machine.state.read()["phase"] == "ready"
    assert os.stat(machine.state.path).st_mode & 0o777 == 0o640
    machine.commands.clear()
    assert machine.claim() == []
    assert machine.commands == []


def test_check_mode_changes_nothing(machine: Machine, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert len(machine.claim(check=True)) == 4
    assert machine.commands == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert machine.fstab.read_text() == OS_LINE


def test_makes_xfs(machine: Machine) -> None:
    machine.claim(filesystem="xfs")
    assert machine.commands[0] == f"mkfs.xfs -q -L llmhost-mode -m uuid={UUID} {DEVICE}"
    assert machine.fstab.read_text().endswith(" xfs defaults,nofail 0 0\n")


def test_asks_for_the_package_before_it_does_anything(machine: Machine) -> None:
    machine.missing = ["mkfs.xfs"]
    with pytest.raises(MissingToolError, match="xfsprogs"):
        machine.claim(filesystem="xfs")
    assert (machine.commands, machine.state.read()) == ([], {})
    assert len(machine.claim(check=True, filesystem="xfs")) == 4


@pytest.mark.parametrize("program", ["mkfs.ext4", "mount"])
def test_completes_a_killed_run(machine: Machine, program: str) -> None:
    machine.dies_at = program
    with pytest.raises(KeyboardInterrupt):
        machine.claim()
    machine.dies_at = ""
    assert machine.claim() != []
    assert machine.claim() == []
    assert machine.state.read()["uuid"] == UUID


@pytest.mark.parametrize("program", ["mkfs.ext4", "mount", "none"])
def test_the_record_keeps_what_the_disk_held(machine: Machine, program: str) -> None:
    machine.disk, machine.dies_at = RAW, program
    with contextlib.suppress(KeyboardInterrupt):
        machine.claim(overwrite_unrecognised=True)
    assert machine.state.read()["unrecognised_data"] is True
    machine.dies_at = ""
    machine.claim(overwrite_unrecognised=True)
    assert machine.claim(overwrite_unrecognised=True) == []
    assert machine.state.read()["unrecognised_data"] is True


def test_half_a_filesystem_of_ours_is_not_taken_for_data_of_somebody_else(machine: Machine) -> None:
    machine.dies_at = "mkfs.ext4"
    with pytest.raises(KeyboardInterrupt):
        machine.claim()
    machine.dies_at, machine.disk = "", RAW
    machine.claim()
    assert machine.state.read()["unrecognised_data"] is False


def test_a_refused_disk_is_not_written_to(machine: Machine) -> None:
    machine.disk = RAW
    with pytest.raises(RefusedError, match="no test recognises"):
        machine.claim()
    assert (machine.commands, machine.state.read(), machine.fstab.read_text()) == ([], {}, OS_LINE)


@pytest.mark.parametrize(("whole", "made_again"), [(True, False), (False, True)])
def test_makes_a_filesystem_again_only_when_it_is_half_made(machine: Machine, whole: bool, made_again: bool) -> None:
    machine.state.write({**BEGUN.as_dict(), "path": machine.path})
    machine.disk, machine.whole = LABELLED, whole
    machine.claim()
    assert any(command.startswith("mkfs") for command in machine.commands) is made_again
    assert machine.claim() == []


def test_never_formats_what_carries_the_label(machine: Machine) -> None:
    machine.disk = LABELLED
    assert len(machine.claim(filesystem="xfs")) == 3
    assert machine.commands == [f"mount {machine.path}"]
    assert machine.state.read()["filesystem"] == "ext4"


def test_new_options_are_mounted(machine: Machine) -> None:
    machine.claim()
    machine.commands.clear()
    assert len(machine.claim(options="defaults,nofail,noatime")) == 2
    assert machine.commands == [f"mount -o remount {machine.path}"]


def occupied_by_files(machine: Machine) -> None:
    os.mkdir(machine.path)
    Path(machine.path, "precious").touch()


def occupied_by_a_file(machine: Machine) -> None:
    Path(machine.path).touch()


def occupied_by_a_mount(machine: Machine) -> None:
    machine.mount(machine.path, "8:1")


def mounted_elsewhere(machine: Machine) -> None:
    machine.mount("/data", "259:1")


def promised_in_fstab(machine: Machine) -> None:
    machine.fstab.write_text(f"UUID={OTHER} {machine.path} ext4\n")


@pytest.mark.parametrize(
    "trouble", [occupied_by_files, occupied_by_a_file, occupied_by_a_mount, mounted_elsewhere, promised_in_fstab]
)
def test_hides_nothing(machine: Machine, trouble: Any) -> None:
    trouble(machine)
    fstab = machine.fstab.read_text()
    with pytest.raises(RefusedError, match="Nothing was changed") as refusal:
        machine.claim()
    assert refusal.value.code == "storage.path_taken"
    assert (machine.commands, machine.fstab.read_text(), machine.state.read()) == ([], fstab, {})


def test_a_mkfs_that_fails_is_told_and_tried_again(machine: Machine) -> None:
    failing = Host(
        **{**vars(machine.host), "run": lambda argv: CommandResult(1, "", "mkfs.ext4: Input/output error\n")}
    )
    with pytest.raises(RefusedError, match="Input/output error"):
        Storage(failing).claim(claim(machine.path))
    machine.claim()
    assert machine.claim() == []


def test_a_mkfs_that_lies_is_found_out(machine: Machine) -> None:
    idle = Host(**{**vars(machine.host), "run": lambda argv: CommandResult(0, "", "")})
    with pytest.raises(RefusedError, match="reported success"):
        Storage(idle).claim(claim(machine.path))


def test_removal_keeps_the_filesystem(machine: Machine) -> None:
    machine.claim()
    machine.commands.clear()
    assert machine.remove(check=True) == machine.remove()
    assert machine.commands == [f"umount {machine.path}"]
    assert machine.fstab.read_text() == OS_LINE
    assert not os.path.exists(machine.path)
    assert not os.path.exists(machine.state.path)
    assert machine.remove() == []


def test_removal_wipes_when_told(machine: Machine) -> None:
    machine.claim()
    machine.remove(data=True)
    assert machine.commands[-2:] == [f"wipefs --all {DEVICE}", f"erase {DEVICE}"]


def test_removal_never_wipes_another_disk(machine: Machine) -> None:
    machine.claim()
    machine.disk = FOREIGN
    with pytest.raises(RefusedError, match="not wiped"):
        machine.remove(data=True)
    with pytest.raises(RefusedError, match="llmhost did not do"):
        machine.remove()


def test_directory_is_made_once_and_removed_when_empty(machine: Machine) -> None:
    storage = Storage(machine.host)
    storage.directory(machine.path)
    again = Storage(machine.host)
    again.directory(machine.path)
    assert (len(storage.actions), again.actions) == (2, [])
    assert machine.remove() != []
    assert not os.path.exists(machine.path)


def test_directory_of_somebody_else_is_never_deleted(machine: Machine) -> None:
    os.mkdir(machine.path)
    Storage(machine.host).directory(machine.path)
    machine.remove(data=True)
    assert os.path.isdir(machine.path)


@pytest.mark.parametrize(("data", "left"), [(False, True), (True, False)])
def test_directory_with_files_goes_only_when_told(machine: Machine, data: bool, left: bool) -> None:
    Storage(machine.host).directory(machine.path)
    Path(machine.path, "model").touch()
    machine.remove(data=data)
    assert os.path.exists(machine.path) is left


def test_directory_does_not_replace_a_claimed_disk(machine: Machine) -> None:
    machine.claim()
    with pytest.raises(RefusedError, match=r"remove\.yml"):
        Storage(machine.host).directory(machine.path)

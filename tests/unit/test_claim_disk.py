"""A disk becomes ours step by step, a killed run is completed, and the way back takes away what was made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import RefusedError
from ansible_collections.llmhost.core.plugins.module_utils.storage.claimed import Record
from ansible_collections.llmhost.core.plugins.module_utils.storage.mountpoint import unseal
from ansible_collections.llmhost.core.plugins.module_utils.storage.storage import Host, MissingToolError, Storage

from tests.unit.storage_machine import DEVICE, OS_LINE, OTHER, UUID, Machine, claim, disk, members

BEGUN = Record("disk", UUID, members(), None, "/srv/llmhost", "ext4", "llmhost-models", phase="formatting")
LABELLED = disk(filesystem="ext4", label="llmhost-models", uuid=UUID, not_blank=["it has a signature (ext4)"])
FOREIGN = disk(filesystem="ext4", label="data", uuid=OTHER, not_blank=["it has a signature (ext4)", "it is mounted"])
RAW = disk(unrecognised_data=True)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
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
    assert len(machine.claim(options="defaults,nofail,noatime")) == 3
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
    assert machine.commands[-2:] == ["wipefs --all /dev/nvme1n1", "erase /dev/nvme1n1"]


@pytest.mark.parametrize("program", ["umount", "wipefs"])
def test_a_wipe_that_was_cut_short_goes_on(machine: Machine, program: str) -> None:
    machine.claim()
    machine.dies_at = program
    with pytest.raises(KeyboardInterrupt):
        machine.remove(data=True)
    machine.dies_at = ""
    machine.remove(data=True)
    assert machine.disk == disk()
    assert machine.state.read() == {}


def test_a_disk_that_is_half_wiped_can_be_claimed_again(machine: Machine) -> None:
    machine.state.write({**BEGUN.as_dict(), "phase": "wiping", "path": machine.path})
    machine.disk = RAW
    machine.claim()
    assert machine.state.read()["phase"] == "ready"


def swapped(machine: Machine) -> None:
    machine.disk = disk(serial="S7")


def written_to(machine: Machine) -> None:
    machine.disk = RAW


def formatted(machine: Machine) -> None:
    machine.disk = FOREIGN


@pytest.mark.parametrize("change", [swapped, written_to, formatted])
def test_a_disk_that_changes_after_it_was_judged_is_not_written_to(machine: Machine, change: Any) -> None:
    machine.while_held = [lambda: change(machine)]
    with pytest.raises(RefusedError, match="Nothing was changed"):
        machine.claim()
    assert (machine.commands, machine.state.read(), machine.fstab.read_text()) == ([], {}, OS_LINE)


def test_a_name_that_comes_to_mean_another_disk_is_not_followed(machine: Machine) -> None:
    host = replace(machine.host, number=lambda path: machine.host.number(path) if machine.commands else "259:1")
    held = replace(host, hold=lambda paths: contextlib.nullcontext(["259:7"]))
    with pytest.raises(RefusedError, match="leads to another disk") as refusal:
        Storage(held).claim(claim(machine.path))
    assert (refusal.value.code, machine.commands, machine.state.read()) == ("storage.changed", [], {})


EPHEMERAL: dict[str, Any] = {"ephemeral": True}


def test_ephemeral_storage_is_made_again_when_it_came_back_empty(machine: Machine) -> None:
    machine.claim(**EPHEMERAL)
    fstab = machine.fstab.read_text()
    machine.run(["umount", machine.path])
    machine.disk = disk()
    assert len(machine.restore()) == 3
    assert machine.state.read()["phase"] == "ready"
    assert (machine.disk.uuid, machine.fstab.read_text()) == (UUID, fstab)
    assert machine.restore() == []


def test_a_cloud_gives_another_disk_of_the_same_sort_after_a_stop(machine: Machine) -> None:
    machine.claim(**EPHEMERAL)
    machine.run(["umount", machine.path])
    new = disk(serial="S8", wwn="eui.8", ephemeral=True, by_id=["/dev/disk/by-id/nvme-Fast_Disk_S1"])
    machine.disks = {DEVICE: new}
    machine.spare = [
        new,
        disk(7, ephemeral=True, size_bytes=5),
        disk(6),
        disk(5, ephemeral=True, unrecognised_data=True),
    ]
    assert machine.restore() != []
    assert machine.state.read()["devices"][0]["identity"]["serial"] == "S8"
    assert machine.disk.uuid == UUID


@pytest.mark.parametrize(
    ("found", "spare", "code"),
    [
        (disk(serial="S8"), [], "storage.other_disk"),
        (disk(serial="S8"), [disk(2, ephemeral=True), disk(3, ephemeral=True)], "storage.other_disk"),
        (RAW, [], "storage.unrecognised_data"),
        (FOREIGN, [], "storage.not_blank"),
        (disk(size_bytes=0, serial="", not_blank=["there is no such block device"]), [], "storage.disk_missing"),
    ],
)
def test_nothing_but_our_own_blank_disk_is_made_again(machine: Machine, found: Any, spare: Any, code: str) -> None:
    machine.claim(**EPHEMERAL)
    machine.run(["umount", machine.path])
    machine.commands.clear()
    machine.disk, machine.spare = found, spare
    with pytest.raises(RefusedError) as refusal:
        machine.restore()
    assert (refusal.value.code, machine.commands) == (code, [])


def test_storage_that_lasts_is_never_made_again_by_itself(machine: Machine) -> None:
    machine.claim()
    machine.disk = disk()
    assert Storage(machine.host).restore() is None
    machine.state.write({})
    assert Storage(machine.host).restore() is None


def test_removal_never_wipes_another_disk(machine: Machine) -> None:
    machine.claim()
    machine.disk = FOREIGN
    with pytest.raises(RefusedError, match="nothing is wiped"):
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

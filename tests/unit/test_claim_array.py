"""A RAID 0 becomes ours step by step, all of its disks or none; a killed run is completed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import RefusedError
from ansible_collections.llmhost.core.plugins.module_utils.storage.mountpoint import unseal
from ansible_collections.llmhost.core.plugins.module_utils.storage.storage import MissingToolError

from tests.unit.storage_machine import (
    ARRAY,
    ARRAY_UUID,
    DEVICES,
    OS_LINE,
    OTHER,
    UUID,
    Machine,
    array,
    disk,
    nothing,
    part_of_array,
)

CREATE = (
    "mdadm --create --run --metadata=1.2 --homehost=any /dev/md/llmhost-models --level=0 --raid-devices=2 --chunk=512 "
    f"--uuid={ARRAY_UUID} --name=llmhost-models /dev/nvme1n1 /dev/nvme2n1"
)
MKFS = f"mkfs.ext4 -q -m 0 -T largefile -L llmhost-models -U {UUID} {ARRAY}"
NAME = "ARRAY /dev/md/llmhost-models metadata=1.2 UUID=33333333:33334333:83333333:33333333\n"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path, 2)
    yield made
    if os.path.isdir(made.path):
        unseal(made.path)


def restart(machine: Machine) -> None:
    """Start the machine anew, without putting the array together."""
    if machine.mountinfo.read_text().count("\n") > 1:
        machine.run(["umount", machine.path])
    machine.stop()
    machine.commands.clear()


def test_an_array_is_made_once(machine: Machine) -> None:
    assert len(machine.claim()) == 6
    assert machine.commands == [CREATE, MKFS, f"mount {machine.path}"]
    assert machine.fstab.read_text().startswith(OS_LINE + f"UUID={UUID} {machine.path} ext4")
    assert machine.names.read_text().endswith(NAME)
    record = machine.state.read()
    assert (record["array_uuid"], record["phase"], record["raid"]["name"]) == (ARRAY_UUID, "ready", "llmhost-models")
    assert [device["device"] for device in record["devices"]] == list(DEVICES)
    machine.commands.clear()
    assert machine.claim() == []
    assert machine.commands == []


def test_check_mode_names_the_steps_and_takes_none(machine: Machine) -> None:
    assert machine.claim(check=True)[0].startswith("make RAID 0 llmhost-models of ")
    assert (machine.commands, machine.state.read(), machine.names.exists()) == ([], {}, False)


def test_missing_tools_are_asked_for_together(machine: Machine) -> None:
    machine.missing = ["mdadm", "mkfs.xfs"]
    with pytest.raises(MissingToolError) as missing:
        machine.claim(filesystem="xfs")
    assert missing.value.packages == ["xfsprogs", "mdadm"]
    assert (machine.commands, machine.state.read()) == ([], {})


@pytest.mark.parametrize("program", ["--create", "mkfs.ext4", "mount"])
def test_a_killed_run_is_completed(machine: Machine, program: str) -> None:
    machine.dies_at = program
    with pytest.raises(KeyboardInterrupt):
        machine.claim()
    machine.dies_at = ""
    machine.claim()
    assert machine.claim() == []
    assert (machine.state.read()["uuid"], machine.state.read()["array_uuid"]) == (UUID, ARRAY_UUID)


def test_a_run_that_died_between_two_disks_is_completed(machine: Machine) -> None:
    machine.dies_at = "--create"
    with pytest.raises(KeyboardInterrupt):
        machine.claim()
    machine.dies_at = ""
    machine.disks[DEVICES[0]] = part_of_array()
    machine.assemble(array(), "inactive")
    machine.commands.clear()
    machine.claim()
    assert machine.commands[:3] == ["mdadm --stop /dev/md127", CREATE, MKFS]
    assert machine.claim() == []


def test_a_killed_run_whose_array_did_not_come_up_again_is_completed(machine: Machine) -> None:
    machine.dies_at = "mkfs.ext4"
    with pytest.raises(KeyboardInterrupt):
        machine.claim()
    machine.dies_at = ""
    restart(machine)
    machine.claim()
    assert machine.commands[:2] == [CREATE, MKFS]


def test_an_array_that_is_there_is_put_together_and_mounted(machine: Machine) -> None:
    machine.claim()
    restart(machine)
    assert len(machine.claim()) == 2
    assert machine.commands == [
        f"mdadm --assemble /dev/md/llmhost-models --uuid={ARRAY_UUID} /dev/nvme1n1 /dev/nvme2n1",
        f"mount {machine.path}",
    ]


def test_an_array_of_an_earlier_installation_is_taken_as_it_is(machine: Machine) -> None:
    machine.claim()
    restart(machine)
    machine.state.write({})
    machine.fstab.write_text(OS_LINE)
    machine.claim(filesystem="xfs")
    assert machine.commands[0].startswith("mdadm --assemble")
    assert not any(command.startswith(("mkfs", "mdadm --create")) for command in machine.commands)
    assert (machine.state.read()["uuid"], machine.state.read()["filesystem"]) == (UUID, "ext4")


def test_an_array_that_holds_something_else_is_not_mounted(machine: Machine) -> None:
    machine.claim()
    restart(machine)
    machine.array = array(filesystem="xfs", uuid=OTHER, label="theirs")
    with pytest.raises(RefusedError, match="which llmhost did not make"):
        machine.claim()


def test_nothing_is_made_in_the_place_of_a_disk_that_is_gone(machine: Machine) -> None:
    machine.claim()
    restart(machine)
    machine.disks[DEVICES[1]] = nothing(DEVICES[1])
    with pytest.raises(RefusedError, match="with all of its disks only") as refusal:
        machine.claim()
    assert (refusal.value.code, machine.commands) == ("storage.disk_missing", [])


def test_an_array_that_is_not_whole_is_told(machine: Machine) -> None:
    machine.claim()
    restart(machine)
    machine.fails = "--assemble"
    with pytest.raises(RefusedError, match="cannot be put together") as refusal:
        machine.claim()
    assert refusal.value.code == "storage.array_incomplete"


def test_one_disk_that_changes_spares_all(machine: Machine) -> None:
    machine.while_held = [lambda: machine.disks.update({DEVICES[1]: disk(2, unrecognised_data=True)})]
    with pytest.raises(RefusedError, match="Nothing was changed"):
        machine.claim()
    assert (machine.commands, machine.state.read()) == ([], {})


def test_removal_keeps_the_array_and_stops_it(machine: Machine) -> None:
    machine.claim()
    machine.commands.clear()
    assert machine.remove(check=True) == machine.remove()
    assert machine.commands == [f"umount {machine.path}", f"mdadm --stop {ARRAY}"]
    assert (machine.names.exists(), machine.state.read(), machine.fstab.read_text()) == (False, {}, OS_LINE)
    machine.claim()
    assert "mdadm --assemble" in machine.commands[2]


def test_removal_wipes_every_disk_when_told(machine: Machine) -> None:
    machine.claim()
    machine.commands.clear()
    machine.remove(data=True)
    assert machine.commands[1:] == [
        f"mdadm --stop {ARRAY}",
        "wipefs --all /dev/nvme1n1",
        "erase /dev/nvme1n1",
        "wipefs --all /dev/nvme2n1",
        "erase /dev/nvme2n1",
    ]
    assert all(found.filesystem is None for found in machine.disks.values())


@pytest.mark.parametrize("program", ["umount", "--stop", "wipefs"])
def test_a_wipe_that_was_cut_short_goes_on(machine: Machine, program: str) -> None:
    machine.claim()
    machine.dies_at = program
    with pytest.raises(KeyboardInterrupt):
        machine.remove(data=True)
    machine.dies_at = ""
    machine.remove(data=True)
    assert all(found.filesystem is None for found in machine.disks.values())
    assert machine.state.read() == {}


def test_removal_never_wipes_other_disks(machine: Machine) -> None:
    machine.claim()
    machine.disks[DEVICES[1]] = replace(part_of_array(2), serial="S9")
    with pytest.raises(RefusedError, match="nothing is wiped"):
        machine.remove(data=True)


def test_an_ephemeral_array_is_made_again_with_the_same_uuids(machine: Machine) -> None:
    machine.claim(ephemeral=True)
    fstab, name = machine.fstab.read_text(), machine.names.read_text()
    restart(machine)
    machine.disks = {device: disk(number) for number, device in enumerate(DEVICES, 1)}
    assert len(machine.restore()) == 4
    assert (machine.fstab.read_text(), machine.names.read_text()) == (fstab, name)
    assert machine.restore() == []

"""Disks are told as they are, and called blank only when every test says so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding
from ansible_collections.llmhost.core.plugins.module_utils.host.disks import Disk, read_disk, read_disks
from ansible_collections.llmhost.core.plugins.module_utils.host.lsblk import list_block_devices
from ansible_collections.llmhost.core.plugins.module_utils.host.signatures import Look

from tests.unit.machine import FIXTURES, NOTHING_FOUND, Machine, block_device, lsblk, recorded

RECORDED_USES = {
    "ambivalent": "more than one kind of data",
    "btrfs": "signature btrfs at byte 65600",
    "dos": "a partition table (signature dos at byte 510)",
    "ext4": "signature ext4 at byte 1080",
    "gpt": "a partition table (signature gpt at byte 512)",
    "gpt_part": "a partition table (signature gpt at byte 512)",
    "luks": "a LUKS container",
    "lvm2": "an LVM physical volume",
    "md": "a member of a Linux software RAID",
    "swap": "a swap area",
    "xfs": "signature xfs at byte 0",
    "zfs": "a member of a ZFS pool",
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine with a node for every disk that the tests name."""
    machine = Machine(tmp_path, NOTHING_FOUND)
    for name in ("loop0", "nvme0n1", "nvme1n1", "sda", "nbd0", "ram0", "zram0", "sr0", "fd0", "md0"):
        machine.write({f"dev/{name}": "", f"sys/block/{name}/holders/.keep": ""})
        (tmp_path / f"sys/block/{name}/holders/.keep").unlink()
    return machine


def examine(machine: Machine, path: str = "/dev/nvme0n1", busy: str = "", data: bool = False) -> Disk:
    sysfs, proc, dev = (machine.path(name) for name in ("sys", "proc", "dev"))
    return read_disk(path, machine.run_command, sysfs, proc, dev, lambda _: Look(busy, data))


def survey(machine: Machine) -> tuple[list[Disk], list[Finding]]:
    devices = list_block_devices(machine.run_command)
    sysfs, proc, dev = (machine.path(name) for name in ("sys", "proc", "dev"))
    return read_disks(devices, machine.run_command, sysfs, proc, dev, lambda _: Look())


def test_every_recording_is_used() -> None:
    assert {path.stem for path in (FIXTURES / "signatures").glob("*.json")} == {"blank", *RECORDED_USES}


def test_blank_recording_is_blank(machine: Machine) -> None:
    machine.programs = recorded("blank")
    disk = examine(machine, "/dev/loop0")
    assert disk.blank
    assert disk.not_blank == []
    assert (disk.blkid_status, disk.signatures, disk.type, disk.size_bytes) == (2, [], "loop", 64 << 20)


@pytest.mark.parametrize("case", RECORDED_USES)
def test_recording_is_not_blank(machine: Machine, case: str) -> None:
    machine.programs = recorded(case)
    disk = examine(machine, "/dev/loop0")
    assert not disk.blank
    assert any(RECORDED_USES[case] in reason for reason in disk.not_blank), disk.not_blank


@pytest.mark.parametrize("case", RECORDED_USES)
@pytest.mark.parametrize("silent", ["wipefs", "blkid"])
def test_one_tool_that_finds_something_is_enough(machine: Machine, case: str, silent: str) -> None:
    machine.programs = {**recorded(case), silent: NOTHING_FOUND[silent]}
    assert not examine(machine, "/dev/loop0").blank


def test_blkid_names_the_contents_where_lsblk_cannot(machine: Machine) -> None:
    machine.programs = recorded("ext4")
    disk = examine(machine, "/dev/loop0")
    assert (disk.filesystem, disk.label, disk.partition_table) == ("ext4", "data", None)
    assert disk.uuid


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "part"}, "it is of type part, not a whole disk"),
        ({"type": "raid1"}, "it is of type raid1, not a whole disk"),
        ({"type": None}, "it is of type unknown, not a whole disk"),
        ({"size": 0}, "its size is not known"),
        ({"ro": True}, "it is read-only"),
        ({"pttype": "gpt"}, "it has a partition table (gpt)"),
        ({"fstype": "zfs_member"}, "it has a signature (zfs_member)"),
        ({"mountpoints": ["/data"]}, "it is mounted or in use as swap (/data)"),
        ({"mountpoints": ["[SWAP]"]}, "it is mounted or in use as swap ([SWAP])"),
        (
            {"children": [block_device("nvme0n1p1", type="part"), block_device("nvme0n1p2", type="part")]},
            "it has partitions or volumes (nvme0n1p1, nvme0n1p2)",
        ),
    ],
)
def test_what_lsblk_sees_is_a_reason(machine: Machine, change: dict[str, Any], reason: str) -> None:
    machine.programs["lsblk"] = lsblk(change)
    assert examine(machine).not_blank == [reason]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"sys/block/nvme0n1/holders/dm-0": ""}, "other devices stand on it (dm-0)"),
        (
            {"proc/swaps": "Filename Type Size Used Priority\n/dev/nvme0n1 partition 8 0 -2\n"},
            "it is in use as swap (/proc/swaps)",
        ),
        (
            {"proc/mdstat": "md0 : active raid1 sda[1] nvme0n1[0](F)\n      9 blocks [2/2] [UU]\n"},
            "it belongs to a Linux software RAID (/proc/mdstat)",
        ),
    ],
)
def test_what_the_kernel_lists_is_a_reason(machine: Machine, files: dict[str, str], reason: str) -> None:
    machine.programs["lsblk"] = lsblk({})
    machine.write(files)
    assert examine(machine).not_blank == [reason]


def test_a_disk_that_somebody_has_open_is_not_blank(machine: Machine) -> None:
    machine.programs["lsblk"] = lsblk({})
    assert examine(machine).blank
    assert examine(machine, busy="the kernel has it in use").not_blank == ["the kernel has it in use"]


@pytest.mark.parametrize(
    ("program", "result", "reason"),
    [
        ("wipefs", CommandResult(1, "", "wipefs: error: /dev/x: Input/output error"), "wipefs could not examine it"),
        ("wipefs", CommandResult(127, "", "no such file"), "wipefs could not examine it"),
        ("wipefs", CommandResult(0, "", ""), "the output of wipefs is not understood"),
        ("wipefs", CommandResult(0, "[]", ""), "the output of wipefs is not understood"),
        ("wipefs", CommandResult(0, '{"signatures": [3]}', ""), "signature unknown at byte 0"),
        # blkid ends with 2 for a device that it may not open, too.
        ("blkid", CommandResult(2, "", "blkid: error: /dev/x: Operation not permitted"), "blkid could not examine it"),
        ("blkid", CommandResult(4, "", "usage"), "blkid could not examine it"),
        ("blkid", CommandResult(8, "", "ambivalent result"), "blkid finds more than one kind of data on it"),
        ("blkid", CommandResult(0, "", ""), "blkid finds something on it"),
        ("blkid", CommandResult(127, "", "no such file"), "blkid could not examine it"),
    ],
)
def test_a_tool_that_fails_proves_nothing(machine: Machine, program: str, result: CommandResult, reason: str) -> None:
    machine.programs["lsblk"] = lsblk({})
    machine.programs[program] = result
    (found,) = examine(machine).not_blank
    assert reason in found


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (CommandResult(127, "", "lsblk cannot be run"), "lsblk failed: lsblk cannot be run"),
        (CommandResult(32, "", "lsblk: /dev/nope: not a block device"), "not a block device"),
        (CommandResult(0, "[", ""), "the output of lsblk is no JSON"),
        (CommandResult(0, '{"blockdevices": []}', ""), "there is no such block device"),
        (lsblk({"kname": "sda"}), "there is no such block device"),
    ],
)
def test_a_disk_that_cannot_be_found_is_not_blank(machine: Machine, answer: CommandResult, reason: str) -> None:
    machine.programs["lsblk"] = answer
    disk = examine(machine)
    assert not disk.blank
    assert reason in disk.not_blank[0]
    assert disk.path == "/dev/nvme0n1"


def test_a_link_leads_to_its_disk(machine: Machine, tmp_path: Path) -> None:
    link = tmp_path / "by-id"
    link.symlink_to("/dev/null")
    machine.programs["lsblk"] = lsblk({"path": "/dev/null"})
    assert examine(machine, str(link)).path == "/dev/null"


def test_only_disks_of_this_machine_are_listed(machine: Machine) -> None:
    machine.programs["lsblk"] = lsblk(
        *({"kname": name} for name in ("nvme0n1", "ram0", "zram0", "sr0", "fd0", "nvme9n1")),
        {"kname": "loop0", "type": "loop"},
        {"kname": "nbd0", "size": 0},
        {"kname": "md0", "type": "raid1"},
    )
    disks, findings = survey(machine)
    assert [disk.name for disk in disks] == ["nvme0n1", "loop0"]
    assert findings == []


def test_a_disk_in_use_is_not_read(machine: Machine) -> None:
    used = {"kname": "nvme0n1", "pttype": "gpt", "children": [block_device("nvme0n1p1", type="part")]}
    machine.programs["lsblk"] = lsblk(used, {"kname": "nvme1n1"})
    disks, _ = survey(machine)
    assert [disk.blank for disk in disks] == [False, True]
    assert [call[-1] for call in machine.calls if call[0] != "lsblk"] == ["/dev/nvme1n1"] * 2


def test_a_mounted_disk_is_named_without_udev(machine: Machine) -> None:
    machine.programs = {**recorded("ext4"), "lsblk": lsblk({"kname": "loop0", "type": "loop", "mountpoints": ["/m"]})}
    machine.write({"proc/self/mountinfo": "21 20 7:0 / /m rw - ext4 /dev/loop0 rw\n"})
    ((disk,), _) = survey(machine)
    assert (disk.filesystem, disk.label, disk.use) == ("ext4", "data", "/m (ext4)")
    assert disk.not_blank == ["it is mounted or in use as swap (/m)"]


def test_a_disk_that_cannot_be_read_is_a_finding(machine: Machine) -> None:
    machine.programs = {"lsblk": lsblk({})}
    ((disk,), findings) = survey(machine)
    assert not disk.blank
    assert [finding.code for finding in findings] == ["facts.disk_unreadable"] * 2
    assert findings[0].message.startswith("/dev/nvme0n1: wipefs could not examine it")


@pytest.mark.parametrize("place", ["device/transport", "device/nvme3/transport"])
def test_nvme_over_a_fabric_is_a_network_disk(machine: Machine, place: str) -> None:
    machine.write({f"sys/block/nvme0n1/{place}": "tcp\n"})
    machine.programs["lsblk"] = lsblk({})
    assert survey(machine)[0][0].network


def test_links_that_name_the_disk_come_first(machine: Machine) -> None:
    for link in ("nvme-eui.0025384231b0aaaa", "nvme-Samsung_SSD_990_PRO_1TB_S6Z1NX0W000001", "wwn-0x1"):
        machine.link(f"dev/disk/by-id/{link}", "../../nvme0n1")
    machine.link("dev/disk/by-id/nvme-Samsung_SSD_990_PRO_1TB_S6Z1NX0W000001-part1", "../../nvme0n1p1")
    machine.programs["lsblk"] = lsblk({})
    ((disk,), _) = survey(machine)
    assert [os.path.basename(link) for link in disk.by_id] == [
        "nvme-Samsung_SSD_990_PRO_1TB_S6Z1NX0W000001",
        "nvme-eui.0025384231b0aaaa",
        "wwn-0x1",
    ]
    assert disk.model == "Samsung SSD 990 PRO 1TB"


def test_nvme_link(machine: Machine) -> None:
    function = "sys/devices/pci0000:00/0000:00:01.1/0000:01:00.0"
    machine.write(
        {
            f"{function}/nvme/nvme0/transport": "pcie\n",
            f"{function}/current_link_width": "2\n",
            f"{function}/max_link_width": "4\n",
            f"{function}/current_link_speed": "8.0 GT/s PCIe\n",
            f"{function}/max_link_speed": "16.0 GT/s PCIe\n",
            f"{function}/../max_link_width": "16\n",
            f"{function}/../max_link_speed": "16.0 GT/s PCIe\n",
        }
    )
    machine.link(f"{function}/nvme/nvme0/device", f"/{function}")
    machine.link("sys/block/nvme0n1/device", f"/{function}/nvme/nvme0")
    machine.programs["lsblk"] = lsblk({})
    ((disk,), _) = survey(machine)
    assert disk.as_dict()["pcie"] == {
        "current_width": 2,
        "max_width": 4,
        "current_speed_gts": 8.0,
        "max_speed_gts": 16.0,
        "upstream_max_width": 16,
        "upstream_max_speed_gts": 16.0,
    }
    assert disk.as_dict()["blank"] is True
    assert not disk.network


def test_data_without_a_signature_is_told_apart_from_nothing(machine: Machine) -> None:
    machine.programs["lsblk"] = lsblk({})
    assert not examine(machine).unrecognised_data
    disk = examine(machine, data=True)
    assert (disk.unrecognised_data, disk.blank) == (True, True)
    assert disk.as_dict()["unrecognised_data"] is True


def test_data_that_a_test_recognises_is_not_unrecognised(machine: Machine) -> None:
    machine.programs = recorded("ext4")
    assert not examine(machine, "/dev/loop0", data=True).unrecognised_data
    machine.programs = {**NOTHING_FOUND, "lsblk": lsblk({})}
    assert not examine(machine, busy="the kernel has it in use", data=True).unrecognised_data

"""Mounted filesystems that could hold models."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.host.btrfs import Btrfs, obstacle
from ansible_collections.llmhost.core.plugins.module_utils.host.filesystems import is_rotational, read_filesystems
from ansible_collections.llmhost.core.plugins.module_utils.host.lsblk import BlockDevice

from tests.unit.machine import Machine, block_device

BLOCKS = 1000


def status(path: str) -> os.statvfs_result:
    """Answer for a filesystem of 1000 blocks; one that is called ``gone`` fails, one on a network must not be asked."""
    if "gone" in path:
        raise OSError(5, "Input/output error")
    assert "network" not in path
    flags = os.ST_RDONLY if "readonly" in path else 0
    return os.statvfs_result((4096, 4096, BLOCKS, 700, 600, 0, 0, 0, flags, 255))


def mountinfo(*mounts: tuple[str, str, str, str]) -> str:
    """Return the text for mounts of (number, mount point, type, source)."""
    return "".join(
        f"{20 + at} 1 {number} / {target} rw,relatime shared:1 - {kind} {source} rw\n"
        for at, (number, target, kind, source) in enumerate(mounts)
    )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine whose directories for mounts are there."""
    machine = Machine(tmp_path)
    for name in ("data", "gone", "readonly", "pool"):
        (tmp_path / name).mkdir()
    machine.write({"etc/hosts": ""})
    return machine


def test_real_filesystems(machine: Machine) -> None:
    data = machine.path("data")
    machine.write(
        {
            "proc/self/mountinfo": mountinfo(
                ("0:20", "/", "overlay", "overlay"),
                ("0:21", "/proc", "proc", "proc"),
                ("0:22", "/run", "tmpfs", "tmpfs"),
                ("7:3", "/snap/core/1", "squashfs", "/dev/loop3"),
                ("259:2", machine.path("etc/hosts"), "ext4", "/dev/nvme0n1p2"),
                ("8:1", data, "ext4", "/dev/sda1"),
                ("259:2", data, "xfs", "/dev/nvme0n1p2"),
                ("0:40", "/network", "nfs4", "server:/export"),
                ("8:1", machine.path("readonly"), "ext4", "/dev/sda1"),
                ("0:50", machine.path("pool"), "zfs", "pool/data"),
            )
        }
    )
    for number, device, rotational in (("259:2", "nvme0n1/nvme0n1p2", "0"), ("8:1", "sda/sda1", "1")):
        disk = f"sys/devices/{device.split('/')[0]}"
        machine.write({f"{disk}/queue/rotational": f"{rotational}\n", f"sys/devices/{device}/size": ""})
        machine.link(f"sys/dev/block/{number}", f"/sys/devices/{device}")
    partition = block_device("nvme0n1p2", maj_min="259:2", uuid="abcd", type="part")
    devices = [BlockDevice.from_json(block_device(children=[partition]))]

    found, findings = read_filesystems(devices, machine.path("sys"), machine.path("proc"), status)
    assert findings == []
    facts = {filesystem.mountpoint: filesystem.as_dict() for filesystem in found}
    assert sorted(facts) == sorted(["/", "/network", data, machine.path("pool"), machine.path("readonly")])
    assert facts[data] == {
        "mountpoint": data,
        "device": "/dev/nvme0n1p2",
        "type": "xfs",
        "size_bytes": BLOCKS * 4096,
        "available_bytes": 600 * 4096,
        "uuid": "abcd",
        "rotational": False,
        "network": False,
        "read_only": False,
        "btrfs": None,
    }
    assert facts["/network"]["network"] is True
    assert facts["/network"]["size_bytes"] == 0
    assert facts[machine.path("readonly")]["read_only"] is True
    assert facts[machine.path("readonly")]["rotational"] is True
    assert facts[machine.path("pool")]["rotational"] is None
    assert facts["/"]["type"] == "overlay"


def test_nobody_knows_whether_a_volume_on_a_virtual_disk_turns(machine: Machine) -> None:
    data = machine.path("data")
    machine.write({"proc/self/mountinfo": mountinfo(("253:0", data, "ext4", "/dev/mapper/vg-root"))})
    machine.write({"sys/devices/dm-0/queue/rotational": "1\n"})
    machine.link("sys/dev/block/253:0", "/sys/devices/dm-0")
    volume = block_device("dm-0", maj_min="253:0", type="lvm", path="/dev/mapper/vg-root")
    for transport, rotational in (("virtio", None), ("sata", True)):
        devices = [BlockDevice.from_json(block_device("vda", tran=transport, children=[volume]))]
        ((found,), _) = read_filesystems(devices, machine.path("sys"), machine.path("proc"), status)
        assert found.rotational is rotational


def test_one_that_cannot_be_asked_is_a_finding(machine: Machine) -> None:
    machine.write({"proc/self/mountinfo": mountinfo(("8:1", machine.path("gone"), "ext4", "/dev/sda1"))})
    found, (finding,) = read_filesystems([], machine.path("sys"), machine.path("proc"), status)
    assert found == []
    assert finding.code == "facts.filesystem_unreadable"
    assert machine.path("gone") in finding.message


def test_no_proc_is_a_finding(tmp_path: Path) -> None:
    found, (finding,) = read_filesystems([], str(tmp_path), str(tmp_path), status)
    assert found == []
    assert finding.code == "facts.mounts_unreadable"


def test_device_without_a_queue(tmp_path: Path) -> None:
    assert is_rotational("0:40", str(tmp_path)) is None


@pytest.mark.parametrize(
    ("groups", "devices", "kernel", "says"),
    [
        (("data/single",), 1, "5.15.0-119-generic", ""),
        (("mixed/single",), 1, "6.8.0", ""),
        (("data/single",), 1, "4.19.0", "Linux 4.19.0 cannot"),
        (("data/single",), 2, "5.15.0", "has 2 devices"),
        (("data/raid1", "data/single"), 1, "5.15.0", "keeps data as raid1 and single"),
        (("data/dup",), 1, "5.15.0", "keeps data as dup"),
        ((), 0, "5.15.0", "not known"),
    ],
)
def test_what_keeps_the_kernel_from_swapping_to_a_btrfs(
    machine: Machine, groups: tuple[str, ...], devices: int, kernel: str, says: str
) -> None:
    data = machine.path("data")
    machine.write({"proc/self/mountinfo": mountinfo(("0:30", data, "btrfs", "/dev/sda1"))})
    for group in groups:
        machine.write({f"sys/fs/btrfs/abcd/allocation/{group}/used_bytes": "1\n"})
        machine.write({f"sys/fs/btrfs/abcd/allocation/{group.split('/')[0]}/flags": "1\n"})
    for number in range(devices):
        machine.write({f"sys/fs/btrfs/abcd/devices/sda{number}": ""})
    device = BlockDevice.from_json(block_device("sda", children=[block_device("sda1", uuid="abcd", maj_min="8:1")]))
    ((found,), _) = read_filesystems([device], machine.path("sys"), machine.path("proc"), status)
    assert found.btrfs is not None
    assert found.as_dict()["btrfs"]["devices"] == devices
    reason = obstacle(found.btrfs.devices, found.btrfs.data_profiles, kernel)
    assert (says in reason) if says else reason == ""


def test_a_btrfs_without_a_known_uuid_has_no_known_devices(machine: Machine) -> None:
    assert obstacle(Btrfs.from_sysfs(None).devices, ()) != ""

"""By what a disk is in use, in words: trees as lsblk prints them on real kinds of machines."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.host.disk_use import (
    mounted_filesystems,
    named_by_mounts,
    use,
)
from ansible_collections.llmhost.core.plugins.module_utils.host.lsblk import parse_lsblk
from ansible_collections.llmhost.core.plugins.module_utils.host.mounts import Mounts

from tests.unit.machine import block_device

Node = dict[str, Any]


def disk(*children: Node, **fields: Any) -> Node:
    return block_device(**fields, children=list(children))


def part(number: int, filesystem: str | None = None, mount: str | None = None, **fields: Any) -> Node:
    return node(f"nvme0n1p{number}", "part", filesystem, mount, **fields)


def node(name: str, kind: str, filesystem: str | None = None, mount: str | None = None, **fields: Any) -> Node:
    children = fields.pop("children", [])
    return block_device(name, type=kind, fstype=filesystem, mountpoints=[mount], children=children, **fields)


def words(*disks: Node) -> list[str]:
    devices = parse_lsblk(json.dumps({"blockdevices": list(disks)}))
    return [use(device, mounted_filesystems(devices)) for device in devices]


EFI = part(1, "vfat", "/boot/efi")
LV = node("ubuntu--vg-ubuntu--lv", "lvm", "ext4", "/")
MD = node("md0", "raid1", "ext4", "/data")

ONE_DISK = [
    (disk(), ""),
    (disk(pttype="gpt"), "an empty partition table (gpt)"),
    (disk(fstype="ext4", label="photos"), "ext4 photos, not mounted"),
    (disk(fstype="xfs", mountpoints=["/data"]), "/data (xfs)"),
    (disk(fstype="ext4", mountpoints=["/data", "/srv/data"]), "/data (ext4), /srv/data (ext4)"),
    (disk(mountpoints=["/data"]), "/data (unknown)"),
    (disk(fstype="swap"), "swap, not in use"),
    (disk(fstype="swap", mountpoints=["[SWAP]"]), "swap"),
    (disk(EFI, part(2, "ext4", "/"), pttype="gpt"), "/boot/efi (vfat), / (ext4)"),
    (disk(EFI, part(2, "ext4", "/"), part(3, "swap", "[SWAP]"), pttype="gpt"), "/boot/efi (vfat), / (ext4), swap"),
    (
        disk(
            part(1, "vfat", label="SYSTEM"),
            part(2, parttypename="Microsoft reserved"),
            part(3, "ntfs", label="Windows"),
            part(4, "ntfs"),
            pttype="gpt",
        ),
        "vfat SYSTEM, not mounted, Windows (ntfs)",
    ),
    (disk(part(1, "BitLocker"), pttype="gpt"), "Windows (BitLocker)"),
    (disk(part(1), pttype="dos"), "a partition (without a filesystem)"),
    (
        disk(EFI, part(2, "ext4", "/boot"), part(3, "LVM2_member", children=[LV]), pttype="gpt"),
        "/boot/efi (vfat), /boot (ext4), / (ext4 on LVM)",
    ),
    (disk(fstype="LVM2_member"), "LVM"),
    (disk(node("vg-thin", "lvm"), fstype="LVM2_member"), "vg-thin on LVM"),
    (
        disk(part(1, "crypto_LUKS", children=[node("luks-1", "crypt", "LVM2_member", children=[LV])])),
        "/ (ext4 on LVM on LUKS)",
    ),
    (disk(fstype="crypto_LUKS"), "LUKS"),
    (disk(MD, fstype="linux_raid_member", label="server:0"), "/data (ext4 on RAID 1 md0)"),
    (disk(fstype="linux_raid_member", label="server:0"), "software RAID server:0"),
    (disk(node("md0", "raid0"), fstype="linux_raid_member"), "md0 on RAID 0 md0"),
    (disk(fstype="zfs_member", label="tank"), "ZFS tank"),
    (disk(fstype="bcache"), "bcache"),
    (disk(node("bcache0", "disk", "ext4", "/data"), fstype="bcache"), "/data (ext4 on bcache)"),
    (disk(node("mpatha", "mpath"), fstype="mpath_member"), "mpatha on multipath"),
    (disk(node("secret", "dm")), "secret on device mapper"),
    (disk(fstype="isw_raid_member"), "firmware RAID (Intel)"),
    (disk(fstype="iso9660", label="Ubuntu-Server 22.04"), "iso9660 Ubuntu-Server 22.04, not mounted"),
]


@pytest.mark.parametrize(("tree", "said"), ONE_DISK, ids=[said or "nothing" for _, said in ONE_DISK])
def test_a_disk_is_told_by_what_is_on_it(tree: Node, said: str) -> None:
    assert words(tree) == [said]


def test_the_other_disks_of_a_filesystem_are_mounted_too() -> None:
    first = disk(kname="sda", fstype="btrfs", uuid="77", mountpoints=["/data"])
    second = disk(kname="sdb", fstype="btrfs", uuid="77")

    assert words(first, second) == ["/data (btrfs)", "/data (btrfs, over several disks)"]


def test_members_of_one_array_say_the_same() -> None:
    members = [disk(MD, kname=name, fstype="linux_raid_member") for name in ("sda", "sdb")]

    assert words(*members) == ["/data (ext4 on RAID 1 md0)"] * 2


def test_a_filesystem_that_udev_has_not_seen_yet_is_named_by_its_mount() -> None:
    volume = node("group-data", "lvm", None, "/data")
    text = json.dumps({"blockdevices": [disk(volume, fstype="LVM2_member")]})
    mounts = Mounts.from_mountinfo("21 20 253:0 / /data rw - xfs /dev/mapper/group-data rw\n")
    (device,) = [named_by_mounts(device, mounts) for device in parse_lsblk(text)]
    assert use(device, {}) == "/data (xfs on LVM)"

"""By what a disk is in use, in the words of a person: from the tree of partitions, volumes and mounts on it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ansible_collections.llmhost.core.plugins.module_utils.host.lsblk import BlockDevice
from ansible_collections.llmhost.core.plugins.module_utils.host.mounts import Mounts

Mounted = Mapping[str, Sequence[str]]
"""Mount points by the UUID of what is mounted: filesystems over several disks are mounted as one of them."""

_SWAP = "[SWAP]"
# What a filesystem's name means on a disk where nobody has it open.
_IDLE = {
    "BitLocker": "Windows (BitLocker)",
    "DM_snapshot_cow": "an LVM snapshot",
    "LVM1_member": "LVM",
    "LVM2_member": "LVM",
    "adaptec_raid_member": "firmware RAID",
    "bcache": "bcache",
    "crypto_LUKS": "LUKS",
    "ddf_raid_member": "firmware RAID (DDF)",
    "drbd": "DRBD",
    "hpt37x_raid_member": "firmware RAID",
    "isw_raid_member": "firmware RAID (Intel)",
    "linux_raid_member": "software RAID",
    "mpath_member": "multipath",
    "ntfs": "Windows (ntfs)",
    "swap": "swap, not in use",
    "swsuspend": "a hibernated system",
    "zfs_member": "ZFS",
}
# Those that one pool or volume spans, by its label.
_NAMED = frozenset({"linux_raid_member", "zfs_member"})
# What a device of that type makes of the ones below it.
_LAYERS = {"crypt": "LUKS", "lvm": "LVM", "mpath": "multipath", "dm": "device mapper", "bcache": "bcache"}
_UNTOLD = "device mapper"
# Said only where there is nothing better to say, such as of a boot loader's own.
_PARTITION = "a partition"


def use(device: BlockDevice, mounted: Mounted) -> str:
    """Return what is on the disk and where it is mounted; "" where the tree shows nothing."""
    found = list(dict.fromkeys(_uses(device, (), mounted)))
    found = [words for words in found if not words.startswith(_PARTITION)] or found
    if not found and device.partition_table:
        return f"an empty partition table ({device.partition_table})"
    return ", ".join(found)


def mounted_filesystems(devices: Sequence[BlockDevice]) -> Mounted:
    """Return the mount points of each filesystem that has a UUID."""
    found: dict[str, list[str]] = {}
    for device in devices:
        for node in device.walk():
            if node.uuid and node.mountpoints:
                found.setdefault(node.uuid, []).extend(node.mountpoints)
    return found


def named_by_mounts(device: BlockDevice, mounts: Mounts) -> BlockDevice:
    """Return the tree with the filesystems named that are mounted: udev, which lsblk asks, may not know them yet."""
    types = (mount.fstype for mount in map(mounts.at, device.mountpoints) if mount)
    return replace(
        device,
        filesystem=device.filesystem or next(types, None),
        children=tuple(named_by_mounts(child, mounts) for child in device.children),
    )


def _uses(node: BlockDevice, below: tuple[str, ...], mounted: Mounted) -> Iterator[str]:
    if node.mountpoints:
        yield from (_mount(point, node, below) for point in node.mountpoints)
    elif node.children:
        for child in node.children:
            yield from _uses(child, (*_layer(child, node), *below), mounted)
    elif node.uuid and mounted.get(node.uuid):
        points = ", ".join(dict.fromkeys(mounted[node.uuid]))
        yield f"{points} ({node.filesystem}, over several disks)"
    elif node.filesystem:
        yield " on ".join([_contents(node), *below])
    elif below:
        yield " on ".join([node.name, *below])
    elif node.type == "part":
        yield f"{_PARTITION} ({node.partition_type or 'without a filesystem'})"


def _mount(point: str, node: BlockDevice, below: tuple[str, ...]) -> str:
    if point == _SWAP:
        return " on ".join(["swap", *below])
    return f"{point} ({' on '.join([node.filesystem or 'unknown', *below])})"


def _contents(node: BlockDevice) -> str:
    kind = str(node.filesystem)
    named = f" {node.label}" if node.label and (kind in _NAMED or kind not in _IDLE) else ""
    return f"{_IDLE[kind]}{named}" if kind in _IDLE else f"{kind}{named}, not mounted"


def _layer(child: BlockDevice, parent: BlockDevice) -> tuple[str, ...]:
    """Return what stands between a device and the one above it; a partition is nothing."""
    if child.type == "part":
        return ()
    if re.fullmatch(r"raid\d+|linear|md", child.type):
        return (f"{child.type.replace('raid', 'RAID ')} {child.name}",)
    if parent.filesystem == "bcache":
        return ("bcache",)
    return (_LAYERS.get(child.type, _UNTOLD),)

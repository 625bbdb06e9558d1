"""Whole disks: what they are, and whether every test proves that they hold nothing.

``read_disks`` serves host_info; ``read_disk`` asks the same questions about one disk again, immediately before a
filesystem is made on it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.files import link_name, list_names, read_text, read_word
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, warning
from ansible_collections.llmhost.core.plugins.module_utils.host.disk_kind import cloud_links, is_ephemeral, is_network
from ansible_collections.llmhost.core.plugins.module_utils.host.disk_use import (
    Mounted,
    mounted_filesystems,
    named_by_mounts,
    use,
)
from ansible_collections.llmhost.core.plugins.module_utils.host.lsblk import BlockDevice, LsblkError, list_block_devices
from ansible_collections.llmhost.core.plugins.module_utils.host.mounts import Mounts
from ansible_collections.llmhost.core.plugins.module_utils.host.pcie import PcieLink
from ansible_collections.llmhost.core.plugins.module_utils.host.signatures import (
    Look,
    Signature,
    look_exclusively,
    read_blkid,
    read_signatures,
)
from ansible_collections.llmhost.core.plugins.module_utils.host.uses import Uses, block_number

WHOLE_DISK_TYPES = frozenset({"disk", "loop"})

# Memory, drives without a disk, volumes of a ZFS pool, the boot partitions of an eMMC.
_NO_DISK = re.compile(r"(ram|zram|sr|fd|zd)\d+$|mmcblk\d+(boot\d+|rpmb)$")


@dataclass(frozen=True)
class Disk:
    """One whole disk. ``not_blank`` says, a sentence each, why it may not be claimed; empty means proved blank.

    ``use`` says the same to a person, by the partitions, volumes and mounts, which ``contents`` lists.
    ``unrecognised_data`` is true of a blank disk that does not read as zeros: nothing says whose that data is, unless
    ``remains`` names a part of something that was wiped.
    """

    path: str
    by_id: list[str]
    by_path: list[str]
    name: str
    type: str
    size_bytes: int
    model: str
    serial: str
    wwn: str
    transport: str | None
    rotational: bool
    removable: bool
    read_only: bool
    filesystem: str | None
    label: str | None
    uuid: str | None
    partition_table: str | None
    mountpoints: list[str]
    children: list[str]
    holders: list[str]
    signatures: list[Signature]
    blkid_status: int | None
    ephemeral: bool
    network: bool
    use: str
    contents: list[dict[str, Any]]
    not_blank: list[str]
    unrecognised_data: bool
    remains: str
    pcie: PcieLink | None

    @property
    def blank(self) -> bool:
        """True when every test was made and none found anything."""
        return not self.not_blank

    @classmethod
    def from_block_device(
        cls,
        device: BlockDevice,
        sysfs: str = "/sys",
        dev: str = "/dev",
        mounted: Mounted | None = None,
        cloud: str = "none",
    ) -> Disk:
        """Return the disk as lsblk and sysfs tell it, judged only by what can be seen without reading the disk."""
        by_id = _links(os.path.join(dev, "disk", "by-id"), device.name)
        links = [*map(os.path.basename, by_id), *cloud_links(os.path.join(dev, "disk"), device.name)]
        disk = cls(
            path=device.path,
            by_id=by_id,
            by_path=_links(os.path.join(dev, "disk", "by-path"), device.name),
            name=device.name,
            type=device.type,
            size_bytes=device.size_bytes,
            model=device.model,
            serial=device.serial,
            wwn=device.wwn,
            transport=device.transport,
            rotational=device.rotational,
            removable=device.removable,
            read_only=device.read_only,
            filesystem=device.filesystem,
            label=device.label,
            uuid=device.uuid,
            partition_table=device.partition_table,
            mountpoints=list(device.mountpoints),
            children=[child.name for child in device.children],
            holders=list_names(sysfs, "block", device.name, "holders"),
            signatures=[],
            blkid_status=None,
            ephemeral=is_ephemeral(device.model, links),
            network=is_network(device, links, nvme_transport(device.name, sysfs), cloud),
            use=use(device, mounted or {}),
            contents=[_content(node) for node in device.walk() if node is not device],
            not_blank=[],
            unrecognised_data=False,
            remains="",
            pcie=_pcie(device.name, sysfs),
        )
        return replace(disk, not_blank=in_use(disk))

    def as_dict(self) -> dict[str, Any]:
        """Return the disk as the plain dict that host_info returns."""
        return {**asdict(self), "blank": self.blank}


def in_use(disk: Disk) -> list[str]:
    """Return why the disk may not be claimed, as far as the kernel's own books tell."""
    facts = (
        (disk.type not in WHOLE_DISK_TYPES, f"it is of type {disk.type or 'unknown'}, not a whole disk"),
        (disk.size_bytes == 0, "its size is not known"),
        (disk.read_only, "it is read-only"),
        (disk.partition_table, f"it has a partition table ({disk.partition_table})"),
        (disk.filesystem, f"it has a signature ({disk.filesystem})"),
        (disk.children, f"it has partitions or volumes ({', '.join(disk.children)})"),
        (disk.holders, f"other devices stand on it ({', '.join(disk.holders)})"),
        (disk.mountpoints, f"it is mounted or in use as swap ({', '.join(disk.mountpoints)})"),
    )
    return [reason for applies, reason in facts if applies]


def nvme_transport(name: str, sysfs: str = "/sys") -> str:
    """Return ``pcie``, ``tcp``, ``rdma`` or ``fc`` for an NVMe namespace, or "" for anything else."""
    return next((read_word(controller, "transport") for controller in _nvme_controllers(name, sysfs)), "")


def read_disk(
    path: str,
    run_command: RunCommand,
    sysfs: str = "/sys",
    proc: str = "/proc",
    dev: str = "/dev",
    look_at: Callable[[str], Look] = look_exclusively,
) -> Disk:
    """Return the disk at ``path`` (a device node or a link to one), freshly examined by every test there is.

    Never raises: a path that leads nowhere, or a tool that fails, makes a disk that is not blank and says why. Call it
    immediately before anything is written, and write only if ``not_blank`` is empty.
    """
    node = os.path.realpath(path)
    try:
        devices = list_block_devices(run_command, [node])
    except LsblkError as reason:
        return replace(_nothing(path), not_blank=[str(reason)])
    found = [device for device in devices if device.path == node]
    if not found:
        return replace(_nothing(path), not_blank=["there is no such block device"])
    disk = Disk.from_block_device(found[0], sysfs, dev)
    return examine(disk, run_command, proc, look_at)[0]


def read_disks(
    devices: Sequence[BlockDevice],
    run_command: RunCommand,
    sysfs: str = "/sys",
    proc: str = "/proc",
    dev: str = "/dev",
    look_at: Callable[[str], Look] | None = None,
    cloud: str = "none",
) -> tuple[list[Disk], list[Finding]]:
    """Return the disks among the ``devices`` that lsblk listed, and what could not be learned about them.

    ``cloud`` is the one that the machine is rented from, which decides where virtual disks are.

    A disk that is seen to be in use is not read: that costs time, and the answer is known.
    """
    disks: list[Disk] = []
    findings: list[Finding] = []
    mounts = Mounts.from_mountinfo(read_text(proc, "self/mountinfo") or "")
    mounted = mounted_filesystems(devices)
    look_at = look_at or _look_at_many(proc, sysfs)
    for device in devices:
        if not is_whole_disk(device, dev):
            continue
        disk = Disk.from_block_device(device, sysfs, dev, mounted, cloud)
        if disk.not_blank:
            named = _name_contents(disk, run_command)
            tree = named_by_mounts(replace(device, filesystem=named.filesystem), mounts)
            disks.append(replace(named, use=use(tree, mounted)))
            continue
        disk, failures = examine(disk, run_command, proc, look_at)
        disks.append(disk)
        findings += [
            warning(
                "facts.disk_unreadable",
                f"{disk.path}: {failure}",
                "The disk is left alone. Name another one, or mend the reason and run again.",
            )
            for failure in failures
        ]
    return disks, findings


def is_whole_disk(device: BlockDevice, dev: str = "/dev") -> bool:
    """Tell whether the device is a disk of this machine; a container's /sys shows its host's too, without a node."""
    return (
        device.type in WHOLE_DISK_TYPES
        and device.size_bytes > 0
        and _NO_DISK.match(device.name) is None
        and os.path.exists(os.path.join(dev, device.name))
    )


def examine(
    disk: Disk, run_command: RunCommand, proc: str, look_at: Callable[[str], Look] = look_exclusively
) -> tuple[Disk, list[str]]:
    """Return the disk as the tests that read it find it, and the tests that failed."""
    signatures, wipefs_failure = read_signatures(disk.path, run_command)
    blkid = read_blkid(disk.path, run_command)
    failures = [failure for failure in (wipefs_failure, blkid.failure) if failure]
    reasons = [
        *in_use(disk),
        *(signature.reason for signature in signatures),
        *([wipefs_failure] if wipefs_failure else []),
        *blkid.reasons,
        *_kernel_tables(disk, proc),
    ]
    look = look_at(disk.path)
    if look.problem:
        reasons.append(look.problem)
    disk = replace(
        disk,
        signatures=list(signatures),
        blkid_status=blkid.status,
        not_blank=reasons,
        unrecognised_data=look.data and not reasons,
        remains="" if reasons else look.remains,
    )
    return _fill(disk, blkid.fields.get), failures


def _name_contents(disk: Disk, run_command: RunCommand) -> Disk:
    """Return a disk in use with its filesystem named, where lsblk could not: without udev, as in containers."""
    if disk.filesystem or disk.partition_table or disk.children:
        return disk
    blkid = read_blkid(disk.path, run_command)
    return replace(_fill(disk, blkid.fields.get), blkid_status=blkid.status)


def _fill(disk: Disk, field: Callable[[str], str | None]) -> Disk:
    return replace(
        disk,
        filesystem=disk.filesystem or field("TYPE"),
        label=disk.label or field("LABEL"),
        uuid=disk.uuid or field("UUID"),
        partition_table=disk.partition_table or field("PTTYPE"),
    )


def _kernel_tables(disk: Disk, proc: str) -> list[str]:
    """Return what /proc says of the disk: lsblk overlooks a swap area or a running array at times."""
    swaps = (read_text(proc, "swaps") or "").splitlines()[1:]
    arrays = re.findall(r"(\S+)\[\d+\]", read_text(proc, "mdstat") or "")
    reasons = []
    if any(line.split()[:1] == [disk.path] for line in swaps):
        reasons.append("it is in use as swap (/proc/swaps)")
    if disk.name in arrays:
        reasons.append("it belongs to a Linux software RAID (/proc/mdstat)")
    return reasons


def _look_at_many(proc: str, sysfs: str) -> Callable[[str], Look]:
    """Return the look for many disks: who has one open is looked up once, and again only for those that someone has."""
    uses = Uses.read(proc, sysfs)

    def look(path: str) -> Look:
        return look_exclusively(path, None if uses.of(block_number(path)) else uses)

    return look


def _content(node: BlockDevice) -> dict[str, Any]:
    return {
        "name": node.name,
        "path": node.path,
        "type": node.type,
        "filesystem": node.filesystem,
        "label": node.label,
        "uuid": node.uuid,
        "mountpoints": list(node.mountpoints),
    }


def _links(directory: str, name: str) -> list[str]:
    """Return the links in ``directory`` that lead to the device, those that say vendor and serial first."""
    links = [link for link in list_names(directory) if link_name(directory, link) == name]
    opaque = ("wwn-", "nvme-eui.", "nvme-nvme.", "nvme-uuid.", "scsi-3", "scsi-0", "lvm-", "dm-", "md-")
    return [os.path.join(directory, link) for link in sorted(links, key=lambda link: (link.startswith(opaque), link))]


def _nvme_controllers(name: str, sysfs: str) -> list[str]:
    """Return the controllers of an NVMe namespace: its device, or with native multipath those of its subsystem."""
    if not name.startswith("nvme"):
        return []
    device = os.path.join(sysfs, "block", name, "device")
    paths = [os.path.join(device, entry) for entry in list_names(device) if re.fullmatch(r"nvme\d+", entry)]
    return [path for path in [device, *paths] if os.path.exists(os.path.join(path, "transport"))]


def _pcie(name: str, sysfs: str) -> PcieLink | None:
    for controller in _nvme_controllers(name, sysfs):
        link = PcieLink.from_sysfs(os.path.join(controller, "device"))
        if link:
            return link
    return None


def _nothing(path: str) -> Disk:
    device = BlockDevice.from_json({"path": path, "kname": os.path.basename(path)})
    return Disk.from_block_device(device, sysfs="/nonexistent", dev="/nonexistent")

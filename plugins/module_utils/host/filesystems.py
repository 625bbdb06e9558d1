"""The mounted filesystems that could hold models, and what they stand on."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.files import read_text, read_word
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, warning
from ansible_collections.llmhost.core.plugins.module_utils.host.btrfs import Btrfs
from ansible_collections.llmhost.core.plugins.module_utils.host.lsblk import BlockDevice
from ansible_collections.llmhost.core.plugins.module_utils.host.mounts import Mount, Mounts

# What can hold models; snaps, ISO images and pseudo filesystems cannot.
_LOCAL_TYPES = "bcachefs btrfs exfat ext2 ext3 ext4 f2fs fuseblk jfs ntfs3 reiserfs vfat xfs zfs"
_LOCAL = frozenset(_LOCAL_TYPES.split())
_NETWORK_TYPES = """
    9p afs beegfs ceph cifs fuse.glusterfs fuse.s3fs fuse.sshfs gpfs lustre nfs nfs4 ocfs2 smb3 smbfs virtiofs
"""
_NETWORK = frozenset(_NETWORK_TYPES.split())


@dataclass(frozen=True)
class Filesystem:
    """A mounted filesystem.

    One on a network is named and not asked: a server that is gone would hold the run for ever. Its sizes are 0.
    """

    mountpoint: str
    device: str
    type: str
    size_bytes: int
    available_bytes: int
    uuid: str | None
    rotational: bool | None
    network: bool
    read_only: bool
    btrfs: Btrfs | None = None

    @classmethod
    def from_mount(
        cls,
        mount: Mount,
        devices: Mapping[str, BlockDevice],
        sysfs: str = "/sys",
        statvfs: Callable[[str], os.statvfs_result] = os.statvfs,
        virtio: Collection[str] = (),
    ) -> Filesystem:
        """Return the filesystem of ``mount``; raise OSError when the kernel does not let it be looked at.

        Of every disk in ``virtio``, and of volumes on it, the kernel says that it turns, which means nothing.
        """
        network = mount.fstype in _NETWORK
        status = None if network else statvfs(mount.target)
        device = devices.get(mount.number) or devices.get(mount.source)
        number = device.number if device else mount.number
        return cls(
            mountpoint=mount.target,
            device=mount.source,
            type=mount.fstype,
            size_bytes=status.f_blocks * status.f_frsize if status else 0,
            available_bytes=status.f_bavail * status.f_frsize if status else 0,
            uuid=device.uuid if device else None,
            rotational=None if network or number in virtio else is_rotational(number, sysfs),
            network=network,
            read_only=bool(status and status.f_flag & os.ST_RDONLY),
            btrfs=Btrfs.from_sysfs(device.uuid if device else None, sysfs) if mount.fstype == "btrfs" else None,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the plain dict that host_info returns."""
        return asdict(self)


def read_filesystems(
    devices: Sequence[BlockDevice],
    sysfs: str = "/sys",
    proc: str = "/proc",
    statvfs: Callable[[str], os.statvfs_result] = os.statvfs,
) -> tuple[list[Filesystem], list[Finding]]:
    """Return the filesystems of this process, sorted by mount point, and those that could not be looked at."""
    by_name = {key: node for device in devices for node in device.walk() for key in (node.number, node.path) if key}
    virtio = {node.number for device in devices if device.transport == "virtio" for node in device.walk()}
    mounts = Mounts.from_mountinfo(read_text(proc, "self/mountinfo") or "")
    filesystems, findings = [], []
    for mount in _real(mounts):
        try:
            filesystems.append(Filesystem.from_mount(mount, by_name, sysfs, statvfs, virtio))
        except (OSError, ValueError) as reason:
            findings.append(
                warning(
                    "facts.filesystem_unreadable",
                    f"{mount.target}: its size cannot be read: {reason}",
                    "It is left out. Mount it again, or name another directory for the models.",
                )
            )
    if not mounts.mounts:
        findings.append(
            warning(
                "facts.mounts_unreadable",
                f"{proc}/self/mountinfo holds no mount, so no filesystem is known.",
                "Mount /proc as usual.",
            )
        )
    return filesystems, findings


def is_rotational(number: str, sysfs: str = "/sys") -> bool | None:
    """Tell whether the device ``major:minor`` turns; None when it has no queue, as the devices of overlay and zfs."""
    device = os.path.realpath(os.path.join(sysfs, "dev/block", number.replace("/", "")))
    flag = read_word(device, "queue/rotational") or read_word(os.path.dirname(device), "queue/rotational")
    return {"0": False, "1": True}.get(flag)


def _real(mounts: Mounts) -> Iterator[Mount]:
    """Yield what is on top at each mount point, less what cannot hold models: pseudo filesystems and single files."""
    top = {mount.target: mount for mount in mounts.mounts}
    for target in sorted(top):
        mount = top[target]
        if target == "/" or mount.fstype in _NETWORK or (mount.fstype in _LOCAL and os.path.isdir(target)):
            yield mount

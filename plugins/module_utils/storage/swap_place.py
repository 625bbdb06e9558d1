"""The filesystem that a swap file shall be on: whether it can hold one, and the place made for it on btrfs."""

from __future__ import annotations

import fcntl
import os
import struct
import uuid

from ansible_collections.llmhost.core.plugins.module_utils.host.btrfs import Btrfs, obstacle

# Filesystems that the kernel swaps to a file on, and whether fallocate alone is enough there.
NATIVE = {"ext4": True, "xfs": True, "btrfs": True, "ext3": False}

SUBVOLUME = "swap"
"""Name of the directory that holds the file on btrfs. A subvolume with a swap file in use can't be snapshotted, so the
file has one of its own, which snapshots of the one around it leave out."""

_REASONS = {
    "zfs": "the kernel does not swap to files on ZFS, it may deadlock",
    "overlay": "an overlay, such as the root of a container, has no disk blocks of its own",
    "tmpfs": "tmpfs is memory itself",
    "ramfs": "ramfs is memory itself",
    "nfs": "swap over a network filesystem stalls the machine when the network does",
    "nfs4": "swap over a network filesystem stalls the machine when the network does",
    "cifs": "swap over a network filesystem stalls the machine when the network does",
    "squashfs": "squashfs is read-only",
}

_FS_INFO = 0x8400941F
_FSID = slice(16, 32)
_SUBVOL_CREATE = 0x5000940E
_SUBVOLUME_INODE = 256


def swap_path(storage_path: str, filesystem: str) -> str:
    """Return where the swap file is in the directory of the models."""
    return f"{storage_path}/{SUBVOLUME}/swapfile" if filesystem == "btrfs" else f"{storage_path}/swapfile"


def unfit(fstype: str) -> str:
    """Return why a filesystem of this type can't hold a swap file, or ""."""
    if fstype in NATIVE:
        return ""
    if fstype.startswith("fuse"):
        return "a filesystem in user space may itself wait for memory"
    return _REASONS.get(fstype, "only ext4, xfs, btrfs and ext3 are known to hold one safely")


def unfit_btrfs(directory: str, sysfs: str = "/sys") -> str:
    """Return why the btrfs that a directory is on can't hold a swap file, or ""."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        answer = fcntl.ioctl(descriptor, _FS_INFO, bytes(1024))
    finally:
        os.close(descriptor)
    found = Btrfs.from_sysfs(str(uuid.UUID(bytes=answer[_FSID])), sysfs)
    return obstacle(found.devices, found.data_profiles, os.uname().release)


def is_subvolume_to_make(path: str) -> bool:
    """Tell whether a directory is the one that is made for the swap file; any other is there before it."""
    return os.path.basename(path) == SUBVOLUME and not os.path.isdir(path)


def make_subvolume(path: str) -> None:
    """Make an empty subvolume that only root may look into."""
    parent = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # In a bytearray, since Python copies what cannot be changed, and then no more than 1024 bytes of it.
        fcntl.ioctl(parent, _SUBVOL_CREATE, bytearray(struct.pack("=q4088s", 0, os.fsencode(os.path.basename(path)))))
    finally:
        os.close(parent)
    os.chmod(path, 0o700)


def is_own_subvolume(path: str) -> bool:
    """Tell whether a directory is the subvolume that llmhost makes for its swap file, with nothing in it."""
    if os.path.basename(path) != SUBVOLUME or not os.path.isdir(path):
        return False
    own, around = os.stat(path), os.stat(os.path.dirname(path))
    return own.st_ino == _SUBVOLUME_INODE and own.st_dev != around.st_dev and not os.listdir(path)

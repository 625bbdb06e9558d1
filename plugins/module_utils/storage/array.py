"""The array below the filesystem, by mdadm: found, made, put together, stopped; never when a disk of it is missing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.llmhost.core.plugins.module_utils.files import list_names, read_word
from ansible_collections.llmhost.core.plugins.module_utils.host.disks import Disk
from ansible_collections.llmhost.core.plugins.module_utils.size import KIB
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import ANY_HOST, Found, RefusedError
from ansible_collections.llmhost.core.plugins.module_utils.storage.claimed import Member, Raid
from ansible_collections.llmhost.core.plugins.module_utils.storage.machine import Host, Steps
from ansible_collections.llmhost.core.plugins.module_utils.text_file import TextFile

PROGRAM = PACKAGE = "mdadm"

_ASLEEP = ("", "clear", "inactive")
# Superblock of version 1.2: 4 KiB into the disk, where neither a boot loader nor a partition table is expected.
_CREATE = ("--create", "--run", "--metadata=1.2", f"--homehost={ANY_HOST}")


def survey(host: Host, members: Sequence[Member], raid: Raid | None) -> Found:
    """Read the disks anew, and the array that they form."""
    disks = tuple(host.read_disk(member.device) for member in members)
    names = {name for disk in disks for name in disk.holders}
    if raid is None or not names or not all(name.startswith("md") for name in names):
        return Found(disks)
    below = {slave for name in names for slave in list_names(host.sysfs, "block", name, "slaves")}
    others = tuple(sorted(below - {disk.name for disk in disks}))
    (name, *more) = sorted(names)
    whole = not more and all(disk.holders == [name] for disk in disks)
    if whole and read_word(host.sysfs, "block", name, "md", "array_state") not in _ASLEEP:
        return Found(disks, host.read_disk(f"/dev/{name}"), others=others)
    return Found(disks, idle=tuple(sorted(names)), others=others)


def create(steps: Steps, raid: Raid, uuid: str, found: Found, about: str) -> str:
    """Make the array of disks that were proved blank, and return its device."""
    stop_idle(steps, found)
    devices = [disk.path for disk in found.disks]
    command = [PROGRAM, *_CREATE, node(raid), f"--level={raid.level}", f"--raid-devices={len(devices)}"]
    command += [f"--chunk={raid.chunk_bytes // KIB}", f"--uuid={uuid}", f"--name={raid.name}", *devices]
    steps.run("storage.array_failed", command, about)
    return running(steps.host, found.disks, about)


def assemble(steps: Steps, raid: Raid, uuid: str, found: Found, about: str) -> str:
    """Put an array that is there together again, and return its device. It is not started unless it is whole."""
    stop_idle(steps, found)
    devices = [disk.path for disk in found.disks]
    done = steps.host.run([PROGRAM, "--assemble", node(raid), f"--uuid={uuid}", *devices])
    if done.rc != 0:
        raise RefusedError(
            "storage.array_incomplete",
            f"{about}: the array cannot be put together: {done.stderr.strip() or done.complaint}. Nothing was changed. "
            "Look at mdadm --examine of its disks; a RAID 0 works with all of them only.",
        )
    return running(steps.host, found.disks, about)


def stop_idle(steps: Steps, found: Found) -> None:
    """Let go of disks that the kernel has begun to put together, without enough of them to start."""
    for name in found.idle:
        stop(steps, f"/dev/{name}")


def running(host: Host, disks: Sequence[Disk], about: str) -> str:
    """Return the device of the array that now stands on the disks."""
    names = {name for disk in disks for name in list_names(host.sysfs, "block", disk.name, "holders")}
    if len(names) != 1:
        raise RefusedError(
            "storage.array_failed",
            f"{about}: mdadm reported success, but the disks hold {', '.join(sorted(names)) or 'no array'}. "
            "Look at /proc/mdstat and at the kernel's log.",
        )
    return f"/dev/{names.pop()}"


def stop(steps: Steps, device: str) -> None:
    """Stop an array; what is on it stays."""
    steps.run("storage.busy", [PROGRAM, "--stop", device])


def name_file(host: Host, raid: Raid | None, uuid: str | None) -> TextFile:
    """Return the file that gives the array its name when udev puts it together at boot; without an array, no file.

    Only the name hangs on it: the mount is by the filesystem's UUID, under whatever number the array comes up, and an
    early start from the initramfs finds the array without it. So the initramfs is not made anew.
    """
    path = Path(host.arrays)
    if raid is None or uuid is None:
        return TextFile(path)
    digits = uuid.replace("-", "").replace(":", "")
    grouped = ":".join(digits[start : start + 8] for start in range(0, len(digits), 8))
    return TextFile(path, f"# Made by llmhost.\nARRAY {node(raid)} metadata=1.2 UUID={grouped}\n")


def node(raid: Raid) -> str:
    """Return the array by its lasting name."""
    return os.path.join("/dev/md", raid.name)

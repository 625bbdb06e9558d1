"""Who uses a disk without holding it: processes, loop devices, mounts elsewhere, exports.

An open for exclusive use fails only against a mount, a swap area, an array or a volume. A virtual machine, a database
or a copy in progress just has the device open. What this cannot see: processes outside this container's PID namespace,
another machine that shares the disk, and a file that only a ring of io_uring or a mapping keeps open.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ansible_collections.llmhost.core.plugins.module_utils.files import (
    link_name,
    list_names,
    parse_int,
    read_text,
    read_word,
)
from ansible_collections.llmhost.core.plugins.module_utils.host.mounts import Mounts

# They look at disks now and then, and only read: nobody's data depends on it.
_WATCHERS = frozenset({"(udev-worker)", "systemd-udevd", "multipathd", "smartd", "udisksd", "snapd"})
_ACCESS = 0o3  # the bits of the flags in fdinfo that say whether a file is open for writing
# A file on one of these may hang for ever when its server is gone, and holds no device node.
_REMOTE = re.compile(r"nfs|cifs|smb|fuse|ceph|9p|afs|glusterfs|lustre|virtiofs|autofs")


def block_number(path: str) -> str:
    """Return ``major:minor`` of the block device that ``path`` leads to, or ""."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ""
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if stat.S_ISBLK(status.st_mode) else ""


@dataclass(frozen=True)
class Uses:
    """Who uses which device, in words, by ``major:minor``."""

    by_number: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, number: str) -> tuple[str, ...]:
        """Return who uses the device."""
        return self.by_number.get(number, ())

    @classmethod
    def read(
        cls, proc: str = "/proc", sysfs: str = "/sys", number_of: Callable[[str], str] = block_number, own: int = 0
    ) -> Uses:
        """Return the uses of all devices now; those by the process ``own``, this one by default, are left out."""
        found: dict[str, dict[str, None]] = {}
        own = own or os.getpid()
        for number, words in (
            *_processes(proc, number_of, own),
            *_loops(sysfs, number_of),
            *_exports(sysfs, number_of),
        ):
            found.setdefault(number, {})[words] = None
        return cls({number: tuple(words) for number, words in found.items()})


def _processes(proc: str, number_of: Callable[[str], str], own: int) -> Iterator[tuple[str, str]]:
    spaces = {link_name(proc, "self", "ns", "mnt") or ""}
    for name in list_names(proc):
        if not name.isascii() or not name.isdigit() or int(name) == own:
            continue
        process = os.path.join(proc, name)
        who = f"the process {read_word(process, 'comm') or 'unknown'} ({name})"
        yield from ((number, f"{who} has it open") for number in _open_devices(process, number_of))
        space = link_name(process, "ns", "mnt") or ""
        if space not in spaces:
            spaces.add(space)
            yield from _mounts_elsewhere(process, who)


def _open_devices(process: str, number_of: Callable[[str], str]) -> Iterator[str]:
    """Yield the block devices that a process has open, a reader that only watches left out."""
    watches = read_word(process, "comm") in _WATCHERS
    remote: dict[str, str] | None = None
    for descriptor in list_names(process, "fd"):
        path = os.path.join(process, "fd", descriptor)
        try:
            target = os.readlink(path)
        except OSError:
            continue
        if not target.startswith("/"):
            continue
        information = ""
        if not target.startswith("/dev/"):
            remote = _remote_mounts(process) if remote is None else remote
            information = read_text(process, "fdinfo", descriptor) or ""
            if _field(information, "mnt_id") in remote:
                continue
        number = number_of(path)
        if number and watches:
            information = information or read_text(process, "fdinfo", descriptor) or ""
            if not (parse_int(_field(information, "flags"), 8) or 0) & _ACCESS:
                continue
        if number:
            yield number


def _remote_mounts(process: str) -> dict[str, str]:
    """Return the mounts of a process's view that lie across a network, by their numbers in the kernel."""
    found = {}
    for line in (read_text(process, "mountinfo") or "").splitlines():
        before, _separator, after = line.partition(" - ")
        kind = after.partition(" ")[0]
        if _REMOTE.match(kind):
            found[before.partition(" ")[0]] = kind
    return found


def _mounts_elsewhere(process: str, who: str) -> Iterator[tuple[str, str]]:
    text = read_text(process, "mountinfo") or ""
    for mount in Mounts.from_mountinfo(text).mounts:
        if not mount.number.startswith("0:"):
            yield mount.number, f"it is mounted on {mount.target} where {who} lives, in a mount namespace of its own"


def _loops(sysfs: str, number_of: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    for name in list_names(sysfs, "block"):
        if name.startswith("loop"):
            file = read_word(sysfs, "block", name, "loop", "backing_file")
            if number := number_of(file) if file else "":
                yield number, f"{name} is backed by it"


def _exports(sysfs: str, number_of: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    root = os.path.join(sysfs, "kernel", "config", "nvmet", "subsystems")
    for subsystem in list_names(root):
        for number in list_names(root, subsystem, "namespaces"):
            path = read_word(root, subsystem, "namespaces", number, "device_path")
            if device := number_of(path) if path else "":
                yield device, f"it is exported over NVMe as a namespace of {subsystem}"


def _field(information: str, name: str) -> str:
    found = re.search(rf"^{name}:\s*(\S+)", information, re.MULTILINE)
    return found.group(1) if found else ""

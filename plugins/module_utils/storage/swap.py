"""The swap file of llmhost and nobody else's: made, resized, taken away, and made again where a stop took its disk."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.durable import replace, sync_directory
from ansible_collections.llmhost.core.plugins.module_utils.files import read_text
from ansible_collections.llmhost.core.plugins.module_utils.host.memory import Swap as SwapArea
from ansible_collections.llmhost.core.plugins.module_utils.host.memory import parse_meminfo, parse_swaps
from ansible_collections.llmhost.core.plugins.module_utils.host.mounts import Mounts
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB, format_gib, round_up
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import RefusedError
from ansible_collections.llmhost.core.plugins.module_utils.storage.fstab import PATH, Entry, Fstab
from ansible_collections.llmhost.core.plugins.module_utils.storage.swap_place import (
    is_own_subvolume,
    is_subvolume_to_make,
    make_subvolume,
    unfit,
    unfit_btrfs,
)
from ansible_collections.llmhost.core.plugins.module_utils.storage.swapfile import (
    LABEL,
    PAGE,
    SwapFile,
    allocate,
    is_active,
)
from ansible_collections.llmhost.core.plugins.module_utils.storage.sysctl import Sysctls

# What stays free in memory when swapped pages come back.
_HEADROOM = 256 * MIB


@dataclass(frozen=True)
class SwapPlan:
    """The swap that the plan wants; 0 bytes is none, and a setting of the kernel that is None is left alone.

    ``ephemeral``: its disk comes back empty after a stop. Then fstab, which knows no "if it is there", is left alone,
    and ``Swap.restore`` makes and uses the file at each boot.
    """

    path: str
    size_bytes: int
    priority: int
    swappiness: int | None
    overcommit_memory: int | None = None
    ephemeral: bool = False

    @property
    def sysctls(self) -> dict[str, int]:
        """Return the settings of the kernel that are wanted."""
        named = {"vm.swappiness": self.swappiness, "vm.overcommit_memory": self.overcommit_memory}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class Host:
    """The machine, as far as swap needs it; tests hand in another one."""

    run: RunCommand
    state: StateFile
    fstab: str = PATH
    proc: str = "/proc"
    systemd: str = "/run/systemd/system"
    sysctl: str = "/etc/sysctl.d/60-llmhost.conf"
    active: Callable[[str], bool] = is_active
    sysfs: str = "/sys"


class Swap:
    """Makes the swap true, step by step. A run that is killed between two steps is completed by the next one."""

    def __init__(self, host: Host, check: bool = False) -> None:
        """Read what earlier runs recorded; with ``check``, only say what would be done."""
        self._host = host
        self._check = check
        self._before = host.state.read()
        self._kernels = _numbers(self._before.get("before"))
        self.actions: list[str] = []

    def apply(self, plan: SwapPlan) -> None:
        """Make the swap what the plan says."""
        recorded = self._before.get("path")
        size = round_up(plan.size_bytes, PAGE)
        for path in {str(recorded or plan.path), plan.path}:
            if size == 0 or path != plan.path:
                self._take_away(path)
        if size:
            self._provide(plan, size)
        self._set_sysctls(plan.sysctls)
        self._remember(plan, size)

    def restore(self) -> None:
        """After a boot: use the recorded swap file on an ephemeral disk, made again where the disk came back empty."""
        size, path = self._before.get("size_bytes"), self._before.get("path")
        if self._before.get("ephemeral") and isinstance(size, int) and size and path:
            priority = int(self._before.get("priority", 0))
            self._provide(SwapPlan(str(path), size, priority, None, ephemeral=True), size)

    def remove(self) -> None:
        """Take the swap file, its line in fstab and the settings of the kernel away."""
        if path := self._before.get("path"):
            self._take_away(str(path))
        self._set_sysctls({})
        if self._before:
            self._step("forget the swap file", lambda: self._host.state.write({}))

    def _step(self, what: str, act: Callable[[], object]) -> None:
        self.actions.append(what)
        if not self._check:
            act()

    def _run(self, argv: Sequence[str]) -> None:
        done = self._host.run(argv)
        if done.rc != 0:
            raise RefusedError("swap.failed", f"{' '.join(argv)}: {done.stderr.strip() or done.complaint}")

    def _provide(self, plan: SwapPlan, size: int) -> None:
        self._remove_left_over(plan.path)
        file = SwapFile.from_path(plan.path)
        if file and not file.ours:
            raise RefusedError(
                "swap.not_ours",
                f"{plan.path}: exists and is not a swap file that llmhost made. Nothing was changed. "
                "Move it away, or choose another llmhost_storage_path.",
            )
        if file is None or not file.fits(size):
            self._make(plan.path, size, file)
        elif file.mode != 0o600:
            self._step(f"let only root read {plan.path}", lambda: os.chmod(plan.path, 0o600))
        self._activate(plan, made=file is None or not file.fits(size))
        self._enter(plan)

    def _enter(self, plan: SwapPlan) -> None:
        """Enter the file in fstab. systemd makes a unit of the line, after the mount below it and before services."""
        wanted = Entry(plan.path, "none", "swap", f"sw,nofail,pri={plan.priority}")
        before = Fstab.from_file(self._host.fstab)

        def is_ours(entry: Entry) -> bool:
            return _is_line_of(entry, plan.path)

        self._save(before, before.without(is_ours) if plan.ephemeral else before.with_entry(wanted, is_ours), plan.path)

    def _make(self, path: str, size: int, old: SwapFile | None) -> None:
        """Make the file under another name and put it in place; the old one goes first only where there is no room."""
        directory = os.path.dirname(path)
        around = os.path.dirname(directory) if is_subvolume_to_make(directory) else directory
        if self._check and not _is_ready(around):
            self._step(f"make a swap file of {format_gib(size)} at {path}", lambda: None)
            return
        fstype = self._fit_filesystem(path, around)
        room = _free(around)
        beside = room >= size
        if not beside and room + (old.size_bytes if old else 0) < size:
            raise _no_room(path, size, room)
        area = self._area(old)
        self._refuse_unless_memory_takes(area)
        left = f"in place of {format_gib(old.size_bytes)} " if old else ""

        def make() -> None:
            if directory != around:
                make_subvolume(directory)
            if not beside:
                self._discard(path, area)
            self._write_beside(path, size, fstype)
            if beside and area:
                self._run(["swapoff", path])
            replace(_beside(path), path)

        self._step(f"make a swap file of {format_gib(size)} {left}at {path}", make)

    def _fit_filesystem(self, path: str, directory: str) -> str:
        """Return the type of the filesystem that the file shall be on; refuse one that can't hold it."""
        mount = Mounts.from_proc(self._host.proc).holding(os.path.realpath(directory))
        fstype = mount.fstype if mount else "unknown"
        missing = not _is_ready(directory) or (directory != os.path.dirname(path) and fstype != "btrfs")
        reason = unfit(fstype)
        if fstype == "btrfs" and not missing:
            reason = unfit_btrfs(directory, self._host.sysfs)
        if reason:
            raise RefusedError(
                "swap.filesystem",
                f"{path}: a swap file can't be on this {fstype} filesystem: {reason}. Nothing was changed. "
                "Set llmhost_storage_path to an ext4 or xfs filesystem, or llmhost_swap to 0.",
            )
        if missing:
            raise RefusedError(
                "swap.not_mounted",
                f"{path}: {os.path.dirname(path)} is not there, or is the bare mount point of a disk that is away. "
                "Nothing was changed. Mount the disk of the models, and run again.",
            )
        return fstype

    def _write_beside(self, path: str, size: int, fstype: str) -> None:
        new = _beside(path)
        try:
            allocate(new, size, fstype)
            self._run(["mkswap", "--label", LABEL, new])
            made = SwapFile.from_path(new)
            if made is None or not made.fits(size):
                raise RefusedError("swap.failed", f"{new}: the file has holes or is not what mkswap promised.")
        except BaseException as reason:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
            if isinstance(reason, OSError) and reason.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise _no_room(path, size, _free(os.path.dirname(path))) from reason
            raise

    def _activate(self, plan: SwapPlan, made: bool) -> None:
        area = None if made else self._area(SwapFile.from_path(plan.path))
        if area and area.priority == plan.priority:
            return
        if area:
            self._refuse_unless_memory_takes(area)
            self._step(
                f"stop using {plan.path} with priority {area.priority}", lambda: self._run(["swapoff", plan.path])
            )
        command = ["swapon", "--priority", str(plan.priority), plan.path]
        self._step(f"use {plan.path} with priority {plan.priority}", lambda: self._run(command))

    def _take_away(self, path: str) -> None:
        """Take our file at ``path`` away; what somebody else keeps there stays."""
        self._remove_left_over(path)
        file = SwapFile.from_path(path)
        if (file and not file.ours) or (file is None and path != self._before.get("path")):
            return
        area = self._area(file)
        self._refuse_unless_memory_takes(area)
        before = Fstab.from_file(self._host.fstab)
        self._save(before, before.without(lambda entry: _is_line_of(entry, path)), path)
        if file:
            self._step(f"delete the swap file {path}", lambda: self._discard(path, area))
        if is_own_subvolume(directory := os.path.dirname(path)):
            self._step(f"delete the empty {directory}", lambda: os.rmdir(directory))

    def _discard(self, path: str, area: SwapArea | None) -> None:
        if area:
            self._run(["swapoff", path])
        os.unlink(path)
        sync_directory(os.path.dirname(path))

    def _remove_left_over(self, path: str) -> None:
        """Delete the half of a swap file that a killed run left; its name is ours, and nothing ever swaps to it."""
        if os.path.lexists(_beside(path)):
            self._step(f"delete the half-made {_beside(path)}", lambda: os.unlink(_beside(path)))

    def _area(self, file: SwapFile | None) -> SwapArea | None:
        """Return how the kernel uses the file, or None when it doesn't."""
        if file is None:
            return None
        areas = parse_swaps(read_text(self._host.proc, "swaps") or "")
        named = [area for area in areas if area.path == file.path]
        if not named or not self._host.active(file.path):
            return None
        return next((area for area in named if area.size_bytes == file.size_bytes - PAGE), named[0])

    def _refuse_unless_memory_takes(self, area: SwapArea | None) -> None:
        """Refuse to stop using an area whose pages would fit nowhere: the kernel would kill programs to make room."""
        if area is None or area.used_bytes == 0:
            return
        others = [other for other in parse_swaps(read_text(self._host.proc, "swaps") or "") if other != area]
        elsewhere = sum(other.size_bytes - other.used_bytes for other in others)
        memory = parse_meminfo(read_text(self._host.proc, "meminfo") or "").get("MemAvailable", 0)
        if memory + elsewhere < area.used_bytes + _HEADROOM:
            raise RefusedError(
                "swap.in_use",
                f"{area.path}: {format_gib(area.used_bytes)} are swapped out to it, and only "
                f"{format_gib(memory + elsewhere)} are free to take them back. The swap file is left as it is. "
                "Stop the model (systemctl stop llmhost-inference) and run again.",
            )

    def _save(self, before: Fstab, after: Fstab, path: str) -> None:
        def save() -> None:
            after.save(self._host.fstab)
            if os.path.isdir(self._host.systemd):
                self._run(["systemctl", "daemon-reload"])

        if after != before:
            self._step(f"set the line of {path} in {self._host.fstab}", save)

    def _set_sysctls(self, wanted: dict[str, int]) -> None:
        sysctls = Sysctls(self._host.sysctl, self._host.proc)
        before = sysctls.values_before(wanted, self._kernels)
        kept = {**self._kernels, **before}
        steps = list(sysctls.steps(wanted, kept))
        if steps and kept != self._kernels and not self._check:
            # Before anything is set: a run that is killed must not take our value for the kernel's own.
            self._host.state.write({**self._before, "before": kept})
        for what, act in steps:
            self._step(what, act)
        self._kernels = before

    def _remember(self, plan: SwapPlan, size: int) -> None:
        wanted = {**asdict(plan), "size_bytes": size, "before": self._kernels}
        record = wanted if size or plan.sysctls else {}
        if record != self._before:
            self._step("record it", lambda: self._host.state.write(record))


def _numbers(found: Any) -> dict[str, int]:
    pairs = found.items() if isinstance(found, dict) else ()
    return {str(name): value for name, value in pairs if isinstance(value, int)}


def _beside(path: str) -> str:
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.llmhost-new")


def _is_line_of(entry: Entry, path: str) -> bool:
    return entry.source == path and entry.fstype == "swap"


def _is_ready(directory: str) -> bool:
    """Tell whether the directory can be judged: before the first run it is absent, or a sealed mount point."""
    return os.path.isdir(directory) and os.stat(directory).st_mode & 0o777 != 0


def _free(directory: str) -> int:
    status = os.statvfs(directory)
    return status.f_bfree * status.f_frsize


def _no_room(path: str, size: int, room: int) -> RefusedError:
    return RefusedError(
        "swap.no_room",
        f"{path}: a swap file of {format_gib(size)} does not fit; {format_gib(room)} are free on that filesystem. "
        "Lower llmhost_swap, or set llmhost_storage_path to a larger filesystem.",
    )

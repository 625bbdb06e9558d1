"""Where model files go: a blank disk that nobody uses, or a directory on the best filesystem there is.

A choice once made on a host stays: what an earlier run recorded there is preferred to what would be chosen today.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.host_facts import Disk, Filesystem, HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.intent import DEFAULTS, Intent
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB, format_gib

LABEL = "llmhost-models"
_XFS_LABEL = LABEL[:12]
MOUNT_OPTIONS = "defaults,noatime,nofail,x-systemd.device-timeout=30s"

_MARGIN_LEAST = 512 * MIB
_MARGIN_SHARE = 20


@dataclass(frozen=True)
class StoragePlan:
    """The place for model files, and what a person should know about the choice."""

    path: str
    disk: Disk | None = None
    filesystem: str = ""
    findings: tuple[Finding, ...] = ()

    def as_dict(self, need_bytes: int) -> dict[str, Any]:
        """Return the plan's ``storage``."""
        return {
            "kind": "disk" if self.disk else "directory",
            "path": self.path,
            "device": self.disk.stable_path if self.disk else None,
            "identity": self.disk.identity() if self.disk else None,
            "filesystem": self.filesystem if self.disk else None,
            "label": LABEL,
            "mount_options": MOUNT_OPTIONS,
            "need_bytes": need_bytes,
        }


def need_bytes(files_bytes: int, swap_bytes: int) -> int:
    """Return the room that files and swap take, with a margin for the filesystem's own tables."""
    total = files_bytes + swap_bytes
    return total + max(total // _MARGIN_SHARE, _MARGIN_LEAST)


def plan_storage(host: HostFacts, intent: Intent, need: int) -> StoragePlan:
    """Choose the place for ``need`` bytes."""
    ours = _recorded_disk(host)
    recorded = record.text(host.storage_state, "kind")
    if intent.storage_disk == "none":
        if recorded == "disk":
            device = record.text(host.storage_state, "device", "a disk")
            message = f"llmhost_storage_disk is none, but {device} was claimed on this host and holds its models."
            remedy = "Set llmhost_storage_disk: auto, or give the disk up first with playbooks/remove.yml."
            return StoragePlan(intent.storage_path, findings=(error("storage.disk_in_use", message, remedy),))
        return _directory(host, intent, need)
    if intent.storage_disk != "auto":
        return _named_disk(host, intent, need)
    if recorded == "disk":
        return _kept_disk(host, intent, ours)
    spare = _spare_disk(host, need) if recorded != "directory" else None
    return _claim(spare, intent) if spare else _directory(host, intent, need)


def _claim(disk: Disk, intent: Intent, filesystem: str = "") -> StoragePlan:
    findings = []
    if disk.ephemeral:
        message = f"{disk.stable_path} ({disk.model}) loses its data when the machine is stopped."
        remedy = "The model is downloaded again then. Name another disk in llmhost_storage_disk to keep it."
        findings.append(warning("storage.ephemeral", message, remedy))
    return StoragePlan(intent.storage_path, disk, filesystem or intent.storage_filesystem, tuple(findings))


def _kept_disk(host: HostFacts, intent: Intent, ours: Disk | None) -> StoragePlan:
    if ours is not None:
        return _claim(ours, intent, record.text(host.storage_state, "filesystem"))
    device = record.text(host.storage_state, "device", "The disk of the models")
    message = f"{device} was claimed on this host and is not there any more."
    remedy = "Put the disk back, or give it up with playbooks/remove.yml and run again."
    return StoragePlan(intent.storage_path, findings=(error("storage.disk_missing", message, remedy),))


def _named_disk(host: HostFacts, intent: Intent, need: int) -> StoragePlan:
    """Take the disk that the user named, of any kind, if it is blank or ours; no other disk is ever touched."""
    wanted = intent.storage_disk
    called = [disk for disk in host.disks if disk.is_called(wanted)]
    if len(called) != 1:
        there = ", ".join(_describe(disk) for disk in host.disks if disk.type == "disk") or "none"
        many = f"{len(called)} disks are called {wanted}" if called else f"this host has no disk {wanted}"
        message = f"llmhost_storage_disk: {many}. Disks of this host: {there}."
        remedy = "Name one by its path, its path below /dev/disk/by-id or its serial number."
        return StoragePlan(intent.storage_path, findings=(error("storage.disk_unknown", message, remedy),))
    disk = called[0]
    if _is_ours(disk, host):
        return _claim(disk, intent, record.text(host.storage_state, "filesystem"))
    reasons = list(disk.not_blank)
    if disk.read_only:
        reasons.append("it is read-only")
    if not disk.blank and not reasons:
        reasons.append("not every test says that it is blank")
    if not host.capabilities["mkfs"].able:
        reasons.append(f"no filesystem can be made: {host.capabilities['mkfs'].reason}")
    if reasons:
        message = f"{wanted} is not claimed: {'; '.join(reasons)}. It stays untouched."
        remedy = "Name a blank disk. If nobody needs its data, wipe it yourself (wipefs --all) and run again."
        return StoragePlan(intent.storage_path, findings=(error("storage.disk_not_blank", message, remedy),))
    if disk.size_bytes < need:
        message = f"{wanted} has {format_gib(disk.size_bytes)}; model, swap and margin need {format_gib(need)}."
        remedy = "Name a larger disk, or choose a smaller quantisation."
        return StoragePlan(intent.storage_path, findings=(error("storage.disk_too_small", message, remedy),))
    return _claim(disk, intent)


def _spare_disk(host: HostFacts, need: int) -> Disk | None:
    """Return the largest blank, fast, local disk; one that keeps its data before one that does not.

    In a container the machine's disks can be seen but belong to someone else: there, only a named disk is taken.
    """
    if host.container != "none" or not host.capabilities["mkfs"].able:
        return None
    spare = [
        disk
        for disk in host.disks
        if disk.type == "disk"
        and disk.blank
        and not disk.not_blank
        and not disk.turns
        and not (disk.removable or disk.read_only or disk.network)
        and disk.size_bytes >= need
    ]
    return max(spare, key=lambda disk: (not disk.ephemeral, disk.size_bytes, disk.path), default=None)


def _directory(host: HostFacts, intent: Intent, need: int) -> StoragePlan:
    known = record.text(host.storage_state, "path") if record.text(host.storage_state, "kind") == "directory" else ""
    path = intent.storage_path
    if intent.storage_path_is_default:
        path = known or _best_directory(host, need)
    filesystem = host.filesystem_of(path)
    asked = intent.storage_disk == "none" or not intent.storage_path_is_default
    message = f"Models go into the directory {path}, {'as asked' if asked else 'because no spare disk was found'}."
    findings = [info("storage.directory", message, "" if asked else "Name a disk in llmhost_storage_disk to use it.")]
    if filesystem is not None:
        findings += _check_filesystem(filesystem, path, need, already_ours=known == path)
    return StoragePlan(path, filesystem=filesystem.type if filesystem else "", findings=tuple(findings))


def _best_directory(host: HostFacts, need: int) -> str:
    """Return a directory on the largest filesystem that is local, writable and fast, and has the room if any has."""
    default = str(DEFAULTS["storage_path"])
    usable = [fs for fs in host.filesystems if not (fs.read_only or fs.network) and not _is_for_boot(fs)]
    best = max(
        usable,
        key=lambda fs: (fs.available_bytes >= need, not fs.turns, fs.size_bytes, fs.mountpoint == "/"),
        default=None,
    )
    if best is None or best == host.filesystem_of(default):
        return default
    return default if best.mountpoint == "/" else f"{best.mountpoint.rstrip('/')}/llmhost"


def _is_for_boot(filesystem: Filesystem) -> bool:
    return filesystem.mountpoint.split("/")[1:2] in (["boot"], ["efi"], ["snap"], ["proc"], ["sys"], ["dev"], ["run"])


def _check_filesystem(filesystem: Filesystem, path: str, need: int, already_ours: bool) -> list[Finding]:
    findings = []
    where = f"{path} lies on {filesystem.mountpoint} ({filesystem.type})"
    if filesystem.read_only:
        remedy = "Remount it writable, or set llmhost_storage_path to another filesystem."
        findings.append(error("storage.read_only", f"{where}, which is mounted read-only.", remedy))
    # On a host where an earlier run put files, free bytes say nothing: part of the need is on the disk already. The
    # download checks what is left to fetch.
    room, kind = (filesystem.size_bytes, "in all") if already_ours else (filesystem.available_bytes, "free")
    if room < need:
        message = f"{where} with {format_gib(room)} {kind}; model, swap and margin need {format_gib(need)}."
        remedy = f"Free {format_gib(need - room)}, add a disk, or set llmhost_storage_path to a larger filesystem."
        findings.append(error("storage.too_small", message, remedy))
    if filesystem.network:
        findings.append(warning("storage.network", f"{where}, which is reached over a network.", "Use a local disk."))
    if filesystem.turns:
        findings.append(
            warning("storage.slow", f"{where}, on a disk that turns.", "Loading takes minutes; use an SSD.")
        )
    return findings


def _recorded_disk(host: HostFacts) -> Disk | None:
    return next((disk for disk in host.disks if _is_recorded(disk, host)), None)


def _is_recorded(disk: Disk, host: HostFacts) -> bool:
    """Whether the host's own record says that llmhost claimed this very disk."""
    state = host.storage_state
    if record.text(state, "kind") != "disk":
        return False
    if disk.uuid and disk.uuid == record.text(state, "uuid"):
        return True
    identity = record.section(state, "identity")
    if record.integer(identity, "size_bytes", -1) != disk.size_bytes:
        return False
    serial = record.text(identity, "serial")
    return disk.serial == serial if serial else disk.is_called(record.text(state, "device"))


def _is_ours(disk: Disk, host: HostFacts) -> bool:
    return _is_recorded(disk, host) or disk.label in (LABEL, _XFS_LABEL)


def _describe(disk: Disk) -> str:
    blank = "blank" if disk.blank else "in use"
    return f"{disk.path} ({disk.model or 'no model'}, {format_gib(disk.size_bytes)}, {blank})"

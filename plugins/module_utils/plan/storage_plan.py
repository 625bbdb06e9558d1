"""Where model files go: a blank disk that nobody uses, or a directory on the best filesystem there is.

A choice once made on a host stays: what an earlier run recorded there is preferred to what would be chosen today, and
without a record (the host was installed anew) a disk with the label to a blank one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import Disk, Filesystem, HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import DEFAULTS, Intent
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB, format_gib

LABEL = "llmhost-models"
BUILD_PATH = "/var/cache"
# What carries the label: XFS has room for 12 characters of it.
_LABELS = {"ext4": LABEL, "xfs": LABEL[:12]}
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
    overwrite_unrecognised: bool = False

    @property
    def disks(self) -> tuple[Disk, ...]:
        """The disks to claim."""
        return (self.disk,) if self.disk else ()

    def as_dict(self, need_bytes: int) -> dict[str, Any]:
        """Return the plan's ``storage``."""
        return {
            "kind": "disk" if self.disk else "directory",
            "path": self.path,
            "devices": [{"device": self.disk.stable_path, "identity": self.disk.identity()}] if self.disk else [],
            "raid": None,
            "filesystem": self.filesystem if self.disk else None,
            "label": _LABELS.get(self.filesystem, LABEL) if self.disk else LABEL,
            "mount_options": MOUNT_OPTIONS,
            "ephemeral": bool(self.disk and self.disk.ephemeral),
            "overwrite_unrecognised": self.overwrite_unrecognised,
            "tuning": None,
            "need_bytes": need_bytes,
        }


def need_bytes(files_bytes: int, swap_bytes: int) -> int:
    """Return the room that files and swap take, with a margin for the filesystem's own tables."""
    total = files_bytes + swap_bytes
    return total + max(total // _MARGIN_SHARE, _MARGIN_LEAST)


def check_build(host: HostFacts, build_bytes: int) -> list[Finding]:
    """Return an error when there is no room to build the runtime on a host that has none yet."""
    filesystem = host.filesystem_of(BUILD_PATH)
    built = record.text(host.inference_state, "archive")
    if filesystem is None or built or filesystem.available_bytes >= build_bytes:
        return []
    free = format_gib(filesystem.available_bytes)
    message = f"{filesystem.mountpoint} has {free} free; to build the runtime takes up to {format_gib(build_bytes)}."
    return [error("storage.no_room_to_build", message, f"Free {format_gib(build_bytes)} on {filesystem.mountpoint}.")]


def plan_storage(host: HostFacts, intent: Intent, need: int) -> StoragePlan:
    """Choose the place for ``need`` bytes."""
    ours = _recorded_disk(host)
    recorded = record.text(host.storage_state, "kind")
    if intent.storage_devices == ():
        if recorded == "disk":
            device = record.text(host.storage_state, "device", "a disk")
            message = f"llmhost_storage_devices is none, but {device} was claimed on this host and holds its models."
            remedy = "Set llmhost_storage_devices: auto, or give the disk up first with playbooks/remove.yml."
            return StoragePlan(intent.storage_path, findings=(error("storage.disk_in_use", message, remedy),))
        return _directory(host, intent, need)
    if intent.storage_devices is not None:
        return _named_disk(host, intent, need)
    chosen = _chosen_disk(host, intent, need, ours)
    unclear = tuple(disk for disk in _spare_disks(host, need) if disk.unrecognised_data and disk is not ours)
    if not unclear:
        return chosen
    return replace(chosen, findings=(*chosen.findings, _left_alone(unclear, matters=chosen.disk is None)))


def _chosen_disk(host: HostFacts, intent: Intent, need: int, ours: Disk | None) -> StoragePlan:
    """Return the place where nobody named one: what a run has recorded, a labelled disk, a blank one, a directory."""
    recorded = record.text(host.storage_state, "kind")
    if recorded == "disk":
        return _kept_disk(host, intent, ours)
    if recorded == "directory":
        return _directory(host, intent, need)
    labelled = _labelled_disks(host, intent, need)
    if len(labelled) > 1:
        message = f"More than one disk carries the label {LABEL}: {_list(labelled)}."
        remedy = "Name the one with the models in llmhost_storage_devices."
        return StoragePlan(intent.storage_path, findings=(error("storage.label_twice", message, remedy),))
    blank = [disk for disk in _spare_disks(host, need) if not disk.unrecognised_data]
    best = max(blank, key=lambda disk: (not disk.ephemeral, disk.size_bytes, disk.path), default=None)
    disk = labelled[0] if labelled else best
    return _claim(disk, intent, disk.filesystem) if disk else _directory(host, intent, need)


def _left_alone(disks: Sequence[Disk], matters: bool) -> Finding:
    message = (
        "No disk that holds data without a signature, as of plain dm-crypt or of a database, is taken by itself: "
        f"{_list(disks)}."
    )
    remedy = (
        "If nothing on one is needed, empty it with blkdiscard --zeroout, or name it in llmhost_storage_devices, which "
        "says that it may be overwritten."
    )
    return (warning if matters else info)("storage.unrecognised_data", message, remedy)


def _claim(disk: Disk, intent: Intent, filesystem: str = "") -> StoragePlan:
    findings = []
    if disk.ephemeral:
        message = f"{disk.stable_path} ({disk.model}) loses its data when the machine is stopped."
        remedy = "The model is downloaded again then. Name another disk in llmhost_storage_devices to keep it."
        findings.append(warning("storage.ephemeral", message, remedy))
    kept = filesystem if filesystem in _LABELS else intent.storage_filesystem
    return StoragePlan(intent.storage_path, disk, kept, tuple(findings))


def _claim_named(disk: Disk, host: HostFacts, intent: Intent, filesystem: str = "") -> StoragePlan:
    """Claim the disk that the user named, which allows to overwrite data that no test recognises, with a warning."""
    chosen = replace(_claim(disk, intent, filesystem), overwrite_unrecognised=True)
    if not _held_unrecognised(disk, host):
        return chosen
    # True before the claim and after it: the record keeps what was there, so that the plan stays the same.
    message = (
        f"Until it is claimed, {disk.stable_path} holds data without a signature, as of plain dm-crypt or of a "
        "database. llmhost_storage_devices names it, so a filesystem takes the place of that data."
    )
    found = warning("storage.unrecognised_data", message, "If the data is needed, name another disk before the run.")
    return replace(chosen, findings=(*chosen.findings, found))


def _held_unrecognised(disk: Disk, host: HostFacts) -> bool:
    """Whether the disk holds data of unknown origin, or did when it was claimed; half a filesystem is our own."""
    if not _is_recorded(disk, host):
        return disk.unrecognised_data
    return record.flag(host.storage_state, "unrecognised_data") or (disk.unrecognised_data and not _is_begun(host))


def _is_begun(host: HostFacts) -> bool:
    return record.text(host.storage_state, "phase") == "formatting"


def _kept_disk(host: HostFacts, intent: Intent, ours: Disk | None) -> StoragePlan:
    if ours is not None and ours.blank and ours.unrecognised_data and not _is_begun(host):
        message = f"{ours.stable_path} was claimed on this host and holds other data now, which no test recognises."
        remedy = "Name it in llmhost_storage_devices if that data may go, or give it up with playbooks/remove.yml."
        return StoragePlan(intent.storage_path, findings=(error("storage.unrecognised_data", message, remedy),))
    if ours is not None:
        return _claim(ours, intent, record.text(host.storage_state, "filesystem"))
    device = record.text(host.storage_state, "device", "The disk of the models")
    message = f"{device} was claimed on this host and is not there any more."
    remedy = "Put the disk back, or give it up with playbooks/remove.yml and run again."
    return StoragePlan(intent.storage_path, findings=(error("storage.disk_missing", message, remedy),))


def _named_disk(host: HostFacts, intent: Intent, need: int) -> StoragePlan:
    """Take the disk that the user named, of any kind, if it is blank or ours; no other disk is ever touched."""
    wanted = (intent.storage_devices or ("",))[0]
    called = [disk for disk in host.disks if disk.is_called(wanted)]
    if len(called) != 1:
        there = ", ".join(_describe(disk) for disk in host.disks if disk.type == "disk") or "none"
        many = f"{len(called)} disks are called {wanted}" if called else f"this host has no disk {wanted}"
        message = f"llmhost_storage_devices: {many}. Disks of this host: {there}."
        remedy = "Name one by its path, its path below /dev/disk/by-id or its serial number."
        return StoragePlan(intent.storage_path, findings=(error("storage.disk_unknown", message, remedy),))
    disk = called[0]
    if _is_recorded(disk, host):
        return _claim_named(disk, host, intent, record.text(host.storage_state, "filesystem"))
    if _is_labelled(disk):
        return _claim_named(disk, host, intent, disk.filesystem)
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
    return _claim_named(disk, host, intent)


def _spare_disks(host: HostFacts, need: int) -> list[Disk]:
    """Return the fast disks on which no test finds anything."""
    if not host.capabilities["mkfs"].able:
        return []
    return [disk for disk in _own_disks(host, need) if disk.blank and not disk.not_blank and not disk.turns]


def _labelled_disks(host: HostFacts, intent: Intent, need: int) -> list[Disk]:
    """Return the disks that an earlier installation used for models, unless someone mounts them elsewhere now."""
    return [
        disk
        for disk in _own_disks(host, need)
        if _is_labelled(disk) and all(point == intent.storage_path for point in disk.mountpoints)
    ]


def _own_disks(host: HostFacts, need: int) -> list[Disk]:
    """Return the local disks that are large enough.

    In a container the machine's disks can be seen but belong to someone else: there, only a named disk is taken.
    """
    if host.container != "none":
        return []
    return [
        disk
        for disk in host.disks
        if disk.type == "disk" and not (disk.removable or disk.read_only or disk.network) and disk.size_bytes >= need
    ]


def _directory(host: HostFacts, intent: Intent, need: int) -> StoragePlan:
    known = record.text(host.storage_state, "path") if record.text(host.storage_state, "kind") == "directory" else ""
    path = intent.storage_path
    if intent.storage_path_is_default:
        path = known or _best_directory(host, need)
    filesystem = host.filesystem_of(path)
    asked = intent.storage_devices == () or not intent.storage_path_is_default
    message = f"Models go into the directory {path}, {'as asked' if asked else 'because no spare disk was found'}."
    findings = [
        info("storage.directory", message, "" if asked else "Name a disk in llmhost_storage_devices to use it.")
    ]
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
    recorded = (record.sections(state, "devices") or [state])[0]  # a record of an older release is of one disk
    identity = record.section(recorded, "identity")
    if record.integer(identity, "size_bytes", -1) != disk.size_bytes:
        return False
    serial = record.text(identity, "serial")
    return disk.serial == serial if serial else disk.is_called(record.text(recorded, "device"))


def _is_labelled(disk: Disk) -> bool:
    """Whether the whole disk is a filesystem with our label."""
    return disk.label == _LABELS.get(disk.filesystem) and not disk.parts


def _list(disks: Sequence[Disk]) -> str:
    return ", ".join(f"{disk.stable_path} ({format_gib(disk.size_bytes)})" for disk in disks)


def _describe(disk: Disk) -> str:
    contents = ("unknown data" if disk.unrecognised_data else "blank") if disk.blank else "in use"
    return f"{disk.path} ({disk.model or 'no model'}, {format_gib(disk.size_bytes)}, {contents})"

"""Where model files go: blank disks that nobody uses, or a directory on the best filesystem there is.

A choice once made on a host stays: what an earlier run recorded there is preferred to what would be chosen today, and
without a record (the host was installed anew) disks with the label to blank ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.plan import own_disks
from ansible_collections.llmhost.core.plugins.module_utils.plan.consent import missing_consent
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk import Disk
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk_choice import RAID, choose, why_not
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk_findings import check_claimed
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk_pins import named_disks
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent
from ansible_collections.llmhost.core.plugins.module_utils.plan.own_disks import LABEL, LABELS
from ansible_collections.llmhost.core.plugins.module_utils.plan.storage_directory import (
    check_directory,
    directory_path,
    is_ephemeral,
)
from ansible_collections.llmhost.core.plugins.module_utils.plan.storage_tuning import storage_tuning
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB, format_gib

BUILD_PATH = "/var/cache"
MOUNT_OPTIONS = "defaults,noatime,nofail,x-systemd.device-timeout=30s"

_MARGIN_LEAST = 512 * MIB
_MARGIN_SHARE = 20


@dataclass(frozen=True)
class StoragePlan:
    """The place for model files, and what a person should know about the choice.

    ``reason`` says why these ``disks``; ``kept`` that they are ours already; ``ephemeral`` that what is there may be
    gone after a stop.
    """

    path: str
    disks: tuple[Disk, ...] = ()
    filesystem: str = ""
    findings: tuple[Finding, ...] = ()
    overwrite_unrecognised: bool = False
    reason: str = ""
    kept: bool = False
    ephemeral: bool = False
    tuning: dict[str, Any] | None = None

    def as_dict(self, need_bytes: int) -> dict[str, Any]:
        """Return the plan's ``storage``."""
        return {
            "kind": "disk" if self.disks else "directory",
            "path": self.path,
            "devices": [{"device": disk.stable_path, "identity": disk.identity()} for disk in self.disks],
            "raid": dict(RAID) if len(self.disks) > 1 else None,
            "filesystem": self.filesystem if self.disks else None,
            "label": LABELS.get(self.filesystem, LABEL) if self.disks else LABEL,
            "mount_options": MOUNT_OPTIONS,
            "ephemeral": self.ephemeral,
            "overwrite_unrecognised": self.overwrite_unrecognised,
            "tuning": self.tuning,
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
    chosen = _plan(host, intent, need)
    return replace(chosen, tuning=storage_tuning(chosen.disks, host.container))


def _plan(host: HostFacts, intent: Intent, need: int) -> StoragePlan:
    if intent.storage_devices == ():
        return _refuse_to_forget(host, intent) or _directory(host, intent, need)
    if intent.storage_devices is not None:
        return _named(host, intent, need)
    chosen = _unnamed(host, intent, need)
    unclear = [
        disk
        for disk in host.disks
        if disk.size_bytes >= need
        and disk.unrecognised_data
        and not own_disks.is_recorded(disk, host)
        # Whatever else speaks against it is reason enough.
        and not why_not(replace(disk, unrecognised_data=False, remains=""), host)
    ]
    if not unclear:
        return chosen
    return replace(chosen, findings=(*chosen.findings, _left_alone(unclear, matters=not chosen.disks)))


def _refuse_to_forget(host: HostFacts, intent: Intent) -> StoragePlan | None:
    if not own_disks.has_disks(host):
        return None
    names = ", ".join(own_disks.recorded_names(host))
    message = f"llmhost_storage_devices is none, but {names} was claimed on this host and holds its models."
    remedy = "Set llmhost_storage_devices: auto, or give the disk up first with playbooks/remove.yml."
    return _refused(intent, error("storage.disk_in_use", message, remedy))


def _unnamed(host: HostFacts, intent: Intent, need: int) -> StoragePlan:
    """Return the place where nobody named a disk: what a run has recorded, labelled or blank disks, a directory."""
    if own_disks.has_disks(host):
        return _kept(host, intent, need)
    if record.text(host.storage_state, "kind") == "directory":
        return _directory(host, intent, need)
    labelled = [
        group
        for group in own_disks.labelled_groups(host, intent.storage_path)
        if _room(group) >= need and all(own_disks.is_of_this_host(disk, host) for disk in group)
    ]
    if len(labelled) > 1:
        message = f"More than one disk carries the label {LABEL}: {', '.join(map(_list, labelled))}."
        remedy = "Name the one with the models in llmhost_storage_devices."
        return _refused(intent, error("storage.label_twice", message, remedy))
    if labelled:
        return _adopted(host, intent, labelled[0], need)
    choice = choose(host, need)
    if not choice.disks or intent.claim_disks is False:
        return _directory(host, intent, need)
    claimed = _claimed(host, intent, choice.disks, choice.reason)
    return replace(claimed, findings=(*missing_consent(host, intent, choice.disks), *claimed.findings))


def _named(host: HostFacts, intent: Intent, need: int) -> StoragePlan:
    """Take the disks that the user named, of any kind, if they are blank or ours; no other disk is ever touched."""
    found, findings = named_disks(host, intent.storage_devices or ())
    if findings:
        return _refused(intent, *findings)
    disks = tuple(sorted(found, key=lambda disk: disk.stable_path))
    recorded = [disk for disk in own_disks.recorded_disks(host) if disk]
    if recorded:
        if {disk.path for disk in recorded} == {disk.path for disk in disks}:
            return _kept(host, intent, need)
        holds = (
            "an earlier run did not finish its work on"
            if own_disks.is_begun(host)
            else "the models of this host lie on"
        )
        message = f"llmhost_storage_devices names {_list(disks)}; {holds} {_list(recorded)}."
        remedy = "Name that one, or give it up first with playbooks/remove.yml; nothing is deleted by that."
        return _refused(intent, error("storage.disk_in_use", message, remedy))
    groups = own_disks.labelled_groups(host, intent.storage_path)
    if any({disk.path for disk in group} == {disk.path for disk in disks} for group in groups):
        return _adopted(host, intent, disks, need)
    findings = [finding for disk in disks for finding in _against(disk, host, intent)] or _check_room(disks, need)
    if findings:
        return _refused(intent, *findings)
    claimed = _claimed(host, intent, disks, "named in llmhost_storage_devices")
    return replace(claimed, findings=(*missing_consent(host, intent, disks), *claimed.findings))


def _against(disk: Disk, host: HostFacts, intent: Intent) -> list[Finding]:
    """Return why a disk is not claimed, though it was named."""
    reasons = list(disk.not_blank)
    if disk.read_only and "it is read-only" not in reasons:
        reasons.append("it is read-only")
    if not disk.blank and not reasons:
        reasons.append("not every test says that it is blank")
    if not host.capabilities["mkfs"].able:
        reasons.append(f"no filesystem can be made: {host.capabilities['mkfs'].reason}")
    if reasons:
        message = f"{disk.stable_path} is not claimed: {'; '.join(reasons)}. It stays untouched."
        remedy = "Name a blank disk. If nobody needs its data, wipe it yourself (wipefs --all) and run again."
        return [error("storage.disk_not_blank", message, remedy)]
    if disk.remains:
        message = f"{disk.stable_path} is not claimed: it holds the remains of {disk.remains}. It stays untouched."
        remedy = "Name a blank disk. If nobody needs its data, empty it yourself (blkdiscard --zeroout) and run again."
        return [error("storage.remains", message, remedy)]
    if disk.unrecognised_data and not intent.overwrite_unrecognised:
        why = "it holds data without a signature, as of plain dm-crypt or of a database"
        message = f"{disk.stable_path} is not claimed: {why}. It stays untouched."
        remedy = (
            "If the data may go, set llmhost_overwrite_unrecognised: true; it is for the disks that are named alone."
        )
        return [error("storage.unrecognised_data", message, remedy)]
    return []


def _kept(host: HostFacts, intent: Intent, need: int) -> StoragePlan:
    """Go on with the disks that an earlier run claimed."""
    found = own_disks.recorded_disks(host)
    disks = tuple(sorted((disk for disk in found if disk), key=lambda disk: disk.stable_path))
    if not disks and record.flag(host.storage_state, "ephemeral"):
        return _replaced(host, intent, need)
    if len(disks) < len(found):
        gone = [name for name, disk in zip(own_disks.recorded_names(host), found, strict=True) if not disk]
        message = f"{', '.join(gone)} was claimed on this host and is not there any more."
        remedy = "Put the disk back, or give it up with playbooks/remove.yml and run again."
        return _refused(intent, error("storage.disk_missing", message, remedy))
    findings = [finding for disk in disks for finding in _against_kept(disk, host, intent)] or _check_room(disks, need)
    if findings:
        return _refused(intent, *findings)
    filesystem = record.text(host.storage_state, "filesystem")
    return replace(_claimed(host, intent, disks, "claimed by an earlier run", filesystem), kept=True)


def _against_kept(disk: Disk, host: HostFacts, intent: Intent) -> list[Finding]:
    """Return why a disk that an earlier run claimed is not taken as it is."""
    if own_disks.is_begun(host) or own_disks.holds_ours(disk, host) or disk.is_empty:
        return []
    if disk.blank and not disk.not_blank and not disk.remains:
        if intent.storage_devices and intent.overwrite_unrecognised:
            return []
        message = f"{disk.stable_path} was claimed on this host and holds other data now, which no test recognises."
        remedy = (
            "If that data may go, name the disk in llmhost_storage_devices with llmhost_overwrite_unrecognised: true; "
            "or give it up with playbooks/remove.yml."
        )
        return [error("storage.unrecognised_data", message, remedy)]
    holds = disk.use or disk.remains or "; ".join(disk.not_blank) or "something"
    message = f"{disk.stable_path} was claimed on this host and holds something else now: {holds}. It stays untouched."
    remedy = "If nobody needs that, wipe the disk yourself (wipefs --all); or give it up with playbooks/remove.yml."
    return [error("storage.disk_not_blank", message, remedy)]


def _replaced(host: HostFacts, intent: Intent, need: int) -> StoragePlan:
    """Take new disks of the same kind for ephemeral ones: a cloud gives a machine others when it starts once more."""
    kinds = {
        (record.text(identity, "model"), record.integer(identity, "size_bytes"))
        for entry in record.sections(host.storage_state, "devices") or [host.storage_state]
        for identity in [record.section(entry, "identity")]
    }
    choice = choose(host, need)
    if not choice.disks or intent.claim_disks is False:
        return _directory(host, intent, need)
    claimed = _claimed(host, intent, choice.disks, choice.reason)
    same = all(disk.ephemeral and (disk.model, disk.size_bytes) in kinds for disk in choice.disks)
    consent = [] if same else missing_consent(host, intent, choice.disks)
    return replace(claimed, findings=(*consent, *claimed.findings))


def _adopted(host: HostFacts, intent: Intent, disks: tuple[Disk, ...], need: int) -> StoragePlan:
    if findings := _check_room(disks, need):
        return _refused(intent, *findings)
    reason = f"it has the label {LABEL} of an earlier installation"
    return replace(_claimed(host, intent, disks, reason, own_disks.filesystem_on(disks)), kept=True)


def _claimed(
    host: HostFacts, intent: Intent, disks: tuple[Disk, ...], reason: str, filesystem: str = ""
) -> StoragePlan:
    allowed = bool(intent.storage_devices) and intent.overwrite_unrecognised
    return StoragePlan(
        path=intent.storage_path,
        disks=disks,
        filesystem=filesystem if filesystem in LABELS else intent.storage_filesystem,
        findings=tuple(check_claimed(host, disks, allowed)),
        overwrite_unrecognised=allowed,
        reason=reason,
        ephemeral=any(disk.ephemeral for disk in disks),
    )


def _directory(host: HostFacts, intent: Intent, need: int) -> StoragePlan:
    path = directory_path(host, intent, need)
    filesystem = host.filesystem_of(path)
    return StoragePlan(
        path=path,
        filesystem=filesystem.type if filesystem else "",
        findings=tuple(check_directory(host, intent, path, need)),
        ephemeral=is_ephemeral(host, path),
    )


def _refused(intent: Intent, *findings: Finding) -> StoragePlan:
    return StoragePlan(intent.storage_path, findings=findings)


def _left_alone(disks: Sequence[Disk], matters: bool) -> Finding:
    message = (
        "No disk that holds data without a signature, as of plain dm-crypt or of a database, is taken by itself: "
        f"{_list(disks)}."
    )
    remedy = (
        "If nothing on one is needed, empty it with blkdiscard --zeroout, or name it in llmhost_storage_devices with "
        "llmhost_overwrite_unrecognised: true."
    )
    return (warning if matters else info)("storage.unrecognised_data", message, remedy)


def _check_room(disks: Sequence[Disk], need: int) -> list[Finding]:
    if _room(disks) >= need:
        return []
    message = f"{_list(disks)} has too little room; model, swap and margin need {format_gib(need)}."
    return [error("storage.disk_too_small", message, "Use a larger disk, or one more, or a smaller quantisation.")]


def _room(disks: Sequence[Disk]) -> int:
    return sum(disk.size_bytes for disk in disks)


def _list(disks: Sequence[Disk]) -> str:
    return ", ".join(f"{disk.stable_path} ({format_gib(disk.size_bytes)})" for disk in disks)

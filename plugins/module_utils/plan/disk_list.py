"""The plan's list of disks: what each is, and why it is chosen or left alone."""

from __future__ import annotations

from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.plan.disk import Disk
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk_choice import why_not
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk_link import words_of
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent
from ansible_collections.llmhost.core.plugins.module_utils.plan.own_disks import holds_ours, is_labelled, is_recorded
from ansible_collections.llmhost.core.plugins.module_utils.plan.storage_plan import StoragePlan
from ansible_collections.llmhost.core.plugins.module_utils.size import format_gib

NOT_NAMED = "not named in llmhost_storage_devices"


def disk_list(
    host: HostFacts, intent: Intent, storage: StoragePlan | None = None, need: int = 0
) -> list[dict[str, Any]]:
    """Return an entry for each whole disk, in the order of their names; without a storage plan none is chosen."""
    chosen = storage.disks if storage else ()
    disks = [disk for disk in host.disks if disk.type == "disk" or disk in chosen]
    return [_entry(disk, host, intent, storage, need) for disk in sorted(disks, key=_by_name)]


def _by_name(disk: Disk) -> tuple[int, str, str]:
    """Sort nvme2n1 before nvme10n1; the lasting name decides where two have the same."""
    return len(disk.name), disk.name, disk.stable_path


def _entry(disk: Disk, host: HostFacts, intent: Intent, storage: StoragePlan | None, need: int) -> dict[str, Any]:
    state = _state(disk, host)
    chosen = storage is not None and disk in storage.disks
    return {
        "path": disk.path,
        "device": disk.stable_path,
        "model": disk.model,
        "serial": disk.serial,
        "size_bytes": disk.size_bytes,
        "state": state,
        "use": _use(disk, host, state),
        "persistence": "ephemeral" if disk.ephemeral else "persistent",
        "reach": "network" if disk.network else "local",
        "link": words_of(disk.link, disk.transport),
        "choice": ("keep" if state == "ours" else "claim") if chosen else "none",
        "reason": storage.reason if chosen and storage else _why_not(disk, host, intent, storage, need),
    }


def _state(disk: Disk, host: HostFacts) -> str:
    if disk.is_empty:
        return "blank"
    if (is_recorded(disk, host) and holds_ours(disk, host)) or is_labelled(disk):
        return "ours"
    return "unrecognised" if disk.blank and not disk.not_blank else "in_use"


def _use(disk: Disk, host: HostFacts, state: str) -> str:
    if state == "blank":
        return ""
    if state == "unrecognised":
        return f"remains of {disk.remains}" if disk.remains else "data that no test recognises"
    makers = {made.path: made.by for made in host.cloud.mounts}
    by = dict.fromkeys(makers[point] for point in disk.all_mountpoints if point in makers)
    made = f", mounted by {' and '.join(by)}" if by else ""
    return f"{disk.use or '; '.join(disk.not_blank) or 'not every test says that it is blank'}{made}"


def _why_not(disk: Disk, host: HostFacts, intent: Intent, storage: StoragePlan | None, need: int) -> str:
    if storage is None:
        return ""
    if intent.storage_devices:
        return "not claimed: see the error" if _is_named(disk, intent) else NOT_NAMED
    reason = why_not(disk, host)
    if reason:
        return reason
    if disk.size_bytes < need and len(storage.disks) < 2:
        return f"it has no room for {format_gib(need)}"
    if not storage.disks:
        return "a directory is used"
    return "the models have their place already" if storage.kept else "another one is better"


def _is_named(disk: Disk, intent: Intent) -> bool:
    return any(disk.is_called(name) for name in intent.storage_devices or ())

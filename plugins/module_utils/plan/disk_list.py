"""The plan's list of disks: what each is, and why it is chosen or left alone."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import Disk, HostFacts


def disk_list(host: HostFacts, chosen: Collection[Disk]) -> list[dict[str, Any]]:
    """Return an entry for each whole disk, in the order of their lasting names."""
    disks = [disk for disk in host.disks if disk.type == "disk" or disk in chosen]
    return [
        _entry(disk, disk in chosen, host) for disk in sorted(disks, key=lambda disk: (disk.stable_path, disk.path))
    ]


def _entry(disk: Disk, chosen: bool, host: HostFacts) -> dict[str, Any]:
    ours = disk.uuid != "" and disk.uuid == record.text(host.storage_state, "uuid")
    return {
        "path": disk.path,
        "device": disk.stable_path,
        "model": disk.model,
        "serial": disk.serial,
        "size_bytes": disk.size_bytes,
        "state": "ours" if ours else _state(disk),
        "use": "; ".join(disk.not_blank),
        "persistence": "ephemeral" if disk.ephemeral else "persistent",
        "reach": "network" if disk.network else "local",
        "link": "",
        "choice": ("keep" if ours else "claim") if chosen else "none",
        "reason": "",
    }


def _state(disk: Disk) -> str:
    if disk.blank and not disk.not_blank:
        return "unrecognised" if disk.unrecognised_data else "blank"
    return "in_use"

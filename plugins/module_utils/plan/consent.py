"""May disks be claimed without asking? The kindest disk is blank by mistake of a test, so a person says yes once."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk import Disk
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent
from ansible_collections.llmhost.core.plugins.module_utils.size import format_gib


def missing_consent(host: HostFacts, intent: Intent, disks: Sequence[Disk]) -> list[Finding]:
    """Return an error unless the claim of these disks, which are not ours yet, was allowed."""
    if intent.claim_disks or host.described:
        return []
    names = intent.storage_devices or ()
    if intent.claim_disks is None:
        by_path = [disk for disk in disks if not any(disk.is_known_as(name) for name in names)]
        if host.cloud.fresh or not by_path:
            return []
        return [_refusal(disks, by_path if names else ())]
    message = (
        f"llmhost_claim_disks is false, and llmhost_storage_devices names {_list(disks)}, which is not claimed yet."
    )
    remedy = "Set llmhost_claim_disks: true, or take the name out for a directory."
    return [error("storage.claim_forbidden", message, remedy)]


def _refusal(disks: Sequence[Disk], by_path: Sequence[Disk]) -> Finding:
    serials = [disk.serial or disk.stable_path for disk in disks]
    named = f"llmhost_storage_devices: {serials[0] if len(serials) == 1 else '[' + ', '.join(serials) + ']'}"
    message = f"{_list(disks)} would be claimed for the models: a filesystem would be made on it."
    if by_path:
        message += " Paths change from boot to boot, so a disk that is named by one is not claimed on that word alone."
    remedy = (
        f"If nothing on it is needed, allow it with llmhost_claim_disks: true, or name it by serial number ({named}). "
        "With llmhost_claim_disks: false the models go into a directory."
    )
    return error("storage.claim_not_allowed", message, remedy)


def _list(disks: Sequence[Disk]) -> str:
    return ", ".join(
        f"{disk.stable_path} ({disk.model or 'no model'}, {format_gib(disk.size_bytes)})" for disk in disks
    )

"""The disks that the user named in ``llmhost_storage_devices``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk import Disk
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.size import format_gib

VARIABLE = "llmhost_storage_devices"


def named_disks(host: HostFacts, names: Sequence[str]) -> tuple[list[Disk], list[Finding]]:
    """Return the disk that each name means, and an error for every name that does not mean exactly one."""
    found: list[tuple[str, Disk]] = []
    findings = []
    for name in names:
        called = [disk for disk in host.disks if disk.is_called(name)]
        if len(called) == 1 and not called[0].has_twin:
            found.append((name, called[0]))
        elif called:
            findings.append(_ambiguous(host, name, called))
        else:
            findings.append(_unknown(host, name))
    return [disk for _, disk in found], findings + list(_twice(found))


def describe(disk: Disk) -> str:
    """Return a disk in words, for a list of those that there are."""
    contents = disk.use or ("in use" if disk.not_blank or not disk.blank else "unknown data")
    holds = "blank" if disk.is_empty else contents
    names = f"{disk.model or 'no model'}, serial {disk.serial or 'unknown'}"
    return f"{disk.path} ({names}, {format_gib(disk.size_bytes)}: {holds})"


def _ambiguous(host: HostFacts, name: str, called: Sequence[Disk]) -> Finding:
    twins = [disk for disk in host.disks if disk.has_twin]
    same = called if len(called) > 1 else [disk for disk in twins if disk.serial == called[0].serial]
    message = f"{VARIABLE}: {len(same)} disks are called {name}: {', '.join(map(describe, same))}."
    if any(disk.has_twin for disk in called):
        remedy = (
            "They say the same serial number, so nothing tells them apart after a reboot: perhaps one disk by two "
            "paths (then set up multipath), perhaps cheap controllers. Name another disk."
        )
    else:
        remedy = f"Name one by a link that only it has: {', '.join(disk.stable_path for disk in called)}."
    return error("storage.disk_ambiguous", message, remedy)


def _unknown(host: HostFacts, name: str) -> Finding:
    below = next((disk for disk in host.disks for part in disk.contents if name in (part.path, part.name)), None)
    if below:
        message = f"{VARIABLE}: {name} is a part of {below.path}, not a whole disk."
        return error("storage.disk_unknown", message, "Name a whole disk that is blank.")
    there = ", ".join(describe(disk) for disk in host.disks if disk.type == "disk") or "none"
    message = f"{VARIABLE}: this host has no disk {name}. Disks of this host: {there}."
    return error("storage.disk_unknown", message, "Name one by its serial number or its link in /dev/disk/by-id.")


def _twice(found: Sequence[tuple[str, Disk]]) -> Iterator[Finding]:
    for at, (name, disk) in enumerate(found):
        same = next((other for other, before in found[:at] if before.path == disk.path), None)
        if same:
            message = f"{VARIABLE}: {same} and {name} are the same disk, {disk.path}."
            yield error("storage.disk_twice", message, "Name each disk once.")

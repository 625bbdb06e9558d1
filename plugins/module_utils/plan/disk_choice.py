"""Which blank disks the models get when nobody named any: the fastest one with the room, or several as a RAID 0."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.plan.disk import Disk
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.size import KIB, format_gib

RAID = {"level": 0, "name": "llmhost-models", "chunk_bytes": 512 * KIB}
"""How several disks become one. Models are read from end to end: large chunks keep each disk's own reads large."""


@dataclass(frozen=True)
class Choice:
    """Disks to claim, and why these, in words; several are a RAID 0."""

    disks: tuple[Disk, ...] = ()
    reason: str = ""


def why_not(disk: Disk, host: HostFacts) -> str:
    """Return why a disk is never taken unless somebody names it; "" for one that may be."""
    facts = (
        (host.container != "none", f"it belongs to the machine of this container ({host.container})"),
        (not host.capabilities["mkfs"].able, f"no filesystem can be made: {host.capabilities['mkfs'].reason}"),
        (disk.type != "disk", f"it is of type {disk.type or 'unknown'}"),
        (disk.read_only, "it is read-only"),
        (not disk.blank or disk.not_blank, "it is in use"),
        (disk.remains, f"it holds the remains of {disk.remains}"),
        (disk.unrecognised_data, "it holds data that no test recognises"),
        (disk.network, "it is reached over a network"),
        (disk.removable or disk.transport == "usb", "it can be pulled out"),
        (disk.turns, "it turns"),
        (disk.has_twin, "another disk says the same model and serial number"),
        (not disk.lasts_by_name, "no name of it survives a reboot"),
    )
    return next((reason for applies, reason in facts if applies), "")


def choose(host: HostFacts, need: int) -> Choice:
    """Return the disks to claim for ``need`` bytes: one that keeps its data before those that lose it at a stop."""
    spare = [disk for disk in host.disks if not why_not(disk, host)]
    lasting = [disk for disk in spare if not disk.ephemeral]
    return (
        _single(lasting, need) or _enough(lasting, need) or _all_equal(spare, need) or _single(spare, need) or Choice()
    )


def _single(disks: Sequence[Disk], need: int) -> Choice | None:
    best = min((disk for disk in disks if disk.size_bytes >= need), key=_rank, default=None)
    kind = "that loses its data at a stop" if best and best.ephemeral else "that is blank and local"
    return Choice((best,), f"the fastest {kind}, with room for {format_gib(need)}") if best else None


def _enough(disks: Sequence[Disk], need: int) -> Choice | None:
    """Return as many equal disks as have the room together, where no single one has it: the fewest, the fastest."""
    found = []
    for group in _groups(disks):
        taken = [group[: count + 1] for count in range(1, len(group)) if _room(group[: count + 1]) >= need]
        found += taken[:1]
    best = min(found, key=lambda group: (len(group), _rank(group[0])), default=None)
    return _together(best, f"no single disk has room for {format_gib(need)}") if best else None


def _all_equal(disks: Sequence[Disk], need: int) -> Choice | None:
    """Return all equal disks that a cloud takes back at a stop: they cost nothing more, and are faster together."""
    groups = [group for group in _groups([disk for disk in disks if disk.ephemeral]) if _room(group) >= need]
    best = min(
        groups, key=lambda group: (-sum(disk.megabytes for disk in group), -_room(group), _rank(group[0])), default=None
    )
    return _together(best, "all of them lose their data at a stop") if best else None


def _together(disks: Sequence[Disk], why: str) -> Choice:
    return Choice(tuple(disks), f"one of {len(disks)} equal disks of a RAID 0: {why}")


def _groups(disks: Sequence[Disk]) -> list[list[Disk]]:
    """Return the NVMe disks of which there are several with one model and size, the fastest of each group first."""
    groups: dict[tuple[str, int], list[Disk]] = {}
    for disk in sorted(disks, key=_rank):
        if disk.is_nvme:
            groups.setdefault((_family(disk.model), disk.size_bytes), []).append(disk)
    return [group for group in groups.values() if len(group) > 1]


def _family(model: str) -> str:
    """Return the model without the number that Google gives each of its local disks."""
    return re.sub(r"(?<=^nvme_card)\d+$", "", model)


def _room(disks: Sequence[Disk]) -> int:
    return sum(disk.size_bytes for disk in disks)


def _rank(disk: Disk) -> tuple[bool, int, int, str]:
    """Sort by the link of the disk, then by its size; the name settles the rest, whatever order the kernel found."""
    return (not disk.is_nvme, -disk.megabytes, -disk.size_bytes, disk.stable_path)

"""The disks that are ours already: by the record of this host, or by the label of an earlier installation."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk import Disk
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.record import Record

LABEL = "llmhost-models"
# What carries the label: XFS has room for 12 characters of it.
LABELS = {"ext4": LABEL, "xfs": LABEL[:12]}
_MEMBER = "linux_raid_member"


def has_disks(host: HostFacts) -> bool:
    """Whether an earlier run recorded that it claimed disks of this host."""
    return record.text(host.storage_state, "kind") == "disk"


def recorded_disks(host: HostFacts) -> tuple[Disk | None, ...]:
    """Return each disk that an earlier run claimed, in the record's order; None for one that is gone."""
    if not has_disks(host):
        return ()
    alone = [disk for disk in host.disks if disk.uuid and disk.uuid == record.text(host.storage_state, "uuid")]
    if alone:
        return (alone[0],)
    found: list[Disk | None] = []
    for entry in _entries(host):
        found.append(next((disk for disk in host.disks if _is_of(entry, disk) and disk not in found), None))
    return tuple(found)


def is_recorded(disk: Disk, host: HostFacts) -> bool:
    """Whether an earlier run claimed this very disk."""
    return any(other is not None and other.path == disk.path for other in recorded_disks(host))


def recorded_names(host: HostFacts) -> list[str]:
    """Return what the record calls its disks."""
    return [record.text(entry, "device", "a disk") for entry in _entries(host)]


def is_begun(host: HostFacts) -> bool:
    """Whether an earlier run announced that it would write to its disks, and never said that it had done so."""
    return record.text(host.storage_state, "phase", "ready") != "ready"


def holds_ours(disk: Disk, host: HostFacts) -> bool:
    """Whether a recorded disk holds what the record says, or as much of it as a killed run may have left."""
    state = host.storage_state
    known = (record.text(state, "uuid"), record.text(state, "array_uuid"))
    return is_begun(host) or any(_digits(disk.uuid) == _digits(uuid) for uuid in known if uuid and disk.uuid)


def labelled_groups(host: HostFacts, path: str) -> list[tuple[Disk, ...]]:
    """Return what earlier installations used for models, a disk or the members of an array each.

    What somebody has mounted at another place than ``path`` now is left to them.
    """
    members: dict[str, list[Disk]] = {}
    for disk in host.disks:
        free = all(point == path for point in disk.all_mountpoints) and not disk.read_only
        if free and is_labelled(disk):
            members.setdefault(disk.uuid if disk.filesystem == _MEMBER else disk.path, []).append(disk)
    groups = [tuple(sorted(group, key=lambda disk: disk.stable_path)) for group in members.values()]
    return sorted(groups, key=lambda group: group[0].stable_path)


def is_of_this_host(disk: Disk, host: HostFacts) -> bool:
    """Whether a labelled disk may be adopted though nobody named it: no container's, and none that comes and goes."""
    return host.container == "none" and disk.type == "disk" and not (disk.removable or disk.network)


def is_labelled(disk: Disk) -> bool:
    """Whether the whole disk is a filesystem with our label, or a member of an array with our name."""
    if disk.filesystem == _MEMBER:
        return disk.label.rpartition(":")[2] == LABEL
    return disk.label == LABELS.get(disk.filesystem) and not disk.parts


def filesystem_on(disks: Sequence[Disk]) -> str:
    """Return the filesystem of labelled disks; "" where an array is not running."""
    if disks[0].filesystem != _MEMBER:
        return disks[0].filesystem
    found = (part.filesystem for disk in disks for part in disk.contents if part.label in LABELS.values())
    return next(found, "")


def _entries(host: HostFacts) -> list[Record]:
    """Return the disks of the record; an older release recorded a single one, without a list."""
    return record.sections(host.storage_state, "devices") or [host.storage_state]


def _is_of(entry: Record, disk: Disk) -> bool:
    identity = record.section(entry, "identity")
    if record.integer(identity, "size_bytes", -1) != disk.size_bytes:
        return False
    serial, wwn = record.text(identity, "serial"), record.text(identity, "wwn")
    if wwn and disk.wwn and wwn != disk.wwn:
        return False
    return disk.serial == serial if serial else disk.is_called(record.text(entry, "device"))


def _digits(uuid: str) -> str:
    """Return a UUID without what stands between its digits: arrays and filesystems write them differently."""
    return "".join(filter(str.isalnum, uuid)).lower()

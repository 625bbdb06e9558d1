"""May these disks be made ours? The decision only; ``storage.py`` acts on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ansible_collections.llmhost.core.plugins.module_utils.host.disks import Disk
from ansible_collections.llmhost.core.plugins.module_utils.size import format_gib
from ansible_collections.llmhost.core.plugins.module_utils.storage.claimed import (
    READY,
    Identity,
    Member,
    Raid,
    Record,
    same_uuid,
)

# make: nothing is on it; finish: a killed run of ours may have left it half made; keep: it is ours, with what it holds.
Action = Literal["make", "finish", "keep"]
# What becomes of the array below the filesystem; "" where there is none, or it runs.
ArrayAction = Literal["", "create", "assemble"]

# An array made with this home belongs to whichever host its disks are in, and gets its name there.
ANY_HOST = "any"
MEMBER_TYPE = "linux_raid_member"

_LABEL_LENGTH = {"ext4": 16, "xfs": 12}
_LOST = "Nothing was changed."
_CHOOSE = "Name other disks in llmhost_storage_devices"


class RefusedError(Exception):
    """What was asked for can't be done safely; nothing was changed."""

    def __init__(self, code: str, message: str, reasons: Sequence[str] = ()) -> None:
        """Keep the reasons apart from the message, for programs that read them."""
        super().__init__(message)
        self.code = code
        self.reasons = list(reasons)


@dataclass(frozen=True)
class Claim:
    """The disks that the plan names, and what shall be made of them; over unrecognised data only if that is said."""

    members: tuple[Member, ...]
    filesystem: str
    label: str
    path: str
    options: str
    raid: Raid | None = None
    overwrite_unrecognised: bool = False
    ephemeral: bool = False
    tuning: Mapping[str, Any] | None = None

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any], path: str) -> Claim:
        """Read the arguments of the module; ``path`` is where the mount point really is."""
        return cls(
            members=tuple(map(Member.from_dict, arguments["devices"])),
            filesystem=arguments["filesystem"],
            label=arguments["label"],
            path=path,
            options=arguments["mount_options"],
            raid=Raid.from_dict(arguments["raid"]),
            overwrite_unrecognised=arguments["overwrite_unrecognised"],
            ephemeral=arguments["ephemeral"],
            tuning=arguments["tuning"] or None,
        )

    def __str__(self) -> str:
        """Return what is claimed, as a person finds it."""
        disks = " and ".join(str(member) for member in self.members)
        return f"RAID {self.raid.level} {self.raid.name} of {disks}" if self.raid else disks

    def label_on(self, filesystem: str) -> str:
        """Return the label as the filesystem can hold it: XFS has room for 12 characters, ext4 for 16."""
        return self.label[: _LABEL_LENGTH.get(filesystem, len(self.label))]


@dataclass(frozen=True)
class Found:
    """The disks as they were just read, and what stands on them where they are an array.

    ``array`` is the running one; ``idle`` names arrays that the kernel has begun to put together, and ``others`` what
    belongs to one of either sort beside the disks of the claim.
    """

    disks: tuple[Disk, ...]
    array: Disk | None = None
    idle: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What to do with the disks; a UUID is None when a new one is to be chosen."""

    action: Action
    filesystem: str
    uuid: str | None
    array: ArrayAction = ""
    array_uuid: str | None = None


def decide(claim: Claim, found: Found, record: Record) -> Decision:
    """Return what to do with the disks as they were just read; raise RefusedError with every reason against it.

    Exactly two kinds of disk are ever written to: one that is proved blank, and one on which an earlier run of ours
    announced what it was about to make, with these very UUIDs, and never reported it ready. Data without a signature,
    on a blank disk, must be allowed by the claim, or be what such a run has left.
    """
    _refuse_others(claim, found.disks)
    if claim.raid:
        return _decide_array(claim, claim.raid, found, record)
    (disk,) = found.disks
    if decision := _ours(claim, disk, record, record.begun_on(found.disks)):
        return decision
    _refuse_occupied(claim, found.disks, record)
    uuid = record.uuid if _goes_on(claim, found.disks, record) else None
    return Decision("make", claim.filesystem, uuid)


def _refuse_others(claim: Claim, disks: Sequence[Disk]) -> None:
    """Refuse when a disk is missing, is not the planned one, or is named twice."""
    wanted = tuple(zip(claim.members, disks, strict=True))
    there = ", ".join(member.device for member, disk in wanted if disk.size_bytes) or "none"
    missing = [(member, disk) for member, disk in wanted if not disk.size_bytes]
    if missing:
        reasons = [f"{member}: {'; '.join(disk.not_blank)}" for member, disk in missing]
        remedy = "Look at lsblk, and at llmhost_storage_devices."
        if claim.raid:
            remedy = f"A RAID 0 works with all of its disks only; there: {there}. {remedy}"
        raise _refused(claim, "storage.disk_missing", reasons, remedy)
    reasons = [
        f"{member.device}: {difference}" if claim.raid else difference
        for member, disk in wanted
        for difference in member.identity.differences(Identity.from_disk(disk))
    ]
    if reasons:
        raise _refused(claim, "storage.other_disk", reasons, "Run the plan again: it names the disks there are now.")
    names = [disk.name for disk in disks]
    if len(set(names)) != len(names):
        raise _refused(claim, "storage.disk_twice", ["one disk is named twice"], f"{_CHOOSE}.")


def _ours(claim: Claim, volume: Disk, record: Record, begun: bool) -> Decision | None:
    """Return what to do with a disk or array that holds a filesystem of ours, None for anything else."""
    filesystem = str(volume.filesystem)
    if filesystem not in _LABEL_LENGTH or volume.partition_table or volume.children:
        return None
    if begun and record.uuid == volume.uuid and record.filesystem == filesystem:
        return Decision("finish", filesystem, volume.uuid)
    recorded = record.phase == READY and record.uuid is not None and record.uuid == volume.uuid
    if recorded or volume.label == claim.label_on(filesystem):
        return Decision("keep", filesystem, volume.uuid)
    return None


def _refuse_occupied(claim: Claim, disks: Sequence[Disk], record: Record, ours: Sequence[Disk] = ()) -> None:
    """Refuse unless every disk but ``ours`` is proved blank, and holds no data but what may go."""
    pairs = [(member, disk) for member, disk in zip(claim.members, disks, strict=True) if disk not in ours]
    named = len(disks) > 1
    reasons = [f"{m.device}: {reason}" if named else reason for m, disk in pairs for reason in disk.not_blank]
    if reasons:
        remedy = f"{_CHOOSE}, or empty it yourself (wipefs --all) if nothing on it is needed."
        raise _refused(claim, "storage.not_blank", reasons, remedy)
    left_by_us = record.begun_on(disks) and _devices(record.devices) == _devices(claim.members)
    unknown = [(member, disk) for member, disk in pairs if disk.unrecognised_data and not left_by_us]
    remains = [f"{m.device} holds the remains of something: {disk.remains}" for m, disk in unknown if disk.remains]
    if remains:
        remedy = f"{_CHOOSE}, or empty it yourself (blkdiscard --zeroout) if nothing on it is needed."
        raise _refused(claim, "storage.remains", remains, remedy)
    if unknown and not claim.overwrite_unrecognised:
        reasons = [f"{m.device} holds data that no test recognises" for m, _disk in unknown]
        remedy = (
            "If nothing on it is needed, empty it (blkdiscard --zeroout), or name it in llmhost_storage_devices and "
            "set llmhost_overwrite_unrecognised: true."
        )
        raise _refused(claim, "storage.unrecognised_data", reasons, remedy)


def _goes_on(claim: Claim, disks: Sequence[Disk], record: Record) -> bool:
    """Tell whether the filesystem is one that was announced, or one that went with its ephemeral disks.

    It gets the UUID of then, which fstab and whatever else names it go on using.
    """
    begun = record.begun_on(disks)
    again = record.kind == "disk" and record.ephemeral and claim.ephemeral and record.path == claim.path
    return (begun or again) and record.filesystem == claim.filesystem and bool(record.raid) == bool(claim.raid)


def _decide_array(claim: Claim, raid: Raid, found: Found, record: Record) -> Decision:
    begun = record.begun_on(found.disks) and record.array_uuid is not None
    ours = [disk for disk in found.disks if _is_member(disk, raid, record)]
    known = {disk.uuid for disk in ours}
    if found.others and ours:
        reasons = [f"the array stands on {', '.join(found.others)} too, which the plan does not name"]
        raise _refused(claim, "storage.array_incomplete", reasons, "Name all disks of the array.")
    announced = begun and all(same_uuid(uuid, record.array_uuid) for uuid in known)
    if ours and len(ours) == len(found.disks) and len(known) == 1 and found.array:
        return _decide_contents(claim, found.array, record, announced, ours[0].uuid)
    if announced:
        _refuse_occupied(claim, found.disks, record, ours)
        return Decision("make", claim.filesystem, _old(record, claim), "create", record.array_uuid)
    if len(ours) == len(found.disks) and len(known) == 1:
        filesystem = record.filesystem if record.is_of(found.disks) else None
        return Decision("keep", filesystem or claim.filesystem, _old(record, claim), "assemble", ours[0].uuid)
    if ours:
        raise _incomplete(claim, raid, found.disks, ours)
    _refuse_occupied(claim, found.disks, record)
    again = _goes_on(claim, found.disks, record)
    return Decision(
        "make", claim.filesystem, record.uuid if again else None, "create", record.array_uuid if again else None
    )


def _decide_contents(claim: Claim, array: Disk, record: Record, begun: bool, uuid: str | None) -> Decision:
    """Return what to do with an array of ours that runs, by what is on it."""
    if decision := _ours(claim, array, record, begun):
        return Decision(decision.action, decision.filesystem, decision.uuid, "", uuid)
    users = [*array.children, *array.holders, *array.mountpoints]
    empty = not (array.filesystem or array.partition_table or array.signatures or users)
    if begun and empty:
        return Decision("make", claim.filesystem, _old(record, claim), "", uuid)
    holds = array.filesystem or array.partition_table or ", ".join(users) or "no filesystem"
    reasons = [f"the array {array.path} was made by llmhost and holds {holds}, which llmhost did not make"]
    remedy = "Stop the array and empty its disks yourself (mdadm --stop, wipefs --all) if nothing on it is needed."
    raise _refused(claim, "storage.not_blank", reasons, remedy)


def _old(record: Record, claim: Claim) -> str | None:
    return record.uuid if record.filesystem == claim.filesystem else None


def _is_member(disk: Disk, raid: Raid, record: Record) -> bool:
    """Tell whether a disk belongs to an array of ours: by the record, or by name on a host that was installed anew."""
    if disk.filesystem != MEMBER_TYPE or disk.partition_table or disk.mountpoints:
        return False
    on_it = {*disk.children, *disk.holders}
    known = same_uuid(disk.uuid, record.array_uuid) or disk.label == f"{ANY_HOST}:{raid.name}"
    return known and all(name.startswith("md") for name in on_it)


def _incomplete(claim: Claim, raid: Raid, disks: Sequence[Disk], ours: Sequence[Disk]) -> RefusedError:
    names = {
        disk.name: f"{member} {'belongs to it' if disk in ours else 'does not'}"
        for member, disk in zip(claim.members, disks, strict=True)
    }
    arrays = {disk.uuid for disk in ours}
    what = f"{len(arrays)} arrays" if len(arrays) > 1 else f"the array {raid.name}"
    reasons = [f"{what} cannot be put together from these disks: {', '.join(names.values())}"]
    remedy = (
        "A RAID 0 works with all of its disks only, and none can be added. Name exactly its disks, or give it up with "
        "playbooks/remove.yml."
    )
    return _refused(claim, "storage.array_incomplete", reasons, remedy)


def _devices(members: Sequence[Member]) -> set[str]:
    return {member.device for member in members}


def _refused(claim: Claim, code: str, reasons: Sequence[str], remedy: str) -> RefusedError:
    sizes = [member.identity.size_bytes for member in claim.members]
    size = f" of {format_gib(sizes[0])}" if len(sizes) == 1 and sizes[0] else ""
    return RefusedError(code, f"{claim}{size} is not claimed: {'; '.join(reasons)}. {_LOST} {remedy}", reasons)

"""May this disk be made ours? The decision only; ``storage.py`` acts on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ansible_collections.llmhost.core.plugins.module_utils.host.disks import Disk
from ansible_collections.llmhost.core.plugins.module_utils.record import (
    flag,
    optional_integer,
    optional_text,
    section,
    text,
)
from ansible_collections.llmhost.core.plugins.module_utils.size import format_gib

# make: nothing is on it; finish: a killed run of ours may have left it half made; keep: it is ours, with what it holds.
Action = Literal["make", "finish", "keep"]

_LABEL_LENGTH = {"ext4": 16, "xfs": 12}
_LOST = "Nothing was changed."


class RefusedError(Exception):
    """What was asked for can't be done safely; nothing was changed."""

    def __init__(self, code: str, message: str, reasons: Sequence[str] = ()) -> None:
        """Keep the reasons apart from the message, for programs that read them."""
        super().__init__(message)
        self.code = code
        self.reasons = list(reasons)


@dataclass(frozen=True)
class Identity:
    """What a disk is told apart by. What a disk does not tell (loop devices have no serial) is None."""

    serial: str | None = None
    model: str | None = None
    wwn: str | None = None
    size_bytes: int | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Identity:
        """Read the identity of a plan or of a record."""
        return cls(
            serial=optional_text(data, "serial"),
            model=optional_text(data, "model"),
            wwn=optional_text(data, "wwn"),
            size_bytes=optional_integer(data, "size_bytes"),
        )

    @classmethod
    def from_disk(cls, disk: Disk) -> Identity:
        """Return the identity of a disk as it is now."""
        return cls(disk.serial or None, disk.model or None, disk.wwn or None, disk.size_bytes)

    def differences(self, other: Identity) -> list[str]:
        """Return where the other disk is not this one, a sentence each; what this one does not say is not compared."""
        pairs = ((name, value, getattr(other, name)) for name, value in asdict(self).items() if value is not None)
        return [
            f"its {name.replace('_bytes', '')} is {found if found is not None else 'unknown'}, not {value}"
            for name, value, found in pairs
            if value != found
        ]


@dataclass(frozen=True)
class Record:
    """What an earlier run wrote down about the storage of this host.

    ``unrecognised_data`` keeps what the disk held when it was claimed; the plan goes on saying so, and stays the same.
    """

    kind: str = ""
    uuid: str | None = None
    device: str | None = None
    identity: Identity = Identity()
    path: str | None = None
    filesystem: str | None = None
    label: str | None = None
    phase: str = "ready"
    created: bool = False
    unrecognised_data: bool = False

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """Read a record; an empty one means that there was no such run."""
        return cls(
            kind=text(data, "kind"),
            uuid=optional_text(data, "uuid"),
            device=optional_text(data, "device"),
            identity=Identity.from_dict(section(data, "identity")),
            path=optional_text(data, "path"),
            filesystem=optional_text(data, "filesystem"),
            label=optional_text(data, "label"),
            phase=text(data, "phase", "ready"),
            created=flag(data, "created"),
            unrecognised_data=flag(data, "unrecognised_data"),
        )

    def is_of(self, disk: Identity) -> bool:
        """Tell whether this is the record of that disk."""
        return self.kind == "disk" and not self.identity.differences(disk)

    def begun_on(self, disk: Identity) -> bool:
        """Tell whether a run has begun to make a filesystem on that disk and never reported it ready."""
        return self.is_of(disk) and self.phase == "formatting"

    def held_unrecognised(self, disk: Disk) -> bool:
        """Tell whether the disk holds data of unknown origin, or did when it was claimed; half a mkfs is ours."""
        now = Identity.from_disk(disk)
        return (self.is_of(now) and self.unrecognised_data) or (disk.unrecognised_data and not self.begun_on(now))

    def as_dict(self) -> dict[str, Any]:
        """Return the record as it is written down."""
        return {**asdict(self), "identity": asdict(self.identity) if self.kind == "disk" else None}


@dataclass(frozen=True)
class Claim:
    """The disk that the plan names, and what shall be made of it; over unrecognised data only if that is said."""

    device: str
    identity: Identity
    filesystem: str
    label: str
    path: str
    options: str
    overwrite_unrecognised: bool = False

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any], path: str) -> Claim:
        """Read the arguments of the module; ``path`` is where the mount point really is."""
        return cls(
            device=arguments["device"],
            identity=Identity.from_dict(arguments["identity"] or {}),
            filesystem=arguments["filesystem"],
            label=arguments["label"],
            path=path,
            options=arguments["mount_options"],
            overwrite_unrecognised=arguments["overwrite_unrecognised"],
        )

    def label_on(self, filesystem: str) -> str:
        """Return the label as the filesystem can hold it: XFS has room for 12 characters, ext4 for 16."""
        return self.label[: _LABEL_LENGTH.get(filesystem, len(self.label))]


@dataclass(frozen=True)
class Decision:
    """What to do with a disk; ``uuid`` is None when a new one is to be chosen."""

    action: Action
    filesystem: str
    uuid: str | None


def decide(claim: Claim, disk: Disk, record: Record) -> Decision:
    """Return what to do with the disk as it was just read; raise RefusedError with every reason against it.

    Exactly two kinds of disk are ever written to: one that is proved blank, and one on which an earlier run of ours
    announced a filesystem with this very UUID and never reported it ready. Data without a signature, on a blank disk,
    must be allowed by the claim, or be what such a run has left.
    """
    now = Identity.from_disk(disk)
    if not disk.size_bytes:
        raise _refused(claim, "storage.disk_missing", disk.not_blank, "Look at lsblk, and at llmhost_storage_disk.")
    if reasons := claim.identity.differences(now):
        raise _refused(claim, "storage.other_disk", reasons, "Run the plan again: it names the disks there are now.")
    begun = record.begun_on(now)
    ours = disk.filesystem in _LABEL_LENGTH and not disk.partition_table and not disk.children
    if ours and begun and record.uuid == disk.uuid and record.filesystem == disk.filesystem:
        return Decision("finish", str(disk.filesystem), disk.uuid)
    if ours and (_recorded(record, disk) or disk.label == claim.label_on(str(disk.filesystem))):
        return Decision("keep", str(disk.filesystem), disk.uuid)
    if disk.blank:
        left_by_us = begun and record.device == claim.device
        if disk.unrecognised_data and not (claim.overwrite_unrecognised or left_by_us):
            remedy = "Name it in llmhost_storage_disk, or empty it (blkdiscard --zeroout), if nothing on it is needed."
            raise _refused(claim, "storage.unrecognised_data", ["it holds data that no test recognises"], remedy)
        same = begun and record.filesystem == claim.filesystem
        return Decision("make", claim.filesystem, record.uuid if same else None)
    remedy = "Name another disk in llmhost_storage_disk, or empty this one yourself if nothing on it is needed."
    raise _refused(claim, "storage.not_blank", disk.not_blank, remedy)


def _recorded(record: Record, disk: Disk) -> bool:
    return record.phase == "ready" and record.uuid is not None and record.uuid == disk.uuid


def _refused(claim: Claim, code: str, reasons: Sequence[str], remedy: str) -> RefusedError:
    size = f" of {format_gib(claim.identity.size_bytes)}" if claim.identity.size_bytes else ""
    return RefusedError(code, f"{claim.device}{size} is not claimed: {'; '.join(reasons)}. {_LOST} {remedy}", reasons)

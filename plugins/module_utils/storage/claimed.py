"""What was claimed: disks, told apart from every other, and the record that a run leaves of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.host.disks import Disk
from ansible_collections.llmhost.core.plugins.module_utils.record import (
    flag,
    integer,
    optional_integer,
    optional_text,
    section,
    sections,
    text,
)

# formatting: announced, so what is on the disks may be half of ours; wiping: the way back, announced in the same way.
FORMATTING, READY, WIPING = "formatting", "ready", "wiping"


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
class Member:
    """One whole disk: a name that lasts, and what it is told apart by."""

    device: str
    identity: Identity = Identity()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Member:
        """Read an entry of a plan's or of a record's ``devices``."""
        return cls(text(data, "device"), Identity.from_dict(section(data, "identity")))

    def __str__(self) -> str:
        """Return what a person finds the disk by."""
        serial = self.identity.serial
        return f"{self.device} (serial {serial})" if serial and serial not in self.device else self.device


@dataclass(frozen=True)
class Raid:
    """How several disks become one."""

    level: int
    name: str
    chunk_bytes: int

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> Raid | None:
        """Read the ``raid`` of a plan or of a record; nothing is no array."""
        if not isinstance(data, Mapping) or not data:
            return None
        return cls(integer(data, "level"), text(data, "name"), integer(data, "chunk_bytes"))


@dataclass(frozen=True)
class Record:
    """What an earlier run wrote down about the storage of this host.

    ``unrecognised_data`` keeps what a disk held when it was claimed; the plan goes on saying so, and stays the same.
    """

    kind: str = ""
    uuid: str | None = None
    devices: tuple[Member, ...] = ()
    array_uuid: str | None = None
    path: str | None = None
    filesystem: str | None = None
    label: str | None = None
    mount_options: str | None = None
    phase: str = READY
    created: bool = False
    unrecognised_data: bool = False
    ephemeral: bool = False
    raid: Raid | None = None
    tuning: Mapping[str, Any] | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """Read a record; an empty one means that there was no such run. An older release wrote of one device only."""
        devices = sections(data, "devices") or ([data] if text(data, "device") else [])
        return cls(
            kind=text(data, "kind"),
            uuid=optional_text(data, "uuid"),
            devices=tuple(map(Member.from_dict, devices)),
            array_uuid=optional_text(data, "array_uuid"),
            path=optional_text(data, "path"),
            filesystem=optional_text(data, "filesystem"),
            label=optional_text(data, "label"),
            mount_options=optional_text(data, "mount_options"),
            phase=text(data, "phase", READY),
            created=flag(data, "created"),
            unrecognised_data=flag(data, "unrecognised_data"),
            ephemeral=flag(data, "ephemeral"),
            raid=Raid.from_dict(section(data, "raid")),
            tuning=dict(section(data, "tuning")) or None,
        )

    def is_of(self, disks: Sequence[Disk]) -> bool:
        """Tell whether this is the record of those disks and of no others, in whatever order."""
        left = [Identity.from_disk(disk) for disk in disks]
        for member in self.devices:
            found = next((disk for disk in left if not member.identity.differences(disk)), None)
            if found is None:
                return False
            left.remove(found)
        return self.kind == "disk" and bool(self.devices) and not left

    def begun_on(self, disks: Sequence[Disk]) -> bool:
        """Tell whether what is on those disks may be half of ours: a run began to make it, or to wipe it, and died."""
        return self.is_of(disks) and self.phase in (FORMATTING, WIPING)

    def held_unrecognised(self, disks: Sequence[Disk]) -> bool:
        """Tell whether one holds data of unknown origin, or did when it was claimed; half a mkfs is ours."""
        now = any(disk.unrecognised_data for disk in disks)
        return (self.is_of(disks) and self.unrecognised_data) or (now and not self.begun_on(disks))

    def as_dict(self) -> dict[str, Any]:
        """Return the record as it is written down."""
        return {**asdict(self), "devices": [asdict(member) for member in self.devices]}


def same_uuid(one: str | None, other: str | None) -> bool:
    """Tell whether two UUIDs are one; mdadm groups the digits in another way than everyone else."""
    return bool(one) and bool(other) and _digits(str(one)) == _digits(str(other))


def _digits(uuid: str) -> str:
    return "".join(character for character in uuid.lower() if character.isalnum())

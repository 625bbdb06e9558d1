"""A disk as the planner sees it: the facts of it that decide something."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk_link import Link, megabytes_of
from ansible_collections.llmhost.core.plugins.module_utils.record import Record


@dataclass(frozen=True)
class Content:
    """A partition or volume on a disk."""

    name: str
    path: str
    filesystem: str
    label: str
    uuid: str
    mountpoints: tuple[str, ...]

    @classmethod
    def from_facts(cls, facts: Record) -> Content:
        """Read one entry of a disk's ``contents``."""
        return cls(
            name=record.text(facts, "name"),
            path=record.text(facts, "path"),
            filesystem=record.text(facts, "filesystem"),
            label=record.text(facts, "label"),
            uuid=record.text(facts, "uuid"),
            mountpoints=record.texts(facts, "mountpoints"),
        )


@dataclass(frozen=True)
class Disk:
    """A block device, and whether every test says that nobody uses it. ``parts`` is what divides it or stands on it.

    ``stable_path`` is the name that survives a reboot; ``has_twin`` says that no such name tells it from another disk.
    """

    path: str
    by_id: tuple[str, ...]
    by_path: tuple[str, ...]
    name: str
    type: str
    size_bytes: int
    model: str
    serial: str
    wwn: str
    transport: str
    turns: bool
    removable: bool
    read_only: bool
    network: bool
    ephemeral: bool
    blank: bool
    not_blank: tuple[str, ...]
    use: str
    unrecognised_data: bool
    remains: str
    filesystem: str
    label: str
    uuid: str
    mountpoints: tuple[str, ...]
    parts: tuple[str, ...]
    contents: tuple[Content, ...]
    link: Link | None
    stable_path: str = field(default="")
    has_twin: bool = False

    @classmethod
    def from_facts(cls, facts: Record) -> Disk:
        """Read one entry of the facts' ``disks``."""
        by_id = tuple(sorted(record.texts(facts, "by_id"), key=lambda link: (_is_opaque(link), link)))
        by_path = tuple(sorted(record.texts(facts, "by_path")))
        path = record.text(facts, "path")
        return cls(
            path=path,
            by_id=by_id,
            by_path=by_path,
            name=record.text(facts, "name"),
            type=record.text(facts, "type"),
            size_bytes=record.integer(facts, "size_bytes"),
            model=record.text(facts, "model").strip(),
            serial=record.text(facts, "serial").strip(),
            wwn=record.text(facts, "wwn").strip(),
            transport=record.text(facts, "transport"),
            turns=turns(facts, record.text(facts, "transport") == "virtio"),
            removable=record.flag(facts, "removable"),
            read_only=record.flag(facts, "read_only"),
            network=record.flag(facts, "network"),
            ephemeral=record.flag(facts, "ephemeral"),
            # Facts that contradict each other are read the safe way.
            blank=record.flag(facts, "blank") and not record.text(facts, "filesystem"),
            not_blank=record.texts(facts, "not_blank"),
            use=record.text(facts, "use"),
            # A disk of which nobody says that it reads as zeros may hold anything.
            unrecognised_data=record.flag(facts, "unrecognised_data", default=True),
            remains=record.text(facts, "remains"),
            filesystem=record.text(facts, "filesystem"),
            label=record.text(facts, "label"),
            uuid=record.text(facts, "uuid"),
            mountpoints=record.texts(facts, "mountpoints"),
            parts=(
                *record.texts(facts, "children"),
                *record.texts(facts, "holders"),
                *filter(None, [record.text(facts, "partition_table")]),
            ),
            contents=tuple(Content.from_facts(content) for content in record.sections(facts, "contents")),
            link=Link.from_facts(record.section(facts, "pcie")),
            stable_path=next(iter((*by_id, *by_path)), path),
        )

    @property
    def is_nvme(self) -> bool:
        """Whether it is an NVMe disk."""
        return self.transport == "nvme"

    @property
    def is_empty(self) -> bool:
        """Whether every test was made and none found anything, not even data that nobody recognises."""
        return self.blank and not self.not_blank and not self.unrecognised_data

    @property
    def lasts_by_name(self) -> bool:
        """Whether a name of it survives a reboot."""
        return self.stable_path != self.path

    @property
    def megabytes(self) -> int:
        """Return the 10^6 bytes a second that its link carries."""
        return megabytes_of(self.link, self.transport)

    @property
    def all_mountpoints(self) -> tuple[str, ...]:
        """Where it, or anything on it, is mounted."""
        return (*self.mountpoints, *(point for content in self.contents for point in content.mountpoints))

    def is_called(self, wanted: str) -> bool:
        """Whether a path, a by-id name or a serial number typed by a person means this disk."""
        return bool(wanted) and (self.is_known_as(wanted) or wanted in (self.path, self.name, *_both(self.by_path)))

    def is_known_as(self, wanted: str) -> bool:
        """Whether that name belongs to the disk itself, not to the place or the order in which it was found."""
        return bool(wanted) and wanted in (self.serial, self.wwn, *_both(self.by_id))

    def identity(self) -> dict[str, Any]:
        """What tells this disk from every other one, for the plan and for the state kept on the host."""
        return {
            "serial": self.serial or None,
            "model": self.model or None,
            "wwn": self.wwn or None,
            "size_bytes": self.size_bytes,
        }


def tell_apart(disks: Sequence[Disk]) -> tuple[Disk, ...]:
    """Return the disks with names that tell each from the others.

    Cheap controllers all say the same serial number, and so do the namespaces of one controller: udev gives the link
    with that number to any of them, by chance. Their world-wide names, where they differ, are taken instead.
    """
    return tuple(_tell(disk, disks) for disk in disks)


def turns(facts: Record, paravirtual: bool) -> bool:
    """Whether the disk below is a slow, turning one. The kernel says so of every virtio disk, which means nothing."""
    return record.flag(facts, "rotational") and not paravirtual


def _tell(disk: Disk, disks: Sequence[Disk]) -> Disk:
    others = [other for other in disks if other is not disk and disk.serial and other.serial == disk.serial]
    if not any(other.model == disk.model for other in others):
        return disk
    own = [link for link in disk.by_id if disk.wwn and os.path.basename(link).endswith(disk.wwn)]
    if own and all(other.wwn != disk.wwn for other in others):
        return replace(disk, stable_path=own[0])
    return replace(disk, stable_path=disk.path, has_twin=True)


def _is_opaque(link: str) -> bool:
    """Whether a link says a number only, or what is on the disk, not its model and serial number."""
    numbers = ("wwn-", "nvme-eui.", "nvme-nvme.", "nvme-uuid.", "scsi-3", "scsi-0", "lvm-", "dm-", "md-")
    return os.path.basename(link).startswith(numbers)


def _both(links: Sequence[str]) -> tuple[str, ...]:
    return (*links, *map(os.path.basename, links))

"""The storage as the record names it, and what of it the host has at this moment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.host.mounts import Mounts
from ansible_collections.llmhost.core.plugins.module_utils.record import flag, section, sections, text
from ansible_collections.llmhost.core.plugins.module_utils.service.unit_name import unit_name


@dataclass(frozen=True)
class RecordedDisk:
    """One disk of the record: its lasting name, and what a person knows it by."""

    device: str
    model: str = ""
    serial: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RecordedDisk:
        """Read one entry of the record."""
        identity = section(data, "identity")
        return cls(text(data, "device"), text(identity, "model").strip(), text(identity, "serial").strip())

    @property
    def words(self) -> str:
        """Name the disk as it stands on its sticker, and as the host calls it."""
        known = " ".join(filter(None, [self.model, f"(serial {self.serial})" if self.serial else ""]))
        return f"{known}, {self.device}" if known else self.device

    @property
    def is_there(self) -> bool:
        """Tell whether the host has the disk."""
        return os.path.exists(self.device)

    @property
    def kernel_name(self) -> str:
        """Return the kernel's name of the disk, such as ``nvme0n1``."""
        return os.path.basename(os.path.realpath(self.device))


@dataclass(frozen=True)
class Place:
    """Where the models lie."""

    kind: str = ""
    path: str = ""
    uuid: str = ""
    disks: tuple[RecordedDisk, ...] = ()
    ephemeral: bool = False

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> Place:
        """Read the record of the storage, also one of the time when it held a single disk."""
        entries = sections(data, "devices") or ([data] if text(data, "device") else [])
        disks = tuple(RecordedDisk.from_dict(entry) for entry in entries)
        return cls(text(data, "kind"), text(data, "path"), text(data, "uuid"), disks, flag(data, "ephemeral"))

    @property
    def mount_unit(self) -> str:
        """Return the unit that mounts it; nothing where no disk is mounted."""
        return unit_name(self.path, "mount") if self.kind == "disk" else ""

    def is_mounted(self, proc: str = "/proc") -> bool:
        """Tell whether the disk is mounted; a directory counts as mounted."""
        return self.kind != "disk" or Mounts.from_proc(proc).at(self.path) is not None

    def trouble(self, proc: str = "/proc") -> str:
        """Say why nothing can be read there, a clause without its end; nothing when all is well."""
        if self.kind == "directory" and not os.path.isdir(self.path):
            return f"the directory {self.path} is not there"
        if self.is_mounted(proc):
            return ""
        missing = self.missing_disks()
        if not missing:
            return f"{self.path} is not mounted, although the host has {self._all()} (systemctl status {self._units()})"
        if len(self.disks) == 1:
            return f"{self.path} is not mounted, because the host does not have the disk {missing[0]}"
        return f"{self.path} is not mounted, because {len(missing)} of its {len(self.disks)} disks are missing: " + (
            "; ".join(missing)
        )

    def missing_disks(self) -> list[str]:
        """Name the disks that the host does not have."""
        return [disk.words for disk in self.disks if not disk.is_there]

    def _all(self) -> str:
        return "; ".join(disk.words for disk in self.disks)

    def _units(self) -> str:
        quoted = f"'{self.mount_unit}'" if "\\" in self.mount_unit else self.mount_unit
        return f"{quoted} llmhost-storage"

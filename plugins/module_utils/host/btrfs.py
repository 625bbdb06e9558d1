"""A btrfs filesystem: what the kernel demands of one before it swaps to a file on it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.files import list_names

_FIRST_KERNEL = (5, 0)


@dataclass(frozen=True)
class Btrfs:
    """How many devices it has, and the profiles in which it keeps data: several while it is converted."""

    devices: int
    data_profiles: tuple[str, ...]

    @classmethod
    def from_sysfs(cls, uuid: str | None, sysfs: str = "/sys") -> Btrfs:
        """Read the mounted filesystem with this UUID; one that is not known has no devices."""
        if not uuid:
            return cls(0, ())
        top = os.path.join(sysfs, "fs/btrfs", uuid)
        # A small filesystem keeps data and metadata together, in the group "mixed".
        groups = [os.path.join(top, "allocation", group) for group in ("data", "mixed")]
        profiles = {name for group in groups for name in list_names(group) if os.path.isdir(os.path.join(group, name))}
        return cls(len(list_names(top, "devices")), tuple(sorted(profiles)))


def obstacle(devices: int, data_profiles: tuple[str, ...], kernel: str = "") -> str:
    """Return why the kernel would not swap to a file there, or ""; a ``kernel`` without a number is not judged."""
    found = re.match(r"(\d+)\.(\d+)", kernel)
    if found and (int(found[1]), int(found[2])) < _FIRST_KERNEL:
        return f"Linux {kernel} cannot swap to a file on btrfs, 5.0 and later can"
    if devices > 1:
        return f"this btrfs has {devices} devices, and the kernel swaps to btrfs only where all of a file is on one"
    if not devices or not data_profiles:
        return "the devices and profiles of this btrfs are not known, and the kernel swaps only to a single one"
    if data_profiles != ("single",):
        kept = " and ".join(data_profiles)
        return f"this btrfs keeps data as {kept}, and the kernel swaps to btrfs only where the profile is single"
    return ""

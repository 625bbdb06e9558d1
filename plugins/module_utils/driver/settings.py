"""The files by which a driver is pinned and run: apt's and systemd's own places, and nobody else's lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.llmhost.core.plugins.module_utils.driver.changes import FAMILY, KERNEL_FAMILY
from ansible_collections.llmhost.core.plugins.module_utils.driver.wanted import Wanted
from ansible_collections.llmhost.core.plugins.module_utils.text_file import TextFile

HEAD = "Written by llmhost (role nvidia_driver)."
PERSISTENCE_UNIT = "nvidia-persistenced.service"
POWER_UNIT = "llmhost-gpu-power.service"
FABRIC_UNIT = "nvidia-fabricmanager.service"
# There when the driver drives a GPU. An image is also booted on machines that have none, and must not fail there.
DRIVEN = "ConditionPathExists=/proc/driver/nvidia/version"


@dataclass(frozen=True)
class Paths:
    """Where the files go."""

    apt: Path = Path("/etc/apt/apt.conf.d/52llmhost-driver")
    modules: Path = Path("/etc/modules-load.d/llmhost-nvidia.conf")
    units: Path = Path("/etc/systemd/system")


class Settings:
    """The files for a plan; without one they should all be absent."""

    def __init__(self, wanted: Wanted | None, pinned: tuple[str, ...] = (), paths: Paths | None = None) -> None:
        """Take the names that are pinned beside the driver's own: the kernel's packages."""
        self._paths = paths or Paths()
        self._texts = _texts(wanted, pinned) if wanted else {}

    @property
    def files(self) -> list[TextFile]:
        """Return every file that may exist, with the text that it should have."""
        return [TextFile(path, self._texts.get(key, "")) for key, path in self._places()]

    def changes(self) -> list[TextFile]:
        """Return the files that are not as they should be."""
        return [file for file in self.files if not file.is_current()]

    def _places(self) -> Iterator[tuple[str, Path]]:
        yield "apt", self._paths.apt
        yield "modules", self._paths.modules
        yield PERSISTENCE_UNIT, self._paths.units / f"{PERSISTENCE_UNIT}.d" / "llmhost.conf"
        yield FABRIC_UNIT, self._paths.units / f"{FABRIC_UNIT}.d" / "llmhost.conf"
        yield POWER_UNIT, self._paths.units / POWER_UNIT


def _texts(wanted: Wanted, pinned: tuple[str, ...]) -> dict[str, str]:
    texts = {}
    if wanted.modules:
        texts["modules"] = f"# {HEAD} The service needs them before it starts.\n" + _lines(wanted.modules)
    if wanted.is_ours:
        texts["apt"] = blacklist(pinned)
    if wanted.is_ours and wanted.persistence:
        texts[PERSISTENCE_UNIT] = _PERSISTENCE
    if wanted.fabric_manager:
        texts[FABRIC_UNIT] = _FABRIC
    if wanted.power_limit_watts:
        texts[POWER_UNIT] = _POWER.format(watts=wanted.power_limit_watts)
    return texts


def blacklist(pinned: tuple[str, ...]) -> str:
    """Return what keeps unattended-upgrades from the driver and from the kernels that its modules are made for."""
    patterns = [FAMILY, KERNEL_FAMILY, *(f"^{re.escape(name)}$" for name in sorted(pinned))]
    # apt reads a backslash as it stands; Python, which reads the patterns next, needs those of re.escape.
    rows = "".join(f'    "{pattern}";\n' for pattern in patterns)
    return (
        f"// {HEAD}\n// Driver and kernel change together, by playbooks/upgrade_driver.yml, and not overnight.\n"
        f"Unattended-Upgrade::Package-Blacklist {{\n{rows}}};\n"
    )


def _lines(words: tuple[str, ...]) -> str:
    return "".join(f"{word}\n" for word in words)


_PERSISTENCE = f"""# {HEAD}
# Ubuntu's unit has persistence off, stops when no device asks for it, and cannot be enabled.
[Unit]
{DRIVEN}
StopWhenUnneeded=no
After=systemd-modules-load.service

[Service]
ExecStart=
ExecStart=/usr/bin/nvidia-persistenced --user nvidia-persistenced --persistence-mode --verbose

[Install]
WantedBy=multi-user.target
"""

_POWER = f"""# {HEAD}
[Unit]
Description=Limit the power of each GPU to {{watts}} W
{DRIVEN}
After=systemd-modules-load.service {PERSISTENCE_UNIT}
Before=llmhost-inference.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/nvidia-smi --power-limit={{watts}}

[Install]
WantedBy=multi-user.target
"""

# PCI class 0x068000 of vendor 0x10de is a switch of NVLink; from Blackwell on the switches answer through a network
# card whose product data says SW_MNG, which is also how the fabric manager's own start script knows them.
_FABRIC = f"""# {HEAD}
# Only where there are switches: on any other machine the fabric manager ends with an error.
[Unit]
{DRIVEN}
After=systemd-modules-load.service {PERSISTENCE_UNIT}
Before=llmhost-inference.service

[Service]
ExecCondition=/bin/sh -c 'for d in /sys/bus/pci/devices/*; do \\
  read -r v < "$$d/vendor"; read -r c < "$$d/class"; [ "$$v$$c" = 0x10de0x068000 ] && exit 0; done; \\
  grep -qs SW_MNG /sys/bus/pci/devices/*/vpd'
"""

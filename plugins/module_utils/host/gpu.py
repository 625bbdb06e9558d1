"""NVIDIA GPUs as PCI functions: found by sysfs alone, before there is a driver."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.files import link_name, list_names, read_int, read_word
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, info
from ansible_collections.llmhost.core.plugins.module_utils.host.gpu_ids import GPU_MODELS, GpuModel
from ansible_collections.llmhost.core.plugins.module_utils.host.pci_path import Bridge, bridges_above
from ansible_collections.llmhost.core.plugins.module_utils.host.pcie import PcieLink

_NVIDIA = "0x10de"
# VGA controller (cards with outputs) and 3D controller (cards of data centres). A card's sound function is neither.
_CLASSES = ("0300", "0302")
_GIB = 1 << 30


@dataclass(frozen=True)
class Gpu:
    """One GPU. ``driver`` is what is bound to it now: nvidia, nouveau, vfio-pci or nothing.

    ``bridges`` are those above it, the nearest first: they tell a slot of the processor from one of the chipset.
    """

    pci_address: str
    device_id: str
    name: str
    vram_bytes: int | None
    driver: str | None
    pci_class: str
    numa_node: int | None
    pcie: PcieLink | None
    bridges: tuple[Bridge, ...] = ()

    @classmethod
    def from_sysfs(cls, function: str) -> Gpu | None:
        """Return the GPU at the PCI function in the directory ``function``, or None when it is none of NVIDIA's."""
        pci_class = _hex(function, "class", 6)
        if read_word(function, "vendor") != _NVIDIA or not pci_class.startswith(_CLASSES):
            return None
        device_id = _hex(function, "device", 4).upper()
        model = GPU_MODELS.get(device_id, GpuModel(f"NVIDIA device {device_id or 'unknown'}", None))
        node = read_int(function, "numa_node")
        return cls(
            pci_address=os.path.basename(function),
            device_id=device_id,
            name=model.name,
            vram_bytes=None if model.vram_gib is None else model.vram_gib * _GIB,
            driver=link_name(function, "driver"),
            pci_class=pci_class,
            numa_node=node if node is not None and node >= 0 else None,
            pcie=PcieLink.from_sysfs(function),
            bridges=bridges_above(function),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the plain dict that host_info returns, where the class goes by its own name."""
        facts = asdict(self)
        facts["class"] = facts.pop("pci_class")
        facts["bridges"] = list(facts["bridges"])
        return facts


def read_gpus(sysfs: str = "/sys") -> list[Gpu]:
    """Return the GPUs in the order of their PCI addresses."""
    root = os.path.join(sysfs, "bus/pci/devices")
    found = (Gpu.from_sysfs(os.path.join(root, address)) for address in list_names(root))
    return [gpu for gpu in found if gpu]


def judge_memory(gpus: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Return a finding for each GPU, as host_info returns it, whose memory is not known."""
    return [
        info(
            "facts.gpu_memory_unknown",
            f"{gpu['name']} at {gpu['pci_address']} (id {gpu['device_id']}): "
            "its id does not tell how much memory it has.",
            "The NVIDIA driver tells, once it is installed.",
        )
        for gpu in gpus
        if gpu["vram_bytes"] is None
    ]


def _hex(function: str, name: str, digits: int) -> str:
    """Return the digits of a file such as ``0x030000``, or "" when it holds something else."""
    match = re.fullmatch(rf"0x([0-9a-f]{{{digits}}})", read_word(function, name))
    return match[1] if match else ""

"""The NVIDIA GPUs that llmhost knows by PCI device id: Ubuntu 22.04's own list of names ends in January 2022.

Ids and names: the table of compatible GPUs in the README of NVIDIA/open-gpu-kernel-modules, version 595.45.04, as far
as they can serve a language model; the four older than Turing are from the modaliases of Ubuntu's driver 580. Memory
and all else: ``sizing/gpu_table.py``, by the name.
"""

from __future__ import annotations

from typing import NamedTuple

from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpu_table import GPUS


class GpuModel(NamedTuple):
    """A card's name and the GiB that it is sold with; None where that is shared, not sure, or not told by the id."""

    name: str
    vram_gib: int | None


# More than one name: the id does not tell the cards apart.
PCI_IDS: dict[str, tuple[str, ...]] = {
    "13C2": ("NVIDIA GeForce GTX 970",),
    "15F8": ("NVIDIA Tesla P100 PCIe 16GB",),
    "1B06": ("NVIDIA GeForce GTX 1080 Ti",),
    "1DB6": ("NVIDIA Tesla V100 PCIe 32GB",),
    "1E02": ("NVIDIA TITAN RTX",),
    "1E04": ("NVIDIA GeForce RTX 2080 Ti",),
    "1E07": ("NVIDIA GeForce RTX 2080 Ti",),
    "1E30": ("NVIDIA Quadro RTX 6000", "NVIDIA Quadro RTX 8000"),
    "1E36": ("NVIDIA Quadro RTX 6000",),
    "1E78": ("NVIDIA Quadro RTX 6000", "NVIDIA Quadro RTX 8000"),
    "1EB8": ("NVIDIA Tesla T4",),
    "1FB0": ("NVIDIA T1000",),
    "1FB9": ("NVIDIA Quadro T1000",),
    "1FF0": ("NVIDIA T1000 8GB",),
    "1FF9": ("NVIDIA Quadro T1000",),
    "20B0": ("NVIDIA A100-PG509-200", "NVIDIA A100-SXM4-40GB"),
    "20B2": ("NVIDIA A100-SXM4-80GB",),
    "20B3": ("NVIDIA A100-SXM-64GB",),
    "20B5": ("NVIDIA A100 80GB PCIe",),
    "20B7": ("NVIDIA A30",),
    "20F1": ("NVIDIA A100-PCIE-40GB",),
    "20F3": ("NVIDIA A800-SXM4-80GB",),
    "2203": ("NVIDIA GeForce RTX 3090 Ti",),
    "2204": ("NVIDIA GeForce RTX 3090",),
    "2206": ("NVIDIA GeForce RTX 3080",),
    "2208": ("NVIDIA GeForce RTX 3080 Ti",),
    "220A": ("NVIDIA GeForce RTX 3080",),
    "2216": ("NVIDIA GeForce RTX 3080",),
    "2230": ("NVIDIA RTX A6000",),
    "2231": ("NVIDIA RTX A5000",),
    "2235": ("NVIDIA A40",),
    "2236": ("NVIDIA A10",),
    "2237": ("NVIDIA A10G",),
    "230E": ("NVIDIA H20 NVL16",),
    "2321": ("NVIDIA H100 NVL",),
    "2322": ("NVIDIA H800 PCIe",),
    "2324": ("NVIDIA H800",),
    "2329": ("NVIDIA H20",),
    "232C": ("NVIDIA H20-3e",),
    "2330": ("NVIDIA H100 80GB HBM3",),
    "2331": ("NVIDIA H100 PCIe",),
    "2335": ("NVIDIA H200",),
    "233A": ("NVIDIA H800 NVL",),
    "233B": ("NVIDIA H200 NVL",),
    "2342": ("NVIDIA GH200 120GB", "NVIDIA GH200 480GB"),
    "2348": ("NVIDIA GH200 144G HBM3e",),
    "2414": ("NVIDIA GeForce RTX 3060 Ti",),
    "2486": ("NVIDIA GeForce RTX 3060 Ti",),
    "2487": ("NVIDIA GeForce RTX 3060",),
    "2489": ("NVIDIA GeForce RTX 3060 Ti",),
    "24B0": ("NVIDIA RTX A4000",),
    "24B1": ("NVIDIA RTX A4000H",),
    "24C7": ("NVIDIA GeForce RTX 3060",),
    "24C9": ("NVIDIA GeForce RTX 3060 Ti",),
    "2503": ("NVIDIA GeForce RTX 3060",),
    "2504": ("NVIDIA GeForce RTX 3060",),
    "2544": ("NVIDIA GeForce RTX 3060",),
    "25B0": ("NVIDIA RTX A1000",),
    "25B2": ("NVIDIA RTX A400",),
    "25B6": ("NVIDIA A16", "NVIDIA A2"),
    "2684": ("NVIDIA GeForce RTX 4090",),
    "2685": ("NVIDIA GeForce RTX 4090 D",),
    "26B1": ("NVIDIA RTX 6000 Ada Generation",),
    "26B5": ("NVIDIA L40",),
    "26B9": ("NVIDIA L40S",),
    "26BA": ("NVIDIA L20",),
    "2702": ("NVIDIA GeForce RTX 4080 SUPER",),
    "2704": ("NVIDIA GeForce RTX 4080",),
    "27B0": ("NVIDIA RTX 4000 SFF Ada Generation",),
    "27B8": ("NVIDIA L4",),
    "2901": ("NVIDIA B200",),
    "2941": ("NVIDIA GB200",),
    "2B85": ("NVIDIA GeForce RTX 5090",),
    "2B87": ("NVIDIA GeForce RTX 5090 D",),
    "2BB1": ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition",),
    "2BB5": ("NVIDIA RTX PRO 6000 Blackwell Server Edition",),
    "2BB9": ("NVIDIA RTX 6000D",),
    "2C02": ("NVIDIA GeForce RTX 5080",),
    "2C05": ("NVIDIA GeForce RTX 5070 Ti",),
    "2C31": ("NVIDIA RTX PRO 4500 Blackwell",),
    "2C33": ("NVIDIA RTX PRO 4000 Blackwell SFF Edition",),
    "2C34": ("NVIDIA RTX PRO 4000 Blackwell",),
    "2E12": ("NVIDIA GB10",),
    "3182": ("NVIDIA B300 SXM6 AC",),
    "31C2": ("NVIDIA GB300",),
}

# What the id tells of cards that share a name: 12 GB, and 8 or 12 GB.
_SIZE_OF_ID: dict[str, int | None] = {"220A": 12, "24C7": None, "2544": None}


def _model(device_id: str, names: tuple[str, ...]) -> GpuModel:
    first, *others = names
    name = " or ".join((first, *(other.removeprefix("NVIDIA ") for other in others)))
    sizes = {None if spec.shared else spec.vram_gib for spec in GPUS if spec.name in names}
    size = sizes.pop() if len(sizes) == 1 else None
    return GpuModel(name, _SIZE_OF_ID.get(device_id, size))


GPU_MODELS = {device_id: _model(device_id, names) for device_id, names in PCI_IDS.items()}

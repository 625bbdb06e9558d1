"""The NVIDIA GPUs that llmhost knows by PCI device id: Ubuntu 22.04's own list of names ends in January 2022.

Ids and names: the table of compatible GPUs in the README of NVIDIA/open-gpu-kernel-modules, version 595.45.04, as far
as they can serve a language model; the four older than Turing are from the modaliases of Ubuntu's driver 580. Memory:
what the card is sold with, in GiB; None where one id names cards of several sizes, or the size is shared or not sure.
"""

from __future__ import annotations

from typing import NamedTuple


class GpuModel(NamedTuple):
    """A card's name and the GiB of memory that it is sold with."""

    name: str
    vram_gib: int | None


GPU_MODELS = {
    "13C2": GpuModel("NVIDIA GeForce GTX 970", 4),
    "15F8": GpuModel("NVIDIA Tesla P100 PCIe 16GB", 16),
    "1B06": GpuModel("NVIDIA GeForce GTX 1080 Ti", 11),
    "1DB6": GpuModel("NVIDIA Tesla V100 PCIe 32GB", 32),
    "1E02": GpuModel("NVIDIA TITAN RTX", 24),
    "1E04": GpuModel("NVIDIA GeForce RTX 2080 Ti", 11),
    "1E07": GpuModel("NVIDIA GeForce RTX 2080 Ti", 11),
    "1E30": GpuModel("NVIDIA Quadro RTX 6000 or Quadro RTX 8000", None),
    "1E36": GpuModel("NVIDIA Quadro RTX 6000", 24),
    "1E78": GpuModel("NVIDIA Quadro RTX 6000 or Quadro RTX 8000", None),
    "1EB8": GpuModel("NVIDIA Tesla T4", 16),
    "1FB0": GpuModel("NVIDIA T1000", 4),
    "1FB9": GpuModel("NVIDIA Quadro T1000", 4),
    "1FF0": GpuModel("NVIDIA T1000 8GB", 8),
    "1FF9": GpuModel("NVIDIA Quadro T1000", 4),
    "20B0": GpuModel("NVIDIA A100-PG509-200 or A100-SXM4-40GB", 40),
    "20B2": GpuModel("NVIDIA A100-SXM4-80GB", 80),
    "20B3": GpuModel("NVIDIA A100-SXM-64GB", 64),
    "20B5": GpuModel("NVIDIA A100 80GB PCIe", 80),
    "20B7": GpuModel("NVIDIA A30", 24),
    "20F1": GpuModel("NVIDIA A100-PCIE-40GB", 40),
    "20F3": GpuModel("NVIDIA A800-SXM4-80GB", 80),
    "2203": GpuModel("NVIDIA GeForce RTX 3090 Ti", 24),
    "2204": GpuModel("NVIDIA GeForce RTX 3090", 24),
    "2206": GpuModel("NVIDIA GeForce RTX 3080", 10),
    "2208": GpuModel("NVIDIA GeForce RTX 3080 Ti", 12),
    "220A": GpuModel("NVIDIA GeForce RTX 3080", 12),
    "2216": GpuModel("NVIDIA GeForce RTX 3080", 10),
    "2230": GpuModel("NVIDIA RTX A6000", 48),
    "2231": GpuModel("NVIDIA RTX A5000", 24),
    "2235": GpuModel("NVIDIA A40", 48),
    "2236": GpuModel("NVIDIA A10", 24),
    "2237": GpuModel("NVIDIA A10G", 24),
    "230E": GpuModel("NVIDIA H20 NVL16", None),
    "2321": GpuModel("NVIDIA H100 NVL", 93),
    "2322": GpuModel("NVIDIA H800 PCIe", 80),
    "2324": GpuModel("NVIDIA H800", 80),
    "2329": GpuModel("NVIDIA H20", 96),
    "232C": GpuModel("NVIDIA H20-3e", 140),
    "2330": GpuModel("NVIDIA H100 80GB HBM3", 80),
    "2331": GpuModel("NVIDIA H100 PCIe", 80),
    "2335": GpuModel("NVIDIA H200", 140),
    "233A": GpuModel("NVIDIA H800 NVL", 93),
    "233B": GpuModel("NVIDIA H200 NVL", 140),
    "2342": GpuModel("NVIDIA GH200 120GB or GH200 480GB", 96),
    "2348": GpuModel("NVIDIA GH200 144G HBM3e", 144),
    "2414": GpuModel("NVIDIA GeForce RTX 3060 Ti", 8),
    "2486": GpuModel("NVIDIA GeForce RTX 3060 Ti", 8),
    "2487": GpuModel("NVIDIA GeForce RTX 3060", 12),
    "2489": GpuModel("NVIDIA GeForce RTX 3060 Ti", 8),
    "24B0": GpuModel("NVIDIA RTX A4000", 16),
    "24B1": GpuModel("NVIDIA RTX A4000H", None),
    "24C7": GpuModel("NVIDIA GeForce RTX 3060", None),
    "24C9": GpuModel("NVIDIA GeForce RTX 3060 Ti", 8),
    "2503": GpuModel("NVIDIA GeForce RTX 3060", 12),
    "2504": GpuModel("NVIDIA GeForce RTX 3060", 12),
    "2544": GpuModel("NVIDIA GeForce RTX 3060", None),
    "25B0": GpuModel("NVIDIA RTX A1000", None),
    "25B2": GpuModel("NVIDIA RTX A400", 4),
    "25B6": GpuModel("NVIDIA A16 or A2", 16),
    "2684": GpuModel("NVIDIA GeForce RTX 4090", 24),
    "2685": GpuModel("NVIDIA GeForce RTX 4090 D", 24),
    "26B1": GpuModel("NVIDIA RTX 6000 Ada Generation", 48),
    "26B5": GpuModel("NVIDIA L40", 48),
    "26B9": GpuModel("NVIDIA L40S", 48),
    "26BA": GpuModel("NVIDIA L20", 48),
    "2702": GpuModel("NVIDIA GeForce RTX 4080 SUPER", 16),
    "2704": GpuModel("NVIDIA GeForce RTX 4080", 16),
    "27B0": GpuModel("NVIDIA RTX 4000 SFF Ada Generation", 20),
    "27B8": GpuModel("NVIDIA L4", 24),
    "2901": GpuModel("NVIDIA B200", 179),
    "2941": GpuModel("NVIDIA GB200", 184),
    "2B85": GpuModel("NVIDIA GeForce RTX 5090", 32),
    "2B87": GpuModel("NVIDIA GeForce RTX 5090 D", 32),
    "2BB1": GpuModel("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 96),
    "2BB5": GpuModel("NVIDIA RTX PRO 6000 Blackwell Server Edition", 96),
    "2BB9": GpuModel("NVIDIA RTX 6000D", None),
    "2C02": GpuModel("NVIDIA GeForce RTX 5080", 16),
    "2C05": GpuModel("NVIDIA GeForce RTX 5070 Ti", 16),
    "2C31": GpuModel("NVIDIA RTX PRO 4500 Blackwell", None),
    "2C33": GpuModel("NVIDIA RTX PRO 4000 Blackwell SFF Edition", 24),
    "2C34": GpuModel("NVIDIA RTX PRO 4000 Blackwell", 24),
    "2E12": GpuModel("NVIDIA GB10", None),
    "3182": GpuModel("NVIDIA B300 SXM6 AC", None),
    "31C2": GpuModel("NVIDIA GB300", None),
}

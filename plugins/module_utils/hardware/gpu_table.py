"""NVIDIA's GPUs that can serve a language model: what each is sold with, and what CUDA reports of its memory.

Name: as ``nvidia-smi`` writes it. ``vram_gib``: GiB that the card is sold with; for HBM, sold by the decimal GB, the
whole GiB that nvidia-smi shows. ``cuda_mib``: the least total that CUDA reported of such a card in public logs
(PyTorch's "total capacity", llama.cpp's device line, read 2026-11), whatever its driver; None where none was found.
``tflops``: dense matrix products of fp16 with fp32 sums on tensor cores; on a GPU without tensor cores, those of fp32,
or of fp16 where that is faster. ``nvlink_gbs``: all links of one GPU, both directions; ``fabric`` is what they end in.

Sources: NVIDIA's data sheets and architecture papers by name: Pascal, Volta, Turing, GA100, GA102, Ada, Hopper and
RTX Blackwell architecture papers (appendices with GeForce figures); data sheets of Tesla P4, P40, P100, V100, T4, of
Quadro RTX, RTX A, RTX Ada and RTX PRO Blackwell boards, of A2, A10, A16, A30, A40, A100, L4, L20, L40, L40S, H100,
H200, GH200, HGX B200, HGX B300, GB200, GB300, DGX Spark. A10G: AWS's page of G5. H20: figures in the press. Laptop
GPUs: the highest clock and power that NVIDIA names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

BRIDGE, SWITCH = "bridge", "switch"
"""What an NVLink ends in: a bridge joins two cards, a switch all GPUs of a board."""


@dataclass(frozen=True)
class GpuSpec:
    """One kind of GPU. Memory in GiB and MiB, bandwidth in GB/s (10^9), speed in TFLOPS."""

    name: str
    vram_gib: int
    cuda_mib: int | None
    bandwidth_gbs: float
    tflops: float
    capability: tuple[int, int]
    pcie_gen: int
    lanes: int = 16
    nvlink_gbs: int = 0
    fabric: str = ""
    inline_ecc: bool = False  # error correction that takes a sixteenth of the memory, and is on when it is delivered
    shared: bool = False  # the memory is the host's RAM too
    sold_as: tuple[int, ...] = ()  # further figures of GB by which it is known
    always_named: tuple[str, ...] = ()  # words without which a person means another card
    also: tuple[str, ...] = ()  # further words by which it is known
    arm: bool = False  # the host's CPU is NVIDIA's Grace

    @property
    def vram_bytes(self) -> int:
        """What it is sold with."""
        return self.vram_gib << 30

    @property
    def usable_bytes(self) -> int:
        """What CUDA reports as its memory; each process's CUDA context takes its part of that."""
        mib = self.usable_of(self.vram_gib * 1024) if self.cuda_mib is None else self.cuda_mib
        return mib << 20

    def usable_of(self, vram_mib: int) -> int:
        """Return the MiB that CUDA would report, at the least, of such a card with this memory.

        The rule for cards of which no report was found: a sixteenth for error correction where that lies in the same
        memory, then 400 MiB and an eightieth for the driver. Every card that has its own memory and a ``cuda_mib`` is
        seen to report more than the rule gives.
        """
        left = vram_mib - (vram_mib // 16 if self.inline_ecc else 0)
        return max(0, left - 400 - left // 80)


_Row = Callable[..., GpuSpec]
_maxwell: _Row = partial(GpuSpec, capability=(5, 2), pcie_gen=3)
_pascal: _Row = partial(GpuSpec, capability=(6, 1), pcie_gen=3)
_gp100: _Row = partial(GpuSpec, capability=(6, 0), pcie_gen=3)
_volta: _Row = partial(GpuSpec, capability=(7, 0), pcie_gen=3)
_turing: _Row = partial(GpuSpec, capability=(7, 5), pcie_gen=3)
_ga100: _Row = partial(GpuSpec, capability=(8, 0), pcie_gen=4)
_ampere: _Row = partial(GpuSpec, capability=(8, 6), pcie_gen=4)
_ada: _Row = partial(GpuSpec, capability=(8, 9), pcie_gen=4)
_hopper: _Row = partial(GpuSpec, capability=(9, 0), pcie_gen=5)
_gb100: _Row = partial(GpuSpec, capability=(10, 0), pcie_gen=5)
_gb300: _Row = partial(GpuSpec, capability=(10, 3), pcie_gen=6)
_blackwell: _Row = partial(GpuSpec, capability=(12, 0), pcie_gen=5)

_GEFORCE = (
    _maxwell("NVIDIA GeForce GTX 970", 4, None, 224, 3.9),
    _maxwell("NVIDIA GeForce GTX 980 Ti", 6, None, 336, 6.1),
    _pascal("NVIDIA GeForce GTX 1050 Ti", 4, None, 112, 2.1),
    _pascal("NVIDIA GeForce GTX 1060 6GB", 6, None, 192, 4.4),
    _pascal("NVIDIA GeForce GTX 1070", 8, None, 256, 6.5),
    _pascal("NVIDIA GeForce GTX 1070 Ti", 8, None, 256, 8.2),
    _pascal("NVIDIA GeForce GTX 1080", 8, None, 320, 8.9),
    _pascal("NVIDIA GeForce GTX 1080 Ti", 11, None, 484, 11.3),
    _pascal("NVIDIA TITAN X (Pascal)", 12, None, 480, 11.0),
    _pascal("NVIDIA TITAN Xp", 12, None, 548, 12.1),
    _volta("NVIDIA TITAN V", 12, None, 653, 110),
    _turing("NVIDIA GeForce GTX 1650", 4, None, 128, 6.0),
    _turing("NVIDIA GeForce GTX 1660", 6, None, 192, 10.0),
    _turing("NVIDIA GeForce GTX 1660 SUPER", 6, None, 336, 10.0),
    _turing("NVIDIA GeForce GTX 1660 Ti", 6, 5747, 288, 10.9),
    _turing("NVIDIA GeForce RTX 2060", 6, None, 336, 25.8),
    _turing("NVIDIA GeForce RTX 2060 12GB", 12, None, 336, 28.7, always_named=("12gb",)),
    _turing("NVIDIA GeForce RTX 2060 SUPER", 8, None, 448, 28.7),
    _turing("NVIDIA GeForce RTX 2070", 8, None, 448, 29.9),
    _turing("NVIDIA GeForce RTX 2070 SUPER", 8, None, 448, 36.3, nvlink_gbs=50, fabric=BRIDGE),
    _turing("NVIDIA GeForce RTX 2080", 8, None, 448, 40.3, nvlink_gbs=50, fabric=BRIDGE),
    _turing("NVIDIA GeForce RTX 2080 SUPER", 8, None, 496, 44.6, nvlink_gbs=50, fabric=BRIDGE),
    _turing("NVIDIA GeForce RTX 2080 Ti", 11, 10810, 616, 53.8, nvlink_gbs=100, fabric=BRIDGE),
    _turing(
        "NVIDIA GeForce RTX 2080 Ti 22GB", 22, None, 616, 53.8, nvlink_gbs=100, fabric=BRIDGE, always_named=("22gb",)
    ),
    _turing("NVIDIA TITAN RTX", 24, 24016, 672, 130.5, nvlink_gbs=100, fabric=BRIDGE),
    _ampere("NVIDIA GeForce RTX 3050", 8, None, 224, 18.2, lanes=8),
    _ampere("NVIDIA GeForce RTX 3050 6GB", 6, None, 168, 13.5, lanes=8, always_named=("6gb",)),
    _ampere("NVIDIA GeForce RTX 3060", 12, 11890, 360, 25.4),
    _ampere("NVIDIA GeForce RTX 3060 8GB", 8, None, 240, 25.4, always_named=("8gb",)),
    _ampere("NVIDIA GeForce RTX 3060 Ti", 8, None, 448, 32.4),
    _ampere("NVIDIA GeForce RTX 3070", 8, None, 448, 40.6),
    _ampere("NVIDIA GeForce RTX 3070 Ti", 8, None, 608, 43.5),
    _ampere("NVIDIA GeForce RTX 3080", 10, 9850, 760, 59.5),
    _ampere("NVIDIA GeForce RTX 3080 12GB", 12, None, 912, 61.3, always_named=("12gb",)),
    _ampere("NVIDIA GeForce RTX 3080 Ti", 12, 11900, 912, 68.2),
    _ampere("NVIDIA GeForce RTX 3090", 24, 24120, 936, 71.2, nvlink_gbs=112, fabric=BRIDGE),
    _ampere("NVIDIA GeForce RTX 3090 Ti", 24, 24111, 1008, 80.0, nvlink_gbs=112, fabric=BRIDGE),
    _ada("NVIDIA GeForce RTX 4060", 8, None, 272, 30.2, lanes=8),
    _ada("NVIDIA GeForce RTX 4060 Ti", 8, None, 288, 44.1, lanes=8),
    _ada("NVIDIA GeForce RTX 4060 Ti 16GB", 16, 15934, 288, 44.1, lanes=8),
    _ada("NVIDIA GeForce RTX 4070", 12, 11830, 504, 58.3),
    _ada("NVIDIA GeForce RTX 4070 SUPER", 12, 11830, 504, 71.0),
    _ada("NVIDIA GeForce RTX 4070 Ti", 12, 11830, 504, 80.2),
    _ada("NVIDIA GeForce RTX 4070 Ti SUPER", 16, 15934, 672, 88.2),
    _ada("NVIDIA GeForce RTX 4080", 16, 15934, 717, 97.5),
    _ada("NVIDIA GeForce RTX 4080 SUPER", 16, 15934, 736, 104.4),
    _ada("NVIDIA GeForce RTX 4090", 24, 24072, 1008, 165.2),
    _ada("NVIDIA GeForce RTX 4090 48GB", 48, None, 1008, 165.2, always_named=("48gb",)),
    _ada("NVIDIA GeForce RTX 4090 D", 24, 24072, 1008, 147.1),
    _blackwell("NVIDIA GeForce RTX 5050", 8, None, 320, 26.3, lanes=8),
    _blackwell("NVIDIA GeForce RTX 5060", 8, None, 448, 38.4, lanes=8),
    _blackwell("NVIDIA GeForce RTX 5060 Ti", 8, None, 448, 47.4, lanes=8),
    _blackwell("NVIDIA GeForce RTX 5060 Ti 16GB", 16, 15838, 448, 47.4, lanes=8),
    _blackwell("NVIDIA GeForce RTX 5070", 12, 11760, 672, 61.7),
    _blackwell("NVIDIA GeForce RTX 5070 Ti", 16, 15838, 896, 87.9),
    _blackwell("NVIDIA GeForce RTX 5080", 16, 15838, 960, 112.6),
    _blackwell("NVIDIA GeForce RTX 5090", 32, 32109, 1792, 209.5),
    _blackwell("NVIDIA GeForce RTX 5090 D", 32, 32109, 1792, 209.5),
)

_LAPTOP = tuple(
    family(f"NVIDIA GeForce RTX {name} Laptop GPU", gib, mib, gbs, tflops, lanes=lanes)
    for family, name, gib, mib, gbs, tflops, lanes in (
        (_ampere, "3060", 6, None, 336, 26, 16),
        (_ampere, "3070", 8, None, 448, 33, 16),
        (_ampere, "3080", 8, None, 448, 38, 16),
        (_ampere, "3080 16GB", 16, None, 448, 38, 16),
        (_ampere, "3080 Ti", 16, None, 512, 47, 16),
        (_ada, "4050", 6, None, 192, 18, 8),
        (_ada, "4060", 8, None, 256, 23, 8),
        (_ada, "4070", 8, 7805, 256, 31, 8),
        (_ada, "4080", 12, None, 432, 49, 16),
        (_ada, "4090", 16, None, 576, 66, 16),
        (_blackwell, "5060", 8, None, 384, 26, 8),
        (_blackwell, "5070", 8, None, 384, 31, 8),
        (_blackwell, "5070 Ti", 12, None, 672, 47, 16),
        (_blackwell, "5080", 16, None, 896, 62, 16),
        (_blackwell, "5090", 24, None, 896, 85, 16),
    )
)

_WORKSTATION = (
    _pascal("NVIDIA Quadro P6000", 24, None, 432, 12.6),
    _pascal("NVIDIA Quadro P5000", 16, None, 288, 8.9),
    _volta("NVIDIA Quadro GV100", 32, None, 870, 118.5, nvlink_gbs=200, fabric=BRIDGE),
    _turing("NVIDIA T1000", 4, None, 160, 5.0),
    _turing("NVIDIA Quadro T1000", 4, None, 128, 5.2, always_named=("quadro",)),
    _turing("NVIDIA T1000 8GB", 8, None, 160, 5.0, always_named=("8gb",)),
    _turing("NVIDIA Quadro RTX 4000", 8, None, 416, 57.0),
    _turing("NVIDIA Quadro RTX 5000", 16, None, 448, 89.2, nvlink_gbs=50, fabric=BRIDGE),
    _turing("NVIDIA Quadro RTX 6000", 24, 22698, 672, 130.5, inline_ecc=True, nvlink_gbs=100, fabric=BRIDGE),
    _turing("NVIDIA Quadro RTX 8000", 48, 45400, 672, 130.5, inline_ecc=True, nvlink_gbs=100, fabric=BRIDGE),
    _ampere("NVIDIA RTX A400", 4, None, 96, 10.8, lanes=8),
    _ampere("NVIDIA RTX A1000", 8, None, 192, 26.8, lanes=8),
    _ampere("NVIDIA RTX A2000", 6, None, 288, 31.9),
    _ampere("NVIDIA RTX A2000 12GB", 12, None, 288, 31.9),
    _ampere("NVIDIA RTX A4000", 16, 15974, 448, 76.7),
    _ampere("NVIDIA RTX A4500", 20, 20030, 640, 94.6, nvlink_gbs=112, fabric=BRIDGE),
    _ampere("NVIDIA RTX A5000", 24, 24111, 768, 111.1, nvlink_gbs=112, fabric=BRIDGE),
    _ampere("NVIDIA RTX A5500", 24, None, 768, 136.4, nvlink_gbs=112, fabric=BRIDGE),
    _ampere("NVIDIA RTX A6000", 48, 48530, 768, 154.8, nvlink_gbs=112, fabric=BRIDGE),
    _ada("NVIDIA RTX 2000 Ada Generation", 16, None, 224, 48.0, lanes=8),
    _ada("NVIDIA RTX 4000 SFF Ada Generation", 20, None, 280, 76.7),
    _ada("NVIDIA RTX 4000 Ada Generation", 20, None, 360, 106.9),
    _ada("NVIDIA RTX 4500 Ada Generation", 24, None, 432, 158.5),
    _ada("NVIDIA RTX 5000 Ada Generation", 32, None, 576, 261.1),
    _ada("NVIDIA RTX 5880 Ada Generation", 48, None, 960, 277.0),
    _ada("NVIDIA RTX 6000 Ada Generation", 48, 48490, 960, 364.2),
    _blackwell("NVIDIA RTX PRO 2000 Blackwell", 16, None, 288, 68.0, lanes=8),
    _blackwell("NVIDIA RTX PRO 4000 Blackwell", 24, None, 672, 146.0),
    _blackwell("NVIDIA RTX PRO 4000 Blackwell SFF Edition", 24, None, 432, 96.0, lanes=8),
    _blackwell("NVIDIA RTX PRO 4500 Blackwell", 32, None, 896, 203.0),
    _blackwell("NVIDIA RTX PRO 5000 Blackwell", 48, None, 1344, 258.0),
    _blackwell("NVIDIA RTX PRO 5000 72GB Blackwell", 72, None, 1344, 258.0, always_named=("72gb",)),
    _blackwell("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 96, 97239, 1792, 503.8),
    _blackwell("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 96, 97239, 1792, 438.9),
    _blackwell("NVIDIA RTX PRO 6000 Blackwell Server Edition", 96, 97239, 1597, 480.0),
)

_DATA_CENTRE = (
    _maxwell("NVIDIA Tesla M40", 12, None, 288, 6.8, inline_ecc=True),
    _maxwell("NVIDIA Tesla M40 24GB", 24, None, 288, 6.8, inline_ecc=True),
    _pascal("NVIDIA Tesla P4", 8, None, 192, 5.5, inline_ecc=True),
    _pascal("NVIDIA Tesla P40", 24, 22913, 346, 11.8, inline_ecc=True),
    _gp100("NVIDIA Tesla P100 PCIe 12GB", 12, None, 549, 18.7, always_named=("12gb",)),
    _gp100("NVIDIA Tesla P100 PCIe 16GB", 16, 16270, 732, 18.7),
    _gp100("NVIDIA Tesla P100 SXM2 16GB", 16, 16270, 732, 21.2, nvlink_gbs=160, fabric=SWITCH),
    _volta("NVIDIA Tesla V100 PCIe 16GB", 16, 16144, 900, 112),
    _volta("NVIDIA Tesla V100 PCIe 32GB", 32, 32490, 900, 112),
    _volta("NVIDIA Tesla V100S PCIe 32GB", 32, 32490, 1134, 130),
    _volta("NVIDIA Tesla V100 SXM2 16GB", 16, 16144, 900, 125, nvlink_gbs=300, fabric=SWITCH),
    _volta("NVIDIA Tesla V100 SXM2 32GB", 32, 32490, 900, 125, nvlink_gbs=300, fabric=SWITCH),
    _turing("NVIDIA Tesla T4", 16, 14902, 320, 65, inline_ecc=True),
    _ampere("NVIDIA A2", 16, None, 200, 18, lanes=8, inline_ecc=True),
    _ampere("NVIDIA A10", 24, 22480, 600, 125, inline_ecc=True),
    _ampere("NVIDIA A10G", 24, 22480, 600, 70, inline_ecc=True),
    _ampere("NVIDIA A16", 16, None, 200, 18, inline_ecc=True),
    _ga100("NVIDIA A30", 24, 24062, 933, 165, nvlink_gbs=200, fabric=BRIDGE),
    _ampere("NVIDIA A40", 48, 45380, 696, 149.7, inline_ecc=True, nvlink_gbs=112, fabric=BRIDGE),
    _ga100("NVIDIA A100-PCIE-40GB", 40, 40320, 1555, 312, nvlink_gbs=600, fabric=BRIDGE),
    _ga100("NVIDIA A100 80GB PCIe", 80, 80990, 1935, 312, nvlink_gbs=600, fabric=BRIDGE),
    _ga100("NVIDIA A100-SXM4-40GB", 40, 40320, 1555, 312, nvlink_gbs=600, fabric=SWITCH),
    _ga100("NVIDIA A100-SXM4-80GB", 80, 80990, 2039, 312, nvlink_gbs=600, fabric=SWITCH),
    _ga100("NVIDIA A100-SXM-64GB", 64, None, 1638, 312, nvlink_gbs=600, fabric=SWITCH, always_named=("64gb",)),
    _ga100("NVIDIA A100-PG509-200", 40, None, 1555, 312, always_named=("pg509",)),
    _ga100("NVIDIA A800 80GB PCIe", 80, None, 1935, 312, nvlink_gbs=400, fabric=BRIDGE),
    _ga100("NVIDIA A800-SXM4-80GB", 80, None, 2039, 312, nvlink_gbs=400, fabric=SWITCH),
    _ada("NVIDIA L4", 24, 22478, 300, 121, inline_ecc=True),
    _ada("NVIDIA L20", 48, None, 864, 119.5, inline_ecc=True),
    _ada("NVIDIA L40", 48, 45380, 864, 181, inline_ecc=True),
    _ada("NVIDIA L40S", 48, 45380, 864, 362, inline_ecc=True),
    _hopper("NVIDIA H100 PCIe", 80, 80990, 2039, 756, nvlink_gbs=600, fabric=BRIDGE),
    _hopper("NVIDIA H100 80GB HBM3", 80, 80990, 3352, 989, nvlink_gbs=900, fabric=SWITCH, also=("sxm",)),
    _hopper("NVIDIA H100 NVL", 93, 95228, 3938, 835, nvlink_gbs=600, fabric=BRIDGE, sold_as=(94,)),
    _hopper("NVIDIA H800 PCIe", 80, None, 2039, 756, nvlink_gbs=400, fabric=BRIDGE),
    _hopper("NVIDIA H800", 80, None, 3352, 989, nvlink_gbs=400, fabric=SWITCH, also=("sxm",)),
    _hopper("NVIDIA H800 NVL", 93, None, 3938, 835, nvlink_gbs=400, fabric=BRIDGE, sold_as=(94,)),
    _hopper("NVIDIA H20", 96, 97270, 4000, 148, nvlink_gbs=900, fabric=SWITCH, also=("sxm",)),
    _hopper("NVIDIA H20-3e", 140, None, 4800, 148, nvlink_gbs=900, fabric=SWITCH, sold_as=(141,), always_named=("3e",)),
    _hopper("NVIDIA H200", 140, 143070, 4800, 989, nvlink_gbs=900, fabric=SWITCH, also=("sxm",), sold_as=(141,)),
    _hopper("NVIDIA H200 NVL", 140, 143070, 4800, 835, nvlink_gbs=900, fabric=BRIDGE, sold_as=(141,)),
    _hopper("NVIDIA GH200 120GB", 96, 96760, 4000, 989, nvlink_gbs=900, fabric=SWITCH, sold_as=(120,), arm=True),
    _hopper("NVIDIA GH200 480GB", 96, 96760, 4000, 989, nvlink_gbs=900, fabric=SWITCH, sold_as=(480,), arm=True),
    _hopper(
        "NVIDIA GH200 144G HBM3e",
        144,
        None,
        4900,
        989,
        nvlink_gbs=900,
        fabric=SWITCH,
        arm=True,
        always_named=("144gb",),
    ),
    _gb100("NVIDIA B200", 179, 182630, 8000, 2250, nvlink_gbs=1800, fabric=SWITCH, also=("sxm",), sold_as=(180, 192)),
    _gb100("NVIDIA GB200", 184, None, 8000, 2500, nvlink_gbs=1800, fabric=SWITCH, sold_as=(186, 192), arm=True),
    _gb300("NVIDIA B300 SXM6 AC", 268, 274110, 8000, 2250, nvlink_gbs=1800, fabric=SWITCH, sold_as=(270, 288)),
    _gb300("NVIDIA GB300", 268, None, 8000, 2500, nvlink_gbs=1800, fabric=SWITCH, sold_as=(278, 288), arm=True),
    GpuSpec("NVIDIA GB10", 128, 122500, 273, 62, (12, 1), 5, shared=True, also=("dgx", "spark"), arm=True),
)

GPUS: tuple[GpuSpec, ...] = (*_GEFORCE, *_LAPTOP, *_WORKSTATION, *_DATA_CENTRE)

"""How near an engine comes to the bandwidth of a memory when it makes tokens one by one: the figures of ``speed.py``.

The time of a token is that of reading its bytes at a fraction of the bandwidth, and a time for each layer in which
kernels start and wait for each other. Both are ranges over what was measured, batch 1, 2023-11 to 2026-09:

- llama.cpp, GDDR: XiongjieDai/GPU-Benchmarks-on-LLM-Inference at aa72e0e (RTX 3090, 4090, A6000); AlexsJones/llmfit
  pull requests 755 and 778 (RTX 2080); dmatora/LLM-inference-speed-benchmarks issue 12 (RTX 3080);
  CambrianTech/continuum pull request 1627 (RTX 5090); noonghunna/club-3090 BENCHMARKS.md at 4a29ab5 (RTX 3090, hybrid
  models); llama-bench of 2024 and 2026 on RTX 3060 and 4090. A power limit is not counted: at 230 of 370 W an RTX 3090
  loses 29 to 42 % (club-3090). Turing had no CUDA graphs before llama.cpp pull request 25749, and cloud hosts of a T4
  are slow at starting kernels: 134 tokens/s of Gemma 3 1B (llcuda.github.io).
- Mixtures of experts on a GPU: multimodalflow.net and smeltcore.com, 2026 (Qwen3-30B-A3B on RTX 3090, 3090 Ti);
  runaihome.com (RTX 4090); llama-bench on DGX Spark with gpt-oss-120b, 2026.
- llama.cpp, HBM: the benchmarks at aa72e0e (A100 SXM, H100 PCIe): far from the bandwidth, more so the smaller the
  model; llama-bench of 2026 on H100 SXM (Qwen3.5 9B Q8_0) and A100 SXM (Qwen3-Next 80B-A3B) at both ends of the range.
  Pascal: llama.cpp pull request 4766 (P40).
- vLLM: llmfit pull request 1046 (RTX 4090), club-3090 (RTX 3090), johnmusgrave.com (A100 40GB), llama-benchy on DGX
  Spark, treeru (RTX PRO 6000).
- RAM: llama.cpp issue 34 (13900K with DDR5-6400, GCP c3), brand-o/normiebench issue 52 (Threadripper 3970X); layers
  in RAM beside a GPU: llmfit pull request 778 (RTX 2080 and i9-10900X); experts in RAM: llmfit pull request 755 (the
  same), ik_llama.cpp pull request 829 (RTX 4080 and Threadripper PRO 5975WX), llama-bench on Quadro RTX 5000 with
  DDR5-4000, 2026-09.
"""

from __future__ import annotations

from typing import NamedTuple

from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpu_table import GpuSpec

GDDR, TURING, HBM, OLD = "gddr", "turing", "hbm", "old"
"""Kinds of memory of GPUs: since Ampere, of Turing, stacked, of cards before tensor cores."""
RAM, LINK, SWAP = "ram", "link", "swap"
"""The host's memory, read by the CPU or by GPUs over PCI Express; and what does not fit into it."""


class Span(NamedTuple):
    """A range; ``slow`` makes a token slower than ``fast``."""

    slow: float
    fast: float


class Rates(NamedTuple):
    """``quantized`` and ``wide`` are fractions of the bandwidth, for weights of less than 16 bit and for others.

    ``layer`` and ``heavy`` are ms a layer (heavy: a mixture of experts, or recurrent), ``step`` is ms a token.
    """

    quantized: Span
    wide: Span
    layer: Span
    heavy: Span
    step: Span = Span(0, 0)


LLAMA_CPP = {
    GDDR: Rates(Span(0.68, 0.90), Span(0.78, 0.93), Span(0.06, 0.02), Span(0.11, 0.045)),
    TURING: Rates(Span(0.62, 0.88), Span(0.72, 0.93), Span(0.15, 0.02), Span(0.22, 0.045)),
    HBM: Rates(Span(0.50, 0.80), Span(0.55, 0.85), Span(0.12, 0.02), Span(0.15, 0.045)),
    OLD: Rates(Span(0.45, 0.72), Span(0.60, 0.80), Span(0.10, 0.03), Span(0.20, 0.08)),
    RAM: Rates(Span(0.45, 0.80), Span(0.50, 0.85), Span(0.05, 0.01), Span(0.08, 0.02)),
    SWAP: Rates(Span(0.15, 0.55), Span(0.15, 0.55), Span(0, 0), Span(0, 0)),
}
VLLM = {
    GDDR: Rates(Span(0.60, 0.88), Span(0.80, 0.93), Span(0.04, 0.01), Span(0.10, 0.03), Span(2.0, 0.5)),
    TURING: Rates(Span(0.45, 0.85), Span(0.70, 0.93), Span(0.08, 0.01), Span(0.15, 0.03), Span(3.0, 0.5)),
    HBM: Rates(Span(0.45, 0.80), Span(0.60, 0.87), Span(0.04, 0.01), Span(0.12, 0.03), Span(2.0, 0.5)),
    OLD: Rates(Span(0.35, 0.70), Span(0.55, 0.80), Span(0.10, 0.03), Span(0.20, 0.06), Span(3.0, 1.0)),
    # Weights that vLLM leaves in RAM come over PCI Express for each token.
    LINK: Rates(Span(0.50, 0.85), Span(0.50, 0.85), Span(0, 0), Span(0, 0)),
}
RATES = {"llama_cpp": LLAMA_CPP, "vllm": VLLM}

# GB/s of an NVMe disk that pages come from one by one. Files mapped into memory are read at 0.3 to 1.1 GB/s whatever
# the disk (llama.cpp pull requests 14396 and 18012, issue 9244; vLLM's documentation of model loaders).
SWAP_GBS = 2.0

# Routed experts of some layers in RAM while the rest is on a GPU: fraction of the RAM's bandwidth, and ms a layer for
# the way there and back.
EXPERTS_IN_RAM = Span(0.36, 0.70)
HANDOVER = Span(0.20, 0.05)

# ms for each GPU after the first when layers are split over several.
HOP = Span(0.5, 0.05)
# ms of one sum over all ranks of tensor parallel (two a layer), by what joins them. A bridge makes pairs of RTX 3090 10
# to 25 % faster at batch 1 (club-3090 HARDWARE.md; r/LocalLLaMA 1t6susj, 2026-05).
ALL_REDUCE = {"switch": Span(0.020, 0.008), "bridge": Span(0.030, 0.012), "": Span(0.080, 0.025)}

# GB/s of one PCI Express lane by generation.
LANE_GBS = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}


def memory_kind(gpu: GpuSpec) -> str:
    """Return the kind of a GPU's memory, by its generation."""
    if gpu.capability in ((6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (10, 3)):
        return HBM
    if gpu.capability == (7, 5):
        return TURING
    return OLD if gpu.capability < (7, 0) else GDDR

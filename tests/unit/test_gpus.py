"""GPUs by name: what people, nvidia-smi and clouds call them."""

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpu_table import GPUS, GpuSpec
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpus import (
    AmbiguousGpuError,
    find_gpu,
    gpu_of_facts,
    near_gpus,
    short_name,
    usable_vram,
)
from ansible_collections.llmhost.core.plugins.module_utils.host.gpu_ids import GPU_MODELS, PCI_IDS
from hypothesis import given, settings
from hypothesis import strategies as st

GIB = 1 << 30


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("RTX 3090", "NVIDIA GeForce RTX 3090"),
        ("NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 3090"),
        ("3090", "NVIDIA GeForce RTX 3090"),
        ("rtx3090", "NVIDIA GeForce RTX 3090"),
        ("GeForce RTX 3090 24GB", "NVIDIA GeForce RTX 3090"),
        ("3090 Ti", "NVIDIA GeForce RTX 3090 Ti"),
        ("3090ti", "NVIDIA GeForce RTX 3090 Ti"),
        ("RTX 3080 12 GB", "NVIDIA GeForce RTX 3080 12GB"),
        ("RTX 4060 Ti 16GB", "NVIDIA GeForce RTX 4060 Ti 16GB"),
        ("RTX 4090D", "NVIDIA GeForce RTX 4090 D"),
        ("4070 Ti Super", "NVIDIA GeForce RTX 4070 Ti SUPER"),
        ("RTX 4090 Mobile", "NVIDIA GeForce RTX 4090 Laptop GPU"),
        ("TITAN RTX", "NVIDIA TITAN RTX"),
        ("A100 80GB", "NVIDIA A100 80GB PCIe"),
        ("A100-80", "NVIDIA A100 80GB PCIe"),
        ("a100-sxm4-80gb", "NVIDIA A100-SXM4-80GB"),
        ("A100 SXM 40GB", "NVIDIA A100-SXM4-40GB"),
        ("nvidia-a100-80gb", "NVIDIA A100 80GB PCIe"),
        ("H100 SXM", "NVIDIA H100 80GB HBM3"),
        ("H100 SXM5 80GB", "NVIDIA H100 80GB HBM3"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3"),
        ("H100", "NVIDIA H100 PCIe"),
        ("H100 NVL 94GB", "NVIDIA H100 NVL"),
        ("H200", "NVIDIA H200"),
        ("H200 141GB", "NVIDIA H200"),
        ("H20", "NVIDIA H20"),
        ("B200 192GB", "NVIDIA B200"),
        ("B300", "NVIDIA B300 SXM6 AC"),
        ("GH200 480GB", "NVIDIA GH200 480GB"),
        ("nvidia-tesla-t4", "NVIDIA Tesla T4"),
        ("Tesla P40", "NVIDIA Tesla P40"),
        ("V100 SXM2 32GB", "NVIDIA Tesla V100 SXM2 32GB"),
        ("Tesla V100-SXM2-32GB", "NVIDIA Tesla V100 SXM2 32GB"),
        ("Tesla V100-PCIE-16GB", "NVIDIA Tesla V100 PCIe 16GB"),
        ("Tesla P100-PCIE-16GB", "NVIDIA Tesla P100 PCIe 16GB"),
        ("Tesla M40 24GB", "NVIDIA Tesla M40 24GB"),
        ("NVIDIA A100-PCIE-40GB", "NVIDIA A100-PCIE-40GB"),
        ("NVIDIA TITAN Xp", "NVIDIA TITAN Xp"),
        ("Quadro RTX 6000", "NVIDIA Quadro RTX 6000"),
        ("RTX PRO 5000", "NVIDIA RTX PRO 5000 Blackwell"),
        ("RTX A6000", "NVIDIA RTX A6000"),
        ("RTX 6000 Ada", "NVIDIA RTX 6000 Ada Generation"),
        ("RTX PRO 6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition"),
        ("RTX PRO 6000 Workstation", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"),
        ("A10G", "NVIDIA A10G"),
        ("L40S 48GB", "NVIDIA L40S"),
        ("DGX Spark", "NVIDIA GB10"),
    ],
)
def test_names(typed: str, name: str) -> None:
    spec = find_gpu(typed)
    assert spec is not None
    assert spec.name == name


@pytest.mark.parametrize(
    "typed", ["", "RTX", "24GB", "80", "480", "NVLink", "RX 7900 XTX", "RTX 3091", "RTX 3090 32GB", "Ti", "PCIe"]
)
def test_no_such_gpu(typed: str) -> None:
    assert find_gpu(typed) is None


@pytest.mark.parametrize(
    ("typed", "choices"),
    [
        ("V100", ("V100 PCIe 16GB", "V100 PCIe 32GB", "V100 SXM2 16GB", "V100 SXM2 32GB")),
        ("A2000", ("RTX A2000 6GB", "RTX A2000 12GB")),
        ("5060 ti", ("RTX 5060 Ti 8GB", "RTX 5060 Ti 16GB")),
    ],
)
def test_a_name_of_several_sizes_is_refused_with_choices(typed: str, choices: tuple[str, ...]) -> None:
    with pytest.raises(AmbiguousGpuError) as refused:
        find_gpu(typed)
    assert refused.value.choices == choices


@pytest.mark.parametrize("spec", GPUS, ids=lambda spec: spec.name)
def test_every_gpu_is_found_by_its_names(spec: GpuSpec) -> None:
    assert find_gpu(spec.name) is spec
    found = find_gpu(short_name(spec))
    assert found is not None
    assert (found.vram_gib, found.bandwidth_gbs <= spec.bandwidth_gbs) == (spec.vram_gib, True)
    assert gpu_of_facts(spec.name, spec.vram_bytes) is not None


@pytest.mark.parametrize("spec", GPUS, ids=lambda spec: spec.name)
def test_every_row_is_plausible(spec: GpuSpec) -> None:
    assert 0.85 * spec.vram_bytes < spec.usable_bytes < spec.vram_bytes + GIB
    assert 90 <= spec.bandwidth_gbs <= 8000
    assert 2 <= spec.tflops <= 2500
    assert spec.lanes in (8, 16)
    assert bool(spec.nvlink_gbs) == bool(spec.fabric) or spec.arm
    if spec.cuda_mib and not spec.shared:
        assert spec.usable_of(spec.vram_gib * 1024) <= spec.cuda_mib


# Totals that CUDA reported in public logs (PyTorch's message of a full GPU, llama.cpp's list of devices): the least
# of each, in MiB.
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("RTX 2080 Ti", 10813),
        ("GTX 1660 Ti", 5747),
        ("RTX 3060", 11899),
        ("RTX 3080", 9851),
        ("RTX 3090", 24123),
        ("RTX 3090 Ti", 24142),
        ("RTX 4070", 11837),
        ("RTX 4070 Laptop", 7805),
        ("RTX 4090", 24074),
        ("RTX 5060 Ti 16GB", 15841),
        ("RTX 5070", 11766),
        ("RTX 5070 Ti", 15842),
        ("RTX 5090", 32109),
        ("RTX A6000", 48538),
        ("RTX PRO 6000", 97239),
        ("Tesla P40", 22917),
        ("T4", 14909),
        ("A10G", 22487),
        ("L4", 22487),
        ("A30", 24094),
        ("A40", 45404),
        ("L40", 45404),
        ("L40S", 45404),
        ("A100 40GB", 40325),
        ("A100 80GB", 81039),
        ("H100", 81008),
        ("H100 NVL", 95232),
        ("H20", 97280),
        ("H200", 143073),
        ("GH200", 96768),
        ("B200", 182630),
        ("B300", 274114),
        ("GB10", 122502),
    ],
)
def test_usable_memory_is_never_above_what_was_reported(name: str, least: int) -> None:
    spec = find_gpu(name)
    assert spec is not None
    assert 0.995 * least <= spec.usable_bytes / 2**20 <= least


def test_usable_memory_of_a_hosts_gpu() -> None:
    assert usable_vram("NVIDIA GeForce RTX 3090", 24 * GIB) == 24120 << 20
    assert usable_vram("GeForce RTX 3090", 24 * GIB) == 24120 << 20
    assert usable_vram("NVIDIA A16 or A2", 16 * GIB) < 15 * GIB
    # A slice of an H100, a card that nobody knows, one of unknown size.
    assert 8 * GIB < usable_vram("NVIDIA H100 80GB HBM3", 10 * GIB) < 10 * GIB
    assert 21 * GIB < usable_vram("NVIDIA device FFFF", 24 * GIB) < 23 * GIB
    assert usable_vram("NVIDIA GeForce RTX 3090", 0) == 0


def test_one_pci_id_for_several_cards() -> None:
    assert GPU_MODELS["25B6"] == ("NVIDIA A16 or A2", 16)
    assert GPU_MODELS["1E30"] == ("NVIDIA Quadro RTX 6000 or Quadro RTX 8000", None)
    assert GPU_MODELS["220A"].vram_gib == 12
    assert GPU_MODELS["2204"] == ("NVIDIA GeForce RTX 3090", 24)
    spec = gpu_of_facts("NVIDIA Quadro RTX 6000 or Quadro RTX 8000", 48 * GIB)
    assert spec is not None
    assert spec.vram_gib == 48


@pytest.mark.parametrize(
    ("name", "gib", "found"),
    [
        ("NVIDIA H100 80GB HBM3", 80, "NVIDIA H100 80GB HBM3"),
        ("NVIDIA GeForce RTX 4060 Ti", 16, "NVIDIA GeForce RTX 4060 Ti 16GB"),
        ("NVIDIA GeForce RTX 3080", 12, "NVIDIA GeForce RTX 3080 12GB"),
        ("GeForce RTX 3080", 10, "NVIDIA GeForce RTX 3080"),
        ("NVIDIA GeForce RTX 4090", 48, "NVIDIA GeForce RTX 4090 48GB"),
        ("NVIDIA A16 or A2", 16, "NVIDIA A16"),
        ("NVIDIA H100 80GB HBM3", 10, "NVIDIA H100 80GB HBM3"),
    ],
)
def test_a_name_and_a_size_of_a_hosts_facts(name: str, gib: int, found: str) -> None:
    spec = gpu_of_facts(name, gib * GIB)
    assert spec is not None
    assert spec.name == found


def test_pci_ids_and_names_are_one_table() -> None:
    names = {spec.name for spec in GPUS}
    unknown = {name for group in PCI_IDS.values() for name in group} - names
    assert unknown == {"NVIDIA RTX A4000H", "NVIDIA H20 NVL16", "NVIDIA RTX 6000D"}


def test_near_names() -> None:
    assert "RTX 3090" in near_gpus("RTZ 3090")
    assert "H100 PCIe" in near_gpus("H1000 PCIe")


@settings(deadline=None)
@given(st.text(max_size=60), st.integers(min_value=0, max_value=2**50))
def test_any_text_is_a_gpu_or_none_or_ambiguous(text: str, vram_bytes: int) -> None:
    with contextlib.suppress(AmbiguousGpuError):
        assert find_gpu(text) in (None, *GPUS)
    assert 0 <= usable_vram(text, vram_bytes) <= vram_bytes

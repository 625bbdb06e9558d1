"""What vLLM makes of weights for GPUs and kernels that cannot take them as the checkpoint has them."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.layer_classes import classes_of
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm import allocate_vllm
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_graphs import graph_bytes
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import VllmGpu, VllmSettings, batch
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights_from_shape import weights_from_shape

from tests.unit.vllm_models import Model, llama_8b, model

SETTINGS = VllmSettings(8192, version="0.10.0")
BLOCK = 1 + 4 / 128**2  # bytes of an element: one of 8 bits, and its share of the scale of a block


def loaded(made: Model, gpu: str) -> float:
    """GiB of weights on one GPU."""
    return allocate_vllm(*made, SETTINGS, VllmGpu(80 * GIB, name=gpu)).ranks[0].weights_bytes / GIB


def qwen3_30b(element: float) -> Model:
    """Qwen/Qwen3-30B-A3B-FP8, or with other bytes for an element of a matrix."""
    return model(
        "qwen3_moe", 48, 2048, 32, 4, 128, 151936, 40960, experts=128, used=8, expert_width=768,
        matrix_bytes=element, expert_bytes=element,
    )  # fmt: skip


def test_scales_of_blocks_are_repeated_where_a_gpu_has_no_eight_bit_floats() -> None:
    """29.50 GiB on an A100 (vLLM PR 21428), 29.09 GiB where the kernels are native (vLLM issue 25350)."""
    made = qwen3_30b(BLOCK)
    assert loaded(made, "NVIDIA A100-SXM4-80GB") == pytest.approx(29.4988, rel=0.002)
    assert loaded(made, "NVIDIA H100 80GB HBM3") == pytest.approx(29.09, rel=0.002)
    assert loaded(made, "NVIDIA L4") == loaded(made, "NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize("element", [1.0, 1 + 2 / 2048, 2.0, 0.53])
def test_other_scales_stay_as_they_are(element: float) -> None:
    made = qwen3_30b(element)
    assert loaded(made, "NVIDIA A100-SXM4-80GB") == loaded(made, "NVIDIA H100 80GB HBM3")


def test_keys_that_are_values_are_loaded_twice() -> None:
    """Each full layer of Gemma 4 31B keeps 5376 x 2048 elements more than its checkpoint."""
    shape, weights = llama_8b()
    both = [
        dataclasses.replace(layer, attention=dataclasses.replace(layer.attention, keys_are_values=True))
        for layer in shape.layers
        if layer.attention is not None
    ]
    shared = dataclasses.replace(shape, layers=tuple(both))
    stored = weights_from_shape(shared, "BF16", "safetensors")
    assert stored.total_bytes < weights.total_bytes
    assert loaded((shared, stored), "H100") == pytest.approx(loaded((shape, weights), "H100"), abs=1 / 1024)


def test_graphs_of_gpt_oss_do_not_follow_the_sequences() -> None:
    """83 sizes to 1,024 tokens with 256 sequences: 1.88 GiB on each of four A100 (0.10.1)."""
    shape, weights = model("gpt_oss", 36, 2880, 64, 8, 64, 201088, 131072, experts=128, used=4, expert_width=2880)
    settings = VllmSettings(16384, version="0.10.1", tensor_parallel=4)
    gpu = VllmGpu(80 * GIB, name="NVIDIA A100-SXM4-80GB").completed()
    classes = classes_of(shape, weights)
    took = graph_bytes(shape, classes, settings, batch(settings, gpu), range(36))
    assert 1.88 * GIB <= took <= 1.88 * GIB * 1.25
    few = graph_bytes(shape, classes, settings, dataclasses.replace(batch(settings, gpu), sequences=8), range(36))
    assert few > took - 600 * MIB

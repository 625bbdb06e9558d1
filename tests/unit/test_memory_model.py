"""Memory figures against the logs of real engines, and against what llama.cpp said of the shapes named here."""

from __future__ import annotations

import pytest
from ansible_collections.llmhost.core.plugins.module_utils import memory_model
from ansible_collections.llmhost.core.plugins.module_utils.memory_model import Settings
from ansible_collections.llmhost.core.plugins.module_utils.model_facts import ModelFacts
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import hosts

MIB = 2**20


def model(layers: int, heads: int, kv_heads: int | list[int], head_dim: int, **fields: int) -> ModelFacts:
    """A model of that shape."""
    shape = {
        "layers": layers,
        "head_count": heads,
        "head_count_kv": kv_heads,
        "head_dim_k": head_dim,
        "head_dim_v": head_dim,
    }
    return ModelFacts.from_facts(hosts.qwen3_32b(**shape, **fields))


@pytest.mark.parametrize(
    ("shape", "context", "mib"),
    [
        # XiongjieDai/GPU-Benchmarks-on-LLM-Inference@aa72e0ec, logs of llama.cpp on RTX 3090:
        ((32, 32, 32, 128), 512, 256.0),  # LLaMA-2 7B, 'LLaMA 2/Gaming GPUs/3090_2_v2.ipynb' cell 18
        ((32, 32, 8, 128), 8192, 1024.0),  # Llama-3 8B, 'LLaMA 3/Gaming GPUs/3090_2_v3.ipynb' cell 8
        ((60, 52, 52, 128), 512, 780.0),  # LLaMA 30B, 'LLaMA/Gaming GPUs/3090.ipynb' cell 32
        # ikawrakow/ik_llama.cpp@8337e4cd, logs in github-data:
        ((64, 64, 8, 128), 8192, 2048.0),  # Qwen3-32B, discussion 397
        ((48, 32, 4, 128), 32768, 3072.0),  # Qwen3-30B-A3B, issue 398
        ((62, 32, 16, 128), 131072, 63488.0),  # Gemma-3-27B at full length on all layers, issue 539
    ],
)
def test_the_kv_cache_is_what_public_logs_say(shape: tuple[int, int, int, int], context: int, mib: float) -> None:
    assert memory_model.kv_cache_bytes(model(*shape), Settings(context, 1)) == mib * MIB


@pytest.mark.parametrize(
    ("cell_type", "mib"), [("f32", 2048), ("f16", 1024), ("bf16", 1024), ("q8_0", 544), ("q5_1", 384), ("q4_0", 288)]
)
def test_the_kv_cache_shrinks_with_its_cells(cell_type: str, mib: int) -> None:
    settings = Settings(8192, 1, cell_type, cell_type)

    assert memory_model.kv_cache_bytes(model(32, 32, 8, 128), settings) == mib * MIB


def test_cells_are_padded_for_each_sequence() -> None:
    dense = model(32, 32, 8, 128)

    assert memory_model.kv_cache_bytes(dense, Settings(1, 1)) == memory_model.kv_cache_bytes(dense, Settings(256, 1))
    assert memory_model.kv_cache_bytes(dense, Settings(257, 3)) == 3 * memory_model.kv_cache_bytes(
        dense, Settings(512, 1)
    )


def test_layers_may_differ_in_their_heads() -> None:
    mixed, dense = model(4, 8, [0, 8, 0, 8], 64), model(2, 8, 8, 64)

    assert memory_model.kv_cache_bytes(mixed, Settings(512, 1)) == memory_model.kv_cache_bytes(dense, Settings(512, 1))


# Compute buffer and output buffer in MiB as llama-server of llama-cpp-python 0.3.36 logged them on a CPU, with flash
# attention, for models of these shapes with empty weights.
@pytest.mark.parametrize(
    ("shape", "context", "parallel", "mib"),
    [
        ((28, 16, 8, 128, 1024, 3072, 151936), 4096, 1, 30.01 + 0.58),
        ((28, 16, 8, 128, 1024, 3072, 151936), 16384, 1, 42.01 + 0.58),
        ((28, 16, 8, 128, 1024, 3072, 151936), 4096, 4, 30.01 + 2.32),
        ((2, 64, 8, 128, 5120, 25600, 151936), 8192, 1, 204.01 + 0.58),
        ((2, 64, 8, 128, 5120, 25600, 151936), 2048, 4, 198.01 + 2.32),
        ((2, 32, 8, 128, 4096, 14336, 128256), 8192, 1, 124.01 + 0.49),
        ((2, 16, 16, 128, 2048, 16384, 32000), 2048, 1, 114.01 + 0.12),
        ((2, 16, 16, 128, 2048, 16384, 32000), 32768, 1, 144.01 + 0.12),
    ],
)
def test_the_compute_buffer_is_never_under_and_little_over(
    shape: tuple[int, ...], context: int, parallel: int, mib: float
) -> None:
    layers, heads, kv_heads, head_dim, embedding, feed_forward, vocabulary = shape
    measured = model(
        layers,
        heads,
        kv_heads,
        head_dim,
        embedding_length=embedding,
        feed_forward_length=feed_forward,
        vocab_size=vocabulary,
    )

    planned = memory_model.compute_bytes(measured, Settings(context, parallel)) / MIB
    assert mib <= planned <= 1.25 * mib


def test_layers_are_shared_out_as_llama_cpp_does() -> None:
    # Llama-3 8B on two RTX 3090: 544 MiB of KV cache on the first and 480 on the second, 32 a layer (log as above).
    assert memory_model.layers_by_device(32, [24, 24]) == [17, 16]
    assert memory_model.layers_by_device(32, [24]) == [33]


@given(st.integers(0, 200), st.lists(st.integers(0, 2**40), min_size=1, max_size=8))
def test_every_layer_has_a_place(layers: int, shares: list[int]) -> None:
    assert sum(memory_model.layers_by_device(layers, shares)) == layers + 1


@given(st.integers(1, 2**18), st.integers(1, 2**18), st.integers(1, 16))
def test_more_context_never_takes_less(one: int, other: int, parallel: int) -> None:
    dense = model(32, 32, 8, 128)
    less, more = (memory_model.cpu_need(dense, Settings(context, parallel)) for context in sorted((one, other)))

    assert less.total_bytes <= more.total_bytes

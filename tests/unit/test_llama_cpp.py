"""What llama.cpp allocates, against what it said of the same models."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_cpp import LlamaSettings, allocate, spans
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_repack import repacked_bytes
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Attention, FeedForward, Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights
from hypothesis import given
from hypothesis import strategies as st


def dense(layers: int, heads: int, kv_heads: int, head_dim: int) -> Shape:
    """A dense model with grouped-query attention."""
    attention = Attention(heads=heads, kv_heads=kv_heads, head_dim_k=head_dim, head_dim_v=head_dim)
    layer = Layer(attention, feed_forward=FeedForward(14336))
    return Shape("llama", heads * head_dim, 128256, 8192, (layer,) * layers)


def weights(layers: int, layer_bytes: int = 100 * MIB) -> Weights:
    """Weights of that many equal layers."""
    return Weights(300 * MIB, 300 * MIB, 400 * MIB, 16384, (LayerWeights(layer_bytes),) * layers)


@pytest.mark.parametrize(
    ("shape", "context", "mib"),
    [
        # XiongjieDai/GPU-Benchmarks-on-LLM-Inference@aa72e0ec, logs of llama.cpp on RTX 3090:
        ((32, 32, 32, 128), 512, 256),  # LLaMA-2 7B
        ((32, 32, 8, 128), 8192, 1024),  # Llama-3 8B
        ((60, 52, 52, 128), 512, 780),  # LLaMA 30B
        # ikawrakow/ik_llama.cpp@8337e4cd, logs in github-data:
        ((64, 64, 8, 128), 8192, 2048),  # Qwen3-32B
        ((48, 32, 4, 128), 32768, 3072),  # Qwen3-30B-A3B
    ],
)
def test_the_kv_cache_is_what_public_logs_say(shape: tuple[int, int, int, int], context: int, mib: int) -> None:
    assert allocate(dense(*shape), weights(shape[0]), LlamaSettings(context), 1).gpus[0].kv_cache_bytes == mib * MIB


def test_layers_are_shared_out_as_llama_cpp_does() -> None:
    # Llama-3 8B on two RTX 3090, same source: 544 MiB of cache on the first GPU and 480 on the second.
    first, second = allocate(dense(32, 32, 8, 128), weights(32), LlamaSettings(8192), 2).gpus

    assert (first.kv_cache_bytes, second.kv_cache_bytes) == (544 * MIB, 480 * MIB)
    assert (first.weights_bytes, second.weights_bytes) == (1700 * MIB, 1900 * MIB + 16384)


def experts(layers: int) -> tuple[Shape, Weights]:
    """A mixture of experts with 700 of 800 MiB a layer in its experts."""
    attention = Attention(heads=32, kv_heads=4, head_dim_k=128, head_dim_v=128)
    layer = Layer(attention, feed_forward=FeedForward(experts=128, experts_used=8, expert_length=768))
    held = LayerWeights(100 * MIB, 0, 700 * MIB)
    shape = Shape("qwen3moe", 2048, 151936, 32768, (layer,) * layers)
    return shape, Weights(300 * MIB, 300 * MIB, 400 * MIB, 0, (held,) * layers)


def test_experts_in_ram_leave_the_gpu_but_for_one_tensor() -> None:
    shape, held = experts(48)
    inside, outside = (allocate(shape, held, LlamaSettings(8192, cpu_expert_layers=kept), 1) for kept in (0, 48))

    assert inside.gpus[0].weights_bytes - outside.gpus[0].weights_bytes == 48 * 700 * MIB
    assert outside.host.weights_bytes - inside.host.weights_bytes == 48 * 700 * MIB
    copied = outside.gpus[0].compute_bytes - inside.gpus[0].compute_bytes
    assert 700 * MIB / 3 < copied < 700 * MIB / 2


def test_layers_in_ram_keep_their_cache_there_and_the_gpu_still_computes() -> None:
    plan = allocate(dense(32, 32, 8, 128), weights(32), LlamaSettings(8192, gpu_layers=8), 1)
    nothing = allocate(dense(32, 32, 8, 128), weights(32), LlamaSettings(8192, gpu_layers=0), 1)

    assert plan.gpus[0].kv_cache_bytes == 7 * 32 * MIB  # seven layers and the output
    assert plan.host.kv_cache_bytes == 25 * 32 * MIB
    assert nothing.gpus[0].weights_bytes == 0 < nothing.gpus[0].compute_bytes


def test_a_tied_output_is_copied_to_the_gpu_and_not_in_ram() -> None:
    shape = dense(4, 8, 8, 64)
    tied = Weights(300 * MIB, 300 * MIB, 0, 0, (LayerWeights(MIB),) * 4)

    assert allocate(shape, tied, LlamaSettings(512), 1).gpus[0].weights_bytes == 304 * MIB
    assert allocate(shape, tied, LlamaSettings(512), 0).host.weights_bytes == 304 * MIB


def test_draft_layers_are_loaded_only_to_be_run() -> None:
    trunk = dense(4, 8, 8, 64)
    shape = Shape(trunk.architecture, 512, 1000, 8192, trunk.layers, trunk.layers[:1])
    held = Weights(MIB, MIB, MIB, 0, (LayerWeights(MIB),) * 4, (LayerWeights(10 * MIB),))
    without, drafting = (allocate(shape, held, LlamaSettings(512, draft=draft), 1).gpus[0] for draft in (False, True))

    assert drafting.weights_bytes - without.weights_bytes == 10 * MIB
    assert drafting.kv_cache_bytes == 5 * without.kv_cache_bytes // 4
    assert drafting.compute_bytes > without.compute_bytes


def test_the_one_buffer_of_2023_lies_on_the_first_gpu() -> None:
    # XiongjieDai/GPU-Benchmarks-on-LLM-Inference@aa72e0ec: LLaMA 7B, 512 tokens, 70.50 MiB on any number of GPUs
    attention = Attention(heads=32, kv_heads=32, head_dim_k=128, head_dim_v=128)
    shape = Shape("llama", 4096, 32000, 2048, (Layer(attention, feed_forward=FeedForward(11008)),) * 32)
    settings = LlamaSettings(512, flash_attention=False, build="2023-11")
    first, second = allocate(shape, weights(32), settings, 2).gpus

    assert 70.5 * MIB <= first.compute_bytes < 1.2 * 70.5 * MIB
    assert second.compute_bytes == 0


@given(
    st.integers(0, 200),
    st.lists(st.integers(0, 2**40), min_size=1, max_size=8),
    st.one_of(st.none(), st.integers(0, 220)),
)
def test_every_layer_has_one_place(layers: int, shares: list[int], offloaded: int | None) -> None:
    host, gpus = spans(layers, LlamaSettings(512, tensor_split=tuple(shares), gpu_layers=offloaded), len(shares))
    held = [number for span in (host, *gpus) for number in range(span.first, span.last)]

    assert held == list(range(layers))
    assert sum(span.output for span in (host, *gpus)) == 1


@pytest.mark.parametrize(
    ("offloaded", "build", "in_ram", "output"),
    [(22, "2023-12", 10, False), (32, "2025-08", 0, False), (33, "2025-08", 0, True), (22, "2026-03", 11, True)],
)
def test_the_output_was_offloaded_last_in_older_builds(offloaded: int, build: str, in_ram: int, output: bool) -> None:
    host, (gpu,) = spans(32, LlamaSettings(512, gpu_layers=offloaded, build=build), 1)
    assert (host.last, gpu.first, gpu.last) == (in_ram, in_ram, 32)
    assert (gpu.output, host.output) == (output, not output)


def test_a_share_of_nothing_holds_nothing() -> None:
    _, (first, second, third) = spans(32, LlamaSettings(512, tensor_split=(0, 3, 1)), 3)

    assert (first.places, second.places, third.places) == (0, 25, 8)


def test_what_is_reordered_for_the_cpu_lies_in_ram_twice_while_the_file_is_mapped() -> None:
    shape = dense(4, 8, 8, 64)
    held = Weights(MIB, MIB, MIB, 0, (LayerWeights(10 * MIB),) * 4, repacked_bytes=40 * MIB)
    mapped, read, beside_a_gpu = (
        allocate(shape, held, LlamaSettings(512, load_path=path, gpu_layers=0), gpus).host.weights_bytes // MIB
        for path, gpus in (("mmap", 0), ("none", 0), ("mmap", 1))
    )

    assert (mapped, read, beside_a_gpu) == (82, 42, 42)


def test_the_pages_of_a_file_that_were_copied_are_not_needed_unless_they_are_locked() -> None:
    shape = dense(4, 8, 8, 64)
    held = Weights(MIB, MIB, MIB, 0, (LayerWeights(10 * MIB),) * 4, repacked_bytes=40 * MIB)
    mapped, read, locked = (
        allocate(shape, held, LlamaSettings(512, load_path=path, gpu_layers=0), 0).host
        for path in ("mmap", "none", "mlock")
    )

    assert mapped.total_bytes == read.total_bytes == locked.total_bytes - 40 * MIB
    assert mapped.logged_bytes == locked.logged_bytes


@dataclass(frozen=True)
class Stored:
    """A tensor of a file."""

    name: str
    shape: tuple[int, ...]
    type_name: str
    size_bytes: int = 1000


@pytest.mark.parametrize(
    ("tensor", "copied"),
    [
        (Stored("blk.0.ffn_up.weight", (4096, 11008), "Q4_K"), 1000),
        (Stored("blk.0.ffn_up_exps.weight", (2880, 2880, 32), "MXFP4"), 1000),
        (Stored("output.weight", (4096, 32000), "Q4_0"), 1000),
        (Stored("output.weight", (4096, 32001), "Q4_0"), 0),  # rows go together by eight
        (Stored("token_embd.weight", (4096, 32000), "Q4_0"), 0),
        (Stored("blk.0.ffn_up.weight", (4096, 11008), "Q6_K"), 0),
        (Stored("blk.0.attn_norm.weight", (4096,), "F32"), 0),
    ],
)
def test_which_tensors_are_reordered(tensor: Stored, copied: int) -> None:
    assert repacked_bytes(tensor) == copied


def held() -> Weights:
    """Four layers with matrices of 10 MiB and norms of 1 MiB, an output of 8 MiB."""
    return Weights(2 * MIB, 2 * MIB, 8 * MIB, MIB, (LayerWeights(10 * MIB, MIB),) * 4)


def weights_and_caches(settings: LlamaSettings, gpus: int) -> list[tuple[int, int]]:
    """Return MiB of weights and of caches on each GPU."""
    rows = allocate(dense(4, 8, 8, 64), held(), settings, gpus).gpus
    return [(row.weights_bytes // MIB, row.kv_cache_bytes // 2**19) for row in rows]


def test_rows_of_every_matrix_go_to_all_gpus_and_the_rest_stays_with_its_layer() -> None:
    assert weights_and_caches(LlamaSettings(512), 2) == [(33, 6), (20, 2)]
    assert weights_and_caches(LlamaSettings(512, split_mode="row"), 2) == [(27, 6), (26, 2)]
    assert weights_and_caches(LlamaSettings(512, split_mode="row", tensor_split=(3, 1)), 2) == [(40, 8), (13, 0)]


def test_split_by_rows_older_builds_leave_the_rest_to_the_main_gpu() -> None:
    older = LlamaSettings(512, split_mode="row", build="2024-08")

    assert weights_and_caches(older, 2) == [(29, 8), (24, 0)]
    assert allocate(dense(4, 8, 8, 64), held(), older, 2).gpus[1].compute_bytes == 0


def test_a_split_of_tensors_divides_heads_and_repeats_norms() -> None:
    found = allocate(dense(4, 8, 8, 64), held(), LlamaSettings(512, split_mode="tensor"), 2)

    assert weights_and_caches(LlamaSettings(512, split_mode="tensor"), 2) == [(29, 4), (29, 4)]
    assert found.gpus[0].compute_bytes == found.gpus[1].compute_bytes > 0
    assert [doubt for doubt in found.doubts if "split mode tensor" in doubt]

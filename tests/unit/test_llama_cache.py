"""The caches of llama.cpp, against public logs and its own figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_cache import (
    caches,
    cells,
    kinds_of,
    row_bytes,
)
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_settings import LlamaSettings
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import (
    CHUNKED,
    LATENT,
    SLIDING,
    Attention,
    Layer,
    Recurrent,
    Shape,
)
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB
from hypothesis import given
from hypothesis import strategies as st


def of(*layers: Layer, architecture: str = "llama") -> Shape:
    """A shape of those layers."""
    return Shape(architecture, 4096, 32000, 131072, layers)


def gqa(kv_heads: int, head_dim: int, **fields: Any) -> Layer:
    """A layer with that attention alone."""
    return Layer(Attention(heads=32, kv_heads=kv_heads, head_dim_k=head_dim, head_dim_v=head_dim, **fields))


def mib(shape: Shape, settings: LlamaSettings) -> tuple[float, float]:
    """KV cache and recurrent state of all layers."""
    kv, state = caches(shape, kinds_of(shape), 0, len(shape.layers), cells(shape, settings), settings)
    return kv / MIB, state / MIB


LATENT_LAYER = Layer(
    Attention(LATENT, heads=128, kv_heads=1, head_dim_k=192, head_dim_v=128, kv_lora_rank=512, rope_dim=64)
)
GPT_OSS = of(*(gqa(8, 64, kind=SLIDING, window=128), gqa(8, 64)) * 18)
GEMMA_3 = of(*(*(gqa(16, 128, kind=SLIDING, window=1024),) * 5, gqa(16, 128)) * 10, *(gqa(16, 128),) * 2)
DELTA_NET = Recurrent("gated_delta_net", 3 * 10240, 6144 * 128, 6144, 48, 16, 128, 128, 4)


@pytest.mark.parametrize(
    ("shape", "settings", "kv"),
    [
        # XiongjieDai/GPU-Benchmarks-on-LLM-Inference@aa72e0ec, logs of llama.cpp on RTX 3090
        (of(*(gqa(32, 128),) * 32), LlamaSettings(512, build="2023-12"), 256.0),  # LLaMA-2 7B
        (of(*(gqa(8, 128),) * 32), LlamaSettings(8192, build="2024-05"), 1024.0),  # Llama-3 8B
        # ikawrakow/ik_llama.cpp@8337e4cd, logs in github-data
        (of(*(LATENT_LAYER,) * 61), LlamaSettings(32768, build="ik-2025-05"), 2196.0),  # discussion 258
        (GEMMA_3, LlamaSettings(131072, build="ik-2025-05"), 63488.0),  # issue 539: full length on all layers
        # ollama/ollama issue 16480: 18 layers of 131072 cells for each of two sequences, 18 of 1280
        (GPT_OSS, LlamaSettings(131072, 2, batch=1024, micro_batch=1024), 9216.0 + 90.0),
    ],
)
def test_the_kv_cache_is_what_public_logs_say(shape: Shape, settings: LlamaSettings, kv: float) -> None:
    assert mib(shape, settings)[0] == pytest.approx(kv, abs=0.01)


def test_the_latent_cache_by_build() -> None:
    shape = of(*(LATENT_LAYER,) * 61)
    by_build = {build: mib(shape, LlamaSettings(512, build=build))[0] for build in ("2025-03", "2025-04", "pinned")}

    assert by_build == {"2025-03": 2440.0, "2025-04": pytest.approx(64.8125), "pinned": pytest.approx(34.3125)}
    quantised = LlamaSettings(32768, cell_type_k="q8_0", cell_type_v="q8_0")
    assert mib(shape, quantised)[0] == pytest.approx(1166.625)


def test_the_state_of_each_sequence_is_what_a_log_says() -> None:
    # ggml-org/llama.cpp PR 23792: 48 layers of Qwen3.6-27B, three sequences, 16.88 and 432.00 MiB
    shape = of(*(Layer(None, DELTA_NET),) * 48, architecture="qwen35")

    assert mib(shape, LlamaSettings(4096, 3))[1] == pytest.approx(448.875)
    # The same with two drafted tokens: a state for each, public log of Qwen3.8-27B with one sequence.
    assert mib(shape, LlamaSettings(4096, draft=True, draft_tokens=2))[1] == pytest.approx(448.875)


@pytest.mark.parametrize(
    ("settings", "full", "window"),
    [
        (LlamaSettings(8192), 8192, 1536),  # 1024 and a micro-batch
        (LlamaSettings(8192, 4), 32768, 6144),
        (LlamaSettings(8192, 4, kv_unified=True), 32768, 4608),  # 4 * 1024 + 512
        (LlamaSettings(8192, 4, build="2025-06"), 32768, 4608),  # one cache for all sequences
        (LlamaSettings(8192, build="2025-05"), 8192, 3072),  # 1024 and a batch of 2048
        (LlamaSettings(8192, build="2025-04"), 8192, 8192),
        (LlamaSettings(8192, swa_full=True), 8192, 8192),
        (LlamaSettings(700), 768, 768),
        (LlamaSettings(700, flash_attention=False, build="2024-05"), 704, 704),
        (LlamaSettings(100, 3), 768, 768),  # 300 padded to 512, a third of it padded again
    ],
)
def test_cells_by_window_streams_and_build(settings: LlamaSettings, full: int, window: int) -> None:
    count = cells(GEMMA_3, settings)

    assert (count.full, count.window) == (full, window)


@pytest.mark.parametrize(
    ("cell_type", "size"), [("f32", 4096), ("f16", 2048), ("q8_0", 1088), ("q5_1", 768), ("q4_0", 576), ("iq4_nl", 576)]
)
def test_rows_are_whole_blocks(cell_type: str, size: int) -> None:
    assert row_bytes(1024, cell_type) == size
    assert row_bytes(1, cell_type) == row_bytes(1 if cell_type in ("f32", "f16") else 32, cell_type)


def test_without_flash_attention_every_row_of_values_is_as_wide_as_the_widest() -> None:
    shape = of(gqa(4, 512), gqa(16, 256, kind=SLIDING, window=1024), architecture="gemma4")
    wide, narrow = (mib(shape, LlamaSettings(4096, flash_attention=flash))[0] for flash in (False, True))

    assert wide - narrow == pytest.approx((4096 - 2048) * 2 * 4096 / MIB)


def test_layers_that_share_a_cache_or_only_draft_take_none() -> None:
    own, shared = gqa(8, 128), gqa(8, 128, stores_cache=False)
    settings = LlamaSettings(4096)

    assert mib(of(own, shared), settings) == mib(of(own), settings)
    drafting = Shape("glm4moe", 4096, 32000, 4096, (own,), (own,))
    counted = [
        caches(drafting, kinds_of(drafting), 0, 2, cells(drafting, run), run)[0] // MIB
        for run in (settings, LlamaSettings(4096, draft=True))
    ]
    assert counted == [16, 32]


def test_deepseek_v4_keeps_keys_alone_and_one_row_for_several_tokens() -> None:
    # src/llama-kv-cache-dsv4.cpp: beside the window, a row for 4 tokens with an index, or for 128.
    window = Attention(SLIDING, heads=64, kv_heads=1, head_dim_k=512, head_dim_v=512, window=128)
    fine = replace(window, compress_ratio=4, index_heads=64, index_head_dim=128, index_row=128)
    coarse = replace(window, compress_ratio=128)
    kv, state = zip(
        *(mib(of(Layer(kind), architecture="deepseek4"), LlamaSettings(65536, 2)) for kind in (window, fine, coarse)),
        strict=True,
    )

    raw = 2 * 768 * 512 * 2 / MIB
    assert kv == (raw, raw + 2 * 16384 * (512 + 128) * 2 / MIB, raw + 2 * 512 * 512 * 2 / MIB)
    assert state == (0, 2 * 2 * 8 * 2 * (512 + 128) * 4 / MIB, 2 * 2 * 128 * 512 * 4 / MIB)


def test_chunks_bound_a_cache_as_windows_do() -> None:
    chunked, full = gqa(8, 128, kind=CHUNKED, window=8192), gqa(8, 128)

    assert mib(of(chunked), LlamaSettings(65536))[0] * 65536 == mib(of(full), LlamaSettings(65536))[0] * 8704


@given(st.integers(1, 2**18), st.integers(1, 2**18), st.integers(1, 16), st.booleans(), st.booleans())
def test_more_context_never_takes_less(one: int, other: int, parallel: int, flash: bool, unified: bool) -> None:
    few, many = (
        mib(GPT_OSS, LlamaSettings(context, parallel, flash_attention=flash, kv_unified=unified))[0]
        for context in sorted((one, other))
    )
    assert few <= many

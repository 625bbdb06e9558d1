"""vLLM's allocation against boots that people made public."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import (
    LATENT,
    Attention,
    FeedForward,
    Layer,
    Recurrent,
    Shape,
)
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.layer_classes import classes_of
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm import (
    CONTEXT_TOO_LONG,
    NO_CACHE,
    NO_FREE_MEMORY,
    OUT_OF_MEMORY,
    REFUSED,
    STARTS,
    VllmAllocation,
    allocate_vllm,
)
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_cache import CacheLayout, cache_layout
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_parallel import check_parallel
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import OFFLINE, VllmGpu, VllmSettings
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.vllm_models import Model, deepseek_v2_lite, kimi_linear, llama_8b, model, qwen_27b

H100 = VllmGpu(int(79.19 * GIB), name="NVIDIA H100 80GB HBM3")
RTX_3090 = VllmGpu(int(23.58 * GIB), name="NVIDIA GeForce RTX 3090")
TOWER = 417_000_000 * 2  # SigLIP so400m

MODELS: dict[str, Callable[[], Model]] = {
    "Llama-3.1-8B": llama_8b,
    "Llama-3.3-70B-FP8": lambda: model(
        "llama", 80, 8192, 64, 8, 128, 128256, 131072, width=28672, matrix_bytes=1.0
    ),
    "Qwen2.5-0.5B": lambda: model("qwen2", 24, 896, 14, 2, 64, 151936, 32768, width=4864, tied=True),
    "Qwen2.5-1.5B": lambda: model("qwen2", 28, 1536, 12, 2, 128, 151936, 32768, width=8960, tied=True),
    "Qwen2.5-7B": lambda: model("qwen2", 28, 3584, 28, 4, 128, 152064, 32768, width=18944),
    "Qwen2.5-72B": lambda: model("qwen2", 80, 8192, 64, 8, 128, 152064, 32768, width=29568),
    "Qwen3-0.6B": lambda: model("qwen3", 28, 1024, 16, 8, 128, 151936, 40960, width=3072, tied=True),
    "Qwen3-14B": lambda: model("qwen3", 40, 5120, 40, 8, 128, 151936, 40960, width=17408),
    "Qwen3-32B": lambda: model("qwen3", 64, 5120, 64, 8, 128, 151936, 40960, width=25600),
    "CodeLlama-7B": lambda: model("llama", 32, 4096, 32, 32, 128, 32016, 16384, width=11008),
    "phi-2": lambda: model("phi", 32, 2560, 32, 32, 80, 51200, 2048, width=10240, gated=False),
    "phi-4": lambda: model("phi3", 40, 5120, 40, 10, 128, 100352, 16384, width=17920),
    "gemma-7b": lambda: model("gemma", 28, 3072, 16, 16, 256, 256000, 8192, width=24576, tied=True),
    "gemma-2-2b": lambda: model(
        "gemma2", 26, 2304, 8, 4, 256, 256000, 8192, width=9216, tied=True, window=4096, full_every=2
    ),
    "gemma-3-4b": lambda: model(
        "gemma3", 34, 2560, 8, 4, 256, 262208, 131072,
        width=10240, tied=True, window=1024, full_every=6, tower=TOWER,
    ),
    "gemma-3-27b": lambda: model(
        "gemma3", 62, 5376, 32, 16, 128, 262208, 131072,
        width=21504, tied=True, window=1024, full_every=6, tower=TOWER,
    ),
    "granite-3.1-8b": lambda: model("granite", 40, 4096, 32, 8, 128, 49155, 131072, width=12800, tied=True),
    "Mixtral-8x7B": lambda: model(
        "mixtral", 32, 4096, 32, 8, 128, 32000, 32768, experts=8, used=2, expert_width=14336
    ),
    "Qwen3-30B-A3B": lambda: model(
        "qwen3_moe", 48, 2048, 32, 4, 128, 151936, 40960, experts=128, used=8, expert_width=768
    ),
    "gpt-oss-20b": lambda: model(
        "gpt_oss", 24, 2880, 64, 8, 64, 201088, 131072, experts=32, used=4, expert_width=2880,
        window=128, full_every=2, expert_bytes=17 / 32,
    ),
    "DeepSeek-V2-Lite": deepseek_v2_lite,
    "Mistral-Small-3.1-24B": lambda: model(
        "mistral3", 40, 5120, 32, 8, 128, 131072, 131072, width=32768, tower=430_000_000 * 2
    ),
}  # fmt: skip


def boot(name: str, gpu: VllmGpu | int = H100, **chosen: Any) -> VllmAllocation:
    """Allocate a model with the settings of llm-d-planner's runs unless others are chosen."""
    shape, weights = MODELS[name]()
    defaults = VllmSettings(8192, gpu_memory_utilization=0.95, version="0.19.0", prefix_caching=False)
    return allocate_vllm(shape, weights, dataclasses.replace(defaults, **chosen), gpu)


# Weights, peak and non-torch in GiB as the log says. 0.19: jgchn/llm-d-planner, branch accuracy, results_raw.csv;
# 0.15 to 0.18: its version sweep; 0.16 with a block of 128: llm-d-planner docs/empirical-vllm-memory-results.md.
OLDER: dict[str, Any] = {"version": "0.16.0", "gpu_memory_utilization": 0.9, "max_model_len": 16000}
BOOTS: list[tuple[str, dict[str, Any], float, float, float]] = [
    ("Llama-3.1-8B", {}, 14.99, 1.89, 0.25),
    ("Llama-3.1-8B", {"tensor_parallel": 2}, 7.51, 1.89, 2.07),
    ("Llama-3.1-8B", {"tensor_parallel": 4}, 3.77, 1.89, 2.13),
    ("Llama-3.1-8B", {"pipeline_parallel": 2}, 7.51, 1.10, 0.07),
    ("Llama-3.1-8B", {"pipeline_parallel": 4}, 4.26, 1.05, 0.07),
    ("Llama-3.1-8B", {"dtype_bytes": 4}, 29.98, 2.21, 0.25),
    ("Llama-3.1-8B", {"quantization": "fp8"}, 8.49, 1.89, 0.25),
    ("Llama-3.1-8B", OLDER, 14.99, 4.76, 0.13),
    ("Llama-3.3-70B-FP8", {"tensor_parallel": 2}, 33.88, 1.96, 2.10),
    ("Llama-3.3-70B-FP8", {**OLDER, "tensor_parallel": 2}, 33.88, 4.84, 0.55),
    ("Qwen2.5-7B", {}, 14.25, 2.21, 0.24),
    ("Qwen2.5-7B", {"tensor_parallel": 2}, 7.12, 2.21, 2.06),
    ("Qwen2.5-7B", {"tensor_parallel": 4}, 3.55, 2.21, 2.13),
    ("Qwen2.5-72B", {"tensor_parallel": 2}, 67.80, 2.29, 2.09),
    ("Qwen3-0.6B", OLDER, 1.12, 5.56, 0.13),
    ("Qwen3-14B", {"version": "0.15.0"}, 27.52, 5.64, 0.13),
    ("Qwen3-14B", {"version": "0.17.0"}, 27.52, 2.23, 0.13),
    ("Qwen3-14B", {"version": "0.18.0"}, 27.52, 2.23, 0.25),
    ("Qwen3-32B", OLDER, 61.03, 5.64, 0.14),
    ("Qwen3-32B", {**OLDER, "tensor_parallel": 2}, 30.59, 5.64, 0.54),
    ("CodeLlama-7B", {}, 12.56, 0.77, 0.25),
    ("phi-2", {"max_model_len": 2048}, 5.19, 0.79, 0.24),
    ("phi-4", {}, 27.39, 1.52, 0.25),
    ("gemma-7b", {}, 15.91, 3.63, 0.25),
    ("gemma-2-2b", {}, 4.90, 3.62, 0.24),
    ("gemma-3-4b", {}, 8.58, 3.89, 0.25),
    ("gemma-3-27b", {}, 51.45, 3.99, 0.26),
    ("granite-3.1-8b", {}, 15.25, 0.85, 0.46),
    ("Mixtral-8x7B", {"tensor_parallel": 2}, 43.51, 1.21, 2.07),
    ("Qwen3-30B-A3B", {}, 56.88, 2.68, 0.27),
    ("gpt-oss-20b", OLDER, 13.47, 7.38, 0.13),
    ("gpt-oss-20b", {}, 13.64, 2.87, 0.25),
    ("gpt-oss-20b", {"tensor_parallel": 2}, 7.01, 2.87, 2.07),
    ("DeepSeek-V2-Lite", {}, 29.43, 1.93, 0.26),
    ("Mistral-Small-3.1-24B", {}, 44.76, 2.03, 0.25),
]


@pytest.mark.parametrize(("name", "chosen", "weights", "peak", "outside"), BOOTS)
def test_boots_on_h100(name: str, chosen: dict[str, Any], weights: float, peak: float, outside: float) -> None:
    rank = boot(name, **chosen).ranks[0]
    # The log rounds to 0.01 GiB.
    assert rank.weights_bytes / GIB == pytest.approx(weights, rel=0.01, abs=0.006)
    fixed = (rank.weights_bytes + rank.activation_bytes + rank.non_torch_bytes) / GIB
    measured = weights + peak + outside
    assert measured * 0.9985 - 0.02 <= fixed <= measured * 1.06
    seen = "gemma-3" in name or "Mistral" in name  # a tower whose size is guessed
    assert rank.activation_bytes / GIB == pytest.approx(peak, rel=0.04, abs=0.2 if seen else 0.09)


# GiB of the pool, blocks and concurrency in the log: the same runs.
POOLS: list[tuple[str, dict[str, Any], float, int, float]] = [
    ("Llama-3.1-8B", {}, 58.11, 476016, 58.11),
    ("Llama-3.1-8B", {"kv_cache_dtype": "fp8"}, 58.11, 952032, 116.21),
    ("Llama-3.1-8B", {"tensor_parallel": 2}, 63.76, 1044688, 127.53),
    ("Llama-3.1-8B", {"pipeline_parallel": 4}, 69.80, 2257264, 275.54),
    ("Qwen2.5-7B", {"tensor_parallel": 4}, 67.34, 5043280, 615.63),
    ("Qwen3-14B", {"version": "0.17.0"}, 45.34, 297136, 36.27),
    ("gemma-2-2b", {}, 66.47, 670160, 81.73),
    ("gemma-3-4b", {}, 62.51, 468144, 57.05),
    ("gemma-3-27b", {}, 19.53, 36560, 4.46),
    ("Qwen3-30B-A3B", {}, 15.41, 168288, 20.54),
    ("DeepSeek-V2-Lite", {}, 43.61, 1505552, 183.78),
    ("DeepSeek-V2-Lite", {"tensor_parallel": 4}, 63.73, 2199888, 268.54),
    ("gpt-oss-20b", {"tensor_parallel": 2}, 63.28, 2764768, 337.17),
]


@pytest.mark.parametrize(("name", "chosen", "pool", "tokens", "concurrency"), POOLS)
def test_pools_on_h100(name: str, chosen: dict[str, Any], pool: float, tokens: int, concurrency: float) -> None:
    plan = boot(name, **chosen)
    assert plan.verdict == STARTS
    planned = min(rank.pool_bytes for rank in plan.ranks) / GIB
    assert pool * 0.97 <= planned <= pool + 0.03
    assert plan.cache_tokens == pytest.approx(tokens, rel=0.03)
    assert plan.max_concurrency == pytest.approx(concurrency, rel=0.03)


# Other GPUs: GiB in all, the pool that the log names, and what it was sized with. Llama on A100, vLLM 0.31.0 (a public
# notebook of boot logs); L4 and T4, logs of 0.7; gpt-oss-20b on A100, 0.19.0 (myoceane.fr, 2026-04); Qwen2.5-0.5B on
# A100, ovg-project/kvcached PR 448.
ELSEWHERE: list[tuple[str, str, float, float, dict[str, Any]]] = [
    ("Llama-3.1-8B", "NVIDIA A100-SXM4-80GB", 79.25, 56.21, {"version": "0.31.0", "max_model_len": 131072}),
    ("Llama-3.1-8B", "NVIDIA L4", 22.07, 4.60, {"version": "0.7.3", "max_model_len": 131072}),
    ("Llama-3.1-8B", "NVIDIA A100-SXM4-40GB", 39.49, 19.92, {"version": "0.19.0", "max_model_len": 32768}),
    ("gpt-oss-20b", "NVIDIA A100-SXM4-80GB", 79.25, 36.56, {"gpu_memory_utilization": 0.65, "max_model_len": 131072}),
    (
        "Qwen2.5-0.5B",
        "NVIDIA A100-SXM4-40GB",
        39.49,
        34.70,
        {"version": "0.20.0", "enforce_eager": True, "gpu_memory_utilization": 0.92},
    ),
    (
        "Qwen2.5-1.5B",
        "Tesla T4",
        14.56,
        2.36,
        {"version": "0.7.3", "max_model_len": 32768, "gpu_memory_utilization": 0.5},
    ),
]


@pytest.mark.parametrize(("name", "gpu", "memory", "pool", "chosen"), ELSEWHERE)
def test_pools_on_other_gpus(name: str, gpu: str, memory: float, pool: float, chosen: dict[str, Any]) -> None:
    plan = boot(name, VllmGpu(int(memory * GIB), name=gpu), **{"gpu_memory_utilization": None, **chosen})
    planned = plan.ranks[0].pool_bytes / GIB
    assert pool * 0.97 <= planned <= pool + 0.01


def test_gpus_before_ampere_get_the_old_engine() -> None:
    """Qwen3-8B on four RTX 2080 Ti, vLLM 0.8.5: 3.85 GiB of weights, a peak of 1.45, 14.49 GiB left for the cache."""
    gpu = VllmGpu(int(21.48 * GIB), compute_capability=(7, 5))
    made = model("qwen3", 36, 4096, 32, 8, 128, 151936, 131072, width=12288)
    chosen = VllmSettings(
        65536,
        max_num_batched_tokens=8192,
        tensor_parallel=4,
        gpu_memory_utilization=0.93,
        enforce_eager=True,
        version="0.8.5",
    )
    rank = allocate_vllm(*made, chosen, gpu).ranks[0]
    assert rank.weights_bytes / GIB == pytest.approx(3.85, abs=0.01)
    assert rank.activation_bytes / GIB == pytest.approx(1.45, abs=0.015)
    assert 14.49 * 0.97 <= rank.pool_bytes / GIB <= 14.49


def layout(made: Model, chosen: VllmSettings) -> CacheLayout:
    """The pages of a model on one stage."""
    return cache_layout(made[0], classes_of(*made), chosen, [range(len(made[0].layers))])


def test_weights_on_four_ranks() -> None:
    """What the log of the same runs says was loaded on each GPU."""
    for name, loaded in (("DeepSeek-V2-Lite", 7.51), ("gpt-oss-20b", 3.63)):
        assert boot(name, tensor_parallel=4).ranks[0].weights_bytes / GIB == pytest.approx(loaded, rel=0.005)


def test_pages_are_those_of_the_log() -> None:
    # Gemma 3 27B: 10 full and 52 sliding layers make 7 groups of 10; 15,997 blocks are 36,560 tokens.
    gemma = layout(MODELS["gemma-3-27b"](), VllmSettings(8192, version="0.19.0"))
    assert sum(group.number for group in gemma.groups) == 7
    assert gemma.cached_tokens(15997) == 36560
    assert 15997 / gemma.blocks_needed(8192, 8192) == pytest.approx(4.46, abs=0.005)
    # Qwen3.6-27B on two GPUs with three drafted tokens and an fp8 cache (noonghunna/club-3090 issues 294 and 642).
    chosen = VllmSettings(
        262144, tensor_parallel=2, kv_cache_dtype="fp8_e5m2", draft_tokens=3, prefix_caching=True, version="0.24.0"
    )
    qwen = layout(qwen_27b(), chosen)
    needed = qwen.blocks_needed(262144, 8192)
    assert [int(blocks / needed * 262144) for blocks in (425, 426)] == [622408, 623873]
    assert qwen.blocks([int(11.053 * GIB)]) == 426
    # With seven drafted tokens a block grows to 1,648 tokens (club-3090 issue 1107), without to 1,568 (issue 1047).
    assert layout(qwen_27b(), dataclasses.replace(chosen, draft_tokens=7)).block_tokens == 1648
    assert layout(qwen_27b(), dataclasses.replace(chosen, draft_tokens=0)).block_tokens == 1568
    # Kimi Linear on two GPUs: 7 latent and 20 recurrent layers; 2.30 GiB hold 75,840 tokens (vLLM issue 28228).
    kimi = layout(kimi_linear(), VllmSettings(120000, tensor_parallel=2, version="0.11.1"))
    blocks = kimi.blocks([int(2.295 * GIB)])
    assert (kimi.block_tokens, kimi.cached_tokens(blocks)) == (960, 75840)
    assert blocks / kimi.blocks_needed(120000, 64000) == pytest.approx(2.48, abs=0.01)


def test_windows_by_version() -> None:
    """What a sliding layer keeps while a prompt is computed, in blocks of 16 tokens."""
    gemma = MODELS["gemma-3-27b"]()

    def needed(version: str, **chosen: Any) -> int:
        plan = allocate_vllm(*gemma, VllmSettings(131072, version=version, max_num_batched_tokens=2048, **chosen), H100)
        return plan.needed_bytes // plan.block_bytes

    window = -(-(1023 + 2048) // 16) + 1
    assert needed("0.19.0") == 131072 // 16 + 6 * window
    # Two steps are under way at once since 0.26; before 0.9.2 every layer stored every token.
    assert needed("0.33.0") == 131072 // 16 + 6 * (-(-(1023 + 4096) // 16) + 1)
    assert needed("0.8.5") == needed("0.19.0", hybrid_cache=False) == 131072 // 16


def test_latent_attention_by_version() -> None:
    """Bytes a token and layer of DeepSeek-V2-Lite: 16 heads padded to 256, rows of 1,280, rows of 1,152 bytes."""
    attention = Attention(LATENT, 16, 1, 192, 128, kv_lora_rank=512, rope_dim=64)
    shape = Shape("deepseek_v2", 2048, 102400, 163840, (Layer(attention, None, FeedForward(length=10944)),) * 27)
    weights = Weights(1, 1, 1, 1, (LayerWeights(1, 1, 1),) * 27)
    for version, row in (("0.6.4", 16384), ("0.7.2", 1280), ("0.19.0", 1152)):
        found = layout((shape, weights), VllmSettings(8192, version=version))
        assert found.block_bytes[0] == found.block_tokens * row * 27


def test_values_narrower_than_keys() -> None:
    """Keys of 192 and values of 128 elements, as MiMo-V2 has them, with and without a window."""
    for version, full, windowed in (("0.13.0", 384, 384), ("0.19.0", 320, 384), ("0.24.0", 320, 320)):
        for window, width in ((0, full), (128, windowed)):
            kind = Attention("sliding" if window else "full", 64, 4, 192, 128, window)
            shape = Shape("mimo_v2_flash", 4096, 1000, 8192, (Layer(kind, None, FeedForward(length=1024)),))
            found = layout((shape, Weights(1, 1, 1, 1, (LayerWeights(1),))), VllmSettings(8192, version=version))
            assert found.block_bytes[0] == found.block_tokens * 4 * width * 2


def test_engine_before_v1() -> None:
    """Llama-3.1-8B on an RTX 3090, vLLM 0.6.4 (vLLM issue 10517): 20k starts, 29k does not, 45k does."""
    verdicts = {}
    for context, pool, blocks in ((20000, 3.81, 1952), (29000, 2.89, 1478), (45000, None, None)):
        plan = boot("Llama-3.1-8B", RTX_3090, max_model_len=context, version="0.6.4", gpu_memory_utilization=0.9)
        verdicts[context] = plan.verdict
        if pool is not None and blocks is not None:
            assert pool * 0.97 <= plan.ranks[0].pool_bytes / GIB <= pool
            assert blocks * 0.97 <= plan.blocks <= blocks
        # A step of a whole prompt leaves less, but over 32,768 tokens prompts come in pieces.
        assert 45000 <= plan.max_context < 50000
    assert verdicts == {20000: STARTS, 29000: CONTEXT_TOO_LONG, 45000: STARTS}


def test_cache_needed_by_a_very_long_request() -> None:
    """Qwen3-Coder-480B-FP8, 262,144 tokens: 62.0 GiB needed, 55.65 GiB hold 235,296 (vllm-project/recipes PR 12)."""
    made = model(
        "qwen3_moe", 62, 6144, 96, 8, 128, 151936, 262144,
        experts=160, used=8, expert_width=2560, matrix_bytes=1, expert_bytes=1,
    )  # fmt: skip
    found = layout(made, VllmSettings(262144, version="0.10.1"))
    assert found.blocks_needed(262144, 8192) * found.block_bytes[0] == 62 * GIB
    blocks = found.blocks([int(55.654 * GIB)])
    assert blocks * found.block_tokens == pytest.approx(235296, abs=32)


def test_verdicts() -> None:
    assert boot("Qwen3-32B", max_model_len=40000, version="0.16.0", gpu_memory_utilization=0.9).verdict == (
        CONTEXT_TOO_LONG
    )
    # "No KV cache room": 67.72 GiB of weights, -1.44 GiB left (llm-d-planner docs/empirical-vllm-memory-results.md).
    plan = boot("Llama-3.3-70B-FP8", version="0.16.0", gpu_memory_utilization=0.9, max_model_len=16000)
    assert plan.verdict == NO_CACHE
    assert plan.ranks[0].pool_bytes / GIB == pytest.approx(-1.44, abs=0.2)
    assert boot("Qwen2.5-72B").verdict == OUT_OF_MEMORY
    assert boot("Qwen3-14B", tensor_parallel=5).verdict == REFUSED
    assert boot("Llama-3.1-8B", dataclasses.replace(H100, used_bytes=8 * GIB)).verdict == NO_FREE_MEMORY
    assert boot("Llama-3.1-8B", 0).verdict == OUT_OF_MEMORY
    # 31.7 GiB of an unquantised 17B do not fit one card of 24 GB.
    seventeen = model("llama", 40, 6144, 48, 48, 128, 32000, 8192, width=16384)
    verdict = allocate_vllm(*seventeen, VllmSettings(4096), RTX_3090).verdict
    assert verdict == OUT_OF_MEMORY


def test_reasons_to_refuse() -> None:
    shape, _ = MODELS["Qwen3-14B"]()
    assert check_parallel(shape, 1) == check_parallel(shape, 8) == ()
    assert any("vocabulary" in reason for reason in check_parallel(shape, 5))
    assert any("attention heads" in reason for reason in check_parallel(shape, 16))
    assert any("stages" in reason for reason in check_parallel(shape, 1, 41))
    assert check_parallel(shape, 0)
    assert check_parallel(shape, 1, 0)
    # 4 heads of keys are repeated on 8 ranks, 12 are neither divided among nor repeated on 8.
    shape, _ = model("x", 2, 1024, 32, 4, 64, 32000, 4096, width=1024)
    assert check_parallel(shape, 8) == ()
    shape, _ = model("x", 2, 1024, 24, 12, 64, 32000, 4096, width=1024)
    assert any("heads of keys" in reason for reason in check_parallel(shape, 8))
    moe, _ = MODELS["Qwen3-30B-A3B"]()
    assert any("experts" in reason for reason in check_parallel(moe, 5))
    assert not any("experts" in reason for reason in check_parallel(moe, 5, expert_parallel=True))


def test_a_tower_costs_weights_and_computing() -> None:
    seeing, reading = boot("gemma-3-4b"), boot("gemma-3-4b", text_only=True)
    assert seeing.ranks[0].weights_bytes - reading.ranks[0].weights_bytes == TOWER
    assert seeing.ranks[0].activation_bytes > reading.ranks[0].activation_bytes
    assert boot("Llama-3.1-8B").ranks == boot("Llama-3.1-8B", text_only=True).ranks
    # Qwen3.5-4B on an A100, 0.20: 65,536 patches of one image through the tower take 1.70 GiB (kvcached PR 448).
    made = model("qwen3_5", 32, 2560, 16, 4, 256, 248320, 262144, width=9216, tied=True, tower=330_000_000 * 2)
    chosen = VllmSettings(4096, version="0.20.0", enforce_eager=True)
    rank = allocate_vllm(*made, chosen, VllmGpu(int(39.49 * GIB), name="A100-SXM4-40GB")).ranks[0]
    assert 1.69 <= rank.activation_bytes / GIB <= 1.70 * 1.06


def test_repeated_heads_cost_weights_and_cache() -> None:
    """With more ranks than heads of keys each rank still keeps one head."""
    plans = [boot("Qwen2.5-7B", tensor_parallel=ranks) for ranks in (4, 28)]
    assert plans[0].block_bytes == plans[1].block_bytes
    _, weights = MODELS["Qwen2.5-7B"]()
    assert plans[1].ranks[0].weights_bytes > weights.total_bytes / 28


def test_defaults_follow_gpu_version_and_use() -> None:
    small = boot("Llama-3.1-8B", RTX_3090, gpu_memory_utilization=None)
    assert (small.batch.tokens, small.batch.sequences) == (2048, 256)
    large = boot("Llama-3.1-8B", gpu_memory_utilization=None)
    assert (large.batch.tokens, large.batch.sequences) == (8192, 1024)
    assert boot("Llama-3.1-8B", usage=OFFLINE).batch.tokens == 16384
    a100 = VllmGpu(int(79.25 * GIB), name="NVIDIA A100-SXM4-80GB")
    assert boot("Llama-3.1-8B", a100).batch.sequences == 256
    assert boot("Llama-3.1-8B", a100, version="0.8.5").batch.sequences == 1024
    assert large.ranks[0].requested_bytes == int(H100.memory_bytes * 0.9)
    assert boot("Llama-3.1-8B", version="0.33.0", gpu_memory_utilization=None).ranks[0].requested_bytes == int(
        H100.memory_bytes * 0.92
    )
    assert boot("Llama-3.1-8B", max_num_seqs=8, max_num_batched_tokens=4096).batch.tokens == 4096


def test_devices_add_up_to_what_the_ranks_hold() -> None:
    plan = boot("Qwen3-32B", tensor_parallel=2, pipeline_parallel=2)
    allocation = plan.allocation
    assert [gpu.name for gpu in allocation.gpus] == ["GPU0", "GPU1", "GPU2", "GPU3"]
    for gpu, rank in zip(allocation.gpus, plan.ranks, strict=True):
        assert gpu.total_bytes - gpu.kv_cache_bytes == rank.fixed_bytes
        assert rank.pool_bytes >= gpu.kv_cache_bytes
    assert allocation.host.total_bytes == plan.host_bytes > 0


@given(
    context=st.integers(1, 131072),
    more=st.integers(0, 100_000),
    version=st.sampled_from(["0.8.5", "0.11.0", "0.16.0", "0.19.0", "0.33.0"]),
    name=st.sampled_from(["Llama-3.1-8B", "gemma-3-4b", "Qwen3-30B-A3B", "gpt-oss-20b"]),
)
@settings(deadline=None, max_examples=60)
def test_longer_contexts_never_take_less(context: int, more: int, version: str, name: str) -> None:
    short = boot(name, max_model_len=context, version=version)
    long = boot(name, max_model_len=context + more, version=version)
    assert long.needed_bytes >= short.needed_bytes
    assert long.max_concurrency <= short.max_concurrency
    if short.starts:
        assert short.max_context >= context
    if context > MODELS[name]()[0].context_length:
        assert short.verdict == REFUSED


@given(ranks=st.sampled_from([1, 2, 4, 8]), name=st.sampled_from(sorted(MODELS)))
@settings(deadline=None, max_examples=40)
def test_more_ranks_never_take_more_each(ranks: int, name: str) -> None:
    one, many = boot(name), boot(name, tensor_parallel=ranks)
    assert len(many.ranks) == ranks
    assert many.ranks[0].weights_bytes <= one.ranks[0].weights_bytes
    assert many.block_bytes <= one.block_bytes


def test_largest_context_starts_and_one_more_does_not() -> None:
    for name in ("Qwen3-32B", "gemma-3-27b"):
        plan = boot(name, gpu_memory_utilization=0.9)
        assert plan.max_context > 0
        assert boot(name, gpu_memory_utilization=0.9, max_model_len=plan.max_context).starts
        if plan.max_context < MODELS[name]()[0].context_length:
            assert not boot(name, gpu_memory_utilization=0.9, max_model_len=plan.max_context + 1).starts


NUMBERS = st.integers(0, 300)
ATTENTIONS = st.builds(
    Attention,
    kind=st.sampled_from(["full", "sliding", "chunked", LATENT, "?"]),
    heads=NUMBERS, kv_heads=NUMBERS, head_dim_k=NUMBERS, head_dim_v=NUMBERS, window=NUMBERS,
    stores_cache=st.booleans(), gated=st.booleans(), kv_lora_rank=NUMBERS, rope_dim=NUMBERS, index_head_dim=NUMBERS,
)  # fmt: skip
RECURRENTS = st.builds(
    Recurrent,
    kind=st.sampled_from(["mamba", "mamba2", "kda", "?"]),
    conv_elements=NUMBERS, state_elements=NUMBERS, inner=NUMBERS, heads=NUMBERS, groups=NUMBERS, state_dim=NUMBERS,
    conv_kernel=NUMBERS,
)  # fmt: skip
NETWORKS = st.builds(
    FeedForward, length=NUMBERS, gated=st.booleans(), experts=NUMBERS, experts_used=NUMBERS, expert_length=NUMBERS
)
LAYERS = st.builds(Layer, st.none() | ATTENTIONS, st.none() | RECURRENTS, st.none() | NETWORKS)


@given(
    layers=st.lists(LAYERS, max_size=6).map(tuple),
    numbers=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    weights=st.builds(Weights, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.just((LayerWeights(7, 8, 9),))),
    chosen=st.builds(
        VllmSettings,
        max_model_len=st.integers(-1, 10_000),
        tensor_parallel=st.integers(-1, 9),
        pipeline_parallel=st.integers(-1, 9),
        draft_tokens=st.integers(0, 3),
        version=st.sampled_from(["0.6.4", "0.8.5", "0.11.0", "0.19.0", "0.33.0", "main", ""]),
        dtype_bytes=st.sampled_from([0, 2, 4]),
        quantization=st.sampled_from(["", "fp8", "mxfp4", "bitsandbytes"]),
    ),
    memory=st.integers(-1, 1 << 36),
)
@settings(deadline=None, max_examples=300)
def test_any_shape_gets_an_answer(
    layers: tuple[Layer, ...],
    numbers: tuple[int, int, int],
    weights: Weights,
    chosen: VllmSettings,
    memory: int,
) -> None:
    """Zero heads, no layers, no memory: a verdict, never a traceback, and no negative bytes but of a missing pool."""
    plan = allocate_vllm(Shape("?", numbers[0], numbers[1], numbers[2], layers), weights, chosen, memory)
    assert plan.verdict
    assert plan.blocks >= 0
    assert plan.max_context >= 0
    for rank in plan.ranks:
        assert min(rank.weights_bytes, rank.activation_bytes, rank.graph_bytes) >= 0

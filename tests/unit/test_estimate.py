"""From the description of a model to an allocation in one call, against logs that people made public."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_cpp import LlamaSettings
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.estimate import (
    estimate_llama,
    estimate_vllm,
    plain_target,
    shape_of,
)
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import VllmGpu, VllmSettings
from hypothesis import given, settings
from hypothesis import strategies as st

LLAMA_3_8B: dict[str, Any] = {"layers": 32, "hidden": 4096, "heads": 32, "kv_heads": 8, "ffn": 14336, "vocab": 128256}
CONFIG: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 32, "hidden_size": 4096,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
    "max_position_embeddings": 131072, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
HEADER: dict[str, Any] = {
    "general.architecture": "llama", "llama.block_count": 32, "llama.embedding_length": 4096,
    "llama.vocab_size": 128256, "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8,
    "llama.feed_forward_length": 14336,
}  # fmt: skip
OLD = LlamaSettings(context=8192, flash_attention=False, build="2024-05")


@pytest.mark.parametrize("model", [LLAMA_3_8B, CONFIG, HEADER], ids=["facts", "config", "header"])
def test_a_model_on_two_gpus(model: dict[str, Any]) -> None:
    """Meta-Llama-3 8B Q4_K - Medium on two RTX 3090, May 2024."""
    found = estimate_llama(model, "GGUF Q4_K - Medium", OLD, gpus=2)
    weights = [found.host.weights_bytes, *(gpu.weights_bytes for gpu in found.gpus)]
    assert [size / MIB for size in weights] == pytest.approx([281.81, 2113.28, 2290.21], abs=0.01)
    assert [gpu.kv_cache_bytes // MIB for gpu in found.gpus] == [544, 480]
    assert all(640 <= gpu.compute_bytes / MIB <= 640 * 1.2 for gpu in found.gpus)


def test_the_fork_caches_latent_rows_of_any_file() -> None:
    """DeepSeek V3 0324, 32,768 tokens: 2196.00 MiB, c^KV alone."""
    facts = {"name": "deepseek2", "layers": 61, "hidden": 7168, "heads": 128, "kv_heads": 128, "head_dim_k": 192}
    facts |= {"head_dim_v": 128, "vocab": 129280, "experts": 256, "kv_lora_rank": 512, "qk_rope_dim": 64}
    fork, other = (
        estimate_llama(facts, "Q4_K_M", LlamaSettings(context=32768, build=build)).gpus[0].kv_cache_bytes / MIB
        for build in ("ik-2025-05", "2025-05")
    )
    assert fork == 2196
    assert other == 61 * 128 * (192 + 128) * 2 * 32768 / MIB


def test_positions_that_are_learned_are_looked_up_in_ram_beside_the_tokens() -> None:
    """StarCoder 15B, October 2024, 2048 tokens: 28.01 MiB in RAM are two tables' rows and the mask."""
    facts = {"name": "starcoder", "layers": 40, "hidden": 6144, "heads": 48, "kv_heads": 1, "ffn": 24576}
    settings = LlamaSettings(context=2048, flash_attention=False, build="2024-10")
    found = estimate_llama({**facts, "vocab": 49152, "context": 8192}, "Q5_K_M", settings)
    assert found.host.compute_bytes / MIB == pytest.approx(28.01, abs=0.05)
    assert found.host.weights_bytes / MIB == pytest.approx(390.00, abs=0.01)
    assert found.gpus[0].weights_bytes / MIB == pytest.approx(10769.63, abs=0.02)


def test_older_builds_copied_the_parts_of_fused_projections() -> None:
    """Phi-3-mini on a CPU, December 2024, 2048 tokens: 168.01 MiB."""
    facts = {"name": "phi3", "layers": 32, "hidden": 3072, "heads": 32, "kv_heads": 32, "ffn": 8192, "vocab": 32064}
    settings = LlamaSettings(context=2048, flash_attention=False, build="2024-12")
    found = estimate_llama({**facts, "swa_window": 2047}, "Q4_K_M", settings, gpus=0)
    assert found.host.compute_bytes / MIB == pytest.approx(168.01, abs=0.05)
    assert found.host.weights_bytes / MIB == pytest.approx(2281.66, abs=0.01)


def test_a_checkpoint_on_a_gpu() -> None:
    """Llama-3.1-8B-Instruct in vLLM 0.6.4 on an RTX 3090."""
    gpu = VllmGpu(int(23.58 * GIB), name="NVIDIA GeForce RTX 3090")
    found = estimate_vllm(CONFIG, "", VllmSettings(20000, version="0.6.4", gpu_memory_utilization=0.9), gpu)
    assert found.ranks[0].weights_bytes / GIB == pytest.approx(14.9888, rel=0.002)
    assert found.starts


def test_words_of_a_config_and_its_tower_count() -> None:
    vision = {"model_type": "siglip_vision_model", "hidden_size": 1152, "num_hidden_layers": 27, "patch_size": 14}
    seeing = {**CONFIG, "vision_config": {**vision, "intermediate_size": 4304, "num_attention_heads": 16}}
    plain, tower = (
        estimate_vllm(config, "FP8", VllmSettings(4096), 24 * GIB).ranks[0].weights_bytes for config in (CONFIG, seeing)
    )
    assert tower > plain + 700 * MIB
    packed = {**CONFIG, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
    named, given_by_config = (
        estimate_vllm(model, target, VllmSettings(4096), 24 * GIB).ranks[0].weights_bytes
        for model, target in ((CONFIG, "AWQ"), (packed, ""))
    )
    assert named == given_by_config


def test_the_size_of_a_file_tells_a_mix_of_its_publisher() -> None:
    wanted = 5 * GIB
    found = estimate_llama(LLAMA_3_8B, "UD-Q4_K_XL", OLD, gpus=1, file_bytes=wanted)
    assert found.host.weights_bytes + found.gpus[0].weights_bytes == pytest.approx(wanted, rel=0.001)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Q4_K - Medium", "Q4_K_M"),
        ("GGUF Q2_K - Medium", "Q2_K"),
        ("IQ4_XS - 4.25 bpw", "IQ4_XS"),
        ("safetensors bf16", "BF16"),
        ("MXFP4 MoE", "MXFP4"),
        ("q3_K - large", "Q3_K_L"),
        ("", ""),
    ],
)
def test_targets_are_read_from_logs(text: str, target: str) -> None:
    assert plain_target(text) == target


def test_facts_may_be_text_or_missing_and_say_whether_embeddings_are_tied() -> None:
    assert shape_of({**LLAMA_3_8B, "heads": "32", "experts": None}) == shape_of(LLAMA_3_8B)
    assert shape_of({**LLAMA_3_8B, "tied": True}).tied_embeddings
    with pytest.raises(ModelError):
        shape_of({"layers": "many"})
    with pytest.raises(ModelError):
        shape_of({"layers": "\N{SUPERSCRIPT ONE}"})
    with pytest.raises(ModelError):
        estimate_llama(LLAMA_3_8B, "no such thing", OLD)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from([*LLAMA_3_8B, "name", "experts"]), st.integers() | st.text() | st.none()))
def test_odd_facts_end_in_an_answer_or_a_model_error(odd: dict[str, Any]) -> None:
    try:
        found = estimate_llama({**LLAMA_3_8B, **odd}, "Q4_0", LlamaSettings(context=512))
    except ModelError:
        return
    assert found.gpus[0].total_bytes >= 0

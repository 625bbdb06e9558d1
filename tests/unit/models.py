"""Real shapes for tests of the search: configurations of published models, and weights computed from them."""

from __future__ import annotations

import functools
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpus import find_gpu
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import Gpu
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_room import gpu_room, usable_ram
from ansible_collections.llmhost.core.plugins.module_utils.shape.config_shape import shape_from_config
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import Room
from ansible_collections.llmhost.core.plugins.module_utils.sizing.sizes import ModelSizes, Variant
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights_from_shape import weights_from_shape

GIB = 1 << 30


def llama(hidden: int, layers: int, heads: int, width: int, **fields: Any) -> dict[str, Any]:
    """A configuration of LLaMA's kind."""
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "intermediate_size": width,
        "vocab_size": 32000,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        **fields,
    }


CONFIGS: dict[str, dict[str, Any]] = {
    "LLaMA 65B": llama(8192, 80, 64, 22016),
    "LLaMA 30B": llama(6656, 60, 52, 17920),
    # No model of this size is well known; 54 layers of LLaMA 13B's make 17.5 billion parameters.
    "17B": llama(5120, 54, 40, 13824, max_position_embeddings=4096),
    "Llama 3.1 8B": llama(
        4096, 32, 32, 14336, num_key_value_heads=8, vocab_size=128256, max_position_embeddings=131072
    ),
    "Llama 3.3 70B": llama(
        8192, 80, 64, 28672, num_key_value_heads=8, vocab_size=128256, max_position_embeddings=131072
    ),
    "Qwen3 32B": {
        **llama(5120, 64, 64, 25600, num_key_value_heads=8, vocab_size=151936, max_position_embeddings=40960),
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "head_dim": 128,
    },
    "Qwen3 235B-A22B": {
        **llama(4096, 94, 64, 12288, num_key_value_heads=4, vocab_size=151936, max_position_embeddings=40960),
        "model_type": "qwen3_moe",
        "architectures": ["Qwen3MoeForCausalLM"],
        "head_dim": 128,
        "moe_intermediate_size": 1536,
        "num_experts": 128,
        "num_experts_per_tok": 8,
    },
}

LABELS = ("BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K")


@functools.cache
def sizes(name: str, target: str, model_format: str = "gguf", with_variants: bool = False) -> ModelSizes:
    """A model in a quantisation, alone or as one of those of its repository."""
    shape = shape_from_config(CONFIGS[name])
    weights = weights_from_shape(shape, target)
    variants = tuple(Variant(label, weights_from_shape(shape, label, "gguf").total_bytes) for label in LABELS)
    return ModelSizes(shape, weights, model_format, target, variants if with_variants else ())


def room(*gpus: str, ram_gib: int = 64, swap_gib: int = 0) -> Room:
    """A host with those GPUs, each alone."""
    specs = [find_gpu(name) for name in gpus]
    return Room(
        gpus=tuple(gpu_room(Gpu(spec.name, spec.vram_bytes, 16, speed_gts=16.0)) for spec in specs if spec),
        ram_bytes=usable_ram(ram_gib * GIB),
        swap_bytes=swap_gib * GIB,
        machine_ram_bytes=ram_gib * GIB,
        ram_bandwidth=50_000_000_000,
    )

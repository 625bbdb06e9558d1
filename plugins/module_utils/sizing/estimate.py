"""One call from the description of a model to what an engine allocates for it, when no file of it is at hand.

    facts = {"layers": 32, "hidden": 4096, "heads": 32, "kv_heads": 8, "ffn": 14336, "vocab": 128256}
    estimate_llama(facts, "Q4_K_M", LlamaSettings(context=8192), gpus=2).gpus[0].total_bytes
    estimate_vllm(config, "AWQ", VllmSettings(8192, tensor_parallel=2), VllmGpu(24 * GIB)).max_context

A description is the object of a ``config.json``, the keys of a GGUF header (``general.architecture`` …), or facts by
the words of ``FACTS``, as a load log tells them. What is unknown of it counts as its upper bound, with a doubt that
says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.engine_constants import FORK_PREFIX
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_cpp import LlamaSettings, allocate
from ansible_collections.llmhost.core.plugins.module_utils.shape.config_shape import shape_from_config
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_shape import shape_from_gguf
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import LATENT, Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import Allocation
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm import VllmAllocation, allocate_vllm
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import VllmGpu, VllmSettings
from ansible_collections.llmhost.core.plugins.module_utils.weights.config_quantization import target_of_config
from ansible_collections.llmhost.core.plugins.module_utils.weights.published_weights import published_weights
from ansible_collections.llmhost.core.plugins.module_utils.weights.quantization_target import GGUF, SAFETENSORS
from ansible_collections.llmhost.core.plugins.module_utils.weights.vision import with_tower
from ansible_collections.llmhost.core.plugins.module_utils.weights.vision_tower import tower_from_config
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights_from_shape import weights_from_shape

FACTS: Final = {
    "layers": "block_count",
    "hidden": "embedding_length",
    "ffn": "feed_forward_length",
    "vocab": "vocab_size",
    "context": "context_length",
    "heads": "attention.head_count",
    "kv_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "head_dim_k": "attention.key_length",
    "head_dim_v": "attention.value_length",
    "swa_window": "attention.sliding_window",
    "experts": "expert_count",
    "experts_used": "expert_used_count",
    "expert_ffn": "expert_feed_forward_length",
    "kv_lora_rank": "attention.kv_lora_rank",
    "qk_rope_dim": "rope.dimension_count",
}
"""Words for the keys of a GGUF header; beside them ``name`` (llama.cpp's of the architecture, llama by default) and
``tied`` (no output matrix of its own)."""

_ARCHITECTURE: Final = "general.architecture"
_SIZES: Final = re.compile(r" - (Medium|Small|Large)", re.IGNORECASE)


def estimate_llama(
    model: Mapping[str, Any], target: str, settings: LlamaSettings, gpus: int = 1, file_bytes: int = 0
) -> Allocation:
    """Return what llama.cpp allocates on ``gpus`` GPUs (0: the CPU alone) and in RAM.

    ``settings.context`` is that of one sequence, ``settings.build`` the month of its sources (``2024-05``, of the
    ik_llama.cpp fork ``ik-2025-05``).
    ``file_bytes``, where known, tells a publisher's own mix from llama.cpp's of the same name. Raises ModelError for a
    description or a target that makes no sense.
    """
    shape = shape_of(model, gguf=True)
    if settings.build.startswith(FORK_PREFIX):
        shape = replace(shape, layers=tuple(_latent(layer) for layer in shape.layers))
    return allocate(shape, weights_of(shape, target, file_bytes), settings, gpus)


def estimate_vllm(model: Mapping[str, Any], target: str, settings: VllmSettings, gpu: VllmGpu | int) -> VllmAllocation:
    """Return what vLLM allocates on equal GPUs, with the tower for images that a configuration describes.

    ``gpu`` is one of them, or its memory in bytes as CUDA reports it; an empty ``target`` is what the configuration
    names. Raises ModelError for a description or a target that makes no sense.
    """
    shape = shape_of(model)
    weights = weights_from_shape(shape, plain_target(target) or target_of_config(model), SAFETENSORS)
    return allocate_vllm(shape, with_tower(weights, tower_from_config(model)), settings, gpu)


def shape_of(model: Mapping[str, Any], *, gguf: bool = False) -> Shape:
    """Return the shape of a described model, with ``gguf`` as llama.cpp has it after the conversion."""
    if _ARCHITECTURE in model:
        return shape_from_gguf(model)
    if "layers" in model:
        shape = shape_from_gguf(_header(model), where="the facts")
        tied = model.get("tied")
        return shape if tied is None else replace(shape, tied_embeddings=bool(tied))
    return shape_from_config(model, gguf=gguf)


def weights_of(shape: Shape, target: str, file_bytes: int = 0) -> Weights:
    """Return the weights of a GGUF file of that quantisation, or of that name and size."""
    wanted = plain_target(target)
    return published_weights(shape, wanted, file_bytes) if file_bytes else weights_from_shape(shape, wanted, GGUF)


def plain_target(text: str) -> str:
    """Return a quantisation by the name that repositories give it: ``Q4_K_M`` for a log's ``GGUF Q4_K - Medium``."""
    words = text.strip().removeprefix("GGUF").removeprefix("safetensors").strip()
    words = _SIZES.sub(lambda found: f"_{found[1][0].upper()}", words)
    plain = re.split(r" - |\s|\(", words)[0].upper()
    return "Q2_K" if plain == "Q2_K_M" else plain


def _latent(layer: Layer) -> Layer:
    """Return a layer as ik_llama.cpp caches it: one latent row, whatever form the file has (``-mla 3``)."""
    attention = layer.attention
    if attention is None or not attention.kv_lora_rank:
        return layer
    return replace(layer, attention=replace(attention, kind=LATENT, kv_heads=1))


def _header(facts: Mapping[str, Any]) -> dict[str, Any]:
    name = str(facts.get("name") or "llama")
    found: dict[str, Any] = {_ARCHITECTURE: name}
    for word, key in FACTS.items():
        value = facts.get(word)
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
            value = int(value)
        if value:
            found[f"{name}.{key}"] = value
    head = found.get(f"{name}.attention.key_length")
    if head is not None:
        found.setdefault(f"{name}.attention.value_length", head)
    return found

"""What the weights of a model take on each rank of vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import LATENT, Attention, Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.layer_classes import LayerClasses
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_matrices import (
    Matrices,
    allocator_padding,
    layer_matrices,
)
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_parallel import padded_vocabulary
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import VllmGpu, VllmSettings
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights

_REPEATED_TOWER_PERCENT: Final = 20
"""Of a vision tower: patches, positions and norms are on every rank, its matrices are divided."""

_AT_LOAD: Final = {"fp8": (1, 2), "bitsandbytes": (9, 32)}
"""What vLLM makes of a 16-bit matrix at load, bytes after and before: 8 bits; 4 bits and a scale for 64 elements."""

_LATENT_BUFFERS: Final = 132 * MIB
"""What latent attention keeps beside its tensors, whatever the ranks: DeepSeek-V2-Lite on one, two and four H100
(llm-d-planner, accuracy/results of vLLM 0.19.0)."""

_NATIVE_FP8: Final = (8, 9)
"""The first compute capability that multiplies 8-bit floats (Ada); older ones use Marlin's kernel."""

_FP8_GROUP: Final = 128
"""Rows and columns of a block that shares a scale of 4 bytes in a checkpoint; Marlin keeps one in the type of the
activations for so many elements of each row (``prepare_fp8_layer_for_marlin`` and ``prepare_moe_fp8_layer_for_marlin``
in vllm/model_executor/layers/quantization/utils/marlin_utils_fp8.py): Qwen3-30B-A3B-FP8 took 29.50 GiB on an A100
where other GPUs need 29.09 (vLLM PR 21428, issue 25350)."""

_PACKED_BYTES: Final = 0.7
"""More than an element of MXFP4 takes, less than one of 8 bits."""

_TWO_ROTARY_TABLES: Final = ("gemma3", "gemma4", "gemma-3", "gemma-4")
"""Models whose sliding layers have rotary positions of their own."""

_LINEAR_SCALING: Final = 8
"""Gemma 3 with more than 32k tokens: the table of the full layers is longer by this (``rope_scaling.factor``,
LinearScalingRotaryEmbedding in vllm/model_executor/layers/rotary_embedding)."""

_LINEAR_SCALING_OVER: Final = 32768


def rank_weights(
    shape: Shape,
    weights: Weights,
    classes: LayerClasses,
    settings: VllmSettings,
    gpu: VllmGpu,
    stages: Sequence[Sequence[int]],
) -> list[int]:
    """Return the bytes of weights on one rank of each stage of the pipeline ("Model loading took" in the log).

    The embedding is on the first stage, the output matrix on the last (also a tied one, when there are several). What
    the model computes at load and keeps is counted too: tables of rotary positions, matrices of latent attention, what
    experts are padded by; and what PyTorch's allocator rounds up.
    """
    ranks = max(settings.tensor_parallel, 1)
    vocabulary = max(shape.vocab_size, 1)
    rows = padded_vocabulary(vocabulary)
    elements = vocabulary * shape.embedding_length
    embedding = loaded_bytes(weights.token_embedding_bytes, elements, settings)
    embedding = -(-embedding * rows // (vocabulary * ranks))
    embedding += allocator_padding(embedding)
    tables = -(-max(weights.input_bytes - weights.token_embedding_bytes, 0) // ranks)
    tower = weights.projector_bytes * (100 + _REPEATED_TOWER_PERCENT * (ranks - 1)) // (100 * ranks)
    if _has_mistral_tower(shape, weights, classes, settings):
        tower = weights.projector_bytes
    if settings.text_only:
        tower = 0
    output = -(-loaded_bytes(weights.output_bytes, elements, settings) * rows // (vocabulary * ranks))
    output += allocator_padding(output)
    rotary = rotary_bytes(shape, classes, settings)
    if settings.constants["engine_v1"] and any(
        layer.attention is not None and layer.attention.kind == LATENT for layer in classes.kinds
    ):
        rotary += _LATENT_BUFFERS
    sizes = {(layer, stored): _layer_bytes(stored, layer, shape, settings, gpu) for layer, stored in classes.classes}
    found: list[int] = []
    for number, stage in enumerate(stages):
        first, last = number == 0, number == len(stages) - 1
        total = rotary + sum(sizes[layer, stored] * count for layer, stored, count in classes.counted(stage))
        if first:
            total += embedding + tables + tower
        if last:
            total += output + weights.output_norm_bytes
            if settings.draft_tokens:
                total += sum(_divided(stored, settings) for stored in weights.draft_layers)
        if last and not first and not weights.output_bytes:
            total += embedding
        found.append(total)
    return found


def _has_mistral_tower(shape: Shape, weights: Weights, classes: LayerClasses, settings: VllmSettings) -> bool:
    """Mistral's own checkpoints, which are not quantised, are loaded in Mistral's format, whose tower is whole on
    every rank (vllm/model_executor/models/pixtral.py)."""
    if not weights.projector_bytes or not shape.architecture.lower().startswith(("mistral", "pixtral", "ministral")):
        return False
    return all(
        layer_matrices(layer, shape.embedding_length, settings).is_wide(stored) for layer, stored in classes.classes
    )


def _divided(stored: LayerWeights, settings: VllmSettings) -> int:
    """One layer on one rank: experts are divided by all ranks of a replica, and among replicas with expert parallel."""
    ranks = max(settings.tensor_parallel, 1)
    replicas = settings.expert_replicas
    return -(-stored.split_bytes // ranks) + stored.replicated_bytes + -(-stored.expert_bytes // (ranks * replicas))


def _layer_bytes(stored: LayerWeights, layer: Layer, shape: Shape, settings: VllmSettings, gpu: VllmGpu) -> int:
    matrices = layer_matrices(layer, shape.embedding_length, settings)
    stored = LayerWeights(
        loaded_bytes(stored.split_bytes, matrices.dense_elements, settings),
        stored.replicated_bytes,
        loaded_bytes(stored.expert_bytes, matrices.expert_elements, settings),
    )
    stored = _quantized_at_load(stored, matrices, settings)
    if (0, 0) < gpu.compute_capability < _NATIVE_FP8:
        stored = LayerWeights(
            _with_repeated_scales(stored.split_bytes, matrices.dense_elements, settings),
            stored.replicated_bytes,
            _with_repeated_scales(stored.expert_bytes, matrices.expert_elements, settings),
        )
    if is_mxfp4(shape, settings) and stored.expert_bytes < matrices.expert_elements * _PACKED_BYTES:
        stored = _padded_experts(stored, layer, shape, settings, gpu)
    total = _divided(stored, settings) + matrices.padding_bytes(stored)
    if layer.attention is not None:
        if matrices.dense_elements:
            total += stored.split_bytes * matrices.repeated_elements // matrices.dense_elements
        total += _latent_copies(
            layer.attention, shape.embedding_length, settings, quantized=not matrices.is_wide(stored)
        )
    return total


def loaded_bytes(stored: int, elements: int, settings: VllmSettings) -> int:
    """Return what a matrix takes once it has the model's type; one that is packed or quantised keeps its size."""
    if elements <= 0 or stored < elements * 1.9:
        return stored
    width = 4 if stored > elements * 3.5 else 2
    if width == settings.dtype_bytes or stored > elements * width * 1.1:
        return stored
    return stored * settings.dtype_bytes // width


def _quantized_at_load(stored: LayerWeights, matrices: Matrices, settings: VllmSettings) -> LayerWeights:
    """16-bit matrices that vLLM quantises itself; what is quantised already stays as it is."""
    after, before = _AT_LOAD.get(settings.quantization, (1, 1))
    if after == before or not matrices.is_wide(stored):
        return stored
    return LayerWeights(
        stored.split_bytes * after // before, stored.replicated_bytes, stored.expert_bytes * after // before
    )


def _with_repeated_scales(stored: int, elements: int, settings: VllmSettings) -> int:
    """8-bit matrices with scales by block, on a GPU that needs those of a block repeated for each of its rows."""
    scales = 4 * elements // _FP8_GROUP**2
    if not elements or abs(stored - elements - scales) > scales // 6:
        return stored
    return stored - scales + settings.dtype_bytes * elements // _FP8_GROUP


def is_mxfp4(shape: Shape, settings: VllmSettings) -> bool:
    """Whether the experts are MXFP4: gpt-oss has no others."""
    return settings.quantization == "mxfp4" or shape.architecture.lower().startswith(("gpt-oss", "gpt_oss", "gptoss"))


def _padded_experts(
    stored: LayerWeights, layer: Layer, shape: Shape, settings: VllmSettings, gpu: VllmGpu
) -> LayerWeights:
    """Hidden and inner width of MXFP4 experts are rounded up for the kernel (``create_weights`` in
    vllm/model_executor/layers/quantization/mxfp4.py): 256 and 128 for Marlin, 256 and 256 on Blackwell; on Hopper 256
    and 64, with scales padded for the layout of its kernel."""
    network = layer.feed_forward
    if network is None or not network.expert_length or not shape.embedding_length:
        return stored
    generation, inner_step = gpu.compute_capability[0], 128
    if generation == 9:
        inner_step = 64 if settings.constants["mxfp4_scales_padded"] else 32
    elif generation == 10:
        inner_step = 256
    ranks = 1 if settings.expert_parallel else max(settings.tensor_parallel, 1)
    width = -(-network.expert_length // ranks)
    inner = -(-width // inner_step) * inner_step
    hidden = -(-shape.embedding_length // 256) * 256
    expert = stored.expert_bytes * inner * hidden // (width * shape.embedding_length)
    if settings.constants["mxfp4_scales_padded"]:
        # One byte in 17 is a scale, and their layout is padded by two fifths.
        expert += expert * 2 // (17 * 5)
    return LayerWeights(stored.split_bytes, stored.replicated_bytes, expert)


def _latent_copies(attention: Attention, hidden: int, settings: VllmSettings, *, quantized: bool) -> int:
    """W_UK and W_UV: views of a ``kv_b_proj`` in 16 bits, copies in 16 bits of one that is quantised
    (``process_weights_after_loading`` in vllm/model_executor/layers/attention/mla_attention.py); in 0.7 multiplied with
    the projections of queries and of the output (vllm/attention/backends/mla/utils.py)."""
    constants = settings.constants
    if attention.kind != LATENT or not constants["latent_rows"]:
        return 0
    width = max(attention.head_dim_k - attention.rope_dim, 0) + attention.head_dim_v
    if constants["latent_absorbed"]:
        width = (attention.q_lora_rank or hidden) + hidden
    elif not quantized:
        return 0
    return 2 * attention.kv_lora_rank * (attention.heads // max(settings.tensor_parallel, 1)) * width


def rotary_bytes(shape: Shape, classes: LayerClasses, settings: VllmSettings) -> int:
    """Return the tables of rotary positions: ``max_position_embeddings`` rows of a head's width, once for each width
    (``_compute_cos_sin_cache`` in vllm/model_executor/layers/rotary_embedding)."""
    two = shape.architecture.lower().startswith(_TWO_ROTARY_TABLES)
    widths = {
        (two and layer.attention.window > 0, layer.attention.rope_dim or layer.attention.head_dim_k)
        for layer in classes.kinds
        if layer.attention is not None
    }
    rows = max(shape.context_length, settings.max_model_len, 0)
    factor = _LINEAR_SCALING if two and rows > _LINEAR_SCALING_OVER and "3" in shape.architecture else 1
    return sum(rows * width * (1 if sliding else factor) for sliding, width in widths) * settings.dtype_bytes

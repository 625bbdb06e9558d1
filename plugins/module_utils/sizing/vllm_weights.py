"""What the weights of a model take on each rank of vLLM."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.llmhost.core.plugins.module_utils.sizing.shape import LATENT, Attention, Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.sizing.vllm_cache import kv_heads_per_rank
from ansible_collections.llmhost.core.plugins.module_utils.sizing.vllm_parallel import padded_vocabulary
from ansible_collections.llmhost.core.plugins.module_utils.sizing.vllm_settings import VllmSettings
from ansible_collections.llmhost.core.plugins.module_utils.sizing.weights import LayerWeights, Weights

_REPEATED_TOWER_PERCENT = 20
"""Of a vision tower: patches, positions and norms are on every rank, its matrices are divided."""


def rank_weights(shape: Shape, weights: Weights, settings: VllmSettings, stages: Sequence[range]) -> list[int]:
    """Return the bytes of weights on one rank of each stage of the pipeline.

    The embedding is on the first stage, the output matrix on the last (also a tied one, when there are several). What
    the model computes at load and keeps is counted too: tables of rotary positions, matrices of latent attention.
    """
    ranks = max(settings.tensor_parallel, 1)
    vocabulary = max(shape.vocab_size, 1)
    rows = padded_vocabulary(vocabulary)
    embedding = -(-weights.token_embedding_bytes * rows // (vocabulary * ranks))
    tables = -(-(weights.input_bytes - weights.token_embedding_bytes) // ranks)
    tower = weights.projector_bytes * (100 + _REPEATED_TOWER_PERCENT * (ranks - 1)) // (100 * ranks)
    output = -(-weights.output_bytes * rows // (vocabulary * ranks))
    found: list[int] = []
    for number, stage in enumerate(stages):
        first, last = number == 0, number == len(stages) - 1
        total = sum(_layer_bytes(shape, weights, layer, settings) for layer in stage)
        total += rotary_bytes(shape, settings)
        if first:
            total += embedding + tables + tower
        if last:
            total += output + weights.output_norm_bytes
            if settings.draft_tokens:
                total += sum(_divided(layer, None, settings) for layer in weights.draft_layers)
        if last and not first and not weights.output_bytes:
            total += embedding
        found.append(total)
    return found


def _layer_bytes(shape: Shape, weights: Weights, number: int, settings: VllmSettings) -> int:
    stored = weights.layers[number] if number < len(weights.layers) else LayerWeights()
    return _divided(stored, shape.layers[number], settings)


def _divided(stored: LayerWeights, layer: Layer | None, settings: VllmSettings) -> int:
    """One layer on one rank: experts are divided by all ranks of a replica, and among replicas with expert parallel."""
    ranks = max(settings.tensor_parallel, 1)
    replicas = max(settings.data_parallel, 1) if settings.expert_parallel else 1
    total = -(-stored.split_bytes // ranks) + stored.replicated_bytes + -(-stored.expert_bytes // (ranks * replicas))
    if layer is not None and layer.attention is not None:
        total += _repeated_keys(layer.attention, stored, layer, ranks)
        total += _latent_copies(layer.attention, ranks)
    return total


def _repeated_keys(attention: Attention, stored: LayerWeights, layer: Layer, ranks: int) -> int:
    """The projections of keys and values that ranks share because there are fewer heads than ranks."""
    if attention.kind == LATENT or not attention.kv_heads or ranks <= attention.kv_heads:
        return 0
    width = attention.head_dim_k + attention.head_dim_v
    extra = kv_heads_per_rank(attention.kv_heads, ranks) * width - attention.kv_heads * width // ranks
    all_widths = attention.heads * (attention.head_dim_k * (1 + attention.gated) + attention.head_dim_v)
    all_widths += attention.kv_heads * width
    if layer.feed_forward is not None:
        all_widths += (3 if layer.feed_forward.gated else 2) * (
            layer.feed_forward.length + layer.feed_forward.shared_length
        )
    if layer.recurrent is not None:
        all_widths += 3 * layer.recurrent.inner
    return stored.split_bytes * extra // max(all_widths, 1)


def _latent_copies(attention: Attention, ranks: int) -> int:
    """W_UK and W_UV, in 16 bits beside ``kv_b_proj`` (``process_weights_after_loading`` of MLA in
    vllm/model_executor/layers/attention/mla_attention.py)."""
    if attention.kind != LATENT:
        return 0
    width = max(attention.head_dim_k - attention.rope_dim, 0) + attention.head_dim_v
    return 2 * attention.kv_lora_rank * (attention.heads // ranks) * width


def rotary_bytes(shape: Shape, settings: VllmSettings) -> int:
    """Return the tables of rotary positions: one for each kind of attention, ``max_position_embeddings`` rows of a
    head's width (``_compute_cos_sin_cache`` in vllm/model_executor/layers/rotary_embedding)."""
    widths = {
        (attention.window > 0, attention.rope_dim if attention.kind == LATENT else attention.head_dim_k)
        for attention in {id(layer): layer.attention for layer in shape.layers}.values()
        if attention is not None
    }
    rows = max(shape.context_length, settings.max_model_len, 0)
    return rows * sum(width for _, width in widths) * settings.dtype_bytes

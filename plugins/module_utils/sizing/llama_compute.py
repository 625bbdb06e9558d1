"""The compute buffers of llama.cpp: what one micro-batch takes while it passes through the layers."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.sizing.llama_cache import Cells
from ansible_collections.llmhost.core.plugins.module_utils.sizing.llama_settings import LlamaSettings
from ansible_collections.llmhost.core.plugins.module_utils.sizing.shape import Layer, Shape


def device_bytes(shape: Shape, kinds: list[Layer], settings: LlamaSettings, cells: Cells, output: bool) -> int:
    """Return the compute buffer of a device with those kinds of layers, and with the output or without."""
    each = cells.full // cells.streams
    width = max((_layer_elements(shape, kind, settings, each) for kind in kinds), default=0)
    mask = settings.tokens * each * (2 if settings.flash_attention else 4)
    logits = settings.logit_rows * (shape.vocab_size + shape.embedding_length) * 4 if output else 0
    return max(width * settings.tokens * 4, logits) + mask


def host_bytes(shape: Shape, settings: LlamaSettings, cells: Cells) -> int:
    """Return the compute buffer in RAM when every layer is on a GPU: embeddings and masks."""
    each = cells.full // cells.streams
    masks = settings.tokens * each * (2 if settings.flash_attention else 4)
    return masks + settings.tokens * shape.embedding_length * 4


def _layer_elements(shape: Shape, layer: Layer, settings: LlamaSettings, cells: int) -> int:
    """Return the elements of all tensors alive at the widest place of a layer, for one token."""
    embedding = shape.embedding_length
    widths = [4 * embedding]
    attention, recurrent, feed_forward = layer.attention, layer.recurrent, layer.feed_forward
    if attention is not None:
        heads_k, heads_v = attention.heads * attention.head_dim_k, attention.kv_heads * attention.head_dim_v
        scores = 0 if settings.flash_attention else attention.heads * cells
        widths.append(4 * embedding + 3 * heads_k + heads_v + attention.kv_heads * attention.head_dim_k + scores)
    if recurrent is not None:
        widths.append(4 * embedding + 6 * recurrent.inner + 2 * recurrent.heads * recurrent.head_dim)
    if feed_forward is not None:
        dense = 3 * max(feed_forward.length, feed_forward.shared_length) + 4 * embedding
        used = feed_forward.experts_used
        experts = used * (3 * feed_forward.expert_length + embedding) + 5 * embedding + 4 * feed_forward.experts
        widths += [dense, experts if used else 0]
    return max(widths)

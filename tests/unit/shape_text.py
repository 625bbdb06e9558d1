"""Shapes in few words, to compare with what a person knows of a model."""

from __future__ import annotations

from collections import Counter

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import (
    LATENT,
    Attention,
    FeedForward,
    Layer,
    Recurrent,
    Shape,
)


def kept(shape: Shape) -> list[str]:
    """Say of each layer what it keeps: elements a token, and elements a sequence."""
    return [layer_text(layer) for layer in shape.layers]


def counted(shape: Shape) -> dict[str, int]:
    """Say how many layers keep what."""
    return dict(Counter(kept(shape)))


def layer_text(layer: Layer) -> str:
    """Say what one layer keeps."""
    return " ".join([*_attention(layer.attention), *_recurrent(layer.recurrent)]) or "nothing"


def network_text(network: FeedForward | None) -> str:
    """Say how wide a network is."""
    if network is None:
        return "none"
    experts = f" {network.experts_used} of {network.experts} x {network.expert_length}" if network.experts else ""
    shared = f" + {network.shared_length}" if network.shared_length else ""
    return f"{network.length}{'' if network.gated else ' plain'}{experts}{shared}"


def _attention(attention: Attention | None) -> list[str]:
    if attention is None or not attention.stores_cache:
        return []
    window = f":{attention.window}" if attention.window else ""
    key, value = attention.kv_heads * attention.head_dim_k, attention.kv_heads * attention.head_dim_v
    row = str(attention.kv_lora_rank + attention.rope_dim) if attention.kind == LATENT else f"{key}+{value}"
    index = f" index {attention.index_row}" if attention.index_row else ""
    ratio = f" 1/{attention.compress_ratio}" if attention.compress_ratio else ""
    return [f"{attention.kind}{window} {row}{index}{ratio}"]


def _recurrent(recurrent: Recurrent | None) -> list[str]:
    if recurrent is None:
        return []
    return [f"{recurrent.kind} {recurrent.conv_elements}+{recurrent.state_elements}"]

"""Layers of models that were searched for, not designed (``block_configs`` of Nemotron's NAS family and DeciLM)."""

from __future__ import annotations

from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.shape.fields import Fields
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Attention, FeedForward, Layer

MULTIPLE = 256  # to which the width of a network is rounded up (modeling code of DeciLM)


def block_layers(blocks: list[Any], fields: Fields, count: int) -> tuple[Layer, ...]:
    """Return the layers: a block may lack attention or network, or have a linear layer instead of one."""
    if len(blocks) != count:
        raise fields.invalid(f"block_configs describes {len(blocks)} of {count} layers")
    heads = fields.required("num_attention_heads")
    size = fields.number("head_dim") or fields.required("hidden_size") // heads
    return tuple(
        Layer(_attention(_part(block, "attention"), fields, heads, size), None, _network(_part(block, "ffn"), fields))
        for block in blocks
    )


def _part(block: Any, name: str) -> Fields:
    part = block.get(name) if isinstance(block, dict) else None
    return Fields(f"block_configs.{name}", part if isinstance(part, dict) else {})


def _attention(part: Fields, fields: Fields, heads: int, size: int) -> Attention | None:
    if part.flag("no_op") or part.flag("replace_with_linear"):
        return None
    group = part.number("n_heads_in_group")
    kv_heads = part.number("num_key_value_heads") or (heads // group if group else 0)
    kv_heads = kv_heads or fields.number("num_key_value_heads") or heads
    return Attention(heads=heads, kv_heads=kv_heads, head_dim_k=size, head_dim_v=size)


def _network(part: Fields, fields: Fields) -> FeedForward | None:
    if part.flag("no_op"):
        return None
    width = part.number("intermediate_size") or _multiplied(part, fields) or fields.number("intermediate_size")
    return FeedForward(width) if width else None


def _multiplied(part: Fields, fields: Fields) -> int:
    factor = part.raw("ffn_mult")
    if not isinstance(factor, (int, float)) or not 0 < factor < 2**16:
        return 0
    width = int(2 * factor * fields.required("hidden_size") / 3)
    return -(-width // MULTIPLE) * MULTIPLE

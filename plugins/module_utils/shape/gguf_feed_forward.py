"""The feed-forward network of each layer of a GGUF model: from its tensors, else from its metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from ansible_collections.llmhost.core.plugins.module_utils.shape.fields import Fields
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import FeedForward

# Old Mixtral files hold each expert on its own: ffn_down.7.weight.
PART = re.compile(
    r"blk\.(\d{1,6})\.(ffn_(?:gate|up|down|gate_up)(?:_exps|_shexp|_chexps)?|channel_mix_key)(\.\d+)?\.weight"
)
NOT_GATED = {
    "bloom", "codeshell", "falcon", "gpt2", "gptj", "gptneox", "jais", "jais2", "mpt", "nemotron", "nemotron_h",
    "nemotron_h_moe", "apertus", "arcee", "phi2", "plm", "rwkv6", "rwkv7", "starcoder", "starcoder2",
}  # fmt: skip


class Named(Protocol):
    """A tensor, as far as it matters here: its shape with the row length first."""

    @property
    def name(self) -> str:
        """Return the name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the lengths."""


Parts = dict[str, tuple[int, ...]]


class FeedForwards:
    """All feed-forward networks of a model."""

    def __init__(self, architecture: str, fields: Fields, tensors: Iterable[Named], all_layers: int) -> None:
        """Read what all layers have in common."""
        self._architecture = architecture
        self._fields = fields
        self._by_layer = _parts(tensors)
        self._used = fields.by_layer("expert_used_count", all_layers)
        self._widths = fields.by_layer("feed_forward_length", all_layers)
        self._expert_widths = fields.by_layer("expert_feed_forward_length", all_layers)
        self._experts = fields.number("expert_count")

    @property
    def widths(self) -> tuple[int, ...]:
        """Return ``feed_forward_length`` of each layer."""
        return self._widths

    def layer(self, number: int) -> FeedForward | None:
        """Return the network of one layer, or None where it has none."""
        if self._by_layer:
            return self._from_tensors(self._by_layer.get(number, {}), self._used[number])
        return self._from_metadata(number)

    def _from_tensors(self, parts: Parts, used: int) -> FeedForward | None:
        if "channel_mix_key" in parts:
            return FeedForward(_side(parts, "channel_mix_key", 1), gated=False)
        down, experts = _side(parts, "ffn_down", 0), _side(parts, "ffn_down_exps", 2)
        if not down and not experts:
            return None
        kind = "ffn_up_exps" if experts else "ffn_up"
        half = _side(parts, "ffn_down_exps" if experts else "ffn_down", 0)
        fused = _side(parts, kind, 1) == 2 * half or "ffn_gate_up_exps" in parts
        return FeedForward(
            length=down,
            gated=fused or kind.replace("up", "gate") in parts,
            experts=experts,
            experts_used=used if experts else 0,
            expert_length=_side(parts, "ffn_down_exps", 0),
            shared_length=_side(parts, "ffn_down_shexp", 0),
        )

    def _from_metadata(self, number: int) -> FeedForward | None:
        width, experts = self._widths[number], self._experts
        gated = self._architecture not in NOT_GATED
        if not self._is_mixture(number):
            return FeedForward(width, gated) if width else None
        expert = self._expert_widths[number] or width
        shared = self._fields.number("expert_shared_feed_forward_length")
        shared = shared or expert * self._fields.number("expert_shared_count")
        dense = width if self._architecture == "arctic" else 0
        return FeedForward(dense, gated, experts, self._used[number], expert, shared)

    def _is_mixture(self, number: int) -> bool:
        dense = self._fields.number("leading_dense_block_count")
        if not self._experts or number < dense or not self._used[number]:
            return False
        step = self._fields.number("interleave_moe_layer_step", 1) or 1
        return (number + 1) % step == 0


def _parts(tensors: Iterable[Named]) -> dict[int, Parts]:
    """Return the shapes of the matrices by layer; experts on their own are counted as a third side."""
    found: dict[int, Parts] = {}
    for tensor in tensors:
        match = PART.fullmatch(tensor.name)
        if match is None:
            continue
        parts = found.setdefault(int(match[1]), {})
        if match[3] is None:
            parts[match[2]] = tensor.shape
            continue
        name = f"{match[2]}_exps"
        count = parts[name][2] if name in parts else 0
        parts[name] = (*(*tensor.shape, 0, 0)[:2], count + 1)
    return found


def _side(parts: Parts, name: str, side: int) -> int:
    shape = parts.get(name, ())
    return shape[side] if side < len(shape) else 0

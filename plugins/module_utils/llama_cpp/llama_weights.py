"""The weights of a model as llama.cpp divides them: sums over its layers, and the largest single tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Attention, FeedForward, Layer, Recurrent
from ansible_collections.llmhost.core.plugins.module_utils.sizing.identity_cache import IdentityCache
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights

UNEVEN = 1.28
"""A tensor's share where the file mixes types: Q6_K among Q4_K, as ``llama-quantize`` gives ffn_down (Q4_K_M)."""
_EVEN_BITS = (32.0, 16.0, 8.5, 4.5, 4.25, 5.5, 5.0, 6.0, 6.5625)


@dataclass(frozen=True)
class Sums:
    """Bytes before each layer, of all weights, of the routed experts and of the other matrices; layers of drafts stand
    last."""

    layers: tuple[int, ...]
    experts: tuple[int, ...]
    matrices: tuple[int, ...]
    trunk: int
    largest: dict[tuple[int, int, int], tuple[int, int]] = field(default_factory=dict, compare=False, repr=False)

    def expert_bytes(self, first: int, last: int) -> int:
        """Return the routed experts of ``first <= layer < last``."""
        return _upto(self.experts, last) - _upto(self.experts, first) if last > first else 0

    def layer_bytes(self, first: int, last: int, *, draft: bool) -> int:
        """Return the weights of ``first <= layer < last``; without drafts their layers are not loaded."""
        if not draft:
            first, last = min(first, self.trunk), min(last, self.trunk)
        return _upto(self.layers, last) - _upto(self.layers, first)

    def matrix_bytes(self, first: int, last: int, *, draft: bool) -> int:
        """Return the matrices of ``first <= layer < last`` without routed experts."""
        last = last if draft else min(last, self.trunk)
        return _upto(self.matrices, last) - _upto(self.matrices, first) if last > first else 0

    def copies(self, embedding: int, layers: Sequence[Layer], first: int, last: int) -> tuple[int, int]:
        """Return the bytes of the largest matrix in those layers, and of the largest tensor of routed experts."""
        if (embedding, first, last) not in self.largest:
            self.largest[embedding, first, last] = self._copies(embedding, layers, first)
        return self.largest[embedding, first, last]

    def _copies(self, embedding: int, layers: Sequence[Layer], first: int) -> tuple[int, int]:
        matrix = expert = 0
        for number, layer in enumerate(layers, first):
            network = layer.feed_forward or FeedForward()
            experts = self.expert_bytes(number, number + 1)
            rest = self.layer_bytes(number, number + 1, draft=True) - experts
            total, widest = _matrices(embedding, layer)
            matrix = max(matrix, _share(rest, widest, total))
            each = embedding * network.expert_length * network.experts
            expert = max(expert, _share(experts, each, each * (3 if network.gated else 2)))
        return matrix, expert


def without_experts(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers as a device sees them that does not compute their routed experts; equal layers are one object."""
    made: dict[int, Layer] = {}
    for layer in layers:
        network = layer.feed_forward
        if id(layer) not in made:
            if network is not None and network.experts_used:
                length = network.length or network.shared_length
                network = FeedForward(length, network.gated) if length else None
            made[id(layer)] = replace(layer, feed_forward=network)
    return [made[id(layer)] for layer in layers]


def output_bytes(weights: Weights) -> int:
    """Return the output on a GPU: with tied embeddings a copy of the token embedding."""
    return (weights.output_bytes or weights.token_embedding_bytes) + weights.output_norm_bytes


def _share(size: int, elements: int, total: int) -> int:
    if not total:
        return 0
    bits = size * 8 / total
    even = any(abs(bits - known) < 0.02 * known for known in _EVEN_BITS)
    return int(size * elements / total * (1 if even else UNEVEN))


def _matrices(embedding: int, layer: Layer) -> tuple[int, int]:
    """Return the elements of all matrices of a layer but its routed experts, and of the largest."""
    attention, network = layer.attention or Attention(), layer.feed_forward or FeedForward()
    recurrent = layer.recurrent or Recurrent("none")
    queries = attention.heads * attention.head_dim_k * embedding
    keys = attention.kv_heads * attention.head_dim_k * embedding
    dense = embedding * network.length
    shared = embedding * network.shared_length
    count = 3 if network.gated else 2
    inner = embedding * recurrent.inner
    total = 2 * queries + 2 * keys + count * (dense + shared) + 3 * inner
    return total, max(queries, dense, shared, 2 * inner)


def _upto(sums: tuple[int, ...], layer: int) -> int:
    return sums[min(layer, len(sums) - 1)]


def _sum_up(weights: Weights) -> Sums:
    layers = (*weights.layers, *weights.draft_layers)
    return Sums(
        tuple(accumulate((layer.total_bytes for layer in layers), initial=0)),
        tuple(accumulate((layer.expert_bytes for layer in layers), initial=0)),
        tuple(accumulate((layer.split_bytes for layer in layers), initial=0)),
        len(weights.layers),
    )


sums_of = IdentityCache(_sum_up)
"""The sums over the layers of some weights."""

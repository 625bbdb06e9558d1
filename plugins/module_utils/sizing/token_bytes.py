"""What an engine reads from memory to make one token: weights, the cache of the tokens before it, recurrent states.

Of routed experts only those that a token takes are read; of the token embedding only one row, which is nothing. The
cache is that of one request with ``context`` tokens in it: a sliding window bounds it, latent attention reads its one
row a token, a layer that shares another's cache reads it once more. A recurrent state is read and written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_cache import CELL_BYTES
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import LATENT, Attention, Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.sizing.identity_cache import IdentityCache
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights

# vLLM's names beside llama.cpp's: its own choice is the model's 16 bit.
_CELLS = {**CELL_BYTES, "auto": (2, 1), "bfloat16": (2, 1), "float16": (2, 1), "fp8": (1, 1), "fp8_e4m3": (1, 1)}
_F32 = 4


@dataclass(frozen=True)
class Read:
    """Bytes that one device reads for one token, and the layers that it runs for it.

    ``routed_bytes`` is the part of ``weights_bytes`` that belongs to routed experts. ``heavy_layers`` is the part of
    ``layers`` that is a mixture of experts or recurrent: they start more kernels for the bytes that they read.
    """

    weights_bytes: int = 0
    routed_bytes: int = 0
    cache_bytes: int = 0
    layers: int = 0
    heavy_layers: int = 0

    @property
    def total_bytes(self) -> int:
        """Everything that is read."""
        return self.weights_bytes + self.cache_bytes

    def __add__(self, other: Read) -> Read:
        """Both together."""
        return Read(
            self.weights_bytes + other.weights_bytes,
            self.routed_bytes + other.routed_bytes,
            self.cache_bytes + other.cache_bytes,
            self.layers + other.layers,
            self.heavy_layers + other.heavy_layers,
        )

    def without(self, other: Read) -> Read:
        """What is left when a part of the bytes is read elsewhere; the layers stay."""
        weights = max(0, self.weights_bytes - other.weights_bytes)
        routed = min(weights, max(0, self.routed_bytes - other.routed_bytes))
        return replace(self, weights_bytes=weights, routed_bytes=routed)


@dataclass(frozen=True)
class _Sums:
    """Running sums before each layer."""

    weights: tuple[int, ...]
    routed: tuple[int, ...]
    heavy: tuple[int, ...]


def layer_reads(
    shape: Shape, weights: Weights, first: int, last: int, context: int, cell_type: str = "f16", output: bool = False
) -> Read:
    """Return what a device reads that holds ``first <= layer < last``, and the output matrix if ``output``."""
    sums = _sums_of(shape, weights)
    first, last = (max(0, min(at, len(sums.weights) - 1)) for at in (first, last))
    last = max(first, last)
    cache = _cache_reads(shape.layers[first:last], context, cell_type)
    return Read(
        sums.weights[last] - sums.weights[first] + (output_read(weights) if output else 0),
        sums.routed[last] - sums.routed[first],
        cache,
        last - first,
        sums.heavy[last] - sums.heavy[first],
    )


def rank_reads(
    shape: Shape, weights: Weights, first: int, last: int, context: int, cell_type: str, ranks: int, output: bool
) -> Read:
    """Return what one of ``ranks`` reads that divide each of the layers among them: tensor parallel.

    Matrices, experts and heads are divided; norms, routers and latent rows are on every rank, as are the heads of keys
    when there are fewer of them than ranks.
    """
    routed = whole = 0
    for number in range(first, min(last, len(shape.layers))):
        part = _weights_of(weights, number)
        share = _routed_bytes(shape.layers[number], part) // ranks
        routed += share
        whole += part.split_bytes // ranks + part.replicated_bytes + share
    whole += output_read(weights) // ranks if output else 0
    layers = shape.layers[first:last]
    cache = _cache_reads(layers, context, cell_type, ranks)
    return Read(whole, routed, cache, len(layers), sum(map(_is_heavy, layers)))


def output_read(weights: Weights) -> int:
    """Return the bytes of the output matrix and its norm; a tied embedding is read as a whole there."""
    return (weights.output_bytes or weights.token_embedding_bytes) + weights.output_norm_bytes


def cache_read(layer: Layer, context: int, cell_type: str = "f16", ranks: int = 1) -> int:
    """Return the bytes of cache and state that one layer reads for one token with ``context`` tokens before it."""
    read = 0
    if layer.attention is not None:
        read += _attention_read(layer.attention, context, cell_type, ranks)
    if layer.recurrent is not None:
        elements = layer.recurrent.state_elements + layer.recurrent.conv_elements
        read += 2 * _F32 * elements // ranks
    return read


def _cache_reads(layers: Sequence[Layer], context: int, cell_type: str, ranks: int = 1) -> int:
    """The sum over layers; those of one kind are one object, and are computed once."""
    known: dict[int, int] = {}
    total = 0
    for layer in layers:
        read = known.get(id(layer))
        if read is None:
            read = known[id(layer)] = cache_read(layer, context, cell_type, ranks)
        total += read
    return total


def _attention_read(attention: Attention, context: int, cell_type: str, ranks: int) -> int:
    size, block = _CELLS.get(cell_type, (2, 1))
    if attention.kind == LATENT:
        row = attention.kv_lora_rank + attention.rope_dim
    else:
        heads = max(1, attention.kv_heads // ranks) if attention.kv_heads else 0
        row = heads * (attention.head_dim_k + (0 if attention.keys_are_values else attention.head_dim_v))
    tokens = min(context, attention.window) if attention.window else context
    if attention.compress_ratio:
        tokens += context // attention.compress_ratio
    return (tokens * row + context * attention.index_row) * size // block


def _sums_of(shape: Shape, weights: Weights) -> _Sums:
    return _SUMS_OF_WEIGHTS(weights)(shape)


def _sum_up(shape: Shape, weights: Weights) -> _Sums:
    read, routed = [], []
    for number, layer in enumerate(shape.layers):
        part = _weights_of(weights, number)
        experts = _routed_bytes(layer, part)
        routed.append(experts)
        read.append(part.split_bytes + part.replicated_bytes + experts)
    heavy = map(_is_heavy, shape.layers)
    return _Sums(*(tuple(accumulate(column, initial=0)) for column in (read, routed, heavy)))


def _weights_of(weights: Weights, number: int) -> LayerWeights:
    """Layers that are run several times share their weights, and are read each time."""
    return weights.layers[number % len(weights.layers)] if weights.layers else LayerWeights()


def _routed_bytes(layer: Layer, part: LayerWeights) -> int:
    network = layer.feed_forward
    if network is None or not network.experts:
        return part.expert_bytes
    used = min(max(1, network.experts_used), network.experts)
    return part.expert_bytes * used // network.experts


def _is_heavy(layer: Layer) -> bool:
    return layer.recurrent is not None or (layer.feed_forward is not None and layer.feed_forward.experts > 0)


def _sums_of_weights(weights: Weights) -> IdentityCache[Shape, _Sums]:
    return IdentityCache(lambda shape: _sum_up(shape, weights), size=4)


_SUMS_OF_WEIGHTS: IdentityCache[Weights, IdentityCache[Shape, _Sums]] = IdentityCache(_sums_of_weights)

"""What llama.cpp allocates, device by device: weights, caches, compute buffers and the output buffer.

``src/llama-model.cpp`` (load_tensors) gives each layer its device, ``src/llama-context.cpp`` reserves the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from ansible_collections.llmhost.core.plugins.module_utils.sizing import engine_constants, llama_compute
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import HOST, Allocation, DeviceBytes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.identity_cache import IdentityCache
from ansible_collections.llmhost.core.plugins.module_utils.sizing.llama_cache import (
    Cells,
    Kinds,
    cells,
    kinds_of,
    layer_cache,
)
from ansible_collections.llmhost.core.plugins.module_utils.sizing.llama_settings import NONE, LlamaSettings
from ansible_collections.llmhost.core.plugins.module_utils.sizing.shape import Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.sizing.weights import Weights

__all__ = ["LlamaSettings", "Span", "allocate", "spans"]


@dataclass(frozen=True)
class Span:
    """The layers of one device: ``first <= layer < last``, and whether the output is there."""

    first: int
    last: int
    output: bool

    @property
    def places(self) -> int:
        """Layers, and the output as one more."""
        return self.last - self.first + self.output


@dataclass(frozen=True)
class _Sums:
    """Bytes before each layer, of all weights and of the routed experts."""

    layers: tuple[int, ...]
    experts: tuple[int, ...]

    def expert_bytes(self, first: int, last: int) -> int:
        """Return the routed experts of ``first <= layer < last``."""
        return _upto(self.experts, last) - _upto(self.experts, first) if last > first else 0

    def layer_bytes(self, first: int, last: int) -> int:
        """Return the weights of ``first <= layer < last``."""
        return _upto(self.layers, last) - _upto(self.layers, first)


def allocate(shape: Shape, weights: Weights, settings: LlamaSettings, gpus: int) -> Allocation:
    """Return what llama.cpp allocates for a model on ``gpus`` GPUs (0: on the CPU alone) and in RAM."""
    on_host, on_gpus = spans(len(shape.layers) + len(shape.draft_layers), settings, gpus)
    kinds, count, sums = kinds_of(shape), cells(shape, settings), _sums_of(weights)
    rows = [_gpu(f"GPU{index}", span, shape, weights, settings, count) for index, span in enumerate(on_gpus)]
    host = _host(on_host, shape, weights, settings, count, kinds, sums, gpus)
    return Allocation(tuple(rows), host, shape.doubts)


def spans(layers: int, settings: LlamaSettings, gpus: int) -> tuple[Span, list[Span]]:
    """Return the layers that stay in RAM and those of each GPU.

    A layer goes to the first GPU whose cumulative share exceeds its own place among the offloaded ones.
    """
    places = layers + 1
    offloaded = places if settings.gpu_layers is None else max(0, min(settings.gpu_layers, places))
    if not gpus or not offloaded:
        return Span(0, layers, True), [Span(layers, layers, False)] * gpus
    start = places - offloaded
    shares = list(settings.tensor_split[:gpus]) or [1] * gpus
    shares += [0] * (gpus - len(shares))
    if settings.split_mode == NONE:
        shares = [1] + [0] * (gpus - 1)
    total = sum(shares) or 1
    ends = [min(offloaded, -(-upto * offloaded // total)) for upto in accumulate(shares)]
    ends[-1] = offloaded
    result, first = [], 0
    for end in ends:
        last = max(first, end)
        holds_output = first < last == offloaded
        result.append(Span(min(start + first, layers), min(start + last, layers), holds_output))
        first = last
    return Span(0, min(start, layers), False), result


def _gpu(name: str, span: Span, shape: Shape, weights: Weights, settings: LlamaSettings, count: Cells) -> DeviceBytes:
    kinds, sums = kinds_of(shape), _sums_of(weights)
    overhead = engine_constants.value(settings.build, "cuda_context")
    if not span.places:
        return DeviceBytes(name, overhead_bytes=overhead)
    held = kinds.counts(span.first, span.last)
    kv, recurrent = _caches(held, kinds, count, settings)
    return DeviceBytes(
        name,
        weights_bytes=_layer_weights(sums, span, settings) + (_output_bytes(weights) if span.output else 0),
        kv_cache_bytes=kv,
        recurrent_bytes=recurrent,
        compute_bytes=llama_compute.device_bytes(shape, [kind for kind, _ in held], settings, count, span.output),
        overhead_bytes=overhead,
    )


def _host(
    span: Span,
    shape: Shape,
    weights: Weights,
    settings: LlamaSettings,
    count: Cells,
    kinds: Kinds,
    sums: _Sums,
    gpus: int,
) -> DeviceBytes:
    held = kinds.counts(span.first, span.last)
    kv, recurrent = _caches(held, kinds, count, settings)
    experts = sums.expert_bytes(span.last, settings.cpu_expert_layers)
    output = weights.output_bytes + weights.output_norm_bytes if span.output else 0
    compute = llama_compute.host_bytes(shape, settings, count)
    if span.places or experts:
        layers = [kind for kind, _ in held] or list(kinds.kinds)
        compute = llama_compute.device_bytes(shape, layers, settings, count, span.output)
    overhead = engine_constants.value(settings.build, "process")
    overhead += engine_constants.value(settings.build, "vocabulary_entry") * shape.vocab_size
    overhead += engine_constants.value(settings.build, "cuda_host") if gpus else 0
    return DeviceBytes(
        HOST,
        weights_bytes=weights.input_bytes + sums.layer_bytes(0, span.last) + experts + output,
        kv_cache_bytes=kv,
        recurrent_bytes=recurrent,
        compute_bytes=compute,
        output_bytes=shape.vocab_size * settings.parallel * 4,
        overhead_bytes=overhead,
    )


def _caches(held: list[tuple[Layer, int]], kinds: Kinds, count: Cells, settings: LlamaSettings) -> tuple[int, int]:
    kv = recurrent = 0
    for layer, times in held:
        one = layer_cache(layer, count, kinds.value_row, settings)
        kv += one.kv_bytes * times
        recurrent += one.recurrent_bytes * times
    return kv, recurrent


def _layer_weights(sums: _Sums, span: Span, settings: LlamaSettings) -> int:
    in_ram = sums.expert_bytes(span.first, min(settings.cpu_expert_layers, span.last))
    return sums.layer_bytes(span.first, span.last) - in_ram


def _output_bytes(weights: Weights) -> int:
    """Return the output on a GPU: with tied embeddings a copy of the token embedding."""
    return (weights.output_bytes or weights.token_embedding_bytes) + weights.output_norm_bytes


def _upto(sums: tuple[int, ...], layer: int) -> int:
    return sums[min(layer, len(sums) - 1)]


def _sum_up(weights: Weights) -> _Sums:
    layers = (*weights.layers, *weights.draft_layers)
    return _Sums(
        tuple(accumulate((layer.total_bytes for layer in layers), initial=0)),
        tuple(accumulate((layer.expert_bytes for layer in layers), initial=0)),
    )


_sums_of = IdentityCache(_sum_up)

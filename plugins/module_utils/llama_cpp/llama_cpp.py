"""What llama.cpp allocates, device by device: weights, caches, compute buffers and the output buffer.

``src/llama-model.cpp`` (load_tensors) gives each layer its device, ``src/llama-context.cpp`` reserves the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp import llama_compute
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.engine_constants import value
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_cache import (
    Cells,
    Kinds,
    caches,
    cells,
    kinds_of,
    layer_cache,
)
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_place import Place, Run
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_settings import (
    CUDA,
    LAYER,
    ROW,
    TENSOR,
    LlamaSettings,
)
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_split import UPPER_BOUND, by_heads, by_rows
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_weights import (
    Sums,
    output_bytes,
    sums_of,
    without_experts,
)
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import HOST, Allocation, DeviceBytes
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights

__all__ = ["LlamaSettings", "Span", "allocate", "spans"]

OFFLOAD_TOKENS = 32
"""Tokens from which on an operation on weights in RAM is given to a GPU (``ggml-cuda.cu``, op_offload_min_batch)."""
PER_LAYER_TENSORS = 4


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
class _Plan:
    """What all devices of one allocation have in common."""

    shape: Shape
    weights: Weights
    settings: LlamaSettings
    kinds: Kinds
    cells: Cells
    sums: Sums
    host: Span
    gpus: list[Span]

    @property
    def pipelined(self) -> bool:
        """Several GPUs hold everything, so that they work on different micro-batches at once."""
        settings = self.settings
        everything = not self.host.places and settings.cpu_expert_layers == 0
        usable = settings.split_mode == LAYER and value(settings.build, "pipeline")
        return bool(len(self.gpus) > 1 and everything and usable)

    @property
    def offloads(self) -> bool:
        """The first GPU multiplies with weights that are in RAM."""
        settings = self.settings
        usable = settings.backend == CUDA and value(settings.build, "offloads_operations")
        return bool(self.gpus and usable and settings.tokens >= OFFLOAD_TOKENS)

    def helps(self, index: int) -> bool:
        """Tell whether a GPU multiplies with weights that are in RAM: only the first does."""
        return index == 0 and self.offloads

    def shares_work(self, border: int) -> bool:
        """Tell whether the recurrent layers at a border follow each other: no attention or experts between.

        Then the second begins, with its state, before the first has ended.
        """
        layers = self.kinds.layers
        if not 0 < border < len(self.shape.layers):
            return False
        before = next((layer for layer in reversed(layers[:border]) if _mixes(layer)), None)
        after = next((layer for layer in layers[border:] if _mixes(layer)), None)
        routed = before is not None and before.feed_forward is not None and before.feed_forward.experts_used > 0
        return not routed and all(layer is not None and layer.attention is None for layer in (before, after))

    def slices(self, index: int | None) -> int:
        """Return what the second embedding takes on a GPU, or in RAM (None): a slice of it for each layer.

        Where a GPU takes over operations it multiplies them, with a matrix that is copied, and keeps two tensors of
        them all; otherwise four are made in RAM (``src/models/gemma4.cpp``).
        """
        width = self.shape.per_layer_embedding_length * len(self.shape.layers)
        tensor = width * self.settings.tokens * 4
        if index is None:
            return tensor * (1 if self.offloads else PER_LAYER_TENSORS)
        return 2 * tensor + width * self.shape.embedding_length * 2 if self.helps(index) and width else 0

    def slices_elsewhere(self, index: int) -> int:
        """Return the slices that a GPU reads of what another device made of the second embedding."""
        width = 0 if self.helps(index) else self.shape.per_layer_embedding_length
        return width * len(self.shape.layers) * self.settings.tokens * 4 * 3 // 2  # and half of it on its way

    def cache_elsewhere(self, span: Span) -> int:
        """Return the bytes of the caches that layers of a device read and layers of another device hold.

        Of each kind the last layer before them that has a cache (Gemma 3n and 4).
        """
        layers = self.kinds.layers[: span.last]
        sharing = [layer.attention for layer in layers[span.first :] if layer.attention is not None]
        total = 0
        for window in {attention.window for attention in sharing if not attention.stores_cache}:
            owners = [number for number, layer in enumerate(layers) if _owns(layer, window)]
            if owners and owners[-1] < span.first:
                owner = layers[owners[-1]]
                total += layer_cache(owner, self.cells, self.kinds.value_row, self.settings).kv_bytes
        return total

    def largest_cache(self, layers: Sequence[Layer]) -> int:
        """Return the bytes of the largest KV cache of those layers."""
        row = self.kinds.value_row
        return max(layer_cache(layer, self.cells, row, self.settings).kv_bytes for layer in set(layers))

    def drafts(self, span: Span) -> int:
        """Return the compute buffer of the draft layers, which have a graph of their own, on a device."""
        layers = self.shape.draft_layers
        if not (self.settings.draft and layers and span.last > len(self.shape.layers)):
            return 0
        place = Place((Run(layers, "draft"),), output=True, on_gpu=True)
        return self.compute(place)

    def compute(self, place: Place) -> int:
        """Return the compute buffer of a device."""
        return llama_compute.device_bytes(self.shape, self.kinds, place, self.settings, self.cells)

    def run(self, first: int, last: int, *, in_ram: bool, index: int) -> list[Run]:
        """Return layers as a GPU computes them, where their weights, or those of their experts, are in RAM."""
        last = min(last, len(self.shape.layers))
        middle = max(first, min(last, self.settings.cpu_expert_layers))
        runs = []
        for begin, end, copied in ((first, middle, True), (middle, last, in_ram)):
            layers = self.kinds.layers[begin:end]
            if not layers:
                continue
            if copied and self.helps(index):
                matrix, expert = self.sums.copies(self.shape.embedding_length, layers, begin, end)
                cache = self.largest_cache(layers) if in_ram else 0
                runs.append(Run(layers, (begin, end), matrix if in_ram else 0, expert, cache))
            else:
                bare = copied and self.settings.cpu_expert_layers > begin
                runs.append(Run(without_experts(layers) if bare else layers, (begin, end, bare)))
        return runs


def _owns(layer: Layer, window: int) -> bool:
    attention = layer.attention
    return attention is not None and attention.stores_cache and attention.window == window


def _mixes(layer: Layer) -> bool:
    return layer.attention is not None or layer.recurrent is not None


def allocate(shape: Shape, weights: Weights, settings: LlamaSettings, gpus: int) -> Allocation:
    """Return what llama.cpp allocates for a model on ``gpus`` GPUs (0: on the CPU alone) and in RAM."""
    on_host, on_gpus = spans(len(shape.layers) + len(shape.draft_layers), settings, gpus)
    count = cells(shape, settings)
    plan = _Plan(shape, weights, settings, kinds_of(shape), count, sums_of(weights), on_host, on_gpus)
    rows = tuple(_gpu(plan, index) for index in range(len(on_gpus)))
    if gpus > 1 and settings.split_mode == ROW:
        rows = by_rows(rows, [_matrices(plan, span) for span in on_gpus], _shares(settings, gpus))
    if gpus > 1 and settings.split_mode == TENSOR:
        first = on_gpus[0]
        matrices = _matrices(plan, first) + plan.sums.expert_bytes(first.first, first.last)
        rows = by_heads(rows, matrices, _shares(settings, gpus))
        return Allocation(rows, _host(plan), (*shape.doubts, UPPER_BOUND))
    return Allocation(rows, _host(plan), shape.doubts)


def spans(layers: int, settings: LlamaSettings, gpus: int) -> tuple[Span, list[Span]]:
    """Return the layers that stay in RAM and those of each GPU.

    A layer goes to the first GPU whose cumulative share exceeds its own place among the offloaded ones. The output is
    the first place offloaded; in older builds it was the last.
    """
    places = layers + 1
    offloaded = places if settings.gpu_layers is None else max(0, min(settings.gpu_layers, places))
    if not gpus or not offloaded:
        return Span(0, layers, output=True), [Span(layers, layers, output=False)] * gpus
    output = offloaded == places or bool(value(settings.build, "output_first"))
    start = layers + output - offloaded
    shares = _shares(settings, gpus)
    spread = settings.split_mode == LAYER or (
        settings.split_mode == ROW and value(settings.build, "rows_spread_layers")
    )
    if not spread:
        shares = [1] + [0] * (gpus - 1)
    total = sum(shares) or 1
    ends = [min(offloaded, -(-upto * offloaded // total)) for upto in accumulate(shares)]
    ends[-1] = offloaded
    result, first = [], 0
    for end in ends:
        last = max(first, end)
        holds_output = output and first < last == offloaded
        result.append(Span(min(start + first, layers), min(start + last, layers), holds_output))
        first = last
    return Span(0, min(start, layers), output=not output), result


def _shares(settings: LlamaSettings, gpus: int) -> list[int]:
    shares = list(settings.tensor_split[:gpus]) or [1] * gpus
    return shares + [0] * (gpus - len(shares))


def _matrices(plan: _Plan, span: Span) -> int:
    """Return the matrices that a GPU would hold whole."""
    output = plan.weights.output_bytes or plan.weights.token_embedding_bytes
    return plan.sums.matrix_bytes(span.first, span.last, draft=plan.settings.draft) + (output if span.output else 0)


def _gpu(plan: _Plan, index: int) -> DeviceBytes:
    span, settings = plan.gpus[index], plan.settings
    overhead = value(settings.build, "cuda_context")
    helps = plan.helps(index) and plan.host.places > 0
    if not span.places and not helps:
        return DeviceBytes(f"GPU{index}", overhead_bytes=overhead)
    kv, recurrent = caches(plan.shape, plan.kinds, span.first, span.last, plan.cells, settings)
    runs = plan.run(span.first, span.last, in_ram=False, index=index)
    copied = 0
    if helps:
        runs = plan.run(0, plan.host.last, in_ram=True, index=index) + runs
        if plan.host.output and settings.logit_rows >= OFFLOAD_TOKENS:
            copied = output_bytes(plan.weights)
    arriving = value(settings.build, "arriving") if span.first and not helps else 1
    place = Place(
        tuple(runs),
        output=span.output or copied > 0,
        on_gpu=True,
        pipelined=plan.pipelined,
        arriving=arriving,
        takes_work=plan.shares_work(span.first),
        gives_work=plan.shares_work(span.last),
        first=index == 0,
        slices=plan.slices(index),
        cache_elsewhere=plan.cache_elsewhere(span) + plan.slices_elsewhere(index),
        output_copy=copied,
    )
    if value(settings.build, "one_compute_buffer"):
        place = Place((Run(plan.kinds.layers, "all"),), output=True, on_gpu=True)
    idle = index and value(settings.build, "one_compute_buffer")
    compute = 0 if idle else plan.compute(place)
    return DeviceBytes(
        f"GPU{index}",
        weights_bytes=_layer_weights(plan, span) + (output_bytes(plan.weights) if span.output else 0),
        kv_cache_bytes=kv,
        recurrent_bytes=recurrent,
        compute_bytes=compute + plan.drafts(span),
        overhead_bytes=overhead,
    )


def _host(plan: _Plan) -> DeviceBytes:
    shape, settings, span, sums = plan.shape, plan.settings, plan.host, plan.sums
    kv, recurrent = caches(shape, plan.kinds, span.first, span.last, plan.cells, settings)
    experts = sums.expert_bytes(span.last, min(settings.cpu_expert_layers, len(shape.layers)))
    output = plan.weights.output_bytes + plan.weights.output_norm_bytes if span.output else 0
    if span.places or (experts and not plan.offloads):
        last = min(span.last, len(shape.layers)) or len(shape.layers)
        slices = plan.slices(None) // 2
        compute = plan.compute(Place((Run(plan.kinds.layers[:last], (0, last)),), span.output, False, slices=slices))
        compute += 2 * settings.tokens * shape.embedding_length * 4 if plan.gpus else 0  # what comes from the GPUs
    else:
        run = Run(plan.kinds.kinds, "kinds")
        everything = Place((run,), output=False, on_gpu=False, pipelined=plan.pipelined, slices=plan.slices(None))
        compute = llama_compute.host_bytes(shape, plan.kinds, settings, plan.cells, everything)
    overhead = value(settings.build, "process") + value(settings.build, "vocabulary_entry") * shape.vocab_size
    overhead += value(settings.build, "cuda_host") if plan.gpus else 0
    layers_bytes = sums.layer_bytes(0, span.last, draft=settings.draft)
    twice = 0 if plan.gpus or settings.load_path not in ("mmap", "mlock") else plan.weights.repacked_bytes
    return DeviceBytes(
        HOST,
        weights_bytes=plan.weights.input_bytes + layers_bytes + experts + output + twice,
        kv_cache_bytes=kv,
        recurrent_bytes=recurrent,
        compute_bytes=compute,
        output_bytes=shape.vocab_size * settings.parallel * 4,
        overhead_bytes=overhead,
        # Nothing reads the file's pages again once their copy is made, so the kernel may drop them, unless locked.
        droppable_bytes=twice if settings.load_path == "mmap" else 0,
    )


def _layer_weights(plan: _Plan, span: Span) -> int:
    in_ram = plan.sums.expert_bytes(span.first, min(plan.settings.cpu_expert_layers, span.last))
    return plan.sums.layer_bytes(span.first, span.last, draft=plan.settings.draft) - in_ram

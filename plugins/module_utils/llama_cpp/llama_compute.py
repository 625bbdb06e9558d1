"""The compute buffers of llama.cpp: what one micro-batch takes while it passes through the layers of a device.

``src/llama-context.cpp`` (sched_reserve, graph_reserve) reserves them for the worst case: a full micro-batch and a full
cache. ``ggml/src/ggml-backend.cpp`` gives each device copies of the inputs it reads: four of each when several GPUs
work on different micro-batches at once, and of the weights that lie in RAM one at a time.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp import llama_graph
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.engine_constants import value
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.ggml_arena import Arena, Block
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_cache import Cells, Kinds
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_graph import Graph
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_graph_state import recur
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_place import (
    Place,
    Reads,
    Run,
    cast_bytes,
    input_bytes,
)
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_settings import CUDA, LlamaSettings
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.identity_cache import IdentityCache
from ansible_collections.llmhost.core.plugins.module_utils.weights.layer_style import style_of

PIPELINE_COPIES = 4
"""``GGML_SCHED_MAX_COPIES`` of ``ggml/src/ggml-backend.cpp``."""
UNTRACED = {"deci": 8, "granitehybrid": 6, "gemma4": 4, "mamba2": 2, "nemotron_h": 3}
"""Quarters of a hidden state that these architectures were seen to take beside what is followed here."""
MARGIN, GPU_MARGIN = 100, 2 * MIB
"""What is added on a GPU, whose backend may keep a tensor for longer to fuse operations: one part in 100, and 2 MiB."""
PICKS_LATE = frozenset(
    (
        *("bailingmoe3", "cohere2moe", "deepseek2", "deepseek32", "deepseek4", "gemma4", "glm-dsa", "glm4moe"),
        *("glm5-next", "gpt-oss", "hy-v3", "kimi-k3", "mimo2", "nemotron_h", "nemotron_h_moe", "qwen35", "qwen35moe"),
        *("qwen3next", "rwkv6", "rwkv7", "step35"),
    )
)
"""Architectures that choose the tokens to predict from after the last norm; others do so inside the last layer."""


Known = dict[Hashable, Any]
"""What was found about the layers of a model so far."""


def _forget(_kinds: Kinds) -> Known:
    return {}


_known_of: IdentityCache[Kinds, Known] = IdentityCache(_forget)
_MOST_KNOWN = 4096


def _reads(place: Place, known: Known) -> Reads:
    key = "reads", place.key, place.takes_work, place.gives_work
    if key not in known:
        known[key] = Reads.of(place)
    found: Reads = known[key]
    return found


def graph_of(shape: Shape, settings: LlamaSettings, cells: Cells, on_gpu: bool) -> Graph:
    """Return the graph of a micro-batch, empty."""
    plain = ("f32", "f16", "bf16")
    rotates = bool(value(settings.build, "rotated_cache")) and settings.flash_attention
    windowed = any(layer.attention is not None and layer.attention.window for layer in shape.layers[:8])
    copies = on_gpu and settings.backend == CUDA and value(settings.build, "flash_copies_logged")
    return Graph(
        embedding=shape.embedding_length,
        architecture=shape.architecture,
        tokens=-(-settings.tokens // settings.parallel) * settings.parallel,
        sequences=settings.parallel,
        cells=cells.full // cells.streams,
        streams=cells.streams,
        flash=settings.flash_attention,
        rotate_k=rotates and settings.cell_type_k not in plain,
        rotate_v=rotates and settings.cell_type_v not in plain,
        value_first=not windowed,
        fused_gate=bool(value(settings.build, "fused_gate")),
        expands=value(settings.build, "expands_latent") if settings.flash_attention else 0,
        cached_f16=not copies or settings.cell_type_k == settings.cell_type_v == "f16",
    )


def device_bytes(shape: Shape, kinds: Kinds, place: Place, settings: LlamaSettings, cells: Cells) -> int:
    """Return the compute buffer of a device."""
    known = _known_of(kinds)
    if len(known) > _MOST_KNOWN:
        known.clear()
    graph = graph_of(shape, settings, cells, place.on_gpu)
    window = cells.window // cells.streams
    hidden = graph.embedding * graph.tokens * 4
    reads = _reads(place, known)
    inputs = input_bytes(graph, settings, window, reads, kinds.value_row, place)
    # A constant that the index of each layer starts from (src/llama-graph.cpp, build_attn).
    zeros = reads.indexed * min(graph.cells, llama_graph.INDEX_TOP_K) * graph.tokens * 4
    start = _start(graph, place, settings, reads, inputs, zeros + cast_bytes(graph, settings, window, reads, place))
    peak, before = _traced(graph, place, settings, start, window, known)
    if place.output:
        rows = settings.logit_rows
        least = rows * (shape.vocab_size + 4 * graph.embedding) * 4 + place.output_copy + 2 * hidden + start.inputs[1]
        if rows >= graph.tokens or least > peak:
            peak = max(peak, _end(graph, shape, place, settings, before, start, window))
    peak = max(peak, start.inputs[1] + hidden) + _beside(shape, place, settings, hidden)
    return peak + peak // MARGIN + GPU_MARGIN if place.on_gpu else peak


def _traced(
    graph: Graph, place: Place, settings: LlamaSettings, start: Start, window: int, known: Known
) -> tuple[int, Block]:
    """Return what ``_layers`` returns, from what is known of the same layers at another context if that says it.

    With flash attention and plain caches the context only moves what lies behind the inputs.
    """
    moves = graph.flash and graph.cached_f16 and not graph.expands and not start.indexed
    here = (0, 0) if moves else (graph.cells, window)
    rotates = graph.rotate_k, graph.rotate_v
    key = "peak", place.key, here, settings.build, graph.tokens, graph.sequences, graph.flash, rotates
    by = start.inputs[1] - llama_graph.STANDARD_INPUTS if moves else 0
    if key not in known:
        known[key] = _layers(graph, place, start.moved(by), window)
    peak, before = known[key]
    behind = start.inputs[0] + llama_graph.STANDARD_INPUTS
    return peak + by, ((before[0] + by, before[1]) if before[0] >= behind else before)


def _beside(shape: Shape, place: Place, settings: LlamaSettings, hidden: int) -> int:
    """Return what stays all the time, or was there in older builds alone."""
    extra = 0 if value(settings.build, "logits_by_sequence") else hidden  # as no older build could be traced
    if shape.architecture in llama_graph.FUSED_QKV and not value(settings.build, "fused_gate"):
        wide = llama_graph.projected_width(shape.layers) * hidden // max(shape.embedding_length, 1)
        extra += max(2 * hidden, wide)  # its parts were copied out
    extra += hidden if settings.draft and place.output else 0  # the last hidden state, which the drafts start from
    extra += place.slices + UNTRACED.get(shape.architecture, 0) * hidden // 4
    if any(layer.recurrent is not None and layer.recurrent.kind == "mamba2" for layer in shape.layers[:1]):
        extra += (
            2
            * settings.parallel
            * max(layer.recurrent.conv_elements * 4 for layer in shape.layers[:1] if layer.recurrent is not None)
        )
    if any(run.matrix_copy or run.expert_copy for run in place.runs):
        extra += 2 * hidden
    if any(layer.recurrent is not None and layer.recurrent.kind == "gated_delta_net" for layer in shape.layers[:1]):
        extra += value(settings.build, "delta_net_extra") * hidden
    return extra


@dataclass(frozen=True)
class Start:
    """Where the first layer of a device finds what it reads; a block without bytes lies inside the inputs."""

    inputs: Block
    hidden: Block
    norm: Block | None  # made by the device before
    masks: Block  # of the inputs what nothing reads after the last layer's attention
    indexed: bool

    def moved(self, by: int) -> Start:
        """Return the same with smaller inputs, and what lies behind them nearer."""
        hidden = self.hidden
        if hidden[0] >= sum(self.inputs):
            hidden = hidden[0] - by, hidden[1]
        return replace(self, inputs=(self.inputs[0], self.inputs[1] - by), hidden=hidden)


def _start(graph: Graph, place: Place, settings: LlamaSettings, reads: Reads, inputs: int, zeros: int) -> Start:
    hidden, indexed = graph.embedding * graph.tokens * 4, reads.indexed > 0
    if place.pipelined:
        exchanged = reads.exchanged * graph.tokens * 4
        inputs = PIPELINE_COPIES * (inputs + place.arriving * hidden + exchanged + place.cache_elsewhere) + zeros
        return Start((0, inputs), (inputs, 0), (0, 0) if place.arriving > 1 else None, (0, 0), indexed)
    inputs += zeros + place.cache_elsewhere
    if not place.on_gpu:
        embeddings = hidden * value(settings.build, "input_embeddings")
        masks = embeddings, inputs
        return Start((0, inputs + embeddings), (inputs + embeddings, hidden), None, masks, indexed)
    fixed = (hidden, inputs)
    if place.arriving > 1:
        return Start(fixed, (hidden + inputs, hidden), (0, hidden), fixed, indexed)
    return Start(fixed, (0, hidden), None, fixed, indexed)


def _layers(graph: Graph, place: Place, start: Start, window: int) -> tuple[int, Block]:
    """Return the bytes that the layers take, and where the hidden state lies before the last of them."""
    hidden = before = start.hidden
    norm, peak = start.norm, 0
    known: dict[tuple[int, int, Block, bool], tuple[int, Block]] = {}
    for number, run in enumerate(place.runs):
        inside = replace(_copying(graph, run), inputs=start.inputs)
        for layer in run.layers:
            key = (number, id(layer), hidden, norm is None)
            if key not in known:
                known[key] = _layer(inside, layer, hidden, window, norm=norm)[:2]
            before = hidden
            top, hidden = known[key]
            peak, norm = max(peak, top), None
    return peak, before


def _copying(graph: Graph, run: Run) -> Graph:
    return replace(graph, matrix_copy=run.matrix_copy, expert_copy=run.expert_copy, cache_copy=run.cache_copy)


def _layer(
    graph: Graph, layer: Layer, residual: Block, window: int, rows: int = -1, norm: Block | None = None
) -> tuple[int, Block, Graph]:
    """Run one layer by itself; ``rows`` tokens of it are read by the output if it is the last (-1: it is not)."""
    attention = layer.attention
    cells = window if attention is not None and attention.window else graph.cells
    graph = replace(graph, arena=Arena(), cells=cells)
    graph.arena.reserve(*sorted(block for block in (residual, graph.inputs, norm or (0, 0)) if block[1]))
    out = _run(graph, layer, residual, rows, norm)
    return graph.arena.peak, out, graph


def _run(graph: Graph, layer: Layer, residual: Block, rows: int, norm: Block | None) -> Block:
    """Run one layer and return the block of its output; only that and the inputs are left."""
    attention, recurrent, network = layer.attention, layer.recurrent, layer.feed_forward
    if attention is None and recurrent is None:
        return _network(graph, layer, residual)
    norm = norm or graph.new(graph.embedding)
    if attention is not None and network is not None and graph.architecture in llama_graph.PARALLEL:
        mixed = llama_graph.attend(graph, attention, norm, keep=True)
        hidden = llama_graph.feed_forward(graph, network, norm)
        graph.free(residual)
        graph.free(mixed, graph.new(graph.embedding))
        return hidden
    out = _mixed(graph, layer, norm)
    graph.free(graph.masks)
    if rows >= 0:
        out, residual = _picked(graph, out, rows), _picked(graph, residual, rows)
        if rows < graph.tokens:
            graph.free(residual)
            return out
    elif llama_graph.adds_to_residual(graph, layer):
        out, residual = residual, out
    graph.free(residual)
    return out if network is None else _network(graph, layer, out)


def _mixed(graph: Graph, layer: Layer, norm: Block) -> Block:
    """Run attention, the recurrent part, or both side by side."""
    attention, recurrent = layer.attention, layer.recurrent
    if attention is None:
        return (0, 0) if recurrent is None else recur(graph, recurrent, norm)
    mixed = llama_graph.attend(graph, attention, norm, keep=False)
    if recurrent is None:
        return _again(graph, mixed)
    beside = graph.new(graph.embedding)
    second = recur(graph, recurrent, graph.new(graph.embedding))
    out = graph.new(graph.embedding)
    graph.free(mixed, second, beside)
    return out


def _again(graph: Graph, block: Block) -> Block:
    out = graph.new(graph.embedding)
    graph.free(block)
    return out


def _picked(graph: Graph, block: Block, rows: int) -> Block:
    chosen = graph.bytes(graph.embedding * rows * 4)
    graph.free(block)
    return chosen


def _network(graph: Graph, layer: Layer, residual: Block) -> Block:
    if layer.feed_forward is None:
        return residual
    out = llama_graph.feed_forward(graph, layer.feed_forward, graph.new(graph.embedding))
    if graph.architecture in llama_graph.RESIDUAL_FIRST and residual[1]:
        graph.free(out)
        return residual
    graph.free(residual)
    return out


def _end(
    graph: Graph, shape: Shape, place: Place, settings: LlamaSettings, hidden: Block, start: Start, window: int
) -> int:
    """Return the bytes that the last layer takes when it is followed by the logits, with them."""
    rows, logits = settings.logit_rows, settings.logit_rows * shape.vocab_size * 4
    late = graph.architecture in PICKS_LATE or not value(settings.build, "picks_outputs")
    if not place.runs or not place.runs[-1].layers:
        return place.output_copy + logits + sum(hidden) + sum(start.inputs)
    run = place.runs[-1]
    inside = replace(_copying(graph, run), inputs=start.inputs, masks=start.masks)
    top, _, ran = _layer(inside, run.layers[-1], hidden, window, -1 if late else rows)
    if late and (rows < graph.tokens or graph.architecture in PICKS_LATE):
        ran.bytes(graph.embedding * rows * 4)
    copied = ran.bytes(place.output_copy) if place.output_copy else (0, 0)
    ran.bytes(logits)
    ran.free(copied)
    return max(top, ran.arena.peak)


def host_bytes(shape: Shape, kinds: Kinds, settings: LlamaSettings, cells: Cells, place: Place) -> int:
    """Return the compute buffer in RAM when every layer is on a GPU: inputs and embeddings."""
    graph = graph_of(shape, settings, cells, on_gpu=False)
    hidden = graph.embedding * graph.tokens * 4
    reads, window = _reads(place, _known_of(kinds)), cells.window // cells.streams
    inputs = input_bytes(graph, settings, window, reads, kinds.value_row, place)
    inputs += hidden * value(settings.build, "input_embeddings")
    if style_of(shape.architecture).learned_positions:
        hidden *= 2  # rows of the second table
    return inputs * (PIPELINE_COPIES if place.pipelined else 1) + hidden + place.slices

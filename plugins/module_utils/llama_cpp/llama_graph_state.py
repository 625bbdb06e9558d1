"""The tensors that llama.cpp's graph makes in a layer with a recurrent state.

Read in ``src/models/mamba-base.cpp``, ``delta-net-base.cpp``, ``qwen35.cpp``, ``kimi-linear.cpp``, ``lfm2.cpp`` and
``rwkv7-base.cpp`` of the pinned build, and checked against the graphs that it printed.
"""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.ggml_arena import Block
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_graph import Graph
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Recurrent

REPEATS_KEYS = frozenset(("qwen3next", "qwen3_next"))
"""Queries and keys are repeated for each head of values."""


def recur(graph: Graph, part: Recurrent, norm: Block) -> Block:
    """Run a recurrent part on a norm, which it gives back, and return its output."""
    step = {
        "gated_delta_net": _delta_net,
        "kda": _kimi_delta,
        "mamba": _mamba,
        "mamba2": _mamba2,
        "short_conv": _short_conv,
        "rwkv": _rwkv,
    }.get(part.kind, _any)
    return step(graph, part, norm)


def _output(graph: Graph, block: Block) -> Block:
    out = graph.new(graph.embedding)
    graph.free(block)
    return out


def _convolved(graph: Graph, part: Recurrent, source: Block, width: int, states: Block) -> Block:
    """Join the last inputs and the new ones, and convolve; ``source`` stays."""
    joined = graph.new(width, graph.state(max(part.conv_kernel - 1, 0) * width))
    graph.free(states, source)
    out = graph.new(width)
    graph.free(joined)
    return out


def _delta_net(graph: Graph, part: Recurrent, norm: Block) -> Block:
    keys = part.groups * part.state_dim
    width = 2 * keys + part.inner
    states = graph.bytes(graph.state(part.conv_elements))
    product = graph.product(width, graph.matrix_copy)
    joined = graph.new(width, graph.state(part.conv_elements))
    graph.free(states, product)
    state = graph.bytes(graph.state(part.state_elements))
    mixed = graph.new(width)
    graph.free(joined)
    query, key = graph.new(keys), graph.new(keys)
    if graph.architecture in REPEATS_KEYS and part.heads != part.groups:
        query, key = _repeated(graph, part, query), _repeated(graph, part, key)
    decay, beta = graph.new(part.heads), graph.new(part.heads)
    out = graph.new(part.inner, graph.state(part.state_elements))
    graph.free(query, key, decay, beta, state, mixed)
    normed = graph.new(part.inner)
    graph.free(out)
    gate = graph.new(part.inner)
    graph.free(norm)
    active = graph.new(part.inner)
    graph.free(gate, active)
    return _output(graph, normed)


def _repeated(graph: Graph, part: Recurrent, block: Block) -> Block:
    made = graph.new(part.heads * part.state_dim)
    graph.free(block)
    return made


def _kimi_delta(graph: Graph, part: Recurrent, norm: Block) -> Block:
    width = part.inner
    states = graph.bytes(graph.state(part.conv_elements))
    joined = []
    for _ in range(3):
        product = graph.new(width)
        joined.append(graph.new(width, graph.state(part.conv_elements // 3)))
        graph.free(product)
    graph.free(states)
    state = graph.bytes(graph.state(part.state_elements))
    mixed = []
    for number, block in enumerate(joined):
        last = block
        for _ in range(2 if number == 2 else 3):
            made = graph.new(width)
            graph.free(last)
            last = made
        mixed.append(last)
    narrow = graph.new(part.state_dim)
    raw = graph.new(width)
    graph.free(narrow)
    decay = graph.new(width)
    graph.free(raw)
    beta = graph.new(part.heads)
    product = graph.new(width, graph.state(part.state_elements))
    graph.free(*mixed, decay, beta, state)
    out = graph.new(width)
    graph.free(product)
    normed = graph.new(width)
    graph.free(out)
    gate = graph.new(width)
    graph.free(norm)
    active = graph.new(width)
    graph.free(gate, active)
    copied = graph.new(width)
    graph.free(normed)
    return _output(graph, copied)


def _mamba2(graph: Graph, part: Recurrent, norm: Block) -> Block:
    width = part.inner + 2 * part.groups * part.state_dim
    states = graph.bytes(graph.state(part.conv_elements))
    product = graph.product(part.inner + width + part.heads, graph.matrix_copy)
    graph.free(norm)
    joined = graph.new(width, graph.state(part.conv_elements))
    graph.free(states)
    mixed = graph.new(width)
    raw, steps = graph.new(part.heads), graph.new(part.heads)
    if part.groups < 2:
        graph.free(joined)
        joined = (0, 0)
    scanned = graph.new(part.inner, graph.state(part.state_elements))
    graph.free(raw, steps, joined)
    gate = graph.new(part.inner)
    graph.free(product)
    skipped = graph.new(part.inner)
    graph.free(mixed, scanned)
    out = graph.new(part.inner)
    graph.free(gate, skipped)
    normed = graph.new(part.inner)
    graph.free(out)
    return _output(graph, normed)


def _mamba(graph: Graph, part: Recurrent, norm: Block) -> Block:
    states = graph.bytes(graph.state(part.conv_elements))
    product = graph.product(2 * part.inner, graph.matrix_copy)
    graph.free(norm)
    mixed = _convolved(graph, part, (0, 0), part.inner, states)
    rank = graph.embedding // 16
    steps_low, steps = graph.new(rank + 2 * part.state_dim), graph.new(rank)
    delta = graph.new(part.inner)
    graph.free(steps)
    scanned = graph.new(part.inner, graph.state(part.state_elements))
    graph.free(delta, steps_low)
    gate = graph.new(part.inner)
    graph.free(product, mixed)
    out = graph.new(part.inner)
    graph.free(gate, scanned)
    return _output(graph, out)


def _short_conv(graph: Graph, part: Recurrent, norm: Block) -> Block:
    width = part.inner or graph.embedding
    states = graph.bytes(graph.state(part.conv_elements))
    product = graph.product(3 * width, graph.matrix_copy)
    graph.free(norm)
    gated = graph.new(width)
    mixed = _convolved(graph, part, gated, width, states)
    graph.free(product)
    return _output(graph, mixed)


def _rwkv(graph: Graph, part: Recurrent, norm: Block) -> Block:
    width = graph.embedding
    shifted = graph.new(6 * width)
    parts = [graph.new(width) for _ in range(9)]
    out = graph.new(width, graph.state(2 * part.state_elements + part.conv_elements))
    graph.free(shifted, *parts, norm)
    return out


def _any(graph: Graph, part: Recurrent, norm: Block) -> Block:
    """An upper bound for a recurrent part of another kind."""
    wide = graph.new(6 * max(part.inner, graph.embedding), graph.state(part.conv_elements + 2 * part.state_elements))
    graph.free(norm)
    return _output(graph, wide)

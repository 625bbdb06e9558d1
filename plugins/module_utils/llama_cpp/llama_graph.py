"""The tensors that llama.cpp's graph makes in one layer, in its order: attention and feed-forward networks.

Read in ``src/llama-graph.cpp`` (build_attn_mha, build_ffn, build_moe_ffn) and ``src/models/*.cpp`` of the pinned build,
and checked against the graphs that it printed (``GGML_SCHED_DEBUG=2``). An operation that works in place makes no
tensor, so it is not here; one that reads a view never works in place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.ggml_arena import Arena, Block
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import LATENT, Attention, FeedForward, Layer

FUSED_QKV = frozenset(
    [
        "baichuan",
        "bloom",
        "chatglm",
        "codeshell",
        "dbrx",
        "falcon",
        "glm4",
        "gpt2",
        "gptneox",
        "jais",
        "mpt",
        "phi2",
        "phi3",
        "phimoe",
        "plamo2",
        "plamo3",
        "qwen",
        "refact",
        "starcoder",
    ]
)
"""Architectures with one matrix for queries, keys and values: the views of its product are not contiguous."""
PARALLEL = frozenset(("cohere2", "cohere2moe", "command-r", "falcon", "gptneox", "phi2", "plamo"))
"""The feed-forward network reads what attention reads, not what it wrote."""
DOUBLE_UP = frozenset(("chatglm", "glm4", "phi3", "plamo2", "plamo3"))
"""Gate and up are one matrix, so the activation reads one tensor of twice the width."""

UNROTATED = frozenset(("cohere2", "cohere2moe"))
"""Layers without a window have no rotary positions, so that queries go to attention as they are."""
STANDARD_INPUTS = 2**20
"""Bytes of inputs to trace a layer with, where how many there are changes nothing but what they take themselves."""
RESIDUAL_FIRST = frozenset(("jamba", "lfm2", "lfm2moe", "phi3"))
"""What a layer makes is added to the hidden state in place, not the other way round."""


@dataclass
class Graph:
    """One micro-batch on one device. ``column`` is the bytes of one f32 for each token."""

    embedding: int
    architecture: str
    tokens: int
    sequences: int
    cells: int  # of one stream
    streams: int
    flash: bool
    rotate_k: bool  # quantised keys are rotated first
    rotate_v: bool
    value_first: bool  # the graph makes values before keys
    fused_gate: bool = True  # the activation makes a tensor of its own
    expands: int = 0  # latent rows are expanded to keys and values, at most so many bytes of them in f32 at a time
    cached_f16: bool = True  # False: CUDA's flash attention works on f16 copies of the cache
    matrix_copy: int = 0  # bytes of the widest matrix, where the layer's weights come from RAM one at a time
    expert_copy: int = 0  # the same of one tensor of routed experts
    cache_copy: int = 0  # bytes of the layer's cache, where it comes from RAM
    inputs: Block = (0, 0)
    masks: Block = (0, 0)  # of the inputs what nothing reads after the last layer's attention
    arena: Arena = field(default_factory=Arena)

    def new(self, elements: int, extra: int = 0) -> Block:
        """Allocate so many f32 for each token, and bytes beside them."""
        return self.arena.new(elements * self.tokens * 4 + extra)

    def bytes(self, size: int) -> Block:
        """Allocate bytes."""
        return self.arena.new(size)

    def product(self, elements: int, copied: int) -> Block:
        """Allocate the product with a matrix; ``copied`` bytes of it are there meanwhile."""
        matrix = self.arena.new(copied) if copied else (0, 0)
        block = self.new(elements)
        self.free(matrix)
        return block

    def state(self, elements: int) -> int:
        """Return the bytes of so many f32 for each sequence."""
        return elements * self.sequences * 4

    def free(self, *blocks: Block) -> None:
        """Give blocks back."""
        self.arena.free(*blocks)


def adds_to_residual(graph: Graph, layer: Layer) -> bool:
    """Tell whether the sum behind attention takes the place of the hidden state: what it adds is a view."""
    reshaped = layer.recurrent is not None and layer.recurrent.kind == "gated_delta_net"
    return reshaped or graph.architecture in ("jamba", "lfm2", "lfm2moe")


def attend(graph: Graph, attention: Attention, norm: Block, keep: bool) -> Block:
    """Run attention up to what goes into its output matrix. ``keep``: the norm is read again later."""
    if attention.kind == LATENT:
        run = _unfolded if graph.expands else _latent
        return run(graph, attention, norm, keep)
    if attention.kv_lora_rank:
        return _unpacked(graph, attention, norm, keep)
    if attention.gated:
        return _gated(graph, attention, norm, keep)
    queries, values = attention.heads * attention.head_dim_k, attention.kv_heads * attention.head_dim_v
    keys = attention.kv_heads * attention.head_dim_k
    if graph.architecture in FUSED_QKV:
        product = graph.new(queries + keys + values)
        _drop(graph, norm, keep)
        query, key = graph.new(queries), graph.new(keys)
        graph.free(key, product)
        return _scores(graph, attention, query)
    query = graph.new(queries)
    if not (graph.architecture in UNROTATED and not attention.window):
        query = _again(graph, query, queries)
    query = _rotated(graph, query, queries, graph.rotate_k)
    if not attention.stores_cache:
        _drop(graph, norm, keep)
        return _scores(graph, attention, query)
    if graph.value_first:
        value = _rotated(graph, graph.new(values), values, graph.rotate_v)
        key = graph.new(keys)
        _drop(graph, norm, keep)
        key = _rotated(graph, _again(graph, key, keys), keys, graph.rotate_k)
    else:
        key = _rotated(graph, _again(graph, graph.new(keys), keys), keys, graph.rotate_k)
        value = graph.new(values)
        _drop(graph, norm, keep)
        value = _rotated(graph, value, values, graph.rotate_v)
    graph.free(key, value)
    return _scores(graph, attention, query)


def _gated(graph: Graph, attention: Attention, norm: Block, keep: bool) -> Block:
    queries, values = attention.heads * attention.head_dim_k, attention.kv_heads * attention.head_dim_v
    both = graph.new(2 * queries)
    query = _rotated(graph, graph.new(queries), queries, graph.rotate_k)
    value = _rotated(graph, graph.new(values), values, graph.rotate_v)
    keys = attention.kv_heads * attention.head_dim_k
    key = graph.new(keys)
    _drop(graph, norm, keep)
    graph.free(_rotated(graph, _again(graph, key, keys), keys, graph.rotate_k), value)
    out = _scores(graph, attention, query)
    gate = graph.new(queries)
    graph.free(both, out)
    return gate


def _latent(graph: Graph, attention: Attention, norm: Block, keep: bool) -> Block:
    heads, rank, rope = attention.heads, attention.kv_lora_rank, attention.rope_dim
    indexed = bool(attention.index_heads)
    if indexed:
        graph.free(graph.new(2 * attention.index_head_dim))
    compressed = graph.new(attention.q_lora_rank)
    query = graph.new(heads * attention.head_dim_k)
    if not indexed:
        graph.free(compressed)
    absorbed, positions = graph.new(heads * rank), graph.new(heads * rope)
    graph.free(query)
    query = graph.new(heads * (rank + rope))
    graph.free(absorbed, positions)
    row = graph.new(rank + rope)
    if not indexed:
        _drop(graph, norm, keep)
    latent, key_positions = graph.new(rank), graph.new(rope)
    graph.free(row)
    key = graph.new(rank + rope)
    graph.free(latent, key_positions, key)
    if indexed:
        mask = _choose(graph, attention, compressed)
        _drop(graph, norm, keep)
        out = _scores(graph, attention, query)
        graph.free(mask)
        return out
    return _scores(graph, attention, query)


def _unpacked(graph: Graph, attention: Attention, norm: Block, keep: bool) -> Block:
    """Latent attention whose cache holds the keys and values of every head."""
    heads, rank, rope = attention.heads, attention.kv_lora_rank, attention.rope_dim
    keys, values = heads * attention.head_dim_k, heads * attention.head_dim_v
    compressed = graph.new(attention.q_lora_rank)
    query = graph.new(keys)
    graph.free(compressed)
    query = _again(graph, query, keys)
    row = graph.new(rank + rope)
    _drop(graph, norm, keep)
    latent = graph.new(rank)
    both = graph.new(keys - heads * rope + values)
    graph.free(latent)
    value = graph.new(values)
    positions = graph.new(rope)
    graph.free(row)
    repeated = graph.new(heads * rope)
    graph.free(positions)
    key = graph.new(keys)
    graph.free(both, repeated)
    graph.free(key, value)
    return _scores(graph, attention, query)


def _unfolded(graph: Graph, attention: Attention, norm: Block, keep: bool) -> Block:
    """Latent attention of the fork: keys and values of the whole context are made of the cache (-mla 3 -fa)."""
    heads, rope = attention.heads, attention.rope_dim
    compressed = graph.new(attention.q_lora_rank)
    query = graph.new(heads * attention.head_dim_k)
    graph.free(compressed)
    query = _again(graph, query, heads * attention.head_dim_k)
    _drop(graph, norm, keep)
    both = heads * (attention.head_dim_k + attention.head_dim_v) * graph.cells
    made = min((both - heads * rope * graph.cells) * 4, graph.expands)
    expanded, chunk = graph.bytes(both * 2), graph.bytes(made + made // 2)  # in f32, and the part of it in f16
    out = graph.new(heads * attention.head_dim_v)
    graph.free(query, expanded, chunk)
    return out


def _choose(graph: Graph, attention: Attention, compressed: Block) -> Block:
    """Run the index of sparse attention and return the mask that it makes (``src/models/deepseek32.cpp``)."""
    width = attention.index_heads * attention.index_head_dim
    query = graph.new(width)
    graph.free(compressed)
    rotated = graph.new(width)
    graph.free(query)
    weights = graph.new(attention.index_heads)
    scores = graph.new(graph.cells)
    graph.free(rotated, weights)
    best, copied = (graph.new(min(graph.cells, INDEX_TOP_K)) for _ in range(2))
    graph.free(best)
    size = graph.tokens * graph.cells * (2 if graph.flash else 4)
    filled, mask = graph.bytes(size), graph.bytes(size)
    graph.free(scores, copied, filled)
    return mask


INDEX_TOP_K = 2048
"""Tokens that DeepSeek's sparse attention reads (``index_topk`` of its published configurations)."""


def _scores(graph: Graph, attention: Attention, query: Block) -> Block:
    """Multiply queries with the cache, and the result with its values."""
    cache = graph.bytes(graph.cache_copy) if graph.cache_copy else (0, 0)
    out = _attended(graph, attention, query)
    graph.free(cache)
    return out


def _attended(graph: Graph, attention: Attention, query: Block) -> Block:
    latent = attention.kind == LATENT
    width = attention.heads * (attention.kv_lora_rank if latent else attention.head_dim_v)
    if graph.flash:
        out = graph.new(width, _expanded(graph, attention))
        graph.free(query)
        if graph.rotate_v and not latent:
            out = _rotated(graph, out, width, True)
        return _decompressed(graph, attention, out) if latent else out
    copied = graph.bytes(attention.kv_lora_rank * graph.cells * graph.streams * 2) if latent else (0, 0)
    scores = graph.new(attention.heads * graph.cells)
    graph.free(query)
    product = graph.new(width)
    graph.free(copied, scores)
    if latent:
        return _decompressed(graph, attention, product)
    out = graph.new(width)
    graph.free(product)
    return out


def _expanded(graph: Graph, attention: Attention) -> int:
    """Return the bytes of the f16 copies of a cache of another type (``ggml-cuda/fattn.cu``)."""
    return 0 if graph.cached_f16 else flash_copies(attention, graph.cells * graph.streams)


def flash_copies(attention: Attention, cells: int) -> int:
    """Return the bytes of the keys and values of a layer in f16."""
    row = attention.kv_heads * (attention.head_dim_k + attention.head_dim_v)
    if attention.kind == LATENT:
        row = attention.kv_lora_rank + attention.rope_dim
    return row * cells * 2


def _decompressed(graph: Graph, attention: Attention, product: Block) -> Block:
    width = attention.heads * attention.head_dim_v
    heads = graph.new(width)
    graph.free(product)
    out = graph.new(width)
    graph.free(heads)
    return out


def _again(graph: Graph, block: Block, width: int) -> Block:
    """Return what the first operation on a view of a block makes of it."""
    made = graph.new(width)
    graph.free(block)
    return made


def _rotated(graph: Graph, block: Block, width: int, rotate: bool) -> Block:
    return _again(graph, block, width) if rotate else block


def _drop(graph: Graph, norm: Block, keep: bool) -> None:
    if not keep:
        graph.free(norm)


def feed_forward(graph: Graph, network: FeedForward, norm: Block) -> Block:
    """Run a feed-forward network on a norm, which it gives back, and return its output."""
    if network.experts_used:
        return _experts(graph, network, norm)
    return _dense(graph, network.length, network.gated, norm)


def _dense(graph: Graph, length: int, gated: bool, norm: Block) -> Block:
    copied = graph.matrix_copy
    if graph.architecture in DOUBLE_UP:
        product = graph.product(2 * length, copied)
        graph.free(norm)
        hidden = graph.new(length if graph.fused_gate else 3 * length)
        graph.free(product)
    elif gated:
        gate, up = graph.product(length, copied), graph.product(length, copied)
        graph.free(norm)
        hidden = _activated(graph, length, gate, up)
    else:
        hidden = graph.product(length, copied)
        graph.free(norm)
    out = graph.product(graph.embedding, copied)
    graph.free(hidden)
    return out


def _activated(graph: Graph, elements: int, gate: Block, up: Block) -> Block:
    if not graph.fused_gate:
        graph.free(up)
        return gate
    hidden = graph.new(elements)
    graph.free(gate, up)
    return hidden


def _experts(graph: Graph, network: FeedForward, norm: Block) -> Block:
    used, length, copied = network.experts_used, network.expert_length, graph.expert_copy
    probabilities, order = graph.new(network.experts), graph.new(network.experts)
    weights = graph.new(used)
    graph.free(probabilities)
    early = graph.architecture == "llama4"  # weighted before the experts, not after
    source = graph.new(graph.embedding * used) if early else norm
    shared = network.shared_length or network.length
    gate = graph.product(used * length, copied)
    up = graph.product(used * length, copied) if network.gated else (0, 0)
    if early or not shared:
        graph.free(source)
    hidden = _activated(graph, used * length, gate, up) if network.gated else gate
    down = graph.product(used * graph.embedding, copied)
    graph.free(hidden, order)
    out = graph.new(graph.embedding)
    graph.free(down, weights)
    if early and not shared:
        graph.free(norm)
    if shared:
        graph.free(_dense(graph, shared, network.gated, norm))
    return out


def projected_width(layers: Iterable[Layer]) -> int:
    """Return how many queries, keys and values the widest layer makes of one token."""
    widths = [
        attention.heads * attention.head_dim_k + attention.kv_heads * (attention.head_dim_k + attention.head_dim_v)
        for attention in {layer.attention for layer in layers}
        if attention is not None
    ]
    return max(widths, default=0)

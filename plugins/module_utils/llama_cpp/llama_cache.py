"""What llama.cpp keeps of the tokens it has read: keys and values, latent rows, indexes and recurrent states.

Read in ``src/llama-kv-cache.cpp``, ``src/llama-kv-cache-iswa.cpp``, ``src/llama-kv-cache-dsa.cpp``,
``src/llama-memory-recurrent.cpp`` and ``src/llama-hparams.cpp`` of the pinned build; older builds by
``engine_constants``.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp import engine_constants
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_settings import LlamaSettings
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import (
    LATENT,
    Attention,
    Layer,
    Shape,
)
from ansible_collections.llmhost.core.plugins.module_utils.size import round_up
from ansible_collections.llmhost.core.plugins.module_utils.sizing.identity_cache import IdentityCache

CELL_BYTES: dict[str, tuple[int, int]] = {
    "f32": (4, 1),
    "f16": (2, 1),
    "bf16": (2, 1),
    "q8_0": (34, 32),
    "q5_1": (24, 32),
    "q5_0": (22, 32),
    "q4_1": (20, 32),
    "q4_0": (18, 32),
    "iq4_nl": (18, 32),
}
"""Bytes and elements of one block of a KV cell type (``ggml/src/ggml-common.h``)."""


ROLLS_BACK = frozenset(
    (
        *("bailingmoe3", "deepseek4", "glm5-next", "kimi-k3", "lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe"),
        *("qwen35", "qwen35moe", "qwen4exp"),
    )
)
"""Architectures that keep a recurrent state for each drafted token (``src/llama-arch.cpp``, supports_rs_rollback)."""


KEYS_ONLY = frozenset(("deepseek4", "deepseek_v4"))
"""Architectures whose values are their keys, without latent attention."""
COMPRESSED_PADDING = 256


@dataclass(frozen=True)
class Cells:
    """How many cells the caches have, all sequences together."""

    full: int
    window: int
    streams: int
    sequences: int


@dataclass(frozen=True)
class LayerCache:
    """The caches of one layer in bytes: of its KV cache, and of its recurrent state."""

    kv_bytes: int = 0
    recurrent_bytes: int = 0


@dataclass(frozen=True)
class Kinds:
    """The layers of a shape by kind: for each kind how many of it stand before each layer."""

    layers: tuple[Layer, ...]  # equal layers are one object
    kinds: tuple[Layer, ...]
    before: tuple[tuple[int, ...], ...]
    window: int
    value_row: int  # elements of the widest V row, which pads all of them without flash attention

    def counts(self, first: int, last: int) -> list[tuple[Layer, int]]:
        """Return each kind that stands in ``first <= layer < last``, with its number of layers."""
        found = ((kind, before[last] - before[first]) for kind, before in zip(self.kinds, self.before, strict=True))
        return [(kind, count) for kind, count in found if count]


def row_bytes(elements: int, cell_type: str) -> int:
    """Return the bytes of one row of a cache; rows are whole blocks."""
    size, block = CELL_BYTES[cell_type]
    return -(-elements // block) * size


def cells(shape: Shape, settings: LlamaSettings) -> Cells:
    """Return the cells of the caches: the context of a sequence padded, and what a sliding window leaves of it."""
    build, parallel = settings.build, settings.parallel
    padding = engine_constants.value(build, "cell_padding_flash" if settings.flash_attention else "cell_padding")
    if not engine_constants.value(build, "sequence_streams") or settings.kv_unified:
        streams, each = 1, round_up(settings.total_context, padding)
    else:
        total = round_up(settings.total_context, padding)
        streams, each = parallel, round_up(total // parallel, padding)
    window = _window_cells(kinds_of(shape).window, each, streams, settings, padding)
    return Cells(each * streams, window * streams, streams, parallel)


def _window_cells(window: int, full: int, streams: int, settings: LlamaSettings, padding: int) -> int:
    if settings.swa_full or not engine_constants.value(settings.build, "window_bounds_cells"):
        return full
    batch = settings.batch if engine_constants.value(settings.build, "window_adds_batch") else settings.tokens
    sequences = settings.parallel if streams == 1 else 1
    step = engine_constants.value(settings.build, "window_padding") or padding
    return round_up(min(full, window * sequences + batch), step)


def _empty_cache(count: Cells, value_row: int, settings: LlamaSettings) -> LayerCache:
    """Return the cache of a layer that mixes nothing: without flash attention its V rows are as wide as all others."""
    return LayerCache(0 if settings.flash_attention else count.full * row_bytes(value_row, settings.cell_type_v))


def layer_cache(
    layer: Layer, count: Cells, value_row: int, settings: LlamaSettings, *, keys_only: bool = False
) -> LayerCache:
    """Return the caches of one layer. ``value_row``: the widest V row of the model."""
    kv = recurrent = 0
    attention = layer.attention
    if attention is not None and attention.stores_cache:
        rows = count.window if attention.window else count.full
        if keys_only:
            kv = rows * row_bytes(attention.kv_heads * attention.head_dim_k, settings.cell_type_k)
        else:
            kv = rows * _token_bytes(attention, value_row, settings)
        if attention.compress_ratio:
            more, recurrent = _compressed(attention, count, settings)
            kv += more
    if layer.recurrent is not None:
        recurrent = (layer.recurrent.conv_elements + layer.recurrent.state_elements) * 4 * count.sequences
    return LayerCache(kv, recurrent)


def _compressed(attention: Attention, count: Cells, settings: LlamaSettings) -> tuple[int, int]:
    """Return the second cache of a layer of DeepSeek V4, of one row for several tokens, and what makes its rows.

    ``src/llama-kv-cache-dsv4.cpp``: each sequence has its own; a fine one has an index, and overlapping blocks.
    """
    ratio = attention.compress_ratio
    rows = round_up(-(-count.full // count.streams // ratio), COMPRESSED_PADDING) * count.sequences
    fine = bool(attention.index_row)
    row = row_bytes(attention.kv_heads * attention.head_dim_k, settings.cell_type_k)
    row += row_bytes(attention.index_row, settings.cell_type_k)
    width = 2 * (attention.head_dim_k + attention.index_head_dim) if fine else attention.head_dim_k
    block = 2 * ratio if fine else ratio
    return rows * row, 2 * block * width * 4 * count.sequences


def caches(shape: Shape, kinds: Kinds, first: int, last: int, count: Cells, settings: LlamaSettings) -> tuple[int, int]:
    """Return the KV cache and the recurrent state of ``first <= layer < last``.

    Layers of drafts have a cache where they are run, or where the model's own cache holds them too.
    """
    if not (settings.draft or shape.draft_in_cache):
        first, last = min(first, len(shape.layers)), min(last, len(shape.layers))
    kv = recurrent = 0
    for layer, times in kinds.counts(first, last):
        keys_only = shape.architecture in KEYS_ONLY
        one = layer_cache(layer, count, kinds.value_row, settings, keys_only=keys_only)
        if shape.architecture == "deci" and layer.attention is None:
            one = _empty_cache(count, kinds.value_row, settings)
        kv += one.kv_bytes * times
        recurrent += one.recurrent_bytes * times
    if settings.draft and shape.architecture in ROLLS_BACK:
        recurrent *= 1 + settings.draft_tokens
    return kv, recurrent


def _token_bytes(attention: Attention, value_row: int, settings: LlamaSettings) -> int:
    """Return what one token takes in a layer."""
    key, cached_value = cached_rows(attention, settings)
    if cached_value and not settings.flash_attention:
        cached_value = max(cached_value, value_row)
    index = row_bytes(attention.index_row, settings.cell_type_k)
    return row_bytes(key, settings.cell_type_k) + row_bytes(cached_value, settings.cell_type_v) + index


def cached_rows(attention: Attention, settings: LlamaSettings) -> tuple[int, int]:
    """Return the elements of a row of K and of V."""
    if attention.kind != LATENT:
        return attention.kv_heads * attention.head_dim_k, attention.kv_heads * attention.head_dim_v
    form = engine_constants.value(settings.build, "latent_cache")
    if form == 0:
        return attention.heads * attention.head_dim_k, attention.heads * attention.head_dim_v
    return attention.kv_lora_rank + attention.rope_dim, attention.kv_lora_rank if form == 1 else 0


def _kinds(shape: Shape) -> Kinds:
    unique: dict[Layer, Layer] = {}
    layers = tuple(unique.setdefault(layer, layer) for layer in (*shape.layers, *shape.draft_layers))
    kinds = tuple(unique)
    number = {kind: index for index, kind in enumerate(kinds)}
    before: list[list[int]] = [[0] for _ in kinds]
    for layer in layers:
        here = number[layer]
        for index, counts in enumerate(before):
            counts.append(counts[-1] + (index == here))
    attentions = [kind.attention for kind in kinds if kind.attention is not None]
    window = max((attention.window for attention in attentions), default=0)
    value_row = max((attention.kv_heads * attention.head_dim_v for attention in attentions), default=0)
    return Kinds(layers, kinds, tuple(tuple(counts) for counts in before), window, value_row)


kinds_of = IdentityCache(_kinds)
"""The kinds of layers of a shape, draft layers last."""

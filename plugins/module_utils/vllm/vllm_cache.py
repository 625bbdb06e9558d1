"""The cache of vLLM: pages of one size, shared by groups of layers of the same kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import (
    CHUNKED,
    LATENT,
    Attention,
    Layer,
    Recurrent,
    Shape,
)
from ansible_collections.llmhost.core.plugins.module_utils.sizing.layer_classes import LayerClasses
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import VllmSettings

WHOLE, WINDOW, CHUNK, STATE = "whole", "window", "chunk", "state"
"""What a layer keeps of a sequence: every token, the last ones, those of a chunk, a state of fixed size."""

_BLOCK_TOKENS: Final = 16
_LATENT_BLOCK_TOKENS: Final = 64
_PACKED_LATENT_ROW: Final = 656  # vllm/v1/attention/backends/mla/flashmla_sparse.py: fp8_ds_mla
_PADDED_HEAD: Final = 256
_PADDED_VALUES: Final = frozenset({"minicpm3"})
"""Models that pad their values to the width of keys (vllm/model_executor/models/minicpm3.py)."""
_INDEX_SCALE_ELEMENTS: Final = 128
# States kept in 32 bits whatever the model's type.
_WIDE_STATES: Final = frozenset({"kda", "rwkv"})
_WIDE_ARCHITECTURES: Final = ("qwen3_5", "qwen35", "qwen3.5", "nemotron_h")
"""Models whose config.json asks for a state in 32 bits (``mamba_ssm_dtype``)."""


@dataclass(frozen=True)
class CacheSpec:
    """What one layer stores: ``page_bytes`` for every ``block_tokens`` tokens on one rank."""

    kind: str
    page_bytes: int
    block_tokens: int
    window: int = 0
    pages: int = 1  # of a state: pages a sequence holds

    def pages_needed(self, tokens: int, in_flight: int) -> int:
        """Return the pages that a sequence of ``tokens`` takes while it is computed (``max_memory_usage_bytes`` in
        vllm/v1/kv_cache_interface.py)."""
        if self.kind == STATE:
            return self.pages
        if self.kind == WINDOW:
            return -(-min(self.window - 1 + in_flight, tokens) // self.block_tokens) + 1
        if self.kind == CHUNK:
            tokens = min(self.window + in_flight, tokens)
        return -(-tokens // self.block_tokens)


@dataclass(frozen=True)
class CacheGroup:
    """Layers with block tables of their own: ``number`` tables, each for as many layers of one kind."""

    spec: CacheSpec
    number: int


@dataclass(frozen=True)
class CacheLayout:
    """How the pool of each stage is cut. ``block_bytes`` is what one block takes on a rank of each stage."""

    groups: tuple[CacheGroup, ...]
    block_bytes: tuple[int, ...]
    state_bytes: int = 0  # of one sequence on all layers, without padding

    @property
    def block_tokens(self) -> int:
        """Tokens in the smallest block."""
        return min((group.spec.block_tokens for group in self.groups), default=_BLOCK_TOKENS)

    def blocks_needed(self, tokens: int, in_flight: int) -> int:
        """Return the blocks that one sequence of ``tokens`` takes."""
        return sum(group.number * group.spec.pages_needed(tokens, in_flight) for group in self.groups)

    def blocks(self, pools: Sequence[int]) -> int:
        """Return the blocks that fit in the pools of the stages; all ranks have as many as the smallest."""
        fitting = [max(pool, 0) // size for pool, size in zip(pools, self.block_bytes, strict=False) if size]
        return min(fitting, default=0)

    def cached_tokens(self, blocks: int) -> int:
        """Return the tokens that vLLM's log names for a number of blocks (to 0.20)."""
        tables = sum(group.number for group in self.groups)
        return blocks // tables * self.block_tokens if tables else 0


def cache_layout(
    shape: Shape, classes: LayerClasses, settings: VllmSettings, stages: Sequence[Sequence[int]]
) -> CacheLayout:
    """Group the layers as ``get_kv_cache_groups`` of vllm/v1/core/kv_cache_utils.py does (0.9.2 and later).

    Before, and with the hybrid allocator off, every layer stores every token. A model without any cache has no groups.
    """
    counts: dict[CacheSpec, list[int]] = {}
    for stage, layers in enumerate(stages):
        for layer, _, count in classes.counted(layers):
            for spec in layer_specs(layer, settings, shape.architecture):
                counts.setdefault(spec, [0] * len(stages))[stage] += count
    if settings.draft_tokens and stages:
        for layer in shape.draft_layers:
            for spec in layer_specs(layer, settings, shape.architecture):
                counts.setdefault(spec, [0] * len(stages))[-1] += 1
    state = sum(spec.page_bytes * sum(on) for spec, on in counts.items() if spec.kind == STATE)
    constants = settings.constants
    grouped = settings.hybrid_cache and bool(constants["hybrid_groups"])
    if not grouped or (not constants["chunked_groups"] and any(spec.kind == CHUNK for spec in counts)):
        counts = _unwindowed(counts)
    if not counts:
        return CacheLayout((), tuple(0 for _ in stages))
    if len(counts) == 1 or all(spec.kind == WHOLE for spec in counts):
        return _uniform(counts, len(stages), state)
    return _grouped(_unify(counts, settings), len(stages), settings, state)


def _unwindowed(counts: Mapping[CacheSpec, list[int]]) -> dict[CacheSpec, list[int]]:
    """Store every token on every layer, unless all layers have the same window."""
    if len({(spec.kind, spec.window) for spec in counts}) < 2:
        return dict(counts)
    found: dict[CacheSpec, list[int]] = {}
    for spec, on in counts.items():
        _add(found, spec if spec.kind == STATE else replace(spec, kind=WHOLE, window=0), on)
    return found


def _add(counts: dict[CacheSpec, list[int]], spec: CacheSpec, on: Sequence[int]) -> None:
    counts[spec] = [have + more for have, more in zip(counts.get(spec, [0] * len(on)), on, strict=True)]


def _uniform(counts: Mapping[CacheSpec, list[int]], stages: int, state: int) -> CacheLayout:
    """One group: each layer has a tensor of its own size."""
    tokens = min(spec.block_tokens for spec in counts)
    sizes = {
        spec: spec.page_bytes if spec.kind == STATE else spec.page_bytes * tokens // spec.block_tokens
        for spec in counts
    }
    group = CacheGroup(replace(next(iter(counts)), block_tokens=tokens), 1)
    blocks = tuple(sum(sizes[spec] * on[stage] for spec, on in counts.items()) for stage in range(stages))
    return CacheLayout((group,), blocks, state)


def _unify(counts: Mapping[CacheSpec, list[int]], settings: VllmSettings) -> dict[CacheSpec, list[int]]:
    """Give all kinds pages of one size: attention is cut into longer blocks, a state is padded to its page.

    Source: ``unify_kv_cache_spec_page_size`` in vllm/v1/core/kv_cache_utils.py, and for states
    ``HybridAttentionMambaModelConfig`` in vllm/model_executor/models/config.py.
    """
    states = [spec for spec in counts if spec.kind == STATE]
    attention = {spec: spec for spec in counts if spec.kind != STATE}
    if states and attention:
        largest_state = max(spec.page_bytes for spec in states)
        token = max(1, max(spec.page_bytes // spec.block_tokens for spec in attention))
        latent = any(spec.block_tokens % _LATENT_BLOCK_TOKENS == 0 for spec in attention)
        step = _LATENT_BLOCK_TOKENS if latent else _BLOCK_TOKENS
        tokens = max(step * -(-largest_state // (step * token)), settings.block_size or _BLOCK_TOKENS)
        attention = {
            spec: replace(spec, block_tokens=tokens, page_bytes=spec.page_bytes // spec.block_tokens * tokens)
            for spec in attention
        }
    page = max([spec.page_bytes for spec in (*attention.values(), *states)], default=0)
    found: dict[CacheSpec, list[int]] = {}
    for spec, on in counts.items():
        _add(found, _at_page(attention.get(spec, spec), page), on)
    return found


def _at_page(kind: CacheSpec, page: int) -> CacheSpec:
    """A smaller page takes as many tokens as fit a whole number of times, the rest is padding."""
    if kind.kind == STATE or not kind.page_bytes:
        return replace(kind, page_bytes=page)
    return replace(kind, page_bytes=page, block_tokens=kind.block_tokens * (page // kind.page_bytes))


def _grouped(counts: Mapping[CacheSpec, list[int]], stages: int, settings: VllmSettings, state: int) -> CacheLayout:
    """Cut every kind into groups of equal size, as ``_get_kv_cache_groups_uniform_page_size`` does.

    Layers go to the groups of their kind in turn, so that each stage has as many of every group as can be.
    """
    sizes = [sum(on) for on in counts.values()]
    size = max(sizes) if max(sizes) * 100 < min(sizes) * settings.constants["group_percent"] else min(sizes)
    groups = tuple(CacheGroup(spec, -(-sum(on) // size)) for spec, on in counts.items())
    largest = [0] * stages
    for group, on in zip(groups, counts.values(), strict=True):
        for stage in range(stages):
            largest[stage] = max(largest[stage], -(-on[stage] // group.number))
    page = max(spec.page_bytes for spec in counts)
    return CacheLayout(groups, tuple(page * count for count in largest), state)


def layer_specs(layer: Layer, settings: VllmSettings, architecture: str = "") -> list[CacheSpec]:
    """Return what one layer stores on one rank of tensor parallel: nothing, one cache, or several."""
    specs: list[CacheSpec] = []
    attention = layer.attention
    if attention is not None and attention.stores_cache:
        specs.extend(_attention_specs(attention, settings, architecture))
    if layer.recurrent is not None:
        specs.append(_state_spec(layer.recurrent, settings, architecture))
    return [spec for spec in specs if spec.page_bytes > 0]


def _attention_specs(attention: Attention, settings: VllmSettings, architecture: str) -> list[CacheSpec]:
    if attention.kind == LATENT:
        return _latent_specs(attention, settings)
    tokens = settings.block_size or _BLOCK_TOKENS
    heads = kv_heads_per_rank(attention.kv_heads, settings.tensor_parallel)
    value = attention.head_dim_v
    if settings.constants["value_width"] < (2 if attention.window > 0 else 1) or architecture in _PADDED_VALUES:
        value = max(value, attention.head_dim_k)
    page = tokens * heads * (attention.head_dim_k + value) * settings.cell_bytes
    if attention.window <= 0:
        return [CacheSpec(WHOLE, page, tokens)]
    return [CacheSpec(CHUNK if attention.kind == CHUNKED else WINDOW, page, tokens, attention.window)]


def _latent_specs(attention: Attention, settings: VllmSettings) -> list[CacheSpec]:
    """One compressed row a token, whole on every rank; beside it the keys of the index, one byte an element and a
    scale for each 128 (vllm/model_executor/models/deepseek_v2.py, DeepseekV32IndexerCache)."""
    constants = settings.constants
    if not constants["latent_rows"]:
        tokens = settings.block_size or _BLOCK_TOKENS
        heads = kv_heads_per_rank(attention.heads, settings.tensor_parallel)
        return [CacheSpec(WHOLE, tokens * heads * 2 * _PADDED_HEAD * settings.cell_bytes, tokens)]
    tokens = settings.block_size or _LATENT_BLOCK_TOKENS
    row = (attention.kv_lora_rank + attention.rope_dim) * settings.cell_bytes
    if attention.index_head_dim and settings.cell_bytes == 1:
        row = _PACKED_LATENT_ROW
    align = constants["latent_alignment"]
    specs = [CacheSpec(WHOLE, tokens * (-(-row // align) * align), tokens)]
    if attention.index_head_dim:
        index = attention.index_head_dim + 4 * -(-attention.index_head_dim // _INDEX_SCALE_ELEMENTS)
        specs.append(CacheSpec(WHOLE, tokens * index, tokens))
    return specs


def kv_heads_per_rank(heads: int, ranks: int) -> int:
    """Return the heads of keys on one rank: divided while there are enough, then repeated."""
    return max(heads // max(ranks, 1), 1) if heads > 0 else 0


def _state_spec(recurrent: Recurrent, settings: VllmSettings, architecture: str) -> CacheSpec:
    """The state of one sequence, divided by tensor parallel (vllm/model_executor/layers/mamba/mamba_utils.py)."""
    ranks = max(settings.tensor_parallel, 1)
    conv = recurrent.conv_elements
    kept = max(recurrent.conv_kernel - 1, 1)
    if recurrent.kind == "mamba2" and recurrent.groups % ranks:
        # Groups that cannot be divided are repeated, so that every rank has those of its heads.
        conv += kept * 2 * (ranks - recurrent.groups) * recurrent.state_dim
    # Inputs of as many more tokens as are drafted.
    conv += conv // kept * settings.draft_tokens
    wide = recurrent.kind in _WIDE_STATES or architecture.lower().startswith(_WIDE_ARCHITECTURES)
    state_bytes = settings.recurrent_bytes or (4 if wide else settings.dtype_bytes)
    page = -(-conv // ranks) * settings.dtype_bytes + -(-recurrent.state_elements // ranks) * state_bytes
    return CacheSpec(STATE, page, max(settings.max_model_len, 1), pages=_state_pages(settings))


def _state_pages(settings: VllmSettings) -> int:
    """Pages a sequence holds: one, a second while prefixes are cached, and one for each drafted token."""
    constants = settings.constants
    prefixes = settings.prefix_caching
    if prefixes is None:
        prefixes = bool(constants["hybrid_prefixes"])
    return (constants["state_pages"] if prefixes else 1) + settings.draft_tokens

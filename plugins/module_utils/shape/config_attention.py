"""The attention of each layer of a ``config.json``: heads, their lengths, windows, latent rows and indexes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.shape.config_families import (
    BOTH,
    NETWORK,
    RECURRENT,
    Family,
)
from ansible_collections.llmhost.core.plugins.module_utils.shape.fields import Fields
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import (
    CHUNKED,
    FULL,
    LATENT,
    SLIDING,
    Attention,
)

ONE_HEAD = ("gpt_bigcode", "falcon", "RefinedWeb", "RefinedWebModel")
"""They have one head of keys and values unless they say otherwise."""

COMPRESSED = {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128}
"""Tokens a row of the compressed cache of DeepSeek V4."""


class ConfigAttentions:
    """The attention of all layers of a model."""

    def __init__(self, family: Family, fields: Fields, kinds: tuple[str, ...]) -> None:
        """Take the kind of each layer."""
        self._family = family
        self._fields = fields
        self._kinds = kinds
        self._kind = fields.text("model_type").removesuffix("_text")
        self._heads = self._by_layer(("num_attention_heads_per_layer", "num_query_heads"), "num_attention_heads", 0)
        self._kv_heads = self._kv()
        self._own = self._with_own_cache()

    def layer(self, number: int) -> Attention | None:
        """Return the attention of one layer, or None where there is none."""
        kind = self._kinds[number]
        if kind in (RECURRENT, NETWORK) or not (self._heads[number] and self._kv_heads[number]):
            return None
        if self._is_latent():
            return self._latent(number, kind)
        attention = self._plain(number, FULL if kind == BOTH else kind)
        return self._compressed(attention, number) if self._kind == "deepseek_v4" else attention

    def draft(self, last: Attention | None) -> Attention:
        """Return the attention of a layer for drafts: as the models' own, without a window but for DeepSeek V4."""
        found = next((self.layer(number) for number in reversed(range(len(self._kinds))) if self.layer(number)), last)
        found = replace(found or Attention(), stores_cache=True, index_row=0, compress_ratio=0)
        if self._kind == "deepseek_v4":
            return found
        return replace(found, kind=LATENT if found.kind == LATENT else FULL, window=0)

    def _is_latent(self) -> bool:
        return self._family.latent and bool(self._fields.number("kv_lora_rank")) and self._fields.flag("use_mla", True)

    def _by_layer(self, lists: tuple[str, ...], key: str, default: int) -> tuple[int, ...]:
        for name in lists:
            if isinstance(self._fields.raw(name), list):
                return self._fields.by_layer(name, len(self._kinds))
        return self._fields.by_layer(key, len(self._kinds), default)

    def _kv(self) -> tuple[int, ...]:
        fields, heads = self._fields, self._heads
        if self._kind in ONE_HEAD and not fields.flag("new_decoder_architecture"):
            grouped = fields.flag("multi_query", True)
            return (1,) * len(heads) if grouped else heads
        if self._kind == "chatglm":
            groups = fields.number("multi_query_group_num") if fields.flag("multi_query_attention") else 0
            return (groups,) * len(heads) if groups else heads
        listed = self._by_layer(("num_key_value_heads_per_layer", "num_kv_heads"), "num_key_value_heads", 0)
        return listed if any(listed) else heads

    def _plain(self, number: int, kind: str) -> Attention:
        fields = self._fields
        window = self._window(kind)
        kind = kind if window else FULL
        heads, kv_heads = self._heads[number], self._kv_heads[number]
        key, value = self._head_dims(number)
        if kind == SLIDING:
            heads, kv_heads, key, value = self._of_window(heads, kv_heads, key, value)
        elif self._kind in ("gemma4", "gemma4_unified"):
            key = value = fields.number("global_head_dim", 512)
            if fields.flag("attention_k_eq_v", "attention_k_eq_v" not in fields):
                kv_heads = fields.number("num_global_key_value_heads") or kv_heads
        return Attention(
            kind=kind,
            heads=heads,
            kv_heads=kv_heads,
            head_dim_k=key,
            head_dim_v=value,
            window=window,
            stores_cache=self._own[number],
            gated=self._family.gated_query and fields.flag("attn_output_gate", True),
            keys_are_values=kind == FULL and fields.flag("attention_k_eq_v"),
            kv_lora_rank=fields.number("kv_lora_rank"),
            q_lora_rank=fields.number("q_lora_rank") if "kv_lora_rank" in fields else 0,
            rope_dim=fields.number("qk_rope_head_dim") if "kv_lora_rank" in fields else 0,
            **self._index(number),
        )

    def _latent(self, number: int, kind: str) -> Attention:
        fields = self._fields
        rope = fields.number("qk_rope_head_dim")
        window = self._window(kind) if kind == SLIDING else 0
        nope, value, rank = "qk_nope_head_dim", "v_head_dim", "kv_lora_rank"
        if window:
            nope, value, rank = (f"swa_{name}" if f"swa_{name}" in fields else name for name in (nope, value, rank))
        return Attention(
            kind=LATENT,
            heads=self._heads[number],
            kv_heads=1,
            head_dim_k=fields.number(nope) + rope,
            head_dim_v=fields.number(value),
            window=window,
            stores_cache=self._own[number],
            kv_lora_rank=fields.number(rank),
            q_lora_rank=fields.number("q_lora_rank"),
            rope_dim=rope,
            **self._index(number),
        )

    def _compressed(self, attention: Attention, number: int) -> Attention:
        """Return the layer with the cache of compressed rows that DeepSeek V4 keeps beside the window."""
        fields = self._fields
        ratios, types = fields.raw("compress_ratios"), fields.raw("layer_types")
        ratio = 4 if number >= 2 and number % 2 else 128
        if isinstance(ratios, list) and number < len(ratios):
            ratio = ratios[number] if isinstance(ratios[number], int) else 0
        elif isinstance(types, list) and number < len(types):
            ratio = COMPRESSED.get(str(types[number]), 0)
        index = self._index(number) if ratio == COMPRESSED["compressed_sparse_attention"] else _NO_INDEX
        return replace(attention, compress_ratio=max(ratio, 0), **index)

    def _head_dims(self, number: int) -> tuple[int, int]:
        """Return the length of a key and of a value of one head."""
        fields, heads = self._fields, self._heads[number]
        even = fields.number("hidden_size") // heads if heads else 0
        if fields.number("qk_nope_head_dim"):
            key = fields.number("qk_nope_head_dim") + fields.number("qk_rope_head_dim")
            return key, fields.number("v_head_dim", even)
        key = fields.number("head_dim") or even
        return key, fields.number("v_head_dim") or key

    def _of_window(self, heads: int, kv_heads: int, key: int, value: int) -> tuple[int, int, int, int]:
        """Return heads and lengths of a layer with a window, where they are others (MiMo V2, Step 3.5)."""
        fields = self._fields
        return (
            fields.first("swa_num_attention_heads", "attention_other_setting.num_attention_heads", default=heads),
            fields.first("swa_num_key_value_heads", "attention_other_setting.num_attention_groups", default=kv_heads),
            fields.first("swa_head_dim", "attention_other_setting.head_dim", default=key),
            fields.first("swa_v_head_dim", "attention_other_setting.head_dim", default=value),
        )

    def _window(self, kind: str) -> int:
        if kind == CHUNKED:
            return self._fields.number("attention_chunk_size")
        if kind != SLIDING or self._fields.raw("sliding_window") == -1:
            return 0
        return self._fields.number("sliding_window")

    def _with_own_cache(self) -> tuple[bool, ...]:
        """Say of each layer whether it keeps keys and values itself, or reads those of an earlier one."""
        fields, count = self._fields, len(self._kinds)
        shared = fields.number("num_kv_shared_layers")
        factor = fields.number("cla_share_factor") if fields.flag("use_cla") else 0
        return tuple(number < count - shared and not (factor and number % factor) for number in range(count))

    def _index(self, number: int) -> dict[str, Any]:
        fields = self._fields
        if not self._family.indexed or not self._has_index(number):
            return _NO_INDEX
        heads = fields.first("index_n_heads", "indexer_n_heads", "sparse_attention_config.sparse_num_index_heads")
        length = fields.first("index_head_dim", "indexer_head_dim", "sparse_attention_config.sparse_index_dim")
        # Key, gate and pooled values (src/llama-memory-hybrid-idx.cpp of llama.cpp).
        row = 3 * length if fields.number("index_kpool") else length
        return {"index_heads": heads, "index_head_dim": length, "index_row": row}

    def _has_index(self, number: int) -> bool:
        fields, types = self._fields, self._fields.raw("layer_types")
        if self._kinds[number] == SLIDING and self._kind != "deepseek_v4":
            return False
        listed = fields.raw("indexer_types")
        if isinstance(listed, list):
            return number < len(listed) and listed[number] in ("full", "F", 1, True)
        pattern = fields.text("index_topk_pattern")
        if pattern:
            return pattern[number : number + 1] == "F"
        sparse = fields.raw("sparse_attention_config.sparse_attention_freq")
        if isinstance(sparse, list):
            return number < len(sparse) and bool(sparse[number])
        if self._kind == "minimax_m3_vl" and isinstance(types, list):
            return number < len(types) and types[number] == "minimax_m3_sparse"
        if self._kind == "hy_v4":
            return number == 0 or (number - 1) % 4 == 0
        frequency = max(fields.number("index_topk_freq", 1), 1)
        offset = fields.number("index_skip_topk_offset", 2)
        return max(number - offset + 1, 0) % frequency == 0


_NO_INDEX: dict[str, Any] = {"index_heads": 0, "index_head_dim": 0, "index_row": 0}

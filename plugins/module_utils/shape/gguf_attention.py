"""The attention of each layer of a GGUF model: heads, their lengths, windows, latent rows and indexes."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.llmhost.core.plugins.module_utils.shape.fields import Fields
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_feed_forward import Named
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_names import (
    ARCHITECTURES,
    WITHOUT_CACHE,
    WITHOUT_OWN_CACHE,
)
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_recurrent import DELTA_NET
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_window import CHUNKED_MODELS, windows
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import (
    CHUNKED,
    FULL,
    LATENT,
    SLIDING,
    Attention,
)

GEMMA_3N_OWN = 20  # layers with a cache of their own, whatever the file says (src/models/gemma3n.cpp)
GLM_5_2_CONTEXT = 2**20  # from there on only some layers of GLM have an index (src/models/glm-dsa.cpp)
GLM_5_2_LAYERS = 78
COMPRESSED_INDEX = 4  # compress ratio of the layers of DeepSeek V4 that have an index (src/llama-kv-cache-dsv4.cpp)


class Attentions:
    """The attention of all layers of a model."""

    def __init__(
        self, architecture: str, fields: Fields, tensors: Sequence[Named], all_layers: int, layers: int
    ) -> None:
        """Read what the layers are made of: ``layers`` of the model, and those for drafts up to ``all_layers``."""
        self._architecture = architecture
        self._fields = fields
        self._layers = layers
        self.heads = fields.by_layer("attention.head_count", all_layers)
        if "attention.head_count_kv" in fields:
            self.kv_heads = fields.by_layer("attention.head_count_kv", all_layers)
        else:
            self.kv_heads = self.heads
        if architecture not in ARCHITECTURES:
            self.kv_heads = (max(self.kv_heads) or max(self.heads),) * all_layers
        self._windows = windows(architecture, fields, layers, all_layers)
        self._ratios = self._compressed(all_layers)
        self._own = self._with_own_cache(all_layers)
        self._indexed = self._with_index(layers)
        values = {tensor.name for tensor in tensors if tensor.name.endswith(".attn_v.weight")}
        self._without_values = frozenset(
            number for number in range(all_layers) if values and f"blk.{number}.attn_v.weight" not in values
        )
        self._query_columns = {
            tensor.name: tensor.shape[1]
            for tensor in tensors
            if tensor.name.endswith(".attn_q.weight") and len(tensor.shape) > 1
        }

    def layer(self, number: int) -> Attention:
        """Return the attention of one layer."""
        window = self._windows[number]
        key, value = self._head_dims(window > 0)
        if self._fields.number("attention.key_length_mla") and self._fields.number("attention.value_length_mla"):
            return self._latent(number, key)
        index_heads, index_head_dim, index_row = self._index(number, value)
        rank = self._fields.number("attention.kv_lora_rank")
        kind = FULL if not window else CHUNKED if self._architecture in CHUNKED_MODELS else SLIDING
        return Attention(
            kind=kind,
            heads=self.heads[number],
            kv_heads=self.kv_heads[number],
            head_dim_k=key,
            head_dim_v=value,
            window=window,
            stores_cache=self._own[number],
            gated=self._is_gated(number, key),
            keys_are_values=self._architecture == "gemma4" and number in self._without_values,
            kv_lora_rank=rank,
            q_lora_rank=self._fields.number("attention.q_lora_rank"),
            rope_dim=self._fields.number("rope.dimension_count") if rank else 0,
            index_heads=index_heads,
            index_head_dim=index_head_dim,
            index_row=index_row,
            compress_ratio=self._ratios[number],
        )

    def _latent(self, number: int, key: int) -> Attention:
        """Return latent attention: one row of ``key`` elements a token, for each of the heads of keys, which is one."""
        fields = self._fields
        window = self._windows[number]
        suffix = "_swa" if window and "attention.kv_lora_rank_swa" in fields else ""
        rank = fields.number(f"attention.kv_lora_rank{suffix}") or fields.number("attention.kv_lora_rank")
        row = key * self.kv_heads[number]
        if row < rank:
            raise fields.invalid(f"a row of latent attention has {row} elements, of them {rank} compressed ones")
        index_heads, index_head_dim, index_row = self._index(number, 0)
        return Attention(
            kind=LATENT,
            heads=self.heads[number],
            kv_heads=1,
            head_dim_k=fields.number(f"attention.key_length_mla{suffix}"),
            head_dim_v=fields.number(f"attention.value_length_mla{suffix}"),
            window=window,
            stores_cache=self._own[number],
            kv_lora_rank=rank,
            q_lora_rank=fields.number("attention.q_lora_rank"),
            rope_dim=row - rank,
            index_heads=index_heads,
            index_head_dim=index_head_dim,
            index_row=index_row,
        )

    def _head_dims(self, windowed: bool) -> tuple[int, int]:
        """Return the length of a key and of a value of one head."""
        fields, heads = self._fields, max(self.heads)
        even = fields.required("embedding_length") // heads if heads else 0
        key = fields.number("attention.key_length", even)
        value = fields.number("attention.value_length", even)
        if self._architecture in ("kimi-k3", "glm5-next"):
            value = fields.number("attention.kv_lora_rank")
        if not windowed and self._architecture in ARCHITECTURES:
            return key, value
        swa = (fields.number("attention.key_length_swa", key), fields.number("attention.value_length_swa", value))
        if self._architecture in ARCHITECTURES:
            return swa
        return max(key, swa[0]), max(value, swa[1])

    def _is_gated(self, number: int, key: int) -> bool:
        columns = self._query_columns.get(f"blk.{number}.attn_q.weight", 0)
        if columns:
            return columns == 2 * self.heads[number] * key
        return self._architecture in DELTA_NET

    def _with_own_cache(self, all_layers: int) -> tuple[bool, ...]:
        """Say of each layer whether it keeps keys and values itself."""
        if self._architecture in WITHOUT_CACHE or self._architecture in WITHOUT_OWN_CACHE:
            return (False,) * all_layers
        own = all_layers
        if self._architecture == "gemma3n":
            own = GEMMA_3N_OWN
        elif self._architecture == "gemma4":
            own = all_layers - self._fields.number("attention.shared_kv_layers")
        return tuple(number < own for number in range(all_layers))

    def _compressed(self, all_layers: int) -> tuple[int, ...]:
        if self._architecture != "deepseek4":
            return (0,) * all_layers
        listed = self._fields.raw("attention.compress_ratios")
        if not isinstance(listed, (list, tuple)) or len(listed) < all_layers:
            raise self._fields.invalid("attention.compress_ratios is shorter than the list of layers")
        return tuple(max(int(ratio), 0) if isinstance(ratio, int) else 0 for ratio in listed[:all_layers])

    def _with_index(self, layers: int) -> tuple[bool, ...]:
        """Say of each layer whether it has an index of its own (the filters of create_memory)."""
        name, fields = self._architecture, self._fields
        if name in ("deepseek32", "qwen4exp"):
            return (True,) * layers
        if name == "minimax-m3":
            return tuple(number >= fields.number("leading_dense_block_count") for number in range(layers))
        if name == "deepseek4":
            return tuple(self._ratios[number] == COMPRESSED_INDEX for number in range(layers))
        if name not in ("dots3note", "glm-dsa", "glm5-next", "hy_v4"):
            return (False,) * layers
        if "attention.indexer.types" in fields:
            return tuple(bool(one) for one in fields.by_layer("attention.indexer.types", layers))
        if name == "glm-dsa" and fields.number("context_length") >= GLM_5_2_CONTEXT:
            return tuple(number < GLM_5_2_LAYERS and (number < 2 or (number - 2) % 4 == 0) for number in range(layers))
        return (True,) * layers

    def _index(self, number: int, value: int) -> tuple[int, int, int]:
        """Return heads, length of a head, and elements of a cached row of the index of one layer."""
        fields = self._fields
        if number >= self._layers or not self._indexed[number]:
            return 0, 0, 0
        length = row = fields.number("attention.indexer.key_length")
        if self._architecture == "minimax-m3":  # its cache of the index holds values too, of one head
            row = length + value
        if fields.number("attention.indexer.kpool"):  # key, gate and pooled values (src/llama-memory-hybrid-idx.cpp)
            row = 3 * length
        return fields.number("attention.indexer.head_count"), length, row

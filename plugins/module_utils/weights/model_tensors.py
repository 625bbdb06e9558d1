"""The tensors that a model of a given shape has, with the names that GGUF gives them.

The names carry what a quantisation asks: which matrix it is, whether it may be quantised at all. Lengths follow
``load_arch_tensors`` of llama.cpp's ``src/models/*.cpp``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import (
    LATENT,
    Attention,
    FeedForward,
    Layer,
    Shape,
)
from ansible_collections.llmhost.core.plugins.module_utils.weights.layer_style import (
    AFTER,
    AROUND,
    NEVER,
    ONCE,
    LayerStyle,
    family,
    style_of,
)
from ansible_collections.llmhost.core.plugins.module_utils.weights.recurrent_tensors import recurrent_tensors
from ansible_collections.llmhost.core.plugins.module_utils.weights.tensor import ModelTensor, matrix, vector

# Layers that read the keys of an earlier one, and have the matrices to make their own all the same.
_KEEPS_UNUSED_KEYS = {"gemma3n"}
_COMMAND_R_PLUS = 64  # layers from which on this family normalises queries and keys
_ALTERNATIVES = 4  # streams of Gemma 3n (altup_num_inputs), of which three are projected
_LAUREL_RANK = 64  # Gemma 3n


@dataclass(frozen=True)
class ModelTensors:
    """The tensors of all layers of a model, by kind of layer."""

    shape: Shape
    style: LayerStyle

    @classmethod
    def from_shape(cls, shape: Shape) -> ModelTensors:
        """Take the style that the architecture has."""
        return cls(shape, style_of(shape.architecture))

    def outer(self) -> list[ModelTensor]:
        """Return what stands before the first layer and after the last."""
        shape, style, width = self.shape, self.style, self.shape.embedding_length
        tensors = [matrix("token_embd.weight", width, shape.vocab_size)]
        if not shape.tied_embeddings:
            tensors.append(matrix("output.weight", width, shape.vocab_size))
        if style.head_bias:
            tensors.append(vector("output.bias", shape.vocab_size))
        if style.learned_positions:
            tensors.append(matrix("position_embd.weight", width, shape.context_length))
        if style.norms != NEVER:
            tensors += self._norm("output_norm", width)
        if style.embedding_norm:
            tensors += self._norm("token_embd_norm", width)
        return [tensor for tensor in (*tensors, *self._second_embedding()) if tensor.elements]

    def layer(self, layer: Layer, draft: bool = False) -> list[ModelTensor]:
        """Return the tensors of a layer, in the order in which llama.cpp looks at them: by name."""
        tensors = list(self._mixers(layer))
        if layer.feed_forward:
            tensors += self._feed_forward(layer.feed_forward)
        tensors += self._norms(layer)
        tensors += self._second_embedding_of_a_layer()
        if draft:
            tensors += self._draft()
        return sorted((tensor for tensor in tensors if tensor.elements), key=lambda tensor: tensor.name)

    def _norm(self, name: str, width: int) -> list[ModelTensor]:
        bias = [vector(f"{name}.bias", width)] if self.style.norm_bias else []
        return [vector(f"{name}.weight", width), *bias]

    def _norms(self, layer: Layer) -> Iterator[ModelTensor]:
        width, where = self.shape.embedding_length, self.style.norms
        mixer = layer.attention is not None or layer.recurrent is not None
        if where == NEVER or (where == ONCE and not mixer and layer.feed_forward is None):
            return
        if where == ONCE:
            yield from self._norm("attn_norm", width)
            return
        parts = [("attn_norm", "post_attention_norm")] if mixer else []
        parts += [("ffn_norm", "post_ffw_norm")] if layer.feed_forward else []
        for before, after in parts:
            if where != AFTER:
                yield from self._norm(before, width)
            if where in (AFTER, AROUND):
                yield from self._norm(after, width)

    def _mixers(self, layer: Layer) -> Iterator[ModelTensor]:
        if layer.attention:
            latent = layer.attention.kind == LATENT or layer.attention.kv_lora_rank
            yield from self._latent(layer.attention) if latent else self._attention(layer.attention)
        if layer.recurrent:
            yield from recurrent_tensors(layer.recurrent, self.shape.embedding_length, family(self.shape.architecture))

    def _attention(self, attention: Attention) -> Iterator[ModelTensor]:
        width, style = self.shape.embedding_length, self.style
        queries = attention.heads * attention.head_dim_k * (2 if attention.gated else 1)
        keys, values = attention.kv_heads * attention.head_dim_k, attention.kv_heads * attention.head_dim_v
        if not attention.stores_cache and family(self.shape.architecture) not in _KEEPS_UNUSED_KEYS:
            keys = values = 0
        if attention.keys_are_values:
            values = 0
        rows = {"attn_q": queries, "attn_k": keys, "attn_v": values}
        if style.fused_qkv:
            rows = {"attn_qkv": queries + keys + values}
        for name, length in rows.items():
            yield matrix(f"{name}.weight", width, length)
            if style.qkv_bias:
                yield vector(f"{name}.bias", length)
        yield matrix("attn_output.weight", attention.heads * attention.head_dim_v, width)
        if style.output_bias:
            yield vector("attn_output.bias", width)
        yield from self._head_norms(attention, keys)
        if style.sinks:
            yield vector("attn_sinks.weight", attention.heads)
        yield from self._index(attention, width)

    def _head_norms(self, attention: Attention, keys: int) -> Iterator[ModelTensor]:
        kind = self.style.qk_norm
        small = family(self.shape.architecture) == "commandr" and len(self.shape.layers) < _COMMAND_R_PLUS
        if not kind or small:
            return
        whole = kind in ("all", "each")
        yield vector("attn_q_norm.weight", attention.head_dim_k * (attention.heads if whole else 1))
        yield vector("attn_k_norm.weight", (keys if whole else attention.head_dim_k) if keys else 0)

    def _latent(self, attention: Attention) -> Iterator[ModelTensor]:
        width, heads, rank = self.shape.embedding_length, attention.heads, attention.kv_lora_rank
        queries = heads * attention.head_dim_k
        plain = max(attention.head_dim_k - attention.rope_dim, 0)
        if attention.q_lora_rank:
            yield matrix("attn_q_a.weight", width, attention.q_lora_rank)
            yield vector("attn_q_a_norm.weight", attention.q_lora_rank)
            yield matrix("attn_q_b.weight", attention.q_lora_rank, queries)
        else:
            yield matrix("attn_q.weight", width, queries)
        yield matrix("attn_kv_a_mqa.weight", width, rank + attention.rope_dim)
        yield vector("attn_kv_a_norm.weight", rank)
        # A checkpoint holds these two as one, kv_b_proj.
        yield matrix("attn_k_b.weight", plain, rank, heads)
        yield matrix("attn_v_b.weight", rank, attention.head_dim_v, heads)
        yield matrix("attn_output.weight", heads * attention.head_dim_v, width)
        yield from self._index(attention, attention.q_lora_rank or width)

    def _index(self, attention: Attention, source: int) -> Iterator[ModelTensor]:
        if attention.index_heads:
            width, length = self.shape.embedding_length, attention.index_head_dim
            yield matrix("indexer.attn_q_b.weight", source, attention.index_heads * length)
            yield matrix("indexer.attn_k.weight", width, length)
            yield matrix("indexer.proj.weight", width, attention.index_heads)
            yield vector("indexer.k_norm.weight", length)
            yield vector("indexer.k_norm.bias", length)

    def _feed_forward(self, network: FeedForward) -> Iterator[ModelTensor]:
        width, style = self.shape.embedding_length, self.style
        yield from self._network("", width, network.length, network.gated)
        if network.length and style.ffn_bias:
            yield vector("ffn_up.bias", network.length)
            yield vector("ffn_down.bias", width)
        if not network.experts:
            return
        experts, length = network.experts, network.expert_length
        yield matrix("ffn_gate_inp.weight", width, experts)
        if style.score_bias:
            yield vector("exp_probs_b.bias", experts)
        for name, row, rows in _matrices(width, length, network.gated):
            yield matrix(f"{name}_exps.weight", row, rows, experts)
            if style.expert_bias:
                yield matrix(f"{name}_exps.bias", rows, experts)
        if style.expert_bias:
            yield vector("ffn_gate_inp.bias", experts)
        yield from self._network("_shexp", width, network.shared_length, network.gated)
        if network.shared_length and style.shared_gate:
            yield vector("ffn_gate_inp_shexp.weight", width)

    def _network(self, suffix: str, width: int, length: int, gated: bool) -> Iterator[ModelTensor]:
        if gated and self.style.fused_gate_up and not suffix:
            yield matrix("ffn_up.weight", width, 2 * length)
            yield matrix("ffn_down.weight", length, width)
            return
        for name, row, rows in _matrices(width, length, gated):
            yield matrix(f"{name}{suffix}.weight", row, rows)

    def _second_embedding(self) -> Iterator[ModelTensor]:
        length, width = self.shape.per_layer_embedding_length, self.shape.embedding_length
        if not length:
            return
        layers = len(self.shape.layers)
        yield matrix("per_layer_token_embd.weight", length * layers, self.shape.vocab_size)
        yield matrix("per_layer_model_proj.weight", width, length * layers)
        yield vector("per_layer_proj_norm.weight", length)
        if family(self.shape.architecture) == "gemma3n":
            yield matrix("altup_proj.weight", width, width, _ALTERNATIVES - 1)
            yield matrix("altup_unembd_proj.weight", width, width, _ALTERNATIVES - 1)

    def _second_embedding_of_a_layer(self) -> Iterator[ModelTensor]:
        length, width = self.shape.per_layer_embedding_length, self.shape.embedding_length
        if not length:
            return
        yield matrix("inp_gate.weight", width, length)
        yield matrix("proj.weight", length, width)
        yield vector("post_norm.weight", width)
        if family(self.shape.architecture) == "gemma3n":
            yield matrix("altup_correct_coef.weight", _ALTERNATIVES, _ALTERNATIVES)
            yield vector("altup_correct_scale.weight", width)
            yield matrix("altup_predict_coef.weight", _ALTERNATIVES, _ALTERNATIVES**2)
            yield matrix("altup_router.weight", width, _ALTERNATIVES)
            yield vector("altup_router_norm.weight", width)
            yield matrix("laurel_l.weight", width, _LAUREL_RANK)
            yield matrix("laurel_r.weight", _LAUREL_RANK, width)
            yield vector("laurel_post_norm.weight", width)

    def _draft(self) -> Iterator[ModelTensor]:
        width, vocab = self.shape.embedding_length, self.shape.vocab_size
        yield matrix("nextn.eh_proj.weight", 2 * width, width)
        for name in ("enorm", "hnorm", "shared_head_norm"):
            yield vector(f"nextn.{name}.weight", width)
        if self.style.draft_embeddings:
            yield matrix("nextn.embed_tokens.weight", width, vocab)
            yield matrix("nextn.shared_head_head.weight", width, vocab)


def _matrices(width: int, length: int, gated: bool) -> list[tuple[str, int, int]]:
    """Return name, row length and rows of the matrices of a feed-forward network."""
    ways_in = ["ffn_up", "ffn_gate"] if gated else ["ffn_up"]
    return [*((name, width, length) for name in ways_in), ("ffn_down", length, width)]

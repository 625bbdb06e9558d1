"""Architectures of attention alone: dense and of experts, full, sliding and latent. Sizes are the caller's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tests.tools.architectures.model import Model
from tests.tools.architectures.tensors import (
    Attention,
    Tensor,
    dense,
    ends,
    experts,
    latent_attention,
    layer,
    norms,
    weight,
)


@dataclass(frozen=True)
class Sizes:
    """What every architecture has."""

    layers: int = 6
    embedding: int = 512
    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 64
    feed_forward: int = 1536
    vocab: int = 16384
    context: int = 32768
    tied: bool = False

    def attention(self, **features: Any) -> Attention:
        """Return the attention of a layer."""
        return Attention(self.embedding, self.heads, self.kv_heads, self.head_dim, **features)

    def ends(self, norm: str = "output_norm") -> list[Tensor]:
        """Return the embedding and the output."""
        return ends(self.embedding, self.vocab, tied=self.tied, norm=norm)

    def model(self, architecture: str, tensors: list[Tensor], **metadata: Any) -> Model:
        """Return the model, with the keys that every architecture has and others; ``_`` stands for a full stop."""
        common = {
            "context_length": self.context,
            "embedding_length": self.embedding,
            "block_count": self.layers,
            "feed_forward_length": self.feed_forward,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv_heads,
            "attention.key_length": self.head_dim,
            "attention.value_length": self.head_dim,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "rope.dimension_count": self.head_dim,
            "rope.freq_base": 10000.0,
        }
        given = {key.replace("__", "."): value for key, value in metadata.items()}
        kept = {key: value for key, value in {**common, **given}.items() if value is not None}
        # A file has the output after the layers: what is mapped for the host is a range of it.
        ordered = sorted(tensors, key=lambda tensor: tensor.name.startswith("output"))
        return Model(architecture, kept, ordered, self.vocab)


@dataclass(frozen=True)
class Experts:
    """A mixture of experts."""

    count: int = 16
    used: int = 4
    length: int = 256
    shared: int = 0

    def metadata(self) -> dict[str, Any]:
        """Return the keys of the header."""
        return {
            "expert_count": self.count,
            "expert_used_count": self.used,
            "expert_feed_forward_length": self.length,
        }


def llama(sizes: Sizes) -> Model:
    """Grouped keys, every layer over the whole context."""
    tensors = sizes.ends()
    for number in range(sizes.layers):
        feed_forward = dense(sizes.embedding, sizes.feed_forward)
        parts = (norms(sizes.embedding, "attn_norm", "ffn_norm"), sizes.attention().tensors(), feed_forward)
        tensors += layer(number, *parts)
    return sizes.model("llama", tensors)


def qwen3(sizes: Sizes) -> Model:
    """Grouped keys, with a norm on queries and keys."""
    tensors = sizes.ends()
    for number in range(sizes.layers):
        attention = sizes.attention(qk_norm=True).tensors()
        feed_forward = dense(sizes.embedding, sizes.feed_forward)
        tensors += layer(number, norms(sizes.embedding, "attn_norm", "ffn_norm"), attention, feed_forward)
    return sizes.model("qwen3", tensors)


def gemma3(sizes: Sizes, window: int = 512) -> Model:
    """Five sliding layers for each full one; the embedding is the output."""
    tensors = sizes.ends()
    around = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
    for number in range(sizes.layers):
        attention = sizes.attention(qk_norm=True).tensors()
        tensors += layer(number, norms(sizes.embedding, *around), attention, dense(sizes.embedding, sizes.feed_forward))
    return sizes.model("gemma3", tensors, attention__sliding_window=window, rope__freq_base_swa=10000.0)


def gemma2(sizes: Sizes, window: int = 1024) -> Model:
    """Every second layer slides; logits are capped."""
    tensors = sizes.ends()
    around = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
    for number in range(sizes.layers):
        feed_forward = dense(sizes.embedding, sizes.feed_forward)
        tensors += layer(number, norms(sizes.embedding, *around), sizes.attention().tensors(), feed_forward)
    caps = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    return sizes.model("gemma2", tensors, attention__sliding_window=window, **caps)


def gpt_oss(sizes: Sizes, mixture: Experts, window: int = 128) -> Model:
    """Experts in MXFP4 with biases, sinks, every second layer slides."""
    tensors = sizes.ends()
    for number in range(sizes.layers):
        attention = sizes.attention(biased=True, sinks=True).tensors()
        feed_forward = experts(sizes.embedding, mixture.length, mixture.count, kind="MXFP4", biased=True)
        tensors += layer(number, norms(sizes.embedding, "attn_norm", "post_attention_norm"), attention, feed_forward)
    return sizes.model(
        "gpt-oss", tensors, attention__sliding_window=window, feed_forward_length=mixture.length, **mixture.metadata()
    )


def qwen3moe(sizes: Sizes, mixture: Experts) -> Model:
    """Experts in every layer, none of them shared."""
    tensors = sizes.ends()
    for number in range(sizes.layers):
        attention = sizes.attention(qk_norm=True).tensors()
        feed_forward = experts(sizes.embedding, mixture.length, mixture.count)
        tensors += layer(number, norms(sizes.embedding, "attn_norm", "ffn_norm"), attention, feed_forward)
    return sizes.model("qwen3moe", tensors, **mixture.metadata())


@dataclass(frozen=True)
class Latent:
    """The ranks and widths of latent attention."""

    q_lora: int = 384
    kv_lora: int = 512
    nope: int = 128
    rope: int = 64
    value: int = 128


def deepseek2(
    sizes: Sizes,
    latent: Latent,
    mixture: Experts,
    leading_dense: int = 1,
) -> Model:
    """Latent attention, whose cache is one row a token; the first layers are dense, the others of experts."""
    tensors = sizes.ends()
    for number in range(sizes.layers):
        attention = latent_attention(
            sizes.embedding,
            sizes.heads,
            q_lora=latent.q_lora,
            kv_lora=latent.kv_lora,
            nope=latent.nope,
            rope=latent.rope,
            value=latent.value,
        )
        if number < leading_dense:
            feed_forward = dense(sizes.embedding, sizes.feed_forward)
        else:
            shared = dense(sizes.embedding, mixture.length * mixture.shared, suffix="_shexp")
            feed_forward = [*experts(sizes.embedding, mixture.length, mixture.count), *shared]
        tensors += layer(number, norms(sizes.embedding, "attn_norm", "ffn_norm"), attention, feed_forward)
    return sizes.model(
        "deepseek2",
        tensors,
        leading_dense_block_count=leading_dense,
        expert_shared_count=mixture.shared,
        expert_weights_scale=1.0,
        rope__dimension_count=latent.rope,
        attention__head_count_kv=1,
        attention__q_lora_rank=latent.q_lora,
        attention__kv_lora_rank=latent.kv_lora,
        attention__key_length=latent.kv_lora + latent.rope,
        attention__value_length=latent.kv_lora,
        attention__key_length_mla=latent.nope + latent.rope,
        attention__value_length_mla=latent.value,
        **mixture.metadata(),
    )


def phi3(sizes: Sizes, window: int = 2047) -> Model:
    """Fused matrices; the header has a window, and llama.cpp does not use it."""
    tensors = sizes.ends()
    for number in range(sizes.layers):
        fused = dense(sizes.embedding, sizes.feed_forward, gated=False)
        fused[0] = weight("ffn_up", sizes.embedding, 2 * sizes.feed_forward)
        attention = sizes.attention(fused=True).tensors()
        tensors += layer(number, norms(sizes.embedding, "attn_norm", "ffn_norm"), attention, fused)
    return sizes.model("phi3", tensors, attention__sliding_window=window)


def cohere2(sizes: Sizes, window: int = 2048) -> Model:
    """Command R7B: three sliding layers, then a full one; attention and feed-forward side by side."""
    tensors = sizes.ends()
    for number in range(sizes.layers):
        feed_forward = dense(sizes.embedding, sizes.feed_forward)
        tensors += layer(number, norms(sizes.embedding, "attn_norm"), sizes.attention().tensors(), feed_forward)
    return sizes.model(
        "cohere2",
        tensors,
        attention__sliding_window=window,
        logit_scale=1.0,
        attention__layer_norm_epsilon=1e-5,
        attention__layer_norm_rms_epsilon=None,
    )


def deci(sizes: Sizes) -> Model:
    """Nemotron of NAS: some layers have no attention, some a linear one, some no feed-forward."""
    tensors = sizes.ends()
    heads, kv_heads, lengths = [], [], []
    for number in range(sizes.layers):
        linear, empty, bare = number % 4 == 1, number % 4 == 2, number % 4 == 3
        heads.append(0 if empty else sizes.heads)
        kv_heads.append(0 if empty or linear else sizes.kv_heads)
        lengths.append(0 if bare else sizes.feed_forward)
        parts = [] if empty else norms(sizes.embedding, "attn_norm")
        if linear:
            parts.append(weight("attn_output", sizes.embedding, sizes.embedding))
        elif not empty:
            parts += sizes.attention().tensors()
        if not bare:
            parts += [*norms(sizes.embedding, "ffn_norm"), *dense(sizes.embedding, sizes.feed_forward)]
        tensors += layer(number, parts)
    counts = {"attention__head_count": heads, "attention__head_count_kv": kv_heads}
    return sizes.model("deci", tensors, feed_forward_length=lengths, **counts)


def gemma4(
    sizes: Sizes,
    window: int = 512,
    shared: int = 5,
    per_layer: int = 64,
    swa_head_dim: int = 64,
) -> Model:
    """Narrower heads on the sliding layers, the last layers read the cache of others, an embedding for each layer."""
    slides = [number % 5 != 4 for number in range(sizes.layers)]
    tensors = [*sizes.ends(), weight("rope_freqs", sizes.head_dim // 2)]
    tensors += [
        weight("per_layer_token_embd", per_layer * sizes.layers, sizes.vocab),
        weight("per_layer_model_proj", sizes.embedding, per_layer * sizes.layers),
        weight("per_layer_proj_norm", per_layer),
    ]
    around = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm", "post_norm")
    for number in range(sizes.layers):
        head_dim = swa_head_dim if slides[number] else sizes.head_dim
        attention = replace(sizes.attention(qk_norm=True), head_dim=head_dim).tensors()
        extra = [weight("inp_gate", sizes.embedding, per_layer), weight("proj", per_layer, sizes.embedding)]
        feed_forward = dense(sizes.embedding, sizes.feed_forward)
        tensors += layer(number, norms(sizes.embedding, *around), attention, feed_forward, extra)
    return sizes.model(
        "gemma4",
        tensors,
        embedding_length_per_layer_input=per_layer,
        attention__sliding_window=window,
        attention__sliding_window_pattern=slides,
        attention__shared_kv_layers=shared,
        attention__key_length_swa=swa_head_dim,
        attention__value_length_swa=swa_head_dim,
        rope__dimension_count_swa=swa_head_dim,
    )

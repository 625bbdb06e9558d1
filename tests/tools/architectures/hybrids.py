"""Architectures with a state of fixed size in some layers: state-space, gated delta net, short convolution."""

from __future__ import annotations

from typing import Any

from tests.tools.architectures.model import Model
from tests.tools.architectures.tensors import (
    StateSpace,
    Tensor,
    bias,
    dense,
    experts,
    layer,
    norms,
    short_convolution,
    weight,
)
from tests.tools.architectures.transformers import Experts, Sizes


def qwen35(
    sizes: Sizes,
    space: StateSpace,
    interval: int = 4,
) -> Model:
    """Gated delta net, and a full layer after each three of those."""
    tensors = sizes.ends()
    for number in range(sizes.layers):
        if (number + 1) % interval:
            mixer = space.gated_delta_net(sizes.embedding)
        else:
            mixer = sizes.attention(qk_norm=True, gated=True).tensors()
        feed_forward = dense(sizes.embedding, sizes.feed_forward)
        around = norms(sizes.embedding, "attn_norm", "post_attention_norm")
        tensors += layer(number, around, mixer, feed_forward)
    rope = sizes.head_dim // 4
    sections = [rope // 4, rope // 8, rope // 8, 0]
    more: dict[str, Any] = {"rope__dimension_count": rope, "rope__dimension_sections": sections, **space.metadata()}
    return sizes.model("qwen35", tensors, full_attention_interval=interval, **more)


def qwen3next(
    sizes: Sizes,
    space: StateSpace,
    mixture: Experts,
) -> Model:
    """Gated delta net as in Qwen3.5, with experts, one of them shared."""
    tensors = sizes.ends()
    for number in range(sizes.layers):
        if (number + 1) % 4:
            mixer = space.gated_delta_net(sizes.embedding, joined=True)
        else:
            mixer = sizes.attention(qk_norm=True, gated=True).tensors()
        shared = dense(sizes.embedding, mixture.length * mixture.shared, suffix="_shexp")
        router = [weight("ffn_gate_inp_shexp", sizes.embedding)]
        feed_forward = [*experts(sizes.embedding, mixture.length, mixture.count), *shared, *router]
        around = norms(sizes.embedding, "attn_norm", "post_attention_norm")
        tensors += layer(number, around, mixer, feed_forward)
    more: dict[str, Any] = {
        "rope__dimension_count": sizes.head_dim // 4,
        "expert_shared_feed_forward_length": mixture.length * mixture.shared,
    }
    return sizes.model("qwen3next", tensors, **more, **mixture.metadata(), **space.metadata())


def granite_hybrid(sizes: Sizes, space: StateSpace, every: int = 4) -> Model:
    """Mamba-2 with attention without positions in some layers; a layer is recurrent where it has no heads of keys."""
    tensors = sizes.ends()
    kv_heads = [0 if (number + 1) % every else sizes.kv_heads for number in range(sizes.layers)]
    for number, count in enumerate(kv_heads):
        mixer = sizes.attention().tensors() if count else space.mamba2(sizes.embedding)
        feed_forward = dense(sizes.embedding, sizes.feed_forward)
        tensors += layer(number, norms(sizes.embedding, "attn_norm", "ffn_norm"), mixer, feed_forward)
    return sizes.model("granitehybrid", tensors, attention__head_count_kv=kv_heads, **space.metadata())


def jamba(
    sizes: Sizes,
    space: StateSpace,
    mixture: Experts,
) -> Model:
    """The first Mamba with attention in one layer of four, and experts in every second one, as wide as the dense."""
    tensors = sizes.ends()
    kv_heads = [sizes.kv_heads if number % 4 == 2 else 0 for number in range(sizes.layers)]
    for number, count in enumerate(kv_heads):
        mixer = sizes.attention().tensors() if count else space.mamba1(sizes.embedding)
        sparse = experts(sizes.embedding, sizes.feed_forward, mixture.count)
        feed_forward = sparse if number % 2 else dense(sizes.embedding, sizes.feed_forward)
        tensors += layer(number, norms(sizes.embedding, "attn_norm", "ffn_norm"), mixer, feed_forward)
    used = {"expert_count": mixture.count, "expert_used_count": mixture.used}
    keys = {key: value for key, value in space.metadata().items() if key != "ssm.group_count"}
    return sizes.model("jamba", tensors, attention__head_count_kv=kv_heads, **used, **keys)


def mamba2(sizes: Sizes, space: StateSpace) -> Model:
    """No attention at all."""
    tensors = sizes.ends()
    for number in range(sizes.layers):
        tensors += layer(number, norms(sizes.embedding, "attn_norm"), space.mamba2(sizes.embedding))
    none = {"attention__key_length": None, "attention__value_length": None, "attention__head_count_kv": None}
    return sizes.model("mamba2", tensors, feed_forward_length=0, **none, **space.metadata())


def lfm2(sizes: Sizes, kernel: int = 3) -> Model:
    """Short convolutions, with attention in a few layers, as the heads of keys tell."""
    tensors = sizes.ends("token_embd_norm")
    kv_heads = [sizes.kv_heads if number % 3 == 2 else 0 for number in range(sizes.layers)]
    for number, count in enumerate(kv_heads):
        mixer = sizes.attention(qk_norm=True).tensors() if count else short_convolution(sizes.embedding, kernel)
        feed_forward = dense(sizes.embedding, sizes.feed_forward)
        tensors += layer(number, norms(sizes.embedding, "attn_norm", "ffn_norm"), mixer, feed_forward)
    return sizes.model("lfm2", tensors, attention__head_count_kv=kv_heads, shortconv__l_cache=kernel)


def nemotron_h(sizes: Sizes, space: StateSpace) -> Model:
    """Each layer is one thing: Mamba-2, attention, or a feed-forward network without a gate."""
    tensors = sizes.ends()
    kv_heads, lengths = [], []
    for number in range(sizes.layers):
        kind = ("mamba", "feed_forward", "mamba", "attention")[number % 4]
        kv_heads.append(sizes.kv_heads if kind == "attention" else 0)
        lengths.append(sizes.feed_forward if kind == "feed_forward" else 0)
        mixer = {
            "mamba": space.mamba2(sizes.embedding),
            "attention": sizes.attention().tensors(),
            "feed_forward": dense(sizes.embedding, sizes.feed_forward, gated=False),
        }[kind]
        tensors += layer(number, norms(sizes.embedding, "attn_norm"), mixer)
    return sizes.model(
        "nemotron_h",
        tensors,
        attention__head_count_kv=kv_heads,
        feed_forward_length=lengths,
        attention__layer_norm_epsilon=1e-5,
        **space.metadata(),
    )


def falcon_h1(sizes: Sizes, space: StateSpace) -> Model:
    """Mamba-2 and attention side by side in every layer."""
    tensors = sizes.ends()
    for number in range(sizes.layers):
        mixers = [*space.mamba2(sizes.embedding), *sizes.attention().tensors()]
        feed_forward = [Tensor("ffn_norm", (sizes.embedding,)), *dense(sizes.embedding, sizes.feed_forward)]
        tensors += layer(number, norms(sizes.embedding, "attn_norm"), mixers, feed_forward)
    return sizes.model("falcon-h1", tensors, **space.metadata())


def lfm2moe(sizes: Sizes, mixture: Experts, leading_dense: int = 2, kernel: int = 3) -> Model:
    """LFM2 with experts after the first layers."""
    tensors = sizes.ends("token_embd_norm")
    kv_heads = [sizes.kv_heads if number % 3 == 2 else 0 for number in range(sizes.layers)]
    for number, count in enumerate(kv_heads):
        mixer = sizes.attention(qk_norm=True).tensors() if count else short_convolution(sizes.embedding, kernel)
        if number < leading_dense:
            feed_forward = dense(sizes.embedding, sizes.feed_forward)
        else:
            feed_forward = experts(sizes.embedding, mixture.length, mixture.count)
            feed_forward.append(bias("exp_probs_b", mixture.count))
        tensors += layer(number, norms(sizes.embedding, "attn_norm", "ffn_norm"), mixer, feed_forward)
    return sizes.model(
        "lfm2moe",
        tensors,
        attention__head_count_kv=kv_heads,
        shortconv__l_cache=kernel,
        leading_dense_block_count=leading_dense,
        expert_gating_func=2,
        **mixture.metadata(),
    )

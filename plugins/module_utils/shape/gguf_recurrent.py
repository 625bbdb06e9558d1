"""Which layers of a GGUF model keep a state of fixed size, and how large it is.

Elements follow ``n_embd_r`` and ``n_embd_s`` of llama.cpp's ``src/llama-hparams.cpp``, the layers its ``is_recr`` and
the filters of ``create_memory`` in ``src/llama-model.cpp`` (as in llama-cpp-python 0.3.36).
"""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.llmhost.core.plugins.module_utils.shape.fields import Fields
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Recurrent

# Every layer is recurrent, and none has attention.
PURE = {"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"}
# Every layer has both.
SIDE_BY_SIDE = {"falcon-h1"}
# A layer is recurrent if it has no heads for keys and values.
BY_HEADS = {
    "bailingmoe3", "glm5-next", "granitehybrid", "jamba", "kimi-k3", "kimi-linear", "lfm2", "lfm2moe", "plamo2",
}  # fmt: skip
# ... and no feed-forward network either, which is a layer of its own.
BY_HEADS_AND_WIDTH = {"nemotron_h", "nemotron_h_moe"}
# One layer in so many has attention instead, unless the file lists the recurrent ones.
BY_INTERVAL = {"minimax-01": 8, "qwen35": 4, "qwen35moe": 4, "qwen3next": 4, "qwen4exp": 4}
DELTA_NET = {"qwen35", "qwen35moe", "qwen3next", "qwen4exp"}
HYBRID = SIDE_BY_SIDE | BY_HEADS | BY_HEADS_AND_WIDTH | set(BY_INTERVAL)


def recurrent_layers(
    architecture: str, fields: Fields, kv_heads: tuple[int, ...], widths: tuple[int, ...], layers: int
) -> tuple[bool, ...]:
    """Say of each layer whether it is recurrent; of those after the first ``layers``, for drafts, none is."""
    if architecture in PURE or architecture in SIDE_BY_SIDE:
        return (True,) * len(kv_heads)
    if architecture in BY_HEADS:
        return tuple(number < layers and not heads for number, heads in enumerate(kv_heads))
    if architecture in BY_HEADS_AND_WIDTH:
        both = zip(kv_heads, widths, strict=True)
        return tuple(number < layers and not heads and not width for number, (heads, width) in enumerate(both))
    if architecture in BY_INTERVAL:
        if "attention.recurrent_layers" in fields:
            return tuple(bool(one) for one in fields.by_layer("attention.recurrent_layers", len(kv_heads)))
        interval = fields.number("full_attention_interval", BY_INTERVAL[architecture])
        if not interval:
            raise fields.invalid("full_attention_interval is 0")
        return tuple(number < layers and bool((number + 1) % interval) for number in range(len(kv_heads)))
    return (False,) * len(kv_heads)


def recurrent_part(architecture: str, fields: Fields, embedding: int, heads: int) -> Recurrent:
    """Return the recurrent part that all recurrent layers of a model share."""
    kernel = fields.number("ssm.conv_kernel")
    if "wkv.head_size" in fields:
        size = fields.number("wkv.head_size")
        shift = fields.number("token_shift_count", 2) * embedding
        count = embedding // size if size else 0
        return Recurrent("rwkv", shift, embedding * size, embedding, count, count, size, size)
    if fields.number("shortconv.l_cache"):
        kernel = fields.number("shortconv.l_cache")
        return Recurrent("short_conv", embedding * (kernel - 1), 0, inner=embedding, conv_kernel=kernel)
    if fields.number("kda.head_dim"):
        size = fields.number("kda.head_dim")
        inner = heads * size
        conv = 3 * (kernel - 1 if kernel else 3) * inner
        return Recurrent("kda", conv, size * inner, inner, heads, heads, size, size, kernel or 4)
    if architecture == "minimax-01":
        size = fields.number("attention.key_length") or (embedding // heads if heads else 0)
        return Recurrent("lightning", 0, size * size * heads, heads * size, heads, heads, size, size)
    return _state_space(architecture, fields, kernel)


def with_n_gram(part: Recurrent, fields: Fields, embedding: int) -> Recurrent:
    """Return the part of the one layer that also keeps the inputs of hashed n-grams (Qwen4's experiment)."""
    rows = max(fields.number("ple.conv_kernel") - 1, 0) * fields.number("ple.ngram_size")
    more = rows * fields.number("hyper_connection.count") * embedding
    return replace(part, conv_elements=part.conv_elements + more)


def _state_space(architecture: str, fields: Fields, kernel: int) -> Recurrent:
    inner, state = fields.number("ssm.inner_size"), fields.number("ssm.state_size")
    groups, rank = fields.number("ssm.group_count"), fields.number("ssm.time_step_rank")
    kind = "gated_delta_net" if architecture in DELTA_NET else "mamba2" if groups else "mamba"
    heads = 0 if kind == "mamba" else rank
    return Recurrent(
        kind,
        conv_elements=max(kernel - 1, 0) * (inner + 2 * groups * state),
        state_elements=state * inner,
        inner=inner,
        heads=heads,
        groups=groups,
        head_dim=inner // heads if heads else 0,
        state_dim=state,
        conv_kernel=kernel,
    )

"""The recurrent part of the layers of a ``config.json``: what state it keeps for a sequence.

Elements as llama.cpp keeps them (``n_embd_r`` and ``n_embd_s`` of ``src/llama-hparams.cpp`` in llama-cpp-python
0.3.36), which are those of the models' own code: the last inputs of the convolution without the newest one, and the
state of every head.
"""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.shape.fields import Fields
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Recurrent


def recurrent_part(kind: str, fields: Fields) -> Recurrent:
    """Return the part of every recurrent layer; raise ModelError if a size is missing."""
    parts = {
        "gated_delta_net": _gated_delta_net,
        "kda": _kda,
        "lightning": _lightning,
        "mamba": _mamba,
        "mamba2": _mamba2,
        "rwkv": _rwkv,
        "short_conv": _short_conv,
    }
    return parts[kind](fields)


def largest_part(fields: Fields) -> Recurrent | None:
    """Return the largest part that the fields could mean, for a family that nobody knows; None if they mean none."""
    found = []
    if "linear_num_value_heads" in fields and "linear_key_head_dim" in fields:
        found.append(_gated_delta_net(fields))
    if "linear_attn_config.head_dim" in fields:
        found.append(_kda(fields))
    if _state(fields):
        found += [_mamba(fields), _mamba2(fields)]
    if "conv_L_cache" in fields:
        found.append(_short_conv(fields))
    return max(found, key=lambda part: part.conv_elements + part.state_elements, default=None)


def _gated_delta_net(fields: Fields) -> Recurrent:
    heads = fields.first("linear_num_value_heads", "num_attention_heads")
    groups = fields.first("linear_num_key_heads", "num_attention_heads")
    # Without lengths of its own: Olmo's hybrid.
    even = 3 * fields.number("hidden_size") // (4 * groups) if groups else 0
    key = fields.number("linear_key_head_dim", even)
    value = fields.number("linear_value_head_dim", 2 * even)
    kernel = fields.number("linear_conv_kernel_dim", 4)
    inner = heads * value
    conv = max(kernel - 1, 0) * (2 * groups * key + inner)
    return Recurrent("gated_delta_net", conv, inner * key, inner, heads, groups, value, key, kernel)


def _kda(fields: Fields) -> Recurrent:
    heads = fields.first("linear_attn_config.num_heads", "linear_num_heads", "num_attention_heads")
    size = fields.first("linear_attn_config.head_dim", "linear_head_dim", "head_dim", default=128)
    kernel = fields.first(
        "linear_attn_config.short_conv_kernel_size", "short_conv_kernel_size", "linear_conv_kernel_dim", default=4
    )
    inner = heads * size
    return Recurrent("kda", 3 * max(kernel - 1, 0) * inner, inner * size, inner, heads, heads, size, size, kernel)


def _lightning(fields: Fields) -> Recurrent:
    heads = fields.number("num_attention_heads")
    size = fields.number("head_dim") or (fields.number("hidden_size") // heads if heads else 0)
    return Recurrent("lightning", 0, heads * size * size, heads * size, heads, heads, size, size)


def _state(fields: Fields) -> int:
    return fields.first("mamba_d_state", "ssm_state_size", "state_size")


def _kernel(fields: Fields) -> int:
    return fields.first("mamba_d_conv", "conv_kernel", default=4)


def _expanded(fields: Fields) -> int:
    return fields.first("mamba_expand", "expand", default=2) * fields.required("hidden_size")


def _mamba(fields: Fields) -> Recurrent:
    inner, state, kernel = _expanded(fields), _state(fields) or 16, _kernel(fields)
    if "mamba_num_heads" in fields and "head_dim" in fields and fields.text("model_type") == "plamo2":
        inner = fields.number("mamba_num_heads") * fields.number("head_dim")
    elif fields.text("model_type") in ("mamba", "falcon_mamba"):
        inner = fields.number("intermediate_size") or inner
    return Recurrent("mamba", max(kernel - 1, 0) * inner, state * inner, inner, state_dim=state, conv_kernel=kernel)


def _mamba2(fields: Fields) -> Recurrent:
    heads = fields.first("mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "num_heads")
    size = fields.first(*(() if fields.raw("mamba_d_head") == "auto" else ("mamba_d_head",)), "mamba_head_dim")
    inner = fields.number("mamba_d_ssm") or heads * size or _expanded(fields)
    groups = fields.first("mamba_n_groups", "mamba_ngroups", "n_groups", default=1)
    state, kernel = _state(fields) or 128, _kernel(fields)
    conv = max(kernel - 1, 0) * (inner + 2 * groups * state)
    return Recurrent("mamba2", conv, state * inner, inner, heads, groups, inner // heads if heads else 0, state, kernel)


def _short_conv(fields: Fields) -> Recurrent:
    width, kernel = fields.required("hidden_size"), fields.number("conv_L_cache", 3)
    return Recurrent("short_conv", width * max(kernel - 1, 0), 0, inner=width, conv_kernel=kernel)


def _rwkv(fields: Fields) -> Recurrent:
    width = fields.required("hidden_size")
    size = fields.first("head_size", "head_dim", default=64)
    heads = width // size if size else 0
    shifts = 1 if fields.text("model_type") == "rwkv6qwen2" else 2
    return Recurrent("rwkv", shifts * width, width * size, width, heads, heads, size, size)

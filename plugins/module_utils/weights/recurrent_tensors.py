"""The tensors of the recurrent part of a layer: state spaces, linear attention, short convolutions, RWKV.

Sources: llama.cpp's ``src/models/{qwen3next,qwen35,mamba,mamba2,jamba,kimi-linear,lfm2,minimax-01,rwkv6,rwkv7}.cpp``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Recurrent
from ansible_collections.llmhost.core.plugins.module_utils.weights.tensor import ModelTensor, matrix, vector

_DT_RANK = 16  # inputs of a Mamba layer to one element of its time step (the "auto" of its configuration)
_NORMS_OF_INPUTS = {"jamba", "plamo2", "falconmamba"}
_SEPARATE_BETA = {"qwen35", "qwen35moe"}
_LORA_STEP = 32  # ranks of RWKV are multiples of it


def recurrent_tensors(part: Recurrent, width: int, family: str) -> Iterator[ModelTensor]:
    """Return the tensors; a kind that is not known has none, and its shape carries a doubt."""
    makers: dict[str, Callable[[Recurrent, int, str], Iterator[ModelTensor]]] = {
        "gated_delta_net": _gated_delta_net,
        "kda": _kimi_delta,
        "mamba": _mamba,
        "mamba2": _mamba2,
        "short_conv": _short_conv,
        "lightning": _lightning,
        "rwkv": _rwkv,
    }
    maker = makers.get(part.kind)
    return iter(()) if maker is None else maker(part, width, family)


def _gated_delta_net(part: Recurrent, width: int, family: str) -> Iterator[ModelTensor]:
    keys, values = part.groups * part.state_dim, part.heads * part.head_dim
    yield matrix("attn_qkv.weight", width, 2 * keys + values)
    yield matrix("attn_gate.weight", width, values)
    if family in _SEPARATE_BETA:
        yield matrix("ssm_alpha.weight", width, part.heads)
        yield matrix("ssm_beta.weight", width, part.heads)
    else:
        yield matrix("ssm_ba.weight", width, 2 * part.heads)
    yield matrix("ssm_conv1d.weight", part.conv_kernel, 2 * keys + values)
    yield vector("ssm_dt.bias", part.heads)
    yield vector("ssm_a", part.heads)
    yield vector("ssm_norm.weight", part.head_dim)
    yield matrix("ssm_out.weight", values, width)


def _kimi_delta(part: Recurrent, width: int, family: str) -> Iterator[ModelTensor]:
    inner, size = part.inner, part.head_dim
    for name in ("q", "k", "v"):
        yield matrix(f"attn_{name}.weight", width, inner)
        yield matrix(f"ssm_conv1d_{name}.weight", part.conv_kernel, inner)
    for name in ("f", "g"):
        yield matrix(f"ssm_{name}_a.weight", width, size)
        yield matrix(f"ssm_{name}_b.weight", size, inner)
    yield matrix("ssm_beta.weight", width, part.heads)
    yield vector("ssm_a", part.heads)
    yield vector("ssm_dt.bias", inner)
    yield vector("ssm_norm.weight", size)
    yield matrix("attn_output.weight", inner, width)


def _mamba(part: Recurrent, width: int, family: str) -> Iterator[ModelTensor]:
    inner, state, rank = part.inner, part.state_dim, -(-width // _DT_RANK)
    yield matrix("ssm_in.weight", width, 2 * inner)
    yield matrix("ssm_conv1d.weight", part.conv_kernel, inner)
    yield vector("ssm_conv1d.bias", inner)
    yield matrix("ssm_x.weight", inner, rank + 2 * state)
    yield matrix("ssm_dt.weight", rank, inner)
    yield vector("ssm_dt.bias", inner)
    yield matrix("ssm_a", state, inner)
    yield vector("ssm_d", inner)
    yield matrix("ssm_out.weight", inner, width)
    if family in _NORMS_OF_INPUTS:
        yield vector("ssm_dt_norm.weight", rank)
        yield vector("ssm_b_norm.weight", state)
        yield vector("ssm_c_norm.weight", state)


def _mamba2(part: Recurrent, width: int, family: str) -> Iterator[ModelTensor]:
    inner, mixed = part.inner, part.inner + 2 * part.groups * part.state_dim
    yield matrix("ssm_in.weight", width, inner + mixed + part.heads)
    yield matrix("ssm_conv1d.weight", part.conv_kernel, mixed)
    yield vector("ssm_conv1d.bias", mixed)
    yield vector("ssm_dt.bias", part.heads)
    yield vector("ssm_a", part.heads)
    yield vector("ssm_d", part.heads)
    yield vector("ssm_norm.weight", inner)
    yield matrix("ssm_out.weight", inner, width)


def _short_conv(part: Recurrent, width: int, family: str) -> Iterator[ModelTensor]:
    yield matrix("shortconv.in_proj.weight", width, 3 * width)
    yield matrix("shortconv.conv.weight", part.conv_kernel, width)
    yield matrix("shortconv.out_proj.weight", width, width)


def _lightning(part: Recurrent, width: int, family: str) -> Iterator[ModelTensor]:
    inner = part.inner or part.heads * part.head_dim
    yield matrix("attn_qkv.weight", width, 3 * inner)
    yield matrix("attn_gate.weight", width, inner)
    yield vector("attn_output_norm.weight", inner)
    yield matrix("attn_output.weight", inner, width)


def _rwkv(part: Recurrent, width: int, family: str) -> Iterator[ModelTensor]:
    """Return the matrices exactly and the low-rank ones by the ranks that published models of this width have."""
    rank = max(_LORA_STEP, round(2.5 * width**0.5 / _LORA_STEP) * _LORA_STEP)
    for name in ("receptance", "key", "value", "output"):
        yield matrix(f"time_mix_{name}.weight", width, width)
    if family == "rwkv6":
        yield matrix("time_mix_gate.weight", width, width)
    for name in ("w", "a", "v", "g"):
        yield matrix(f"time_mix_{name}1.weight", width, rank)
        yield matrix(f"time_mix_{name}2.weight", rank, width)
    yield vector("time_mix_ln.weight", 2 * width)
    yield vector("time_mix_lerp_fused.weight", 14 * width)

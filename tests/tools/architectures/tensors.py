"""The tensors of the parts that layers are made of, under llama.cpp's names and with its dimensions.

Dimensions stand as in its sources (src/models/*.cpp, ``create_tensor``): the length of a row first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Tensor:
    """One tensor; ``kind`` names the only type that it may have, whatever the rest of the file has."""

    name: str
    dims: tuple[int, ...]
    kind: str = ""


def weight(name: str, *dims: int, kind: str = "") -> Tensor:
    """Return the tensor ``name.weight``."""
    return Tensor(f"{name}.weight", dims, kind)


def bias(name: str, *dims: int) -> Tensor:
    """Return the tensor ``name.bias``."""
    return Tensor(f"{name}.bias", dims, "F32")


def layer(number: int, *parts: Iterable[Tensor]) -> list[Tensor]:
    """Return the tensors of a layer, each under its full name."""
    return [replace(tensor, name=f"blk.{number}.{tensor.name}") for part in parts for tensor in part]


def ends(embedding: int, vocab: int, *, tied: bool, norm: str = "output_norm") -> list[Tensor]:
    """Return what stands before the first layer and after the last."""
    head = [] if tied else [weight("output", embedding, vocab)]
    return [weight("token_embd", embedding, vocab), weight(norm, embedding), *head]


def norms(embedding: int, *names: str) -> list[Tensor]:
    """Return norms of the width of the residual stream."""
    return [weight(name, embedding) for name in names]


@dataclass(frozen=True)
class Attention:
    """Attention with grouped keys; ``gated`` doubles the queries, ``fused`` puts three matrices into one."""

    embedding: int
    heads: int
    kv_heads: int
    head_dim: int
    head_dim_v: int = 0
    qk_norm: bool = False
    gated: bool = False
    fused: bool = False
    biased: bool = False
    sinks: bool = False

    def tensors(self) -> list[Tensor]:
        """Return the matrices, and the norms of queries and keys if there are."""
        value_dim = self.head_dim_v or self.head_dim
        queries = self.heads * self.head_dim
        widths = {
            "attn_q": queries * (2 if self.gated else 1),
            "attn_k": self.kv_heads * self.head_dim,
            "attn_v": self.kv_heads * value_dim,
        }
        if self.fused:
            widths = {"attn_qkv": sum(widths.values())}
        found = [weight(name, self.embedding, width) for name, width in widths.items()]
        found.append(weight("attn_output", self.heads * value_dim, self.embedding))
        if self.biased:
            found += [bias(name, width) for name, width in {**widths, "attn_output": self.embedding}.items()]
        if self.sinks:
            found.append(weight("attn_sinks", self.heads))
        if self.qk_norm:
            found += norms(self.head_dim, "attn_q_norm", "attn_k_norm")
        return found


def latent_attention(
    embedding: int, heads: int, *, q_lora: int, kv_lora: int, nope: int, rope: int, value: int
) -> list[Tensor]:
    """Return multi-head latent attention as deepseek2.cpp stores it since the keys and values are split by head."""
    return [
        weight("attn_q_a", embedding, q_lora),
        weight("attn_q_a_norm", q_lora),
        weight("attn_q_b", q_lora, heads * (nope + rope)),
        weight("attn_kv_a_mqa", embedding, kv_lora + rope),
        weight("attn_kv_a_norm", kv_lora),
        weight("attn_k_b", nope, kv_lora, heads),
        weight("attn_v_b", kv_lora, value, heads),
        weight("attn_output", heads * value, embedding),
    ]


def dense(embedding: int, length: int, *, gated: bool = True, suffix: str = "") -> list[Tensor]:
    """Return a dense feed-forward network; the suffix ``_shexp`` names the experts that every token takes."""
    gate = [weight(f"ffn_gate{suffix}", embedding, length)] if gated else []
    return [*gate, weight(f"ffn_up{suffix}", embedding, length), weight(f"ffn_down{suffix}", length, embedding)]


def experts(embedding: int, length: int, count: int, *, kind: str = "", biased: bool = False) -> list[Tensor]:
    """Return a router and its experts."""
    found = [
        weight("ffn_gate_inp", embedding, count, kind="F32"),
        weight("ffn_gate_exps", embedding, length, count, kind=kind),
        weight("ffn_up_exps", embedding, length, count, kind=kind),
        weight("ffn_down_exps", length, embedding, count, kind=kind),
    ]
    if biased:
        found += [bias("ffn_gate_inp", count), bias("ffn_down_exps", embedding, count)]
        found += [bias("ffn_gate_exps", length, count), bias("ffn_up_exps", length, count)]
    return found


@dataclass(frozen=True)
class StateSpace:
    """The sizes of a state-space layer, as the keys ``ssm.*`` give them."""

    inner: int
    state: int
    heads: int = 0  # ssm.time_step_rank; of values in a gated delta net
    groups: int = 1  # heads of keys in a gated delta net
    kernel: int = 4

    def metadata(self) -> dict[str, int]:
        """Return the keys of the header."""
        return {
            "ssm.conv_kernel": self.kernel,
            "ssm.inner_size": self.inner,
            "ssm.state_size": self.state,
            "ssm.time_step_rank": self.heads,
            "ssm.group_count": self.groups,
        }

    def mamba1(self, embedding: int) -> list[Tensor]:
        """Return the first Mamba with the norms of Jamba (jamba.cpp)."""
        return [
            weight("ssm_in", embedding, 2 * self.inner),
            weight("ssm_conv1d", self.kernel, self.inner, kind="F32"),
            bias("ssm_conv1d", self.inner),
            weight("ssm_x", self.inner, self.heads + 2 * self.state),
            weight("ssm_dt_norm", self.heads),
            weight("ssm_dt", self.heads, self.inner),
            bias("ssm_dt", self.inner),
            weight("ssm_b_norm", self.state),
            weight("ssm_c_norm", self.state),
            Tensor("ssm_a", (self.state, self.inner), "F32"),
            Tensor("ssm_d", (self.inner,), "F32"),
            weight("ssm_out", self.inner, embedding),
        ]

    def mamba2(self, embedding: int) -> list[Tensor]:
        """Return the second Mamba (mamba2.cpp, granite-hybrid.cpp, nemotron-h.cpp, falcon-h1.cpp)."""
        convolved = self.inner + 2 * self.groups * self.state
        return [
            weight("ssm_in", embedding, self.inner + convolved + self.heads),
            weight("ssm_conv1d", self.kernel, convolved, kind="F32"),
            bias("ssm_conv1d", convolved),
            bias("ssm_dt", self.heads),
            Tensor("ssm_a", (1, self.heads), "F32"),
            Tensor("ssm_d", (1, self.heads), "F32"),
            weight("ssm_norm", self.inner // self.groups, self.groups, kind="F32"),
            weight("ssm_out", self.inner, embedding),
        ]

    def gated_delta_net(self, embedding: int, *, joined: bool = False) -> list[Tensor]:
        """Return the linear attention of Qwen3.5 (qwen35.cpp), or with joined gates Qwen3-Next's (qwen3next.cpp)."""
        keys, values = self.state * self.groups, self.state * self.heads
        names = {"ssm_ba": 2 * self.heads} if joined else {"ssm_beta": self.heads, "ssm_alpha": self.heads}
        return [
            weight("attn_qkv", embedding, 2 * keys + values),
            weight("attn_gate", embedding, values),
            weight("ssm_conv1d", self.kernel, 2 * keys + values, kind="F32"),
            bias("ssm_dt", self.heads),
            Tensor("ssm_a", (self.heads,), "F32"),
            *(weight(name, embedding, width) for name, width in names.items()),
            weight("ssm_norm", self.state),
            weight("ssm_out", values, embedding),
        ]


def short_convolution(embedding: int, kernel: int) -> list[Tensor]:
    """Return the convolution of LFM2."""
    return [
        weight("shortconv.conv", kernel, embedding, kind="F32"),
        weight("shortconv.in_proj", embedding, 3 * embedding),
        weight("shortconv.out_proj", embedding, embedding),
    ]

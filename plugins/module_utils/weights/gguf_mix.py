"""Which type llama.cpp's quantiser gives to each tensor: a file called Q4_K_M holds several.

The rules are those of ``src/llama-quant.cpp`` (as in llama-cpp-python 0.3.36) and, for what is never quantised, of
``conversion/base.py``. Files that were made before 2024 may differ in a few tensors. What a publisher chose by hand
cannot be known from the name: Unsloth's ``UD-`` and ``_XL``, other tools' mixes, ``--tensor-type``. An importance
matrix changes the types of a few formats (IQ3_XXS, IQ4_NL, IQ4_XS, Q4_0, Q5_0).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.llmhost.core.plugins.module_utils.model.tensor_type import TENSOR_TYPES
from ansible_collections.llmhost.core.plugins.module_utils.weights.tensor import ModelTensor

_TYPES = {kind.name: kind for kind in TENSOR_TYPES.values()}

# File type -> the type of a tensor for which there is no rule.
BASES = {
    "F32": "F32", "F16": "F16", "BF16": "BF16", "Q8_0": "Q8_0", "Q4_0": "Q4_0", "Q4_1": "Q4_1", "Q5_0": "Q5_0",
    "Q5_1": "Q5_1", "Q2_K": "Q2_K", "Q2_K_S": "Q2_K", "Q3_K_S": "Q3_K", "Q3_K_M": "Q3_K", "Q3_K_L": "Q3_K",
    "Q4_K_S": "Q4_K", "Q4_K_M": "Q4_K", "Q5_K_S": "Q5_K", "Q5_K_M": "Q5_K", "Q6_K": "Q6_K", "IQ1_S": "IQ1_S",
    "IQ1_M": "IQ1_M", "IQ2_XXS": "IQ2_XXS", "IQ2_XS": "IQ2_XS", "IQ2_S": "IQ2_XS", "IQ2_M": "IQ2_S",
    "IQ3_XXS": "IQ3_XXS", "IQ3_XS": "IQ3_S", "IQ3_S": "IQ3_S", "IQ3_M": "IQ3_S", "IQ4_NL": "IQ4_NL",
    "IQ4_XS": "IQ4_XS", "TQ1_0": "TQ1_0", "TQ2_0": "TQ2_0", "MXFP4_MOE": "MXFP4", "NVFP4": "NVFP4", "Q1_0": "Q1_0",
    "Q2_0": "Q2_0",
}  # fmt: skip
FLOATS = ("F32", "F16", "BF16")
# The quantiser refuses these without an importance matrix, or nobody publishes them without.
MADE_WITH_IMATRIX = {
    "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "IQ4_NL", "IQ4_XS", "Q2_K_S",
}  # fmt: skip

_LOWEST = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"}
_IQ2_LARGE = {"IQ2_S", "IQ2_M"}
_OUTPUT_IS_Q5_K = _LOWEST | {"IQ3_XXS"}
_EMBEDDING = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"), "Q2_K"),
    **dict.fromkeys(("IQ2_S", "IQ2_M", "IQ3_XXS"), "IQ3_S"),
    **dict.fromkeys(("TQ1_0", "TQ2_0", "Q2_0"), "Q4_K"),
}
_OUTPUT_PROJECTION = {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}
_OUTPUT_PROJECTION_OF_EIGHT = {
    "Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ3_S", "IQ3_M", "IQ4_XS",
}  # fmt: skip
# What replaces a type whose blocks do not divide a row.
_SMALLER_BLOCKS = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_0", "Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
}  # fmt: skip

_SMALL = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
    "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first",
    "time_mix_w", "time_mix_v0", "time_mix_v1", "time_mix_v2", "time_mix_a", "time_mix_g1", "time_mix_g2",
    "time_mix_decay_w", "time_mix_lerp", "attn_rel_b", "position_embd", "token_types",
)  # fmt: skip
_ALWAYS_F32 = (
    "ffn_gate_inp", "position_embd", "token_types", "ssm_conv1d", "shortconv.conv", "time_mix_first", "time_mix_w1",
    "time_mix_w2", "time_mix_decay_w", "time_mix_lerp", "altup_correct_coef", "altup_predict_coef", "indexer.proj",
)  # fmt: skip


def type_size(type_name: str, tensor: ModelTensor) -> int:
    """Return the bytes of a tensor whose rows are a whole number of blocks."""
    return _TYPES[type_name].size_bytes(tensor.elements)


def may_be_quantised(tensor: ModelTensor) -> bool:
    """Say whether the quantiser touches a tensor at all (``tensor_allows_quantization``)."""
    name = tensor.name
    return tensor.dimensions > 1 and name.endswith("weight") and not any(part in name for part in _SMALL)


def unquantised_type(tensor: ModelTensor, half: str) -> str:
    """Return the type that a tensor keeps from the conversion to 16 bits."""
    name = tensor.name
    plain = tensor.dimensions > 1 and name.endswith(".weight") and not name.endswith("_norm.weight")
    return half if plain and not any(part in name for part in _ALWAYS_F32) else "F32"


def fitting_type(type_name: str, row: int) -> str:
    """Return the type, or what replaces it where a row is not a whole number of its blocks."""
    if row % _TYPES[type_name].block == 0:
        return type_name
    smaller = _SMALLER_BLOCKS.get(type_name, type_name)
    return smaller if row % _TYPES[smaller].block == 0 else "F16"


def category(name: str) -> str:
    """Return what the rules call a tensor: the broad kind that its name tells."""
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "embedding"
    for part, kind in _CATEGORIES:
        if part in name:
            return kind
    return "other"


_CATEGORIES = (
    ("attn_qkv.weight", "attn_qkv"), ("attn_kv_b.weight", "attn_kv_b"), ("attn_v.weight", "attn_v"),
    ("attn_k.weight", "attn_k"), ("attn_q.weight", "attn_q"), ("attn_output.weight", "attn_output"),
    ("ffn_up", "ffn_up"), ("ffn_gate", "ffn_gate"), ("ffn_down", "ffn_down"),
)  # fmt: skip

FUSED_VALUES = ("attn_qkv", "attn_kv_b")
"""Matrices with values in them. The quantiser of nearly all published files gives queries, keys and values in one
matrix a type of their own (``llama_tensor_get_type`` of November 2023 to August 2025; logs of Phi-3-mini, StarCoder
and Qwen3.5-9B, March 2026, show it); that of the pinned build takes them for values."""

_FUSED_PROJECTION = {"Q3_K_M": "Q4_K", "Q3_K_L": "Q4_K", "IQ3_M": "Q4_K", "Q4_K_M": "Q5_K", "Q5_K_M": "Q6_K"}


@dataclass(frozen=True)
class ModelFacts:
    """What the rules ask of a model as a whole."""

    family: str
    layers: int  # with those of multi-token prediction
    value_tensors: int  # how many layers have a value projection, fused ones too
    experts: int = 0
    queries_per_key: int = 1  # heads of the first layer
    seventy_billion: bool = False  # 80 layers and grouped queries
    tied: bool = False


@dataclass
class Mix:
    """One file type applied to one model; tensors must be asked for in the order of layers, and of names in each."""

    file_type: str
    facts: ModelFacts
    imatrix: bool = False
    embedding_type: str | None = None  # set by hand for both tables of tokens
    newest_rules: bool = False  # of the quantiser as pinned, which judges fused projections by their values
    _seen: dict[str, int] = field(default_factory=dict)

    def type_of(self, tensor: ModelTensor, layer: int = 0) -> str:
        """Return the type of a tensor; ``half`` formats keep small tensors in F32."""
        base = BASES[self.file_type]
        if not may_be_quantised(tensor):
            return unquantised_type(tensor, base if base in FLOATS else "BF16")
        if base in FLOATS:
            return base
        kind = category(tensor.name)
        if self.embedding_type and kind in ("output", "embedding"):
            return fitting_type(self.embedding_type, tensor.row)
        if self.file_type == "NVFP4":  # made by the conversion, which quantises the matrices of layers alone
            outer = kind in ("output", "embedding") or tensor.row % _TYPES["NVFP4"].block
            return "BF16" if outer else "NVFP4"
        return fitting_type(self._chosen(kind, tensor, layer, base), tensor.row)

    def _chosen(self, kind: str, tensor: ModelTensor, layer: int, base: str) -> str:
        if kind == "output" or (kind == "embedding" and self.facts.tied):
            return self._output(tensor, base)
        if self.file_type == "MXFP4_MOE":
            return "MXFP4" if tensor.depth > 1 else "Q8_0"
        if kind == "embedding":
            return _EMBEDDING.get(self.file_type, base)
        if self.newest_rules and kind in FUSED_VALUES:
            kind = "attn_v"
        index = self._seen.get(kind, 0)
        self._seen[kind] = index + 1
        if self.file_type in _LOWEST:
            return self._lowest(kind, index, base)
        rule = _RULES.get(kind)
        return base if rule is None else rule(self, index, layer, base)

    def _output(self, tensor: ModelTensor, base: str) -> str:
        if self.file_type == "MXFP4_MOE" or self.facts.family == "falcon" or tensor.row % _TYPES[base].block:
            return "Q8_0"
        if self.file_type in _OUTPUT_IS_Q5_K:
            return "Q5_K"
        return base if base == "Q8_0" else "Q6_K"

    def _lowest(self, kind: str, index: int, base: str) -> str:
        large, eight = self.file_type in _IQ2_LARGE, self.facts.experts == 8
        if kind == "attn_v":
            many = self.facts.queries_per_key >= 4 or self.facts.experts >= 4
            return "Q4_K" if many else "IQ3_S" if large else "Q2_K"
        if kind == "attn_k" and eight:
            return "Q4_K"
        if kind == "ffn_down" and index < self.facts.layers // 8:
            return "IQ3_S" if large else "Q2_K"
        if kind == "attn_output":
            if eight:
                return "Q5_K"
            return "IQ2_XXS" if self.file_type in ("IQ1_S", "IQ1_M") else "IQ3_S" if large else base
        return base

    def _value(self, index: int, layer: int, base: str) -> str:
        chosen = self._value_of_most(index, base)
        if self.facts.seventy_billion and chosen in ("Q3_K", "Q4_K"):
            chosen = "Q5_K"
        return "Q8_0" if self.facts.experts == 8 else chosen

    def _value_of_most(self, index: int, base: str) -> str:
        kind, grouped = self.file_type, self.facts.queries_per_key >= 4
        if kind == "IQ3_XXS" and not grouped:
            return "IQ3_XXS" if self.imatrix else "IQ3_S"
        if kind in ("IQ4_NL", "IQ4_XS"):
            return "Q5_K" if grouped else base
        if kind in ("Q2_K", "Q2_K_S", "IQ3_XXS", "IQ3_XS", "IQ3_S"):
            return "Q4_K" if grouped else "Q3_K" if kind == "Q2_K" else base
        if kind in ("Q4_K_M", "Q5_K_M"):
            return "Q6_K" if _more_bits(index, self.facts.value_tensors) else base
        if kind == "Q4_K_S":
            return "Q5_K" if index < 4 else base
        if kind == "Q3_K_M":
            return "Q5_K" if index < 2 else "Q4_K"
        return {"IQ3_M": "Q4_K", "Q3_K_L": "Q5_K"}.get(kind, base)

    def _fused(self, index: int, layer: int, base: str) -> str:
        return _FUSED_PROJECTION.get(self.file_type, base)

    def _key(self, index: int, layer: int, base: str) -> str:
        return "Q8_0" if self.facts.experts == 8 else self._query(index, layer, base)

    def _query(self, index: int, layer: int, base: str) -> str:
        return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(self.file_type, base)

    def _projection(self, index: int, layer: int, base: str) -> str:
        if self.facts.family == "falcon":
            return "Q4_K" if self.file_type == "Q3_K_L" else base
        if self.facts.experts == 8:
            return "Q5_K" if self.file_type in _OUTPUT_PROJECTION_OF_EIGHT else base
        return _OUTPUT_PROJECTION.get(self.file_type, base)

    def _up(self, index: int, layer: int, base: str) -> str:
        place, layers = self._place(index, layer), self.facts.layers
        middle = layers // 8 <= place < 7 * layers // 8
        return "IQ3_XXS" if self.file_type == "IQ3_XS" and middle else base

    def _place(self, index: int, layer: int) -> int:
        """Return the layer by which a tensor is judged: a mixture of experts may have several tensors in one."""
        return layer if self.facts.experts > 1 else index

    def _down(self, index: int, layer: int, base: str) -> str:
        kind, place, layers = self.file_type, self._place(index, layer), self.facts.layers
        early, more = place < layers // 8, _more_bits(place, layers)
        if self.facts.family == "falcon" and kind in ("Q3_K_M", "Q3_K_L", "Q4_K_M", "Q4_K_S"):
            return _down_of_falcon(kind, place < layers // 16, more, base)
        if kind == "IQ3_M":
            return "Q4_K" if early or (self.facts.experts == 8 and more) else base
        if kind == "IQ3_XXS" and not self.imatrix:
            return "Q4_K" if early else "Q3_K"
        if kind == "Q3_K_M":
            return "Q5_K" if place < layers // 16 else "Q4_K"
        if kind in ("Q4_K_M", "Q5_K_M"):
            return "Q6_K" if more else base
        if kind in ("IQ4_NL", "IQ4_XS"):
            return "Q5_K" if early and not self.imatrix else base
        if kind in ("Q4_0", "Q5_0"):
            return kind.replace("_0", "_1") if early and self.imatrix else base
        if early and kind in ("Q2_K_S", "Q4_K_S"):
            return "Q4_K" if kind == "Q2_K_S" else "Q5_K"
        return {"Q2_K": "Q3_K", "Q3_K_L": "Q5_K"}.get(kind, base)


_RULES: dict[str, Callable[[Mix, int, int, str], str]] = {
    "attn_v": Mix._value,
    "attn_qkv": Mix._fused,
    "attn_k": Mix._key,
    "attn_q": Mix._query,
    "attn_output": Mix._projection,
    "ffn_up": Mix._up,
    "ffn_gate": Mix._up,
    "ffn_down": Mix._down,
}


def _more_bits(place: int, count: int) -> bool:
    """Say whether a layer is one of those that lose most: the first and the last eighth, and each third between."""
    return place < count // 8 or place >= 7 * count // 8 or (place - count // 8) % 3 == 2


def _down_of_falcon(kind: str, first: bool, more: bool, base: str) -> str:
    if kind == "Q3_K_M":
        return "Q5_K" if first else "Q4_K" if more else base
    if kind == "Q4_K_M":
        return "Q6_K" if first else "Q5_K" if more else base
    return "Q4_K" if kind == "Q3_K_L" else base

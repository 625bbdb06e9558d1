"""How many bytes the formats of quantised checkpoints take for a matrix, and which matrices they leave alone.

By the formats' own files: AutoAWQ and GPTQ (``qweight``, ``scales``, ``qzeros``, ``g_idx``), compressed-tensors
(``weight_packed``, ``weight_scale``, ``weight_shape``), DeepSeek's FP8 (``weight_scale_inv`` of blocks), bitsandbytes
(``absmax``, itself quantised), MXFP4 (``_blocks``, ``_scales``) and NVFP4 (``weight_scale``, ``weight_scale_2``).
Embeddings, the output matrix, norms, biases, routers, convolutions and towers stay in 16 bits, as these tools leave
them by default; what a publisher excluded beyond that cannot be known.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.weights.tensor import ModelTensor

HALF = 2
FLOAT = 4
_NF4_BLOCK, _NF4_NESTED = 64, 256
_NF4_STATE = 16 * FLOAT + 256 * FLOAT + 100  # two code books, and the settings as JSON
_NEVER = ("ffn_gate_inp", "ssm_conv1d", "shortconv.conv", "ssm_ba", "ssm_alpha", "ssm_beta", "_norm", "time_mix_lerp")
_OUTER = ("token_embd", "output", "per_layer_token_embd", "position_embd", "per_layer_model_proj", "nextn.")
_ALWAYS_FLOAT = ("exp_probs_b", "ssm_a", "ssm_d", "ssm_dt.bias")


@dataclass(frozen=True)
class Scheme:
    """One format: bits of a weight, and what stands beside the weights."""

    bits: int
    group: int = 0  # weights along a row that share a scale; 0: the whole row
    scale_bytes: int = HALF  # of one scale
    zeros: bool = False  # a packed zero point for each scale
    order: bool = False  # 32 bits for each column: the group that it belongs to
    extra_bytes: int = 0  # for each matrix
    block_rows: int = 1  # rows that share a scale
    per_tensor: bool = False  # one scale for the matrix
    experts_only: bool = False

    def size_bytes(self, tensor: ModelTensor) -> int:
        """Return the bytes of one matrix, or of all matrices of a tensor with a depth."""
        row, rows = tensor.row, tensor.rows
        packed = -(-row * rows * self.bits // 8)
        if self.bits == 16 or self.bits == 32:
            return packed * tensor.depth
        columns = 1 if not self.group else -(-row // self.group)
        scales = 1 if self.per_tensor else columns * -(-rows // self.block_rows)
        size = packed + scales * self.scale_bytes + self.extra_bytes
        if self.zeros:
            size += -(-columns * rows * self.bits // 8)
        if self.order:
            size += row * FLOAT
        return size * tensor.depth

    def applies_to(self, tensor: ModelTensor) -> bool:
        """Say whether a tensor is quantised."""
        name = tensor.name
        if tensor.dimensions < 2 or not name.endswith(".weight") or name.startswith(_OUTER):
            return False
        if self.experts_only and "_exps" not in name:
            return False
        return not any(part in name for part in _NEVER)


@dataclass(frozen=True)
class _DoubleQuantised(Scheme):
    """NF4 of bitsandbytes: its scales are quantised again."""

    def size_bytes(self, tensor: ModelTensor) -> int:
        blocks = -(-tensor.row * tensor.rows // _NF4_BLOCK)
        nested = -(-blocks // _NF4_NESTED) * FLOAT
        return (-(-tensor.row * tensor.rows // 2) + blocks + nested + _NF4_STATE) * tensor.depth


_FP8_CHANNEL = Scheme(8)
_W4A16 = Scheme(4, 128, extra_bytes=16)
_GPTQ_4 = Scheme(4, 128, zeros=True, order=True)
_NVFP4 = Scheme(4, 16, 1, extra_bytes=2 * FLOAT)

SCHEMES: dict[str, Scheme] = {
    "BF16": Scheme(16),
    "FP16": Scheme(16),
    "F16": Scheme(16),
    "FP32": Scheme(32),
    "F32": Scheme(32),
    "FP8": _FP8_CHANNEL,
    "FP8_DYNAMIC": _FP8_CHANNEL,
    "FP8_STATIC": Scheme(8, scale_bytes=2 * FLOAT, per_tensor=True),
    "FP8_TENSOR": Scheme(8, scale_bytes=FLOAT, per_tensor=True),
    "FP8_BLOCK": Scheme(8, 128, FLOAT, block_rows=128),
    "INT8": Scheme(8),
    "W8A8": Scheme(8),
    "W8A16": Scheme(8, 128, extra_bytes=16),
    "W4A16": _W4A16,
    "W4A16_ASYM": Scheme(4, 128, zeros=True, extra_bytes=16),
    "AWQ": Scheme(4, 128, zeros=True),
    "GPTQ": _GPTQ_4,
    "GPTQ_INT4": _GPTQ_4,
    "GPTQ_INT8": Scheme(8, 128, zeros=True, order=True),
    "INT4": _W4A16,
    "BNB_4BIT": _DoubleQuantised(4),
    "BNB_NF4": _DoubleQuantised(4),
    "BNB_8BIT": Scheme(8, scale_bytes=FLOAT),
    "MXFP4": Scheme(4, 32, 1, experts_only=True),
    "NVFP4": _NVFP4,
}


def stored_bytes(tensor: ModelTensor, scheme: Scheme) -> int:
    """Return the bytes that a tensor takes in a checkpoint of this format."""
    if scheme.applies_to(tensor):
        return scheme.size_bytes(tensor)
    width = FLOAT if scheme.bits == 32 or tensor.name.startswith(_ALWAYS_FLOAT) else HALF
    return tensor.elements * width

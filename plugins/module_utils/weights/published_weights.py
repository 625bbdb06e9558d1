"""The weights of a published GGUF file of which only the name and the size are known, not the header."""

from __future__ import annotations

import re
from dataclasses import replace

from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Shape
from ansible_collections.llmhost.core.plugins.module_utils.weights.quantization_target import GGUF, Target
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights_from_shape import weights_from_shape

_EXACT = 200  # a file is at most one part in so many larger than its tensors: the vocabulary
_BITS = re.compile(r"(IQ|TQ|Q)([1-8])")
# The usual mix of so many bits, for publishers' own ones: UD-Q4_K_XL, Q5_K_XXL.
_USUAL = {
    "IQ1": "IQ1_M", "IQ2": "IQ2_M", "IQ3": "IQ3_M", "IQ4": "IQ4_XS", "TQ1": "TQ1_0", "TQ2": "TQ2_0", "Q1": "Q1_0",
    "Q2": "Q2_K", "Q3": "Q3_K_M", "Q4": "Q4_K_M", "Q5": "Q5_K_M", "Q6": "Q6_K", "Q8": "Q8_0",
}  # fmt: skip


def published_weights(shape: Shape, label: str, size_bytes: int) -> Weights:
    """Return the weights of a file called ``label`` that has ``size_bytes``.

    Embedding and output matrix have the types that llama.cpp's rules give to the nearest mix; the layers share the
    rest, so the sum is that of the file. Where the rules alone come within half a percent of it, they are taken to be
    the file's. Raise ModelError for a label that says nothing of a number of bits.
    """
    weights = weights_from_shape(shape, nearest_target(label), GGUF)
    total = weights.total_bytes
    if 0 <= size_bytes - total <= total // _EXACT or not weights.layers:
        return weights
    ends = weights.input_bytes + weights.output_bytes + weights.output_norm_bytes
    layers = total - ends
    wanted = max(size_bytes - ends, 0)
    return replace(
        weights,
        layers=tuple(_times(layer, wanted, layers) for layer in weights.layers),
        draft_layers=tuple(_times(layer, wanted, layers) for layer in weights.draft_layers),
    )


def nearest_target(label: str) -> str:
    """Return the label, or that of the usual mix with as many bits; raise ModelError if it says nothing of bits."""
    try:
        Target.from_text(label, GGUF)
    except ModelError:
        plain = label.upper().removeprefix("UD-")
        bits = _BITS.match(plain)
        if bits is None:
            raise
        shorter = re.sub(r"_X*L$", "", plain)
        return _known(shorter) or _USUAL.get(bits[1] + bits[2], "Q4_K_M")
    return label


def _known(label: str) -> str:
    try:
        Target.from_text(label, GGUF)
    except ModelError:
        return ""
    return label


def _times(layer: LayerWeights, numerator: int, denominator: int) -> LayerWeights:
    def times(size: int) -> int:
        return -(-size * numerator // max(1, denominator))

    return LayerWeights(times(layer.split_bytes), times(layer.replicated_bytes), times(layer.expert_bytes))

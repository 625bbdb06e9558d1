"""What a model that sees needs beside the text in vLLM's profile run: images as pixels, as tokens, and its tower."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Final

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Shape
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import Batch, VllmSettings
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights


@dataclass(frozen=True)
class _Sight:
    """How a family of models sees: tokens of its largest image, patches that a token stands for, numbers of a patch."""

    image_tokens: int
    patches: int
    patch_numbers: int


_SIGHTS: Final = {
    # 16,777,216 pixels at most, patches of 14 or 16 pixels on two frames, four patches a token.
    "qwen2_vl": _Sight(16384, 4, 1176),
    "qwen2_5_vl": _Sight(16384, 4, 1176),
    "qwen3_vl": _Sight(16384, 4, 1536),
    "qwen3_5": _Sight(16384, 4, 1536),
    "qwen35": _Sight(16384, 4, 1536),
    # 896 * 896 pixels in 4096 patches of 14 pixels, pooled to 256 tokens.
    "gemma3": _Sight(256, 16, 588),
}
_OTHER: Final = _Sight(3072, 4, 1176)
"""Patches of 14 pixels in 32 bits, merged two by two; 3025 tokens for 1540 * 1540 pixels (Pixtral)."""

_TABLES: Final = 96 * MIB
"""Positions, masks and what else a tower keeps while it is used (at most, of six towers with vLLM 0.11 and 0.19)."""

_LAYERS: Final = 27
"""Layers of a usual tower, to guess its width from its size."""


@dataclass(frozen=True)
class Tower:
    """``held_bytes`` stay beside the text: pixels and the encoder's cache; ``peak_bytes`` is the moment of the tower.

    Source: ``profile_run`` in vllm/v1/worker/gpu_model_runner.py: as many images as one step may hold go through the
    tower; pixels and outputs are alive until the end.
    """

    held_bytes: int = 0
    peak_bytes: int = 0

    @classmethod
    def of(cls, shape: Shape, weights: Weights, settings: VllmSettings, batch: Batch) -> Tower:
        """Size the tower of a model; nothing for one without."""
        if not weights.projector_bytes or settings.text_only:
            return cls()
        architecture = shape.architecture.lower().replace("-", "_")
        sight = next((sight for name, sight in _SIGHTS.items() if architecture.startswith(name)), _OTHER)
        tokens = max(batch.tokens, sight.image_tokens)
        patches = tokens * sight.patches
        held = settings.dtype_bytes * (tokens * shape.embedding_length + patches * sight.patch_numbers) + _TABLES
        # Four hidden states and the two sides of a network four times as wide; 12 * width^2 parameters a layer.
        width = isqrt(weights.projector_bytes // (2 * 12 * _LAYERS))
        inner = 8 * width // max(settings.tensor_parallel, 1)
        pixels = settings.dtype_bytes * patches * sight.patch_numbers
        return cls(held, _TABLES + pixels + settings.dtype_bytes * patches * (4 * width + inner))

"""A model in the sizes that it can have: its own, and those of its other quantisations."""

from __future__ import annotations

import functools
from typing import NamedTuple

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_model import Choice, LlamaModel
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Shape
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import LEAST_CONTEXT
from ansible_collections.llmhost.core.plugins.module_utils.sizing.speed import SpeedRange
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_fit import VllmModel
from ansible_collections.llmhost.core.plugins.module_utils.weights.published_weights import published_weights
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights, scaled
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights_from_shape import weights_from_shape

GGUF = "gguf"


class Variant(NamedTuple):
    """One quantisation of a repository, by its label and the size of its files."""

    label: str
    size_bytes: int


class ModelSizes:
    """A model with the files that were read, and what follows for the quantisations whose headers were not."""

    def __init__(
        self,
        shape: Shape,
        weights: Weights,
        model_format: str = GGUF,
        quantization: str = "",
        variants: tuple[Variant, ...] = (),
        files_bytes: int = 0,
        largest_file_bytes: int = 0,
    ) -> None:
        """Take a model of that shape and those weights; ``variants`` are the quantisations of the same repository."""
        self.shape = shape
        self.weights = weights
        self.format = model_format
        self.quantization = quantization
        self.variants = variants
        self.files_bytes = files_bytes or weights.total_bytes
        self.largest_file_bytes = largest_file_bytes or self.files_bytes
        self.weights_bytes = weights.total_bytes
        self.llama = LlamaModel(shape, weights)
        self.vllm = VllmModel(shape, weights)
        # Of fit_speed: what is the same for every host with the same devices.
        self.speeds: dict[object, SpeedRange | None] = {}
        self._others: dict[Variant, ModelSizes] = {}
        self._quantized: dict[str, ModelSizes] = {}

    @functools.cached_property
    def least_bytes(self) -> int:
        """What every placement has on its devices: layers, and a short context in the smallest cells there are."""
        context = min(LEAST_CONTEXT, self.shape.context_length or LEAST_CONTEXT)
        cache = self.llama.allocation(Choice(context, 1, "q4_0", 0)).host
        return sum(layer.total_bytes for layer in self.weights.layers) + cache.kv_cache_bytes + cache.recurrent_bytes

    @property
    def bits_per_weight(self) -> float:
        """What a parameter takes on average; 0 where their number is not known."""
        return self.weights_bytes * 8 / self.weights.parameters if self.weights.parameters else 0.0

    def other(self, variant: Variant) -> ModelSizes:
        """Return the same model in another quantisation, whose header was not read: the sum is that of its files."""
        found = self._others.get(variant)
        if found is None:
            try:
                weights = published_weights(self.shape, variant.label, variant.size_bytes)
            except ModelError:
                weights = scaled(self.weights, variant.size_bytes, max(1, self.files_bytes))
            found = ModelSizes(self.shape, weights, self.format, variant.label, (), variant.size_bytes)
            self._others[variant] = found
        return found

    def quantized(self, target: str) -> ModelSizes:
        """Return the same model as GGUF in a quantisation that need not exist yet: its weights computed from its shape.

        Raises ModelError where the shape is not enough for that.
        """
        found = self._quantized.get(target)
        if found is None:
            weights = weights_from_shape(self.shape, target, GGUF)
            found = self._quantized[target] = ModelSizes(self.shape, weights, GGUF, target)
        return found

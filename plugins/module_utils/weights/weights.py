"""The weights of a model in bytes, by where an engine may put them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import MAX_LAYERS


@dataclass(frozen=True)
class LayerWeights:
    """One layer. Tensor parallel divides ``split_bytes`` and ``expert_bytes``, and repeats the rest on every rank."""

    split_bytes: int = 0  # matrices of attention, recurrent part, dense network and shared experts
    replicated_bytes: int = 0  # norms, biases, routers, the down-projections of latent attention
    expert_bytes: int = 0  # routed experts

    @property
    def total_bytes(self) -> int:
        """All of the layer."""
        return self.split_bytes + self.replicated_bytes + self.expert_bytes


@dataclass(frozen=True)
class Weights:
    """All tensors of a model.

    ``input_bytes`` is everything that belongs to the input (llama.cpp keeps it in RAM): the token embedding,
    ``token_embedding_bytes`` of it, and tables such as Gemma's per-layer embeddings. ``output_bytes`` is the output
    matrix alone, 0 when the token embedding serves as one; ``output_norm_bytes`` is what else stands after the last
    layer. ``exact`` says whether the bytes were read from the files or computed from the shape.
    """

    token_embedding_bytes: int
    input_bytes: int
    output_bytes: int
    output_norm_bytes: int
    layers: tuple[LayerWeights, ...]
    draft_layers: tuple[LayerWeights, ...] = ()
    projector_bytes: int = 0  # vision and audio towers
    parameters: int = 0
    exact: bool = True
    repacked_bytes: int = 0  # what llama.cpp keeps a second time, reordered, where there is only a CPU

    @property
    def total_bytes(self) -> int:
        """Every tensor once."""
        layers = sum(layer.total_bytes for layer in (*self.layers, *self.draft_layers))
        return self.input_bytes + layers + self.output_norm_bytes + self.output_bytes + self.projector_bytes

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Weights:
        """Read what ``as_dict`` wrote; what is missing or of another type counts as zero."""

        def layers(key: str) -> tuple[LayerWeights, ...]:
            return tuple(
                LayerWeights(*(record.integer(entry, name) for name in _LAYER_FIELDS))
                for entry in record.sections(facts, key)[:MAX_LAYERS]
            )

        return cls(
            **{name: record.integer(facts, name) for name in _SUMS},
            layers=layers("layers"),
            draft_layers=layers("draft_layers"),
            exact=record.flag(facts, "exact", default=True),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        facts = asdict(self)
        return {**facts, "layers": list(facts["layers"]), "draft_layers": list(facts["draft_layers"])}


def scaled(weights: Weights, numerator: int, denominator: int) -> Weights:
    """Return the weights with every size multiplied, rounded up."""

    def times(size: int) -> int:
        return -(-size * numerator // denominator)

    def layers(given: tuple[LayerWeights, ...]) -> tuple[LayerWeights, ...]:
        return tuple(
            LayerWeights(times(layer.split_bytes), times(layer.replicated_bytes), times(layer.expert_bytes))
            for layer in given
        )

    return replace(
        weights,
        token_embedding_bytes=times(weights.token_embedding_bytes),
        input_bytes=times(weights.input_bytes),
        output_bytes=times(weights.output_bytes),
        output_norm_bytes=times(weights.output_norm_bytes),
        layers=layers(weights.layers),
        draft_layers=layers(weights.draft_layers),
        repacked_bytes=times(weights.repacked_bytes),
        exact=False,
    )


_LAYER_FIELDS = ("split_bytes", "replicated_bytes", "expert_bytes")
_SUMS = (
    "token_embedding_bytes",
    "input_bytes",
    "output_bytes",
    "output_norm_bytes",
    "projector_bytes",
    "parameters",
    "repacked_bytes",
)

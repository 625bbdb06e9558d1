"""A model with no more kinds of layers than models have: a header that names a thousand would cost minutes to size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, TypeVar

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import FULL, Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights

MOST_KINDS = 128
"""Models whose layers all differ in their heads have as many kinds as layers: some tens."""

_WEIGHTS = ("split_bytes", "replicated_bytes", "expert_bytes")

T = TypeVar("T")


def bounded(shape: Shape) -> Shape:
    """Return the shape, or one whose layers are all like the largest of its layers, part by part: an upper bound."""
    kinds = {*shape.layers, *shape.draft_layers}
    if len(kinds) <= MOST_KINDS:
        return shape
    largest = Layer(
        _largest(layer.attention for layer in kinds),
        _largest(layer.recurrent for layer in kinds),
        _largest(layer.feed_forward for layer in kinds),
    )
    if largest.attention is not None and len({layer.attention.kind for layer in kinds if layer.attention}) > 1:
        largest = replace(largest, attention=replace(largest.attention, kind=FULL))
    doubt = f"{len(kinds)} kinds of layers are sized as the largest of them"
    return replace(
        shape,
        layers=(largest,) * len(shape.layers),
        draft_layers=(largest,) * len(shape.draft_layers),
        doubts=(*shape.doubts, doubt),
    )


def bounded_weights(weights: Weights) -> Weights:
    """Return the weights, or with layers that all weigh as much as the heaviest, part by part: an upper bound."""
    if len({*weights.layers, *weights.draft_layers}) <= MOST_KINDS:
        return weights
    layers = (*weights.layers, *weights.draft_layers)
    heaviest = LayerWeights(*(max(getattr(layer, part) for layer in layers) for part in _WEIGHTS))
    return replace(
        weights,
        layers=(heaviest,) * len(weights.layers),
        draft_layers=(heaviest,) * len(weights.draft_layers),
        exact=False,
    )


def _largest(parts: Iterable[T | None]) -> T | None:
    """Return a part with the largest number of each field; a text is that of the first part."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    values: dict[str, Any] = {}
    for entry in fields(known[0]):  # type: ignore[arg-type]
        found = [getattr(part, entry.name) for part in known]
        values[entry.name] = max(found) if isinstance(found[0], int) else found[0]
    return type(known[0])(**values)

"""The layers of a model that are alike, so that a plan computes each kind once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights

_MOST_REMEMBERED = 128
_NOTHING = LayerWeights()


@dataclass(frozen=True)
class LayerClasses:
    """``numbers`` gives each layer of the model its class; ``kinds`` are the layers, each once, whatever they weigh."""

    classes: tuple[tuple[Layer, LayerWeights], ...]
    numbers: tuple[int, ...]
    kinds: tuple[Layer, ...]

    def counted(self, stage: Sequence[int]) -> Iterator[tuple[Layer, LayerWeights, int]]:
        """Yield each class with how many layers of a stage (a range of layers) are of it."""
        members = self.numbers[stage[0] : stage[-1] + 1] if stage else ()
        for number, count in Counter(members).items():
            layer, stored = self.classes[number]
            yield layer, stored, count


def classes_of(shape: Shape, weights: Weights) -> LayerClasses:
    """Return the classes of a model; the last models asked for are remembered by identity."""
    key = (id(shape), id(weights))
    known = _REMEMBERED.get(key)
    if known is not None and known[0] is shape and known[1] is weights:
        return known[2]
    found: dict[tuple[Layer, LayerWeights], int] = {}
    same: dict[int, Layer] = {}
    layers: dict[Layer, Layer] = {}
    numbers = []
    for at, layer in enumerate(shape.layers):
        kind = same.get(id(layer))
        if kind is None:
            kind = same[id(layer)] = layers.setdefault(layer, layer)
        stored = weights.layers[at] if at < len(weights.layers) else _NOTHING
        numbers.append(found.setdefault((kind, stored), len(found)))
    classes = LayerClasses(tuple(found), tuple(numbers), tuple(layers))
    if len(_REMEMBERED) >= _MOST_REMEMBERED:
        _REMEMBERED.clear()
    _REMEMBERED[key] = (shape, weights, classes)
    return classes


_REMEMBERED: dict[tuple[int, int], tuple[Shape, Weights, LayerClasses]] = {}

"""A shape with absurdly many kinds of layers becomes an upper bound that is quickly sized."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.plan import planner
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import (
    FULL,
    SLIDING,
    Attention,
    FeedForward,
    Layer,
    Recurrent,
    Shape,
)
from ansible_collections.llmhost.core.plugins.module_utils.sizing.shape_bound import (
    MOST_KINDS,
    bounded,
    bounded_weights,
)
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights

from tests.unit import hosts


def shape(count: int) -> Shape:
    """A shape with so many kinds of layers, every third with a window and every fifth recurrent."""
    layers = (
        Layer(
            Attention(SLIDING if number % 3 == 0 else FULL, 8, number + 1, 64, 64, 128 if number % 3 == 0 else 0),
            Recurrent("mamba", 10, number) if number % 5 == 0 else None,
            FeedForward(1000 + number),
        )
        for number in range(count)
    )
    return Shape("odd", 512, 32000, 4096, tuple(layers))


def test_a_shape_as_models_have_is_kept() -> None:
    assert bounded(shape(MOST_KINDS)) == shape(MOST_KINDS)


def test_too_many_kinds_are_sized_as_the_largest_of_them() -> None:
    given, found = shape(MOST_KINDS + 1), bounded(shape(MOST_KINDS + 1))

    (layer,) = set(found.layers)
    assert len(found.layers) == len(given.layers)
    assert layer.attention is not None
    assert layer.recurrent is not None
    assert (layer.attention.kind, layer.attention.kv_heads) == (FULL, MOST_KINDS + 1)
    assert layer.recurrent.state_elements == 125
    assert layer.feed_forward == FeedForward(1000 + MOST_KINDS)
    assert found.doubts == (f"{MOST_KINDS + 1} kinds of layers are sized as the largest of them",)


def test_a_plan_says_that_it_is_an_upper_bound() -> None:
    model = hosts.nonsense(shape=shape(1000).as_dict())
    plan = planner.plan(hosts.workstation(), model, {"llmhost_model": "x/y"})

    assert "1000 kinds of layers" in plan["doubts"][0]
    assert "model.upper_bound" in [finding["code"] for finding in plan["findings"]]


def test_layers_that_all_weigh_something_else_count_as_the_heaviest() -> None:
    layers = tuple(LayerWeights(number, 2000 - number) for number in range(MOST_KINDS + 1))
    weights = bounded_weights(Weights(1, 1, 1, 1, layers))

    assert set(weights.layers) == {LayerWeights(MOST_KINDS, 2000)}
    assert len(weights.layers) == len(layers)
    assert not weights.exact


def test_weights_of_published_models_are_left_alone() -> None:
    weights = Weights(1, 1, 1, 1, tuple(LayerWeights(number) for number in range(MOST_KINDS)))

    assert bounded_weights(weights) is weights

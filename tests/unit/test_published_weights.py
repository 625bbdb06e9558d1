"""The weights of a published file of which only the name and the size are known."""

from __future__ import annotations

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.weights.published_weights import (
    nearest_target,
    published_weights,
)
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights_from_shape import weights_from_shape
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.known_shapes import LLAMA_3_8B, MIXTRAL_8X7B, QWEN3_30B_A3B

NEAREST = [
    ("Q4_K_M", "Q4_K_M"),
    ("Q4_K_L", "Q4_K_L"),
    ("UD-Q4_K_XL", "Q4_K"),
    ("UD-IQ2_M", "IQ2_M"),
    ("UD-Q8_K_XL", "Q8_0"),
    ("UD-Q2_K_XL", "Q2_K"),
    ("IQ4_KS", "IQ4_XS"),
    ("Q3_K_XXL", "Q3_K"),
    ("UD-IQ1_S", "IQ1_S"),
]


@pytest.mark.parametrize(("label", "target"), NEAREST)
def test_a_mix_of_the_publishers_own_is_taken_for_the_usual_one(label: str, target: str) -> None:
    assert nearest_target(label) == target


@pytest.mark.parametrize("label", ["", "AWQ", "nonsense", "UD-"])
def test_a_label_that_says_nothing_of_bits_is_refused(label: str) -> None:
    with pytest.raises(ModelError):
        published_weights(LLAMA_3_8B, label, 10**9)


def test_a_file_that_follows_the_rules_is_taken_as_it_is() -> None:
    exact = weights_from_shape(LLAMA_3_8B, "Q4_K_M")
    # 4,920,734,272 bytes, of which the header with the vocabulary takes 7.8 million.
    assert published_weights(LLAMA_3_8B, "Q4_K_M", 4_920_734_272) == exact


def test_a_mix_of_its_own_keeps_its_ends_and_has_the_size_of_the_file() -> None:
    # UD-Q4_K_XL of Qwen3-30B-A3B: 17.7 * 10^9 bytes; the plain mix has 18.55.
    weights = published_weights(QWEN3_30B_A3B, "UD-Q4_K_XL", 17_700_000_000)
    plain = weights_from_shape(QWEN3_30B_A3B, "Q4_K_M")
    assert (weights.input_bytes, weights.output_bytes) == (plain.input_bytes, plain.output_bytes)
    assert weights.total_bytes == pytest.approx(17_700_000_000, abs=200)
    assert weights.layers[0].expert_bytes < plain.layers[0].expert_bytes


@settings(deadline=None)
@given(st.sampled_from([label for label, _ in NEAREST]), st.integers(0, 2**42))
def test_the_sum_is_never_far_from_the_file(label: str, size: int) -> None:
    weights = published_weights(MIXTRAL_8X7B, label, size)
    ends = weights.input_bytes + weights.output_bytes + weights.output_norm_bytes
    assert max(size, ends) * 0.995 <= weights.total_bytes <= max(size, ends) + 3 * len(weights.layers)

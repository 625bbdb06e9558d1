"""Searching what fits, against trying every number."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.sizing.search import grid, largest, smallest
from hypothesis import given, settings
from hypothesis import strategies as st

NUMBERS = st.integers(0, 300)


@settings(deadline=None)
@given(st.integers(-1, 320), NUMBERS, NUMBERS, st.sampled_from([1, 2, 7, 16]))
def test_the_largest_of_those_that_fit(limit: int, least: int, most: int, step: int) -> None:
    candidates = [
        number
        for number in range(least, most + 1)
        if number in (least, most) or (number % step == 0 and number <= limit)
    ]
    expected = max((number for number in candidates if number <= limit), default=None)

    assert largest(lambda number: number <= limit, least, most, step) == expected


@settings(deadline=None)
@given(st.integers(-1, 320), NUMBERS, NUMBERS, st.one_of(st.none(), st.integers(-20, 340)))
def test_the_smallest_of_those_that_fit_whatever_was_guessed(
    limit: int, least: int, most: int, guess: int | None
) -> None:
    expected = min((number for number in range(least, most + 1) if number >= limit), default=None)

    assert smallest(lambda number: number >= limit, least, most, guess) == expected


def test_a_good_guess_saves_calls() -> None:
    tried: list[int] = []

    def fits(number: int) -> bool:
        tried.append(number)
        return number >= 83

    assert smallest(fits, 1, 94, 82) == 83
    assert len(tried) <= 4


@pytest.mark.parametrize(("least", "most"), [(2048, 2048), (8192, 131072), (300, 10_000_000), (1000, 1100)])
def test_a_grid_has_steps_of_two_percent(least: int, most: int) -> None:
    steps = grid(least, most, 256)

    assert (steps[0], steps[-1]) == (least, most)
    assert list(steps) == sorted(set(steps))
    assert all(size % 256 == 0 for size in steps[1:-1])
    assert all(after - before <= max(256, before // 50) for before, after in itertools.pairwise(steps))

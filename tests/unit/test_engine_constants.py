"""The table of what depends on an engine's version."""

from __future__ import annotations

import re

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp import engine_constants


@pytest.mark.parametrize(
    ("build", "name", "held"),
    [
        ("2023-11", "cell_padding", 32),
        ("2025-10", "cell_padding", 32),
        ("2025-11", "cell_padding", 256),
        ("pinned", "cell_padding", 256),
        ("2024-04", "window_bounds_cells", 0),
        ("2025-05", "window_bounds_cells", 1),
        ("ik-2025-06", "window_bounds_cells", 0),
        ("2025-03", "latent_cache", 0),
        ("2025-04", "latent_cache", 1),
        ("pinned", "latent_cache", 2),
        ("ik-2025-03", "latent_cache", 2),
    ],
)
def test_a_build_has_what_held_in_its_month(build: str, name: str, held: int) -> None:
    assert engine_constants.value(build, name) == held


def test_every_entry_is_dated_and_has_a_source() -> None:
    for entry in engine_constants.CONSTANTS:
        assert entry.since == "" or re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", entry.since), entry
        assert entry.source
        assert entry.value >= 0


def test_every_name_holds_from_the_first_build_on_and_stands_in_order() -> None:
    dates: dict[tuple[str, str], list[str]] = {}
    for entry in engine_constants.CONSTANTS:
        dates.setdefault((entry.engine, entry.name), []).append(entry.since)
    for (engine, name), since in dates.items():
        assert since[0] == "", (engine, name)
        assert since == sorted(set(since)), (engine, name)

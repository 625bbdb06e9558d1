"""The allocator of compute buffers, against what it must never do."""

from __future__ import annotations

import itertools

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.ggml_arena import ALIGNMENT, Arena, Block
from hypothesis import given
from hypothesis import strategies as st


def test_a_free_block_that_fits_best_is_taken_before_the_end() -> None:
    arena = Arena()
    small, _, large, _ = (arena.new(size * ALIGNMENT) for size in (2, 1, 4, 1))
    arena.free(large, small)

    assert arena.new(2 * ALIGNMENT) == small
    assert arena.new(3 * ALIGNMENT)[0] == large[0]
    assert arena.peak == 8 * ALIGNMENT


def test_a_hole_that_is_too_small_makes_the_buffer_grow() -> None:
    arena = Arena()
    first, _ = arena.new(ALIGNMENT), arena.new(ALIGNMENT)
    arena.free(first)

    assert arena.new(2 * ALIGNMENT)[0] == 2 * ALIGNMENT


def test_neighbours_become_one() -> None:
    arena = Arena()
    blocks = [arena.new(ALIGNMENT) for _ in range(4)]
    arena.free(blocks[0], blocks[2], blocks[1])

    assert arena.new(3 * ALIGNMENT)[0] == 0


def test_what_is_reserved_leaves_the_gap_free() -> None:
    arena = Arena()
    arena.reserve((0, ALIGNMENT), (3 * ALIGNMENT, ALIGNMENT))

    assert arena.new(2 * ALIGNMENT) == (ALIGNMENT, 2 * ALIGNMENT)
    assert arena.new(ALIGNMENT)[0] == 4 * ALIGNMENT


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5000)), max_size=60))
def test_blocks_never_overlap_and_the_peak_holds_them_all(steps: list[tuple[bool, int]]) -> None:
    arena, live = Arena(), list[Block]()
    for frees, size in steps:
        if frees and live:
            arena.free(live.pop(size % len(live)))
        else:
            live.append(arena.new(size))
        ordered = sorted(live)
        assert all(a + length <= b for (a, length), (b, _) in itertools.pairwise(ordered))
        assert all(offset + length <= arena.peak for offset, length in live)
    arena.free(*live)
    assert arena.new(1)[0] == 0

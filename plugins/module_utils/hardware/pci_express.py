"""PCI Express in figures: generations by their speed, and what a lane of each carries."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.sizing.speed_rates import LANE_GBS

_GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}


def generation_of(speed_gts: object) -> int:
    """Return the generation with that many gigatransfers a second, or 0 where it is not known."""
    return _GENERATIONS.get(speed_gts, 0) if isinstance(speed_gts, (int, float)) else 0


def link_gbs(generation: int, lanes: int) -> float:
    """Return the 10^9 bytes a second that a link carries each way, 0 where generation or width is not known."""
    return LANE_GBS.get(generation, 0.0) * max(0, lanes)

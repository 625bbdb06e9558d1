"""How fast something goes: done again and again for a while, after it was done once to wake the GPU and its link."""

from __future__ import annotations

import time
from collections.abc import Callable

GIGA = 1e9
_BATCH = 4


def rate(begin: Callable[[], None], finish: Callable[[], None], size: float, seconds: float) -> float:
    """Return how much of ``size`` goes through in a second, in billions."""
    begin()
    finish()
    started, times = time.perf_counter(), 0
    while True:
        for _ in range(_BATCH):
            begin()
        finish()
        times += _BATCH
        passed = time.perf_counter() - started
        if passed >= seconds:
            return times * size / max(passed, 1e-9) / GIGA


def rounded(figure: float) -> float:
    """Return a figure as exact as it is measured."""
    return round(figure, 2)

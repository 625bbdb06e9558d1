"""Searching a range of numbers of which the smaller ones fit, and the larger ones do not."""

from __future__ import annotations

import functools
from collections.abc import Callable

Fits = Callable[[int], bool]


def largest(fits: Fits, least: int, most: int, step: int = 1) -> int | None:
    """Return the largest number that fits: ``most`` itself, or a multiple of ``step`` between, or ``least``, or None.

    Takes about log2 of the steps in the range calls.
    """
    if most < least:
        return None
    if fits(most):
        return most
    low, high = -(-least // step), (most - 1) // step
    if low > high or not fits(low * step):
        return least if least < min(most, low * step) and fits(least) else None
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle * step):
            low = middle
        else:
            high = middle - 1
    return low * step


def smallest(fits: Fits, least: int, most: int, guess: int | None = None) -> int | None:
    """Return the smallest number that fits, where every larger one does too; None where even ``most`` does not.

    A good ``guess`` saves most of the calls: the range is narrowed around it in steps that double.
    """
    if most < least:
        return None
    known = None  # the smallest that is known to fit
    if guess is not None:
        step, at = 1, min(max(guess, least), most)
        if fits(at):
            known = at
            while known > least:
                below = max(least, known - step)
                if not fits(below):
                    least = below + 1
                    break
                known, step = below, 2 * step
        else:
            least = at + 1
            while least <= most:
                above = min(most, at + step)
                if fits(above):
                    known = above
                    break
                least, step = above + 1, 2 * step
    if known is None and (most < least or not fits(most)):
        return None
    most = most if known is None else known
    while least < most:
        middle = (least + most) // 2
        if fits(middle):
            most = middle
        else:
            least = middle + 1
    return most


@functools.lru_cache(maxsize=256)
def grid(least: int, most: int, step: int) -> tuple[int, ...]:
    """Return ``least``, multiples of ``step`` that are at most 2 % or one step apart, and ``most``."""
    found = [least]
    while (following := max(found[-1] // step + 1, found[-1] * 51 // 50 // step) * step) < most:
        found.append(following)
    return (*found, most) if most > least else (least,)

"""What the readers of the engines' logs share: lines without decoration, and sizes as the engines write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

BEFORE, WINDOW = 400, 1200
"""Characters kept before and after a word that is looked for: the time to read a line has a bound, whatever it holds.
vLLM's longest line has 700."""

SHORTEST = 8
"""No line with a figure is as short."""

_COLOUR = re.compile(r"\x1b\[[0-9;]{0,16}[A-Za-z]")
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"(-?\d{1,12}(?:\.\d{1,9})?) ?([KMGT]?)i?B", re.IGNORECASE)


def lines(text: str, words: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines that hold one of the words, without colours, cut around the first of them."""
    wanted = _pattern(words)
    for line in text.split("\n"):
        if len(line) > SHORTEST and (found := wanted.search(line)):
            cut = line[max(0, found.start() - BEFORE) : found.start() + WINDOW]
            yield _COLOUR.sub("", cut).rstrip()


@cache
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(word) for word in words))


def size_bytes(number: str, unit: str) -> int:
    """Return a size; ``unit`` begins with K, M, G or T, and MB means MiB as engines write it."""
    power: int = 1 << 10 * _UNITS[unit[:1].upper().replace("B", "")]
    return round(float(number) * power)


def sizes(text: str) -> list[int]:
    """Return all sizes of a text, such as ``4.9 GiB``, in bytes."""
    return [size_bytes(number, unit) for number, unit in _SIZE.findall(text)]

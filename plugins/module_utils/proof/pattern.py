"""The words that the kernels write, said a second time in Python: what a GPU claims about its own data is looked at."""

from __future__ import annotations

_MASK = 0xFFFFFFFF


def word(place: int, seed: int) -> int:
    """Return the word of a place, as the kernels ``fill`` and ``check`` make it."""
    value = (place * 0x9E3779B1 + seed) & _MASK
    value ^= value >> 15
    value = value * 0x85EBCA6B & _MASK
    return value ^ value >> 13


def number(place: int, seed: int) -> int:
    """Return the whole number of a place, as the kernel ``numbers`` makes it."""
    return word(place, seed) & 7


def product_element(row: int, column: int, size: int, left: int, right: int) -> int:
    """Return one number of the product of two matrices of ``numbers`` with these seeds."""
    return sum(number(row * size + k, left) * number(k * size + column, right) for k in range(size))

"""Sizes: the one place where what a person types becomes bytes, and bytes become what a person reads."""

from __future__ import annotations

import re
from decimal import Decimal

KIB = 2**10
MIB = 2**20
GIB = 2**30

_DECIMAL = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "pb": 10**15}
_BINARY = {"kib": KIB, "mib": MIB, "gib": GIB, "tib": 2**40, "pib": 2**50}
# A bare letter means the binary unit, as it does for fallocate, systemd and most of Unix.
_LETTERS = {"k": KIB, "m": MIB, "g": GIB, "t": 2**40, "p": 2**50}
_UNITS = {"": 1, "b": 1, **_DECIMAL, **_BINARY, **_LETTERS}
_PATTERN = re.compile(r"\s*([0-9]{1,19}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*", re.ASCII)
_LARGEST = 2**63 - 1


class SizeError(ValueError):
    """What was typed is not a size."""


def parse_size(typed: object) -> int:
    """Return the bytes meant by an int, or by text such as ``24 GB``, ``64GiB``, ``1.5 TB`` or ``0``.

    ``GB`` is 10^9 and ``GiB`` 2^30. A sticker's "64 GB" therefore tolerates what the firmware keeps for itself.
    """
    if isinstance(typed, bool) or not isinstance(typed, (int, str)):
        raise SizeError(f"{typed!r} is not a size; write for example '64 GB', '16 GiB' or '0'")
    match = _PATTERN.fullmatch(str(typed))
    unit = _UNITS.get(match.group(2).lower()) if match else None
    if match is None or unit is None:
        raise SizeError(f"{typed!r} is not a size; write for example '64 GB', '16 GiB' or '0'")
    size = int(Decimal(match.group(1)) * unit)
    if size > _LARGEST:
        raise SizeError(f"{typed!r} is larger than any machine; check the unit")
    return size


def format_gib(size_bytes: int) -> str:
    """Return a size for a person to read: GiB with one decimal, or MiB where that would say 0.0."""
    if size_bytes == 0:
        return "0"
    if abs(size_bytes) < GIB // 10:
        return f"{size_bytes / MIB:.1f} MiB"
    return f"{size_bytes / GIB:.1f} GiB"


def round_up(value: int, step: int) -> int:
    """Return the smallest multiple of ``step`` that is not below ``value``."""
    return -(-value // step) * step


def round_down(value: int, step: int) -> int:
    """Return the largest multiple of ``step`` that is not above ``value``."""
    return value // step * step

"""Reading plain dicts whose shape is promised, but which come from other machines and from files.

Each function returns a value of the type asked for, or the default: a planner that meets an odd fact must say so in a
finding or plan without it, never end in a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]


def integer(record: Record, key: str, default: int = 0) -> int:
    """Return a whole number that is not negative."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return default
    return value


def optional_integer(record: Record, key: str) -> int | None:
    """Return a whole number that is not negative, or None where there is none."""
    found = integer(record, key, -1)
    return None if found < 0 else found


def text(record: Record, key: str, default: str = "") -> str:
    """Return a string; None and other types give the default."""
    value = record.get(key)
    return value if isinstance(value, str) else default


def optional_text(record: Record, key: str) -> str | None:
    """Return a string that is not empty, or None."""
    return text(record, key) or None


def flag(record: Record, key: str, default: bool = False) -> bool:
    """Return a boolean."""
    value = record.get(key)
    return value if isinstance(value, bool) else default


def section(record: Record, key: str) -> Record:
    """Return a nested dict, empty where there is none."""
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


def sections(record: Record, key: str) -> list[Record]:
    """Return a list of dicts; entries of other types are left out."""
    value = record.get(key)
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, (list, tuple)) else []


def texts(record: Record, key: str) -> tuple[str, ...]:
    """Return a list of strings; entries of other types are left out."""
    value = record.get(key)
    return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, (list, tuple)) else ()

"""One described value of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """One value of the plan. ``choices`` limits it; ``items`` describes the entries of a list,
    ``fields`` those of a dict."""

    types: tuple[type, ...]
    meaning: str
    choices: tuple[Any, ...] = ()
    items: Mapping[str, Field | Section] | None = None
    fields: Mapping[str, Field | Section] | None = None


Section = Mapping[str, "Field | Section"]

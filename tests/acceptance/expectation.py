"""How a check says what is wrong: the thing, what was promised, what is there, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

GIB = 1 << 30

Figure = Callable[[str, str], None]  # puts a measured figure, by its name, into the report


def expect(kept: bool, thing: str, *, expected: Any, found: Any, remedy: str) -> None:
    """Fail with all that a person needs, unless the promise is kept."""
    __tracebackhide__ = True
    if not kept:
        raise AssertionError(f"{thing}\n  expected: {expected}\n  found:    {found}\n  remedy:   {remedy}")


def expect_equal(thing: str, *, expected: Any, found: Any, remedy: str) -> None:
    """Fail unless the found value is the promised one."""
    __tracebackhide__ = True
    expect(expected == found, thing, expected=expected, found=found, remedy=remedy)


def gib(size_bytes: float) -> str:
    """Return a size as a person reads it."""
    return f"{size_bytes / GIB:.2f} GiB"

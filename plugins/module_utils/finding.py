"""A finding: something a person should know about the host, the model or the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "info"]

LEVELS: tuple[Level, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing found, why it matters, and what to do about it.

    ``code`` is a stable dotted name (``memory.too_small``) for programs; ``message`` names the thing and the reason,
    ``remedy`` the way out. A finding of level ``error`` in a plan means that nothing on the host is changed.
    """

    level: Level
    code: str
    message: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the finding as the plain dict that modules and the plan carry."""
        return {"level": self.level, "code": self.code, "message": self.message, "remedy": self.remedy}


def error(code: str, message: str, remedy: str = "") -> Finding:
    """Return a finding that stops the run before anything is changed."""
    return Finding("error", code, message, remedy)


def warning(code: str, message: str, remedy: str = "") -> Finding:
    """Return a finding that a person should act on, though the run goes on."""
    return Finding("warning", code, message, remedy)


def info(code: str, message: str, remedy: str = "") -> Finding:
    """Return a finding that explains a decision."""
    return Finding("info", code, message, remedy)

"""How far a long job is, as the job writes it on the target and as a person reads it on the controller."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

Unit = Literal["bytes", "steps"]

# The rate is taken over the last few samples: one sample jumps about, the mean since the start forgets a stall.
RATE_SAMPLES = 6
# A job that reports nothing new is mentioned this often, so that a person sees that the wait goes on.
QUIET_SECONDS = 60.0


@dataclass(frozen=True)
class Progress:
    """One report of a job: so much done of so much, in a stage that has a name."""

    stage: str = ""
    done: int = 0
    total: int = 0
    unit: Unit = "steps"
    message: str = ""
    updated: float = 0.0

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Progress:
        """Build a report from a dict that may lack fields or hold wrong ones: a report never breaks a run."""
        return cls(
            stage=_text(data.get("stage")),
            done=int(_number(data.get("done"))),
            total=int(_number(data.get("total"))),
            unit="bytes" if data.get("unit") == "bytes" else "steps",
            message=_text(data.get("message")),
            updated=_number(data.get("updated")),
        )

    @classmethod
    def from_json(cls, text: str) -> Progress | None:
        """Build a report from the text of a progress file; None when there is none, or it is not readable."""
        try:
            data = json.loads(text)
        except ValueError:
            return None
        return cls.from_dict(data) if isinstance(data, dict) else None


@dataclass
class ProgressMeter:
    """Turns the reports of one job into lines for a person, and says nothing when there is nothing new."""

    _samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=RATE_SAMPLES))
    _last: Progress | None = None
    _spoke_at: float | None = None

    def line(self, progress: Progress | None, now: float) -> str | None:
        """Return the line to show for this report, or None; ``now`` is any clock that only goes forward."""
        if self._spoke_at is None:
            self._spoke_at = now
        if progress is None or self._is_old(progress):
            return self._quiet_line(now)
        if self._last is None or progress.stage != self._last.stage or progress.done < self._last.done:
            self._samples.clear()
        self._samples.append((progress.updated, progress.done))
        self._last = progress
        self._spoke_at = now
        return progress_line(progress, self._rate())

    def _is_old(self, progress: Progress) -> bool:
        last = self._last
        return last is not None and (progress.stage, progress.done, progress.total, progress.message) == (
            last.stage,
            last.done,
            last.total,
            last.message,
        )

    def _quiet_line(self, now: float) -> str | None:
        assert self._spoke_at is not None
        if now - self._spoke_at < QUIET_SECONDS:
            return None
        self._spoke_at = now
        return f"{self._last.stage if self._last and self._last.stage else 'running'}: nothing new for a minute"

    def _rate(self) -> float:
        """Return what is done per second over the last samples; 0 when that can't be said."""
        (start, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - start) if end > start and last > first else 0.0


def progress_line(progress: Progress, rate: float = 0.0) -> str:
    """Write one report as one compact line; ``rate`` is in bytes or steps a second, 0 when unknown."""
    parts = [_amount(progress)]
    if progress.total > 0:
        parts.append(f"{min(100, 100 * progress.done // progress.total)} %")
    if rate > 0 and progress.unit == "bytes":
        parts.append(f"{rate / 1e6:.{0 if rate >= 1e7 else 1}f} MB/s")
    if rate > 0 and progress.total > progress.done:
        parts.append(f"{duration((progress.total - progress.done) / rate)} left")
    head = f"{progress.stage}: " if progress.stage else ""
    tail = f"  ({progress.message})" if progress.message else ""
    return head + "  ".join(part for part in parts if part) + tail


def duration(seconds: float) -> str:
    """Write a length of time in the two units that matter."""
    whole = round(min(seconds, 10**9))  # no rate at all would be infinitely long
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _amount(progress: Progress) -> str:
    if progress.unit == "steps":
        return f"{progress.done}/{progress.total}" if progress.total > 0 else (str(progress.done or ""))
    if progress.total > 0:
        return f"{_gib(progress.done)} of {_gib(progress.total)} GiB"
    return f"{_gib(progress.done)} GiB"


def _gib(size: int) -> str:
    # A test model has some MiB, a real one has hundreds of GiB: both shall be seen to move.
    gib = size / 2**30
    return f"{gib:.1f}" if gib >= 100 else f"{gib:.2f}" if gib >= 1 or size == 0 else f"{gib:.3f}"


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and 0 <= value < 1e18 else 0.0


def _text(value: object) -> str:
    """Return a printable single line: what a job reports goes to a terminal."""
    return "".join(char for char in value[:200] if char.isprintable()) if isinstance(value, str) else ""

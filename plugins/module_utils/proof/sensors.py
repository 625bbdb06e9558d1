"""What nvidia-smi shows of each GPU while it works: clocks, temperature, power, and why it slows down."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.proof.cuda import sysfs_address

# Drivers before 535 have the older name of the last field; a field that it does not know makes nvidia-smi say nothing.
_FIELDS = ("pci.bus_id", "temperature.gpu", "clocks.sm", "clocks.max.sm", "power.draw", "power.limit")
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")

# Bits of that field. A GPU under load at its power limit (4) is healthy; these are not as they should be.
THROTTLES = {
    0x08: "hardware slowdown",
    0x20: "too hot (by the driver)",
    0x40: "too hot (by the hardware)",
    0x80: "power brake of the supply",
}
_POWER_LIMIT = 0x04


@dataclass
class Samples:
    """All that was seen of one GPU."""

    temperatures: list[float] = field(default_factory=list)
    clocks: list[float] = field(default_factory=list)
    max_clock: float | None = None
    powers: list[float] = field(default_factory=list)
    power_limit: float | None = None
    reasons: list[int] = field(default_factory=list)

    def take(self, cells: list[str]) -> None:
        """Take one line of nvidia-smi after its address; a cell may hold ``[N/A]``."""
        temperature, clock, max_clock, power, limit = map(_number, cells[:5])
        for seen, value in ((self.temperatures, temperature), (self.clocks, clock), (self.powers, power)):
            if value is not None:
                seen.append(value)
        self.max_clock, self.power_limit = max_clock or self.max_clock, limit or self.power_limit
        self.reasons.append(_bits(cells[5]))

    def as_dict(self) -> dict[str, Any]:
        """Return the figures that matter; None where there was nothing to read."""
        return {
            "samples": len(self.reasons),
            "temperature_max": max(self.temperatures, default=None),
            "clock_mhz": statistics.median(self.clocks) if self.clocks else None,
            "clock_max_mhz": self.max_clock,
            "power_watts": max(self.powers, default=None),
            "power_limit_watts": self.power_limit,
            "throttled": [text for bit, text in THROTTLES.items() if any(bits & bit for bits in self.reasons)],
            "at_power_limit": any(bits & _POWER_LIMIT for bits in self.reasons),
        }


class Sensors:
    """Looks at all GPUs again and again, as long as its block lasts."""

    def __init__(self, run: RunCommand, pace: float = 2.0) -> None:
        self._run, self._pace = run, pace
        self._seen: dict[str, Samples] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._reasons = _REASONS[0]

    def __enter__(self) -> Sensors:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def as_dict(self) -> Mapping[str, dict[str, Any]]:
        """Return the figures of each GPU by its PCI address; none without nvidia-smi."""
        return {address: samples.as_dict() for address, samples in self._seen.items()}

    def _watch(self) -> None:
        while not self._over.wait(self._pace):
            self.look()

    def look(self) -> None:
        """Look once."""
        text = self._ask(self._reasons)
        if text is None and self._reasons == _REASONS[0]:
            self._reasons = _REASONS[1]
            text = self._ask(self._reasons)
        for line in (text or "").splitlines():
            cells = [cell.strip() for cell in line.split(",")]
            if len(cells) == len(_FIELDS) + 1:
                self._seen.setdefault(sysfs_address(cells[0]), Samples()).take(cells[1:])

    def _ask(self, reasons: str) -> str | None:
        fields = ",".join((*_FIELDS, reasons))
        done = self._run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"])
        return done.stdout if done.rc == 0 else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e9 else None


def _bits(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0

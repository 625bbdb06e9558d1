"""Compare what was planned with what an engine allocated: device by device, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, warning
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import HOST, Allocation, DeviceBytes

TOLERANCE_PERCENT = 6.0
"""How far a device's total may be off before it is a finding."""

GRAIN_BYTES = MIB
"""A difference that is smaller is that of rounding in a log."""

TOTAL = "total"
PROCESS = "process"
"""All that a process holds in RAM. Pages that it never wrote are not there, so less than planned says nothing."""

PARTS = {
    "weights_bytes": "weights",
    "kv_cache_bytes": "KV cache",
    "recurrent_bytes": "recurrent state",
    "compute_bytes": "compute",
    "output_bytes": "output",
}
"""The parts that an engine's log names, and what a person calls them."""

_HEADINGS = ("device", "part", "planned MiB", "seen MiB", "difference", "%")


@dataclass(frozen=True)
class Row:
    """One part of one device. A positive difference is memory that was planned and not used: the safe side."""

    device: str
    part: str
    planned_bytes: int
    seen_bytes: int

    @property
    def difference_bytes(self) -> int:
        """Planned less seen."""
        return self.planned_bytes - self.seen_bytes

    @property
    def percent(self) -> float | None:
        """The difference in percent of what was seen; None where nothing was, but something was planned."""
        if not self.seen_bytes:
            return None if self.planned_bytes else 0.0
        return 100.0 * self.difference_bytes / self.seen_bytes

    @property
    def off(self) -> bool:
        """Whether it differs by more than is tolerated."""
        if abs(self.difference_bytes) < GRAIN_BYTES:
            return False
        return self.percent is None or abs(self.percent) > TOLERANCE_PERCENT

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for a report."""
        percent = None if self.percent is None else round(self.percent, 2)
        sizes = {"planned_bytes": self.planned_bytes, "seen_bytes": self.seen_bytes}
        difference = {"difference_bytes": self.difference_bytes, "percent": percent}
        return {"device": self.device, "part": self.part, **sizes, **difference}


def planned_allocation(memory: Mapping[str, Any]) -> Allocation:
    """Return the devices of a saved plan's ``memory``; what is missing or of another type counts as zero."""
    rows = [
        DeviceBytes(
            record.text(entry, "name", HOST),
            *(record.integer(entry, part) for part in (*PARTS, "overhead_bytes", "droppable_bytes")),
        )
        for entry in record.sections(memory, "devices")
    ]
    gpus = tuple(row for row in rows if row.name != HOST)
    return Allocation(gpus, next((row for row in rows if row.name == HOST), DeviceBytes(HOST)))


def compare(planned: Allocation, seen: Allocation) -> tuple[Row, ...]:
    """Return the rows of each device, its total last; parts that neither side has are left out.

    GPUs are paired in their order, under the name that the plan gives them: an engine numbers those that it may use.
    The total is of what a log counts, without the overhead that it does not.
    """
    count = max(len(planned.gpus), len(seen.gpus))
    pairs = [(_at(planned.gpus, index), _at(seen.gpus, index)) for index in range(count)]
    return tuple(row for pair in [*pairs, (planned.host, seen.host)] for row in _rows(*pair))


def _at(devices: Sequence[DeviceBytes], index: int) -> DeviceBytes:
    return devices[index] if index < len(devices) else DeviceBytes(f"GPU{index}")


def _rows(planned: DeviceBytes, seen: DeviceBytes) -> list[Row]:
    rows = [Row(planned.name, name, getattr(planned, part), getattr(seen, part)) for part, name in PARTS.items()]
    rows = [row for row in rows if row.planned_bytes or row.seen_bytes]
    return [*rows, Row(planned.name, TOTAL, planned.logged_bytes, seen.logged_bytes)] if rows else []


def findings(rows: Sequence[Row]) -> list[Finding]:
    """Return a warning for each total that differs by more than is tolerated, and for a process that holds more."""
    totals = [row for row in rows if row.off and (row.part == TOTAL or _holds_more(row))]
    return [_finding(row) for row in totals]


def _holds_more(row: Row) -> bool:
    return row.part == PROCESS and row.difference_bytes < 0


def _finding(row: Row) -> Finding:
    way = "under" if row.difference_bytes < 0 else "over"
    share = "" if row.percent is None else f" ({abs(row.percent):.1f} %)"
    gap = f"{abs(row.difference_bytes) / MIB:.1f} MiB{share} {way} what was allocated"
    sizes = f"{row.planned_bytes / MIB:.1f} MiB planned, {row.seen_bytes / MIB:.1f} MiB seen"
    remedy = "Report the model and its settings: the rule of its architecture needs a look."
    return warning(f"memory.planned_{way}", f"{row.device}: the plan is {gap}: {sizes}.", remedy)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as an aligned table for people."""
    cells = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]

    def aligned(line: tuple[str, ...]) -> str:
        texts = (
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(texts).rstrip()

    return "\n".join(aligned(line) for line in cells)


def _cells(row: Row) -> tuple[str, ...]:
    sizes = [f"{size / MIB:.2f}" for size in (row.planned_bytes, row.seen_bytes)]
    percent = "-" if row.percent is None else f"{row.percent:+.2f}"
    return row.device, row.part, *sizes, f"{row.difference_bytes / MIB:+.2f}", percent

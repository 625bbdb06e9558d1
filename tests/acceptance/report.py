"""The report of an acceptance run: JSON for programs, an aligned table for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding
from ansible_collections.llmhost.core.plugins.module_utils.proof.proof_table import as_text as proof_text
from ansible_collections.llmhost.core.plugins.module_utils.proof.verdict import Verdict
from ansible_collections.llmhost.core.plugins.module_utils.sizing.plan_check import Row, findings, table

Outcome = str  # passed, failed or skipped

Measure = Callable[[Iterable[Row]], None]  # puts planned and seen memory into the report
Proved = Callable[[Verdict], None]  # puts what the proof of the GPUs found into the report


@dataclass(frozen=True)
class Check:
    """One promise, whether it was kept, and what was measured on the way."""

    group: str
    name: str
    outcome: Outcome
    detail: str = ""
    figures: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """Return the figure or the first line of what went wrong."""
        if self.outcome == "passed":
            return ", ".join(f"{name} {value}" for name, value in self.figures.items())
        return self.detail.strip().splitlines()[0] if self.detail.strip() else ""


@dataclass(frozen=True)
class Report:
    """All the checks of one host."""

    host: str
    tier: str
    model: str
    checks: tuple[Check, ...]
    memory: tuple[Row, ...] = ()
    proof: Verdict = field(default_factory=lambda: Verdict({}))

    @property
    def findings(self) -> list[Finding]:
        """Return what a person should know, though no promise was broken."""
        return findings(self.memory)

    @property
    def counts(self) -> dict[Outcome, int]:
        """Return how many checks ended in each way."""
        return {way: sum(check.outcome == way for check in self.checks) for way in ("passed", "failed", "skipped")}

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        memory = [row.as_dict() for row in self.memory]
        found = [finding.as_dict() for finding in self.findings]
        proof = dict(self.proof.result)
        data = {name: value for name, value in vars(self).items() if name not in ("checks", "memory", "proof")}
        data |= {"checks": [asdict(check) for check in self.checks], "memory": memory, "proof": proof}
        return {"schema": 3, **data, "findings": found, "counts": self.counts}

    def as_text(self) -> str:
        """Return the report as tables, followed by the whole story of each check that failed."""
        rows = [(check.group, check.name, check.outcome, check.summary) for check in self.checks]
        checks = _aligned([("part", "check", "result", "figure"), *rows])
        failures = [f"{check.group}: {check.name}\n{check.detail.rstrip()}" for check in self.checks if _failed(check)]
        counts = ", ".join(f"{number} {outcome}" for outcome, number in self.counts.items() if number)
        head = f"Acceptance of {self.host} (tier {self.tier}, model {self.model}): {counts or 'no check was made'}"
        return "\n\n".join([head, checks, *self._memory_text(), *self._proof_text(), *failures]) + "\n"

    def _memory_text(self) -> list[str]:
        if not self.memory:
            return []
        found = [f"{finding.message}\n  remedy:   {finding.remedy}" for finding in self.findings]
        heading = "Memory planned and seen (a positive difference was planned and not used)"
        return [f"{heading}\n{table(self.memory)}", "\n".join(found or ["No total is off by more than 6 %."])]

    def _proof_text(self) -> list[str]:
        return [f"GPUs, as they were proved\n{proof_text(self.proof)}"] if self.proof.result else []

    def write(self, directory: Path) -> None:
        """Leave ``report.json`` and ``report.txt`` in a directory."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "report.json").write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")
        (directory / "report.txt").write_text(self.as_text(), encoding="utf-8")


def _failed(check: Check) -> bool:
    return check.outcome == "failed"


def _aligned(rows: Iterable[tuple[str, ...]]) -> str:
    rows = list(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )

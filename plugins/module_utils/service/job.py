"""A long job: a systemd unit on the target that outlives the run of ansible which started it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit, UnitState

# How often the target looks while it waits; a look costs some 10 ms.
LOOK_SECONDS = 0.5
JOURNAL_LINES = 30


@dataclass(frozen=True)
class JobReport:
    """Where a job stands."""

    state: UnitState
    progress: dict[str, Any]
    result: dict[str, Any]

    @property
    def running(self) -> bool:
        """True while there is something to wait for."""
        return self.state.busy

    @property
    def outdated(self) -> bool:
        """True when the unit file has changed since the job was started."""
        return self.running and self.state.needs_reload

    def as_dict(self) -> dict[str, Any]:
        """Return what the module hands back."""
        return {"running": self.running, "progress": self.progress, "result": self.result}


class Job:
    """A job and the files by which it tells how far it is and how it ended."""

    def __init__(
        self,
        unit: SystemdUnit,
        runtime_dir: str = "/run/llmhost",
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unit = unit
        self._files = Path(runtime_dir) / unit.stem
        self._sleep = sleep
        self._clock = clock

    def report(self) -> JobReport:
        """Look once. The state is read first: a job that has ended has written its last word before."""
        state = self.unit.state()
        return JobReport(state, _read(self._files / "progress.json"), _read(self._files / "result.json"))

    def start(self) -> None:
        """Start the job; what an earlier run of it left is no longer true."""
        state = self.unit.state()
        # A unit file that systemd has not read yet: what runs is a job for something else, or the file is of a run that
        # was killed before it could tell systemd.
        if state.needs_reload:
            self.unit.stop()
            self.unit.reload_manager()
        for name in ("progress.json", "result.json"):
            (self._files / name).unlink(missing_ok=True)
        self.unit.start()

    def wait(self, seconds: float) -> JobReport:
        """Look until the job has ended, it enters another stage, or the time is over."""
        end = self._clock() + seconds
        report = first = self.report()
        while report.running and report.progress.get("stage") == first.progress.get("stage"):
            left = end - self._clock()
            if left <= 0:
                break
            self._sleep(min(LOOK_SECONDS, left))
            report = self.report()
        return report

    def failure(self, report: JobReport) -> dict[str, Any]:
        """Say why the job failed: its own words if it left some, and the end of its journal."""
        journal = self.unit.journal(JOURNAL_LINES)
        reason = _sentence(report.result.get("message") or f"it ended with {_outcome(report.state)}")
        remedy = _sentence(report.result.get("remedy") or "")
        text = f"{self.unit.stem} failed: {reason}{' ' + remedy if remedy else ''}"
        if journal:
            text += f"\nThe last lines of its journal (journalctl -u {self.unit.stem}):\n" + "\n".join(
                f"  {line}" for line in journal
            )
        return {"msg": text, "journal": journal}


def _outcome(state: UnitState) -> str:
    return f"exit status {state.exit_status}" if state.result == "exit-code" else f"the result '{state.result}'"


def _sentence(text: object) -> str:
    line = str(text).strip()
    return line if not line or line.endswith((".", "!", "?")) else f"{line}."


def _read(path: Path) -> dict[str, Any]:
    """Return the dict in a JSON file; empty when there is none, or it makes no sense."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}

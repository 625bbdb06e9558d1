"""The units that keep a driver as it should be: persistence, a power limit, the fabric manager."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.llmhost.core.plugins.module_utils.driver.settings import (
    FABRIC_UNIT,
    PERSISTENCE_UNIT,
    POWER_UNIT,
    Settings,
)
from ansible_collections.llmhost.core.plugins.module_utils.driver.wanted import Wanted
from ansible_collections.llmhost.core.plugins.module_utils.driver.work import Work
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit


class Units:
    """Those of a plan, on a host."""

    def __init__(self, work: Work, wanted: Wanted | None) -> None:
        """Take the plan; without one none is wanted."""
        self._work = work
        self._wanted = wanted

    def enable(self) -> None:
        """Let them start with the host."""
        for unit in self._units():
            state = unit.state()
            if state.exists and not state.enabled:
                self._work.step(f"enable {unit.name}", unit.enable)

    def start(self, written: list[str]) -> None:
        """Start those that do not run, and those whose files were written just now."""
        for unit in self._units():
            state = unit.state()
            stale = any(unit.name in path for path in written)
            if state.exists and (stale or state.active != "active"):
                self._work.step(f"start {unit.name}", unit.restart)

    def retire(self, settings: Settings) -> None:
        """Stop those that are there by files of ours which are about to go."""
        for file in settings.changes():
            name = next((name for name in (PERSISTENCE_UNIT, POWER_UNIT) if name in str(file.path)), "")
            if name and not file.text and (unit := self._work.unit(name)).state().exists:
                self._work.step(f"stop {name}", unit.stop_and_disable)

    def _units(self) -> Iterator[SystemdUnit]:
        if self._wanted is None:
            return
        named = {
            PERSISTENCE_UNIT: self._wanted.persistence and self._wanted.is_ours,
            POWER_UNIT: bool(self._wanted.power_limit_watts),
            FABRIC_UNIT: bool(self._wanted.fabric_manager),
        }
        yield from (self._work.unit(name) for name, is_wanted in named.items() if is_wanted)

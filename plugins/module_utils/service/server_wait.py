"""Wait until a service answers, and notice at once when it will not."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.service.server import (
    Answer,
    health,
    owner,
    resident_bytes,
    user_name,
)
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit, UnitState

LOOK_SECONDS = 0.25


class ServerError(Exception):
    """The service will not answer; ``unit_failed`` tells whether its journal says why."""

    def __init__(self, message: str, unit_failed: bool = True) -> None:
        super().__init__(message)
        self.unit_failed = unit_failed


@dataclass(frozen=True)
class Probe:
    """How the outside world is looked at."""

    health: Callable[[str, int], Answer] = health
    owner: Callable[[str, int], int | None] = owner
    resident: Callable[[int], int] = field(default=lambda pid: resident_bytes(pid, resource.getpagesize()))
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class ServerWait:
    """One service, where it should answer, and as which user."""

    unit: SystemdUnit
    host: str
    port: int
    uid: int
    load_bytes: int = 0
    probe: Probe = field(default_factory=Probe)

    def wait(self, seconds: float) -> dict[str, Any]:
        """Look until it answers or the time is over; raise when it has died or somebody else answers."""
        end = self.probe.clock() + seconds
        while True:
            state = self.unit.state()
            self._check_alive(state)
            if self._is_ready():
                return {"running": False, "progress": {}}
            if self.probe.clock() >= end:
                return {"running": True, "progress": self._progress(state)}
            self.probe.sleep(LOOK_SECONDS)

    def _check_alive(self, state: UnitState) -> None:
        # A restart by systemd means that it has died before; to wait through the next attempts tells nothing new.
        if state.busy and state.sub != "auto-restart" and state.restarts == 0:
            return
        taken = self.probe.owner(self.host, self.port)
        if taken is not None and taken != self.uid:
            raise ServerError(
                f"port {self.port} of {self.host} is taken by a process of user {user_name(taken)}. {FREE}"
            )
        raise ServerError(f"{self.unit.stem} died while it started ({state.result}, status {state.exit_status}).")

    def _is_ready(self) -> bool:
        uid = self.probe.owner(self.host, self.port)
        if uid is None:
            return False
        if uid != self.uid:
            raise ServerError(
                f"port {self.port} of {self.host} is taken by a process of user {user_name(uid)}. {FREE}",
                unit_failed=False,
            )
        return self.probe.health(self.host, self.port).is_ready

    def _progress(self, state: UnitState) -> dict[str, Any]:
        resident = self.probe.resident(state.main_pid) if state.main_pid else 0
        return {
            "stage": "load the model",
            "done": min(resident, self.load_bytes) if self.load_bytes else resident,
            "total": self.load_bytes,
            "unit": "bytes",
            "updated": time.time(),
        }


FREE = "Stop that process, or choose another llmhost_listen_port."

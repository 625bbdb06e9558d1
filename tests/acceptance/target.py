"""The host under test: its saved plan, its state, and the few questions that several checks ask."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from testinfra.host import Host

from tests.acceptance.expectation import expect

PLAN_PATH = "/etc/llmhost/plan.json"
STATE_PATH = "/etc/llmhost/state"
CREDENTIALS_PATH = "/etc/llmhost/credentials"
API_KEY_PATH = f"{CREDENTIALS_PATH}/api_key"
SERVICE = "llmhost-inference.service"

# The plan's slice of each step, where its name differs from the step's.
_SLICES = {"nvidia_driver": "driver", "model_storage": "storage", "model_cache": "cache", "inference": "runtime"}


class NoPlanError(Exception):
    """The host has no plan that could be checked."""


class Secret(str):
    """Text that no report shows, not even when a check on it fails."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True, eq=False)
class Target:
    """One host with what llmhost promised for it."""

    host: Host = field(repr=False)
    name: str
    plan: dict[str, Any] = field(repr=False)

    @classmethod
    def from_host(cls, host: Host) -> Target:
        """Read the plan from the host; it is readable by root alone."""
        backend = host.backend
        name = getattr(backend, "host", None) or backend.hostname
        answer = host.run(f"cat {PLAN_PATH}")
        if answer.rc != 0:
            raise NoPlanError(
                f"{name}: no plan in {PLAN_PATH} ({answer.stderr.strip() or answer.stdout.strip()}). "
                "Run the tier's playbook first; reading the plan needs root (become)."
            )
        return cls(host, str(getattr(name, "name", name)), json.loads(answer.stdout))

    def action(self, step: str) -> str:
        """Return what the plan does with a step: ``apply`` or ``skip``."""
        return str(self.plan["steps"].get(step, {}).get("action", "skip"))

    def reason(self, step: str) -> str:
        """Return why the plan skips a step."""
        return str(self.plan["steps"].get(step, {}).get("reason", "")) or "no reason given"

    def slice(self, step: str) -> dict[str, Any]:
        """Return the part of the plan that belongs to a step."""
        part: dict[str, Any] = self.plan.get(_SLICES.get(step, step)) or {}
        return part

    @cached_property
    def models(self) -> dict[str, Any]:
        """Return what the host remembers about its model."""
        found: dict[str, Any] = json.loads(self.output("cat", f"{STATE_PATH}/models.json"))
        return found

    @cached_property
    def api_key(self) -> Secret:
        """Return the key that the service was given."""
        lines = [line.strip() for line in self.output("cat", API_KEY_PATH).splitlines() if line.strip()]
        return Secret(lines[0]) if lines else Secret("")

    def output(self, *command: str) -> str:
        """Return what a command prints; fail with its complaint."""
        __tracebackhide__ = True
        answer = self.host.run(" ".join(["%s"] * len(command)), *command)
        if answer.rc != 0:
            raise AssertionError(f"{' '.join(command)} ended with {answer.rc}: {answer.stderr.strip()[-400:]}")
        return str(answer.stdout)

    def shell(self, script: str) -> str:
        """Return what a shell script prints, whatever its exit status: ``grep`` finds nothing with 1."""
        return str(self.host.run(script).stdout)

    def lines(self, script: str) -> list[str]:
        """Return the lines that a shell script prints."""
        return [line for line in self.shell(script).splitlines() if line.strip()]

    def as_service(self, *command: str) -> str:
        """Return what a command prints when the service's user runs it.

        In a container root may not look at the program and the sockets of another user's process; that user may.
        """
        __tracebackhide__ = True
        return self.output("runuser", "--user", self.slice("inference")["user"], "--", *command)

    def unit_property(self, name: str, unit: str = SERVICE) -> str:
        """Return a property of a unit, as systemd prints it."""
        return self.output("systemctl", "show", "--value", f"--property={name}", unit).strip()

    @property
    def main_pid(self) -> int:
        """Return the process of the service; fail when there is none."""
        __tracebackhide__ = True
        pid = int(self.unit_property("MainPID") or 0)
        expect(pid > 0, f"process of {SERVICE}", expected="one", found="none", remedy=f"journalctl -u {SERVICE}")
        return pid

    def journal(self, lines: int = 30) -> str:
        """Return the end of the service's journal, without the key should it ever be there."""
        text = self.shell(f"journalctl --no-pager --output=short-iso --lines={lines} --unit={SERVICE}")
        try:
            return text.replace(self.api_key or "***", "***")
        except AssertionError:
            return "not shown: the key that would have to be masked in it cannot be read"

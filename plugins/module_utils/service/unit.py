"""A systemd unit: its state, and the end of its journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

RunCommand = Callable[..., tuple[int, str, str]]

PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "ExecMainStatus",
    "MainPID",
    "NRestarts",
    "InvocationID",
    "NeedDaemonReload",
    "UnitFileState",
)


@dataclass(frozen=True)
class UnitState:
    """What systemd says about a unit."""

    load: str
    active: str
    sub: str
    result: str
    exit_status: str
    main_pid: int
    restarts: int
    invocation: str
    needs_reload: bool
    enabled: bool

    @classmethod
    def from_show(cls, output: str) -> UnitState:
        """Read the output of ``systemctl show``; a property that is missing reads as empty."""
        found = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
        return cls(
            load=found.get("LoadState", ""),
            active=found.get("ActiveState", ""),
            sub=found.get("SubState", ""),
            result=found.get("Result", ""),
            exit_status=found.get("ExecMainStatus", ""),
            main_pid=_int(found.get("MainPID")),
            restarts=_int(found.get("NRestarts")),
            invocation=found.get("InvocationID", ""),
            needs_reload=found.get("NeedDaemonReload") == "yes",
            enabled=found.get("UnitFileState") == "enabled",
        )

    @property
    def exists(self) -> bool:
        """True when systemd knows a unit file of that name."""
        return self.load not in ("", "not-found", "masked")

    @property
    def busy(self) -> bool:
        """True while the unit has a process or is about to; one that only counts as active has ended."""
        return self.active in ("active", "activating", "reloading", "deactivating") and self.sub != "exited"

    @property
    def failed(self) -> bool:
        """True when the last run of the unit went wrong."""
        return self.active == "failed"


class UnitError(Exception):
    """systemd could not do what was asked."""


class SystemdUnit:
    """One unit, seen and moved through ``systemctl`` and ``journalctl``."""

    def __init__(self, name: str, run_command: RunCommand) -> None:
        self.name = name if "." in name else f"{name}.service"
        self._run = run_command

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self.name.rpartition(".")[0]

    def state(self) -> UnitState:
        """Ask systemd for the state of the unit; one that does not exist has a state as well."""
        _rc, out, _err = self._run(["systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", self.name])
        return UnitState.from_show(out)

    def start(self) -> None:
        """Start the unit and do not wait; an earlier failure is forgotten first, or a start limit could refuse."""
        self.forget()
        self._systemctl("start", "--no-block", "--", self.name)

    def restart(self) -> None:
        """Stop the unit if it runs, and start it; when this returns, the old process is gone.

        One that is started and dies at once is no error here: whoever waits for it knows more of the reason.
        """
        self.forget()
        before = self.state().invocation
        try:
            self._systemctl("restart", "--", self.name)
        except UnitError:
            if self.state().invocation in ("", before):
                raise

    def enable(self) -> None:
        """Let the unit start with the host."""
        self._systemctl("enable", "--quiet", "--", self.name)

    def stop(self) -> None:
        """Stop the unit and wait until its processes are gone."""
        self._systemctl("stop", "--", self.name)

    def stop_and_disable(self) -> None:
        """Stop the unit, and keep it from starting with the host."""
        self.stop()
        self._systemctl("disable", "--quiet", "--", self.name)

    def forget(self) -> None:
        """Forget an earlier failure. A unit that systemd has not loaded has none: that refusal means nothing."""
        self._run(["systemctl", "reset-failed", "--", self.name])

    def reload_manager(self) -> None:
        """Let systemd read the unit files anew."""
        self._systemctl("daemon-reload")

    def journal(self, lines: int = 30) -> list[str]:
        """Return the last lines of the latest run of the unit, without time stamps; best effort."""
        run = self.state().invocation
        # The first match finds what the unit wrote, the second what systemd wrote about it.
        matches = [f"_SYSTEMD_INVOCATION_ID={run}", "+", f"INVOCATION_ID={run}"] if run else [f"--unit={self.name}"]
        self._run(["journalctl", "--sync"])
        rc, out, _err = self._run(["journalctl", "--no-pager", "--quiet", "--output=cat", f"--lines={lines}", *matches])
        return [_printable(line) for line in out.splitlines()] if rc == 0 else []

    def _systemctl(self, *arguments: str) -> None:
        rc, _out, err = self._run(["systemctl", *arguments])
        if rc != 0:
            raise UnitError(f"systemctl {' '.join(arguments)}: {err.strip() or f'exit status {rc}'}")


def _printable(line: str) -> str:
    """Drop what could move the cursor or colour the terminal of the person who reads the error."""
    return "".join(char for char in line if char.isprintable() or char == "\t")


def _int(text: str | None) -> int:
    return int(text) if text is not None and text.isdigit() else 0

"""How far cloud-init is with this boot, by the files and the unit that it leaves; asking its program takes a second."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.files import read_text
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, info, warning

# absent: not installed, or not for this machine; disabled: told to stay out; done: ended, with or without errors.
State = Literal["absent", "disabled", "running", "done", "stopped"]

_LAST_UNIT = "cloud-final.service"
# Its units, with the names of newer versions too: what runs in them is cloud-init's own work.
_OWN_UNIT = re.compile(r"/cloud-(init|init-local|init-main|init-network|config|final)\.service(/|$)", re.MULTILINE)
_STAGES = {
    "init-local": "finding its data",
    "init": "preparing disks, network and users",
    "modules-config": "configuring the system",
    "modules-final": "running packages and scripts of its user data",
}


@dataclass(frozen=True)
class CloudInit:
    """What cloud-init is doing; ``own`` is true of a process that cloud-init itself started, which it waits for."""

    state: State
    stage: str = ""
    errors: tuple[str, ...] = ()
    own: bool = False

    @classmethod
    def from_host(cls, root: str, run_command: RunCommand) -> CloudInit:
        """Look once; nothing raises, and no more is run than one ``systemctl`` while cloud-init has not ended."""
        run = os.path.join(root, "run/cloud-init")
        if os.path.exists(os.path.join(run, "disabled")):
            return cls("disabled")
        if not any(os.path.exists(os.path.join(run, name)) for name in ("enabled", "status.json")):
            return cls("absent")
        goes_on = not os.path.exists(os.path.join(run, "result.json")) and _goes_on(run_command)
        # Its last word is read after the look at the unit, which may have ended in between.
        result = _v1(read_text(run, "result.json"))
        if result is not None:
            return cls("done", errors=_errors(result))
        status = _v1(read_text(run, "status.json")) or {}
        stage = status.get("stage")
        errors = tuple(error for part in status.values() if isinstance(part, dict) for error in _errors(part))
        own = _OWN_UNIT.search(read_text(root, "proc/self/cgroup") or "") is not None
        return cls("running" if goes_on else "stopped", stage if isinstance(stage, str) else "", errors, own)

    @property
    def waiting_for(self) -> str:
        """What there is to wait for, in words; "" for nothing, also where waiting would never end."""
        if self.state != "running" or self.own:
            return ""
        doing = _STAGES.get(self.stage, "")
        return f"cloud-init to end{f' ({doing})' if doing else ''}"

    @property
    def findings(self) -> list[Finding]:
        """What a person should know of it."""
        if self.state == "running":
            return [
                info(
                    "facts.cloud_init_running",
                    "cloud-init is still at work on this host, so its disks and filesystems may yet change.",
                    "A run that changes the host waits for it; /var/log/cloud-init-output.log has what it does.",
                )
            ]
        if self.state == "stopped" or self.errors:
            first = f": {self.errors[0]}" if self.errors else ""
            how = "stopped before its end" if self.state == "stopped" else "ended with an error"
            return [
                warning(
                    "facts.cloud_init_failed",
                    f"cloud-init {how}{first}. What it was to set up on this host may be missing.",
                    "See `cloud-init status --long` and /var/log/cloud-init.log on the host.",
                )
            ]
        return []

    def as_dict(self) -> dict[str, Any]:
        """Return the plain dict that host_info returns."""
        fields = asdict(self)
        return {name: fields[name] for name in ("state", "stage")} | {"errors": list(self.errors)}


def _goes_on(run_command: RunCommand) -> bool:
    """Tell whether the last unit runs, or waits for its turn in the boot; one that will never run is not waited for."""
    done = run_command(["systemctl", "show", "--property=ActiveState,Job", "--", _LAST_UNIT])
    said = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return done.rc == 0 and (
        said.get("ActiveState") in ("activating", "reloading") or said.get("Job", "0") not in ("", "0")
    )


def _v1(text: str | None) -> dict[str, Any] | None:
    try:
        data = json.loads(text or "")
        found = data["v1"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _errors(part: dict[str, Any]) -> tuple[str, ...]:
    said = part.get("errors")
    texts = [" ".join(str(entry).split())[:300] for entry in said] if isinstance(said, list) else []
    return tuple(text.rstrip(".") for text in texts if text)

"""One timed run of ansible-playbook, with what each of its tasks took, from Ansible's own JSON callback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.tools.bed import CHECKOUT

CALLBACK = "ansible.posix.json"


class PlaybookError(RuntimeError):
    """The playbook failed: its times mean nothing."""


@dataclass(frozen=True)
class TaskTime:
    name: str
    action: str
    begin: float  # Unix time
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    @property
    def role(self) -> str:
        return self.name.partition(" : ")[0].rpartition(".")[2] if " : " in self.name else ""


@dataclass(frozen=True)
class PlaybookRun:
    begin: float
    end: float
    changed: int
    tasks: tuple[TaskTime, ...]  # those that ran; what was skipped is not among them

    @property
    def wall_seconds(self) -> float:
        return self.end - self.begin

    @classmethod
    def of(cls, playbook: str, variables: dict[str, Any] | None = None) -> PlaybookRun:
        command = [f"{sys.prefix}/bin/ansible-playbook", playbook, "-i", "inventories/demo"]
        if variables:
            command += ["-e", json.dumps(variables)]
        environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": CALLBACK}
        begin = time.time()
        ended = subprocess.run(
            command,
            check=False,
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            text=True,
        )
        end = time.time()
        if ended.returncode != 0:
            raise PlaybookError(f"{playbook}: exit {ended.returncode}\n{ended.stdout[-3000:]}{ended.stderr[-2000:]}")
        # Warnings and progress lines may stand before the document.
        return cls.from_json(json.loads(ended.stdout[ended.stdout.index('{\n    "custom_stats"') :]), begin, end)

    @classmethod
    def from_json(cls, document: dict[str, Any], begin: float, end: float) -> PlaybookRun:
        tasks = []
        for play in document["plays"]:
            for entry in play["tasks"]:
                results = list(entry["hosts"].values())
                if results and not all(result.get("skipped", False) for result in results):
                    action = str(results[0].get("action", ""))
                    times = entry["task"]["duration"]
                    tasks.append(TaskTime(entry["task"]["name"], action, _unix(times["start"]), _unix(times["end"])))
        changed = sum(stats["changed"] for stats in document["stats"].values())
        return cls(begin, end, changed, tuple(tasks))


def _unix(stamp: str) -> float:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()

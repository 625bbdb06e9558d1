"""One container with systemd for these tests, and a way to run one role against it as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.tools.bed import CHECKOUT, Bed

BLANK_FSTAB = "# the host's own\n/dev/vda1\t/\text4 errors=remount-ro 0 1\n"
LOCAL_CERTIFICATES = Path("/usr/local/share/ca-certificates")

# What a test may leave behind: mounts, swap files, loop devices, tools that were replaced, and what the roles made.
RESET = r"""
for link in /dev/disk/by-id/bed-*; do [ ! -e "$link" ] || swapoff "$link" 2>/dev/null || true; done
tail -n +2 /proc/swaps | while read -r path rest; do
  # The kernel's list holds other containers' files too; those are not here.
  case $path in *swap-test*) [ ! -f "$path" ] || swapoff "$path" || true;; esac
done
for at in /srv/llmhost /srv/swap-test /mnt; do while mountpoint -q $at; do umount $at; done; done
for image in /srv/bed/*.img; do
  losetup -n -O NAME -j "$image" | while read -r device; do losetup -d "$device"; done
done
for tool in /usr/sbin/*.real; do [ ! -e "$tool" ] || mv "$tool" "${tool%.real}"; done
chattr -i /srv/llmhost 2>/dev/null || true
rm -rf /srv/bed/* /srv/bed/.[!.]* /dev/disk/by-id /srv/llmhost /srv/swap-test /etc/llmhost /etc/sysctl.d/60-llmhost.conf
"""


@dataclass(frozen=True)
class Outcome:
    """How a run of ansible-playbook ended."""

    rc: int
    changed: int
    tasks: list[dict[str, Any]]
    text: str

    @property
    def executed(self) -> int:
        """Return how many tasks were run and not skipped."""
        return sum(not task.get("skipped", False) for task in self.tasks)

    @property
    def failure(self) -> dict[str, Any]:
        """Return the result of the task that failed; fail the test when none did."""
        failed = [task for task in self.tasks if task.get("failed")]
        assert failed, f"nothing failed:\n{self.text}"
        return failed[0]

    @property
    def actions(self) -> list[str]:
        """Return what the modules said that they did, or would do."""
        return [action for task in self.tasks for action in task.get("actions", [])]


@dataclass
class Target:
    """The container as a host of an inventory."""

    bed: Bed
    directory: Path
    plan: dict[str, Any] = field(default_factory=dict)

    def play(self, role: str, *options: str, entry: str = "main", **variables: Any) -> Outcome:
        """Run one role, with the plan and further variables, and fail on nothing but a run without a result."""
        run = {"ansible.builtin.import_role": {"name": f"llmhost.core.{role}", "tasks_from": entry}}
        play = [{"hosts": "bed", "gather_facts": False, "tasks": [{"name": "Run the role", **run}]}]
        host = {"ansible_host": self.bed.name, "ansible_connection": "community.docker.docker"}
        (self.directory / "play.yml").write_text(json.dumps(play))
        (self.directory / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"bed": host}}}))
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self.directory / "hosts.yml")]
        command += ["-e", json.dumps({"llmhost_plan": self.plan, **variables}), *options]
        environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_FORCE_COLOR": "0"}
        done = subprocess.run(
            [*command, str(self.directory / "play.yml")],
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return _outcome(done)

    def succeed(self, role: str, *options: str, **variables: Any) -> Outcome:
        """Run one role and fail the test when the role fails."""
        outcome = self.play(role, *options, **variables)
        assert outcome.rc == 0, outcome.text
        return outcome

    def shell(self, script: str) -> str:
        """Run a script in the container and return what it wrote."""
        return self.bed.shell(script).strip()

    def read(self, path: str) -> str:
        """Return a file of the container."""
        return self.bed.shell(f"cat '{path}'")

    def sabotage(self, program: str, script: str) -> None:
        """Put a script in the place of a program; ``$REAL`` is the program, ``$PPID`` the module that calls it."""
        path = f"/usr/sbin/{program}"
        self.shell(f"[ -e {path}.real ] || mv {path} {path}.real")
        self.bed.write(path, f"#!/bin/bash\nREAL={path}.real\n{script}\n")
        self.shell(f"chmod 755 {path}")

    def repair(self, program: str) -> None:
        """Put the program back."""
        self.shell(f"mv /usr/sbin/{program}.real /usr/sbin/{program}")


def _outcome(done: subprocess.CompletedProcess[str]) -> Outcome:
    text = done.stdout + done.stderr
    start = done.stdout.find("{")
    assert start >= 0, f"ansible-playbook gave no result:\n{text}"
    result = json.loads(done.stdout[start:])
    stats = result["stats"].get("bed")
    assert stats, f"no host was reached:\n{text}"
    tasks = [task["hosts"]["bed"] for play in result["plays"] for task in play["tasks"] if "bed" in task["hosts"]]
    return Outcome(done.returncode, stats["changed"], tasks, text)


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """Start the container; without Docker this fails, and says so."""
    with Bed(f"llmhost-storage-{os.getpid()}", swap=True, loops=True).running() as started:
        for certificate in LOCAL_CERTIFICATES.glob("*.crt"):
            started.put(certificate, str(certificate))
        started.shell("update-ca-certificates >/dev/null 2>&1")
        yield started


@pytest.fixture
def target(bed: Bed, tmp_path: Path) -> Iterator[Target]:
    """Return the container as it was before the first run, and clean up after the test."""
    bed.shell(RESET)
    bed.write("/etc/fstab", BLANK_FSTAB)
    yield Target(bed, tmp_path)
    bed.shell(RESET)

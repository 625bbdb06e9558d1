"""The machine as far as storage needs it, and steps on it that check mode only names."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult, RunCommand, run_command
from ansible_collections.llmhost.core.plugins.module_utils.host.disks import Disk, read_disks
from ansible_collections.llmhost.core.plugins.module_utils.host.lsblk import LsblkError, list_block_devices
from ansible_collections.llmhost.core.plugins.module_utils.host.sampling import erase_samples
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import RefusedError
from ansible_collections.llmhost.core.plugins.module_utils.storage.fstab import PATH
from ansible_collections.llmhost.core.plugins.module_utils.storage.hold import hold_disks
from ansible_collections.llmhost.core.plugins.module_utils.storage.tuning import Tuner

ARRAYS = "/etc/mdadm/mdadm.conf.d/llmhost.conf"


class MissingToolError(Exception):
    """Programs that the work needs are not installed; ``packages`` brings them."""

    def __init__(self, packages: Sequence[str]) -> None:
        """Say it in words as well."""
        super().__init__(", ".join(packages))
        self.packages = list(packages)


def find_program(name: str) -> str | None:
    """Return where a program is, or None; a run without a login shell may lack the sbin directories."""
    return shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")


def device_number(path: str) -> str:
    """Return ``major:minor`` of a device node."""
    number = os.stat(path).st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


def list_disks() -> list[Disk]:
    """Return every whole disk of this machine, examined."""
    try:
        return read_disks(list_block_devices(run_command), run_command)[0]
    except LsblkError:
        return []


@dataclass(frozen=True)
class Host:
    """The machine, as far as storage needs it; tests hand in another one."""

    run: RunCommand
    read_disk: Callable[[str], Disk]
    state: StateFile
    fstab: str = PATH
    proc: str = "/proc"
    sysfs: str = "/sys"
    systemd: str = "/run/systemd/system"
    arrays: str = ARRAYS
    number: Callable[[str], str] = device_number
    new_uuid: Callable[[], str] = lambda: str(uuid.uuid4())
    which: Callable[[str], str | None] = find_program
    erase: Callable[[str], None] = erase_samples
    hold: Callable[[Sequence[str]], AbstractContextManager[list[str]]] = hold_disks
    disks: Callable[[], Sequence[Disk]] = list_disks
    tuner: Tuner | None = None  # without one, queues stay as they are


class Steps:
    """What is done to a machine, in order; with ``check``, only what would be done."""

    def __init__(self, host: Host, check: bool = False) -> None:
        """Nothing is done yet."""
        self.host = host
        self.check = check
        self.actions: list[str] = []

    def do(self, what: str, act: Callable[[], object]) -> None:
        """Do one thing, and say so."""
        self.actions.append(what)
        if not self.check:
            act()

    def run(self, code: str, argv: Sequence[str], about: str = "") -> CommandResult:
        """Run a program that must succeed; ``about`` names what it works on as a person knows it."""
        done = self.host.run(argv)
        if done.rc != 0:
            told = f"{about}: " if about else ""
            raise RefusedError(code, f"{told}{' '.join(argv)}: {done.stderr.strip() or done.complaint}")
        return done

    def reload_systemd(self) -> None:
        """Let systemd read fstab again, or it may undo a mount that it does not know."""
        if os.path.isdir(self.host.systemd):
            self.run("storage.systemd", ["systemctl", "daemon-reload"])

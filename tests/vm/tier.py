"""The whole tier against one machine: playbooks/intermediate.yml over SSH, as a user with sudo runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bed.runtime import stored_archive
from tests.bed.tier import USUAL, Run, Tier
from tests.tools.bed import CHECKOUT, HUB_UNIT, START_HUB
from tests.tools.demo_model import models_directory
from tests.tools.vm import Machine, NvmeDisk

HUB_PROGRAM = CHECKOUT / "tests/tools/loopback_hub.py"
# Under emulation everything takes ten times as long.
RUN_SECONDS = 1800


@dataclass
class VmTier(Tier):
    """A machine as a host of an inventory; what it shares with a container is written once, in tests/bed."""

    user: str = "root"  # ubuntu becomes root by sudo, which is as slow again

    @property
    def vm(self) -> Machine:
        """Return the machine."""
        machine: Any = self.bed
        assert isinstance(machine, Machine)
        return machine

    def run(self, *options: str, playbook: str = "intermediate", **variables: Any) -> Run:
        """Run a playbook to its end, whatever that is."""
        return self.wait(self.start(*options, playbook=playbook, **variables), RUN_SECONDS)

    def start(self, *options: str, playbook: str = "intermediate", **variables: Any) -> subprocess.Popen[str]:
        """Start a playbook; a machine under emulation may be silent for longer than a stalled download."""
        return super().start(*options, playbook=playbook, **{"llmhost_download_stall_seconds": 120, **variables})

    def serve_hub(self) -> None:
        """Serve the demo's model from a loopback hub inside the machine, now and after every boot."""
        self.vm.put(models_directory(), "/srv/hub/models")
        self.vm.put(HUB_PROGRAM, "/srv/hub/loopback_hub.py")
        self.vm.write("/etc/systemd/system/loopback-hub.service", HUB_UNIT)
        self.vm.shell(START_HUB)

    def _inventory(self) -> Path:
        folder = self.folder / "inventory"
        if not folder.is_dir():
            folder.mkdir()
            (folder / "group_vars").symlink_to(CHECKOUT / "inventories/demo/group_vars")
        # Each start of the machine may have another port.
        host = {self.bed.name: {**self.vm.host_variables(self.user), "ansible_ssh_timeout": 180}}
        (folder / "hosts.yml").write_text(
            json.dumps({"all": {"children": {"intermediate": {"children": {"beds": {"hosts": host}}}}}})
        )
        return folder


@contextmanager
def started(name: str, folder: Path, disks: list[NvmeDisk], **options: Any) -> Iterator[VmTier]:
    """Start a machine with drives and a hub, and take it down in the end."""
    stored_archive()
    with Machine(name, disks=disks, **options).running() as machine:
        tier = VmTier(machine, folder)  # type: ignore[arg-type]
        tier.serve_hub()
        yield tier


__all__ = ["USUAL", "VmTier", "started"]

"""Whether the service can reach its GPUs: before it starts, since a server that sees none serves from the CPU.

systemd looks up the numbers of the devices that a service may open once, before anything of it runs. So a driver that
comes later than that ends the start, too: the next one, seconds later, is given the devices.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand, run_command
from ansible_collections.llmhost.core.plugins.module_utils.files import list_names, read_text

LIMIT_SECONDS = 30.0
_STEP_SECONDS = 1.0
_NODE = re.compile(r"nvidia\d+")
_LOOK = "See `dmesg | grep -i -e nvrm -e nvidia` and `nvidia-smi`, or run the playbook again."


class Gpus:
    """The GPUs that a service uses: ``wanted`` of them, by the files below ``dev`` and ``proc``."""

    def __init__(self, wanted: int, run: RunCommand = run_command, dev: str = "/dev", proc: str = "/proc") -> None:
        self._wanted = wanted
        self._run = run
        self._dev = dev
        self._proc = proc

    def trouble(self) -> str:
        """Say what is missing; nothing when all of it is there."""
        if not os.path.exists(f"{self._proc}/driver/nvidia/version"):
            return "the kernel has no NVIDIA driver loaded"
        names = list_names(self._dev)
        missing = [f"/dev/{name}" for name in ("nvidiactl", "nvidia-uvm") if name not in names]
        found = sum(_NODE.fullmatch(name) is not None for name in names)
        if found < self._wanted:
            missing.append(f"{self._wanted - found} of {self._wanted} GPUs (/dev/nvidia0 and so on)")
        return f"not there: {', '.join(missing)}" if missing else ""

    def wait(
        self,
        limit: float = LIMIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> str:
        """Wait until all is there; say why the service cannot start now, and nothing when it can."""
        known = self._majors()
        end = clock() + limit
        if self.trouble():
            self._make_nodes()
        while trouble := self.trouble():
            if clock() >= end:
                return f"cannot reach its GPUs: {trouble}. {_LOOK}"
            sleep(_STEP_SECONDS)
        if self._majors() != known:
            return "starts again: the driver came only now, and it may open the devices that were there at its start."
        return ""

    def _make_nodes(self) -> None:
        """Load what is missing of the driver and make its nodes, which the first program to use it does elsewhere.

        In a unit of its own: within the service's control group nobody may make nodes. Each tool may be missing.
        """
        nodes = " ".join(f"-c={number}" for number in range(self._wanted))
        script = f"modprobe nvidia_uvm; nvidia-modprobe -u {nodes}; ub-device-create"
        self._run(["systemd-run", "--quiet", "--wait", "--collect", "sh", "-c", script])

    def _majors(self) -> frozenset[str]:
        """Return the kinds of NVIDIA's devices that the kernel knows, with their numbers."""
        return frozenset(line for line in (read_text(self._proc, "devices") or "").splitlines() if "nvidia" in line)

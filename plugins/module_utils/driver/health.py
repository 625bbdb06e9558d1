"""Whether a loaded driver works, and whether one that finds no GPU ends for no other reason."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult, RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.driver.state import DriverState
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error

# What modprobe says when a module found nothing to drive.
NO_DEVICE = "No such device"
NODES = ("nvidiactl", "nvidia-uvm")
KERNEL_LOG = "`journalctl -k -g 'NVRM|nvidia|Xid'` on the host says why."


def without_gpu(state: DriverState, run: RunCommand) -> Iterator[Finding]:
    """Yield why the module would fail on a host with a GPU, as far as a host without one can tell."""
    if state.running is None:
        return
    done = run(["modprobe", "nvidia"])
    if done.rc != 0 and NO_DEVICE not in _said(done):
        yield _not_loaded("nvidia", done)


def load(module: str, run: RunCommand) -> Iterator[Finding]:
    """Load a module; yield why it could not be."""
    done = run(["modprobe", module])
    if done.rc != 0:
        yield _not_loaded(module, done)


def health(state: DriverState, run: RunCommand, root: str = "/") -> Iterator[Finding]:
    """Yield what is wrong with a driver that is loaded: it must see every GPU that the PCI bus shows."""
    done = run(["nvidia-smi", "--list-gpus"])
    if done.rc != 0:
        yield error(
            "driver.unhealthy",
            f"nvidia-smi ended with {done.rc}: {_last(done)}.",
            KERNEL_LOG,
        )
        return
    seen = sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    if seen != state.gpus:
        yield error(
            "driver.gpu_missing",
            f"the PCI bus shows {state.gpus} NVIDIA GPUs, the driver drives {seen} of them.",
            KERNEL_LOG,
        )
    missing = [f"/dev/{node}" for node in NODES if not os.path.exists(os.path.join(root, "dev", node))]
    if missing:
        yield error(
            "driver.no_device_node",
            f"{' and '.join(missing)} are not there: programs would fall back to the CPU without a word.",
            "Load nvidia_uvm (modprobe nvidia-uvm) and run `nvidia-modprobe -u -c0`, or restart the host.",
        )


def _not_loaded(module: str, done: CommandResult) -> Finding:
    return error("driver.not_loaded", f"the kernel did not take the module {module}: {_last(done)}.", KERNEL_LOG)


def _said(done: CommandResult) -> str:
    return f"{done.stdout}\n{done.stderr}"


def _last(done: CommandResult) -> str:
    lines = [line.strip() for line in _said(done).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it said nothing"

"""Whether a loaded driver works, and whether one that finds no GPU ends for no other reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from ansible_collections.llmhost.core.plugins.module_utils.command import NOT_FOUND, CommandResult, RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.driver.state import DriverState
from ansible_collections.llmhost.core.plugins.module_utils.driver.wanted import Wanted
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error
from ansible_collections.llmhost.core.plugins.module_utils.host.nvidia import find_nvswitches
from ansible_collections.llmhost.core.plugins.module_utils.nvidia import driver_state, smi_query
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.driver_findings import Surroundings, judge_driver
from ansible_collections.llmhost.core.plugins.module_utils.wait import wait_until_free

# What modprobe says when a module found nothing to drive.
NO_DEVICE = "No such device"
KERNEL_LOG = "`journalctl -k -g 'NVRM|nvidia|Xid'` on the host says why."
FABRIC = "facts.nvidia_fabric"


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


def settled_health(
    state: DriverState, wanted: Wanted, run: RunCommand, root: str, fabric_seconds: float
) -> list[Finding]:
    """Return what is wrong with a loaded driver; GPUs that are about to join their NVSwitches are given time."""
    found: list[Finding] = []

    def is_joining() -> str:
        found[:] = health(state, wanted, run, root)
        return FABRIC if [finding.code for finding in found] == [FABRIC] else ""

    wait_until_free(is_joining, fabric_seconds)
    return found


def health(state: DriverState, wanted: Wanted, run: RunCommand, root: str = "/") -> Iterator[Finding]:
    """Yield what is wrong with a driver that is loaded.

    Healthy is one that says its version and has the same in its module on the disk and in its library, whose nvidia-smi
    ends with 0 and lists every GPU that the PCI bus shows, with all device nodes there, DKMS done, nouveau gone, and
    NVSwitches joined.
    """
    smi = smi_query.query(run)  # as root it makes the device nodes that are missing, so it comes first
    there = driver_state.DriverState.from_host(run, root)
    host = Surroundings(
        kernel=state.kernel,
        container=wanted.in_container,
        secure_boot=wanted.secure_boot,
        gpus=state.gpus or len(smi.gpus),
        bound_to=(),
        nvswitches=len(find_nvswitches(os.path.join(root, "sys"))),
    )
    ill = [replace(found, level="error") for found in judge_driver(there, smi.result, smi.gpus, host)]
    yield from ill
    if smi.result.rc == NOT_FOUND:
        remedy = "Install the package nvidia-utils of the driver's branch."
        yield error("driver.no_smi", "nvidia-smi is not there: nobody can tell how the GPUs are.", remedy)
    elif not there.loaded_version and not ill:
        yield error(
            "driver.not_loaded", "the driver is not loaded: /proc/driver/nvidia/version is not there.", KERNEL_LOG
        )
    elif not ill and not wanted.in_container and len(smi.gpus) != state.gpus:
        reason = f"the PCI bus shows {state.gpus} NVIDIA GPUs, the driver drives {len(smi.gpus)} of them."
        yield error("driver.gpu_missing", reason, KERNEL_LOG)


def _not_loaded(module: str, done: CommandResult) -> Finding:
    return error("driver.not_loaded", f"the kernel did not take the module {module}: {_last(done)}.", KERNEL_LOG)


def _said(done: CommandResult) -> str:
    return f"{done.stdout}\n{done.stderr}"


def _last(done: CommandResult) -> str:
    lines = [line.strip() for line in _said(done).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it said nothing"

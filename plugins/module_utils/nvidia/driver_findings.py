"""What is wrong with an NVIDIA driver that is there, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.command import NOT_FOUND, CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.driver_state import OPEN, DriverState
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.gpu import DriverGpu
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.smi_status import (
    MISMATCH,
    NO_DRIVER,
    judge_status,
    status_of,
)

_HOLD = "Hold the driver's packages, so that it does not come back: playbooks/upgrade_driver.yml changes them together."
_READY = ("Completed", "Success")


@dataclass(frozen=True)
class Surroundings:
    """What the findings need to know of the host beside its driver. ``gpus``: how many PCI functions are GPUs."""

    kernel: str
    container: bool
    secure_boot: bool
    gpus: int
    bound_to: tuple[str, ...]
    nvswitches: int = 0


def judge_driver(
    state: DriverState, smi: CommandResult, gpus: Sequence[DriverGpu], host: Surroundings
) -> list[Finding]:
    """Return the findings of a driver. A host that has none at all has no finding: the plan says what it needs."""
    if not (state.loaded_version or state.module_version or state.library_version):
        return []
    status = [] if gpus and status_of(smi) == NOT_FOUND else list(_status(state, smi, host))
    return [*_versions(state, smi, host), *status, *_rest(state, gpus, host)]


def _versions(state: DriverState, smi: CommandResult, host: Surroundings) -> Iterator[Finding]:
    """Compare the module in use, the module on disk and the library. A container has no modules on its disk."""
    loaded, module, library = state.loaded_version, state.module_version, state.library_version
    if loaded and library and loaded != library:
        yield warning(
            "facts.nvidia_version_mismatch",
            f"The loaded NVIDIA module is version {loaded} and its library {library}: nothing can use the GPU.",
            _mismatch_remedy(loaded, module, library, host),
        )
    elif loaded and module and loaded != module:
        yield warning(
            "facts.nvidia_module_outdated",
            f"The loaded NVIDIA module is version {loaded}; {module} is installed for this kernel, and the library is "
            f"{library or 'not there'}. After the next boot they will not go together.",
            "Install the packages of one version: modules and libraries together, then reboot.",
        )
    elif not loaded and module and library and module != library:
        yield warning(
            "facts.nvidia_module_library_mismatch",
            f"The NVIDIA module for kernel {host.kernel} is version {module} and the library {library}: once loaded, "
            "nothing could use the GPU.",
            "Install the packages of one version: modules and libraries together.",
        )
    elif status_of(smi) == MISMATCH:
        found = judge_status(smi)
        if found:
            yield found


def _mismatch_remedy(loaded: str, module: str | None, library: str, host: Surroundings) -> str:
    if host.container:
        return (
            "The library came with this container and the module belongs to the machine that it runs on: remove the "
            "library from the image, so that the container toolkit gives that of the machine."
        )
    if module == library:
        return f"Reboot: version {library} is then loaded. {_HOLD}"
    if module == loaded:
        return (
            f"Install the libraries of version {loaded}, or modules of {library} for kernel {host.kernel} and reboot."
        )
    return f"Install modules of version {library} for kernel {host.kernel}, then reboot. {_HOLD}"


def _status(state: DriverState, smi: CommandResult, host: Surroundings) -> Iterator[Finding]:
    status = status_of(smi)
    if status == MISMATCH:
        return
    if status == NO_DRIVER or (state.loaded_version is None and status != 0):
        yield _not_loaded(state, smi, host) if host.gpus else _no_gpu(state)
        return
    found = judge_status(smi)
    if found:
        yield found


def _not_loaded(state: DriverState, smi: CommandResult, host: Surroundings) -> Finding:
    """Say why a driver that is installed is not loaded: most reasons are seen without trying."""
    if host.container:
        reason, remedy = (
            "this container has the library, and no driver is loaded on the machine that it runs on, or not passed on",
            "Load the driver on that machine, and start the container with its GPUs (for Docker: --gpus all).",
        )
    elif "nouveau" in state.modules:
        reason, remedy = "nouveau has the GPU", "Reboot: the packages of the driver keep nouveau from being loaded."
    elif state.module_version is None:
        reason, remedy = (
            f"no module for the running kernel {host.kernel} is installed",
            f"Install linux-modules-nvidia-BRANCH-{host.kernel}, or boot the kernel that has them.",
        )
    elif other := next((name for name in host.bound_to if name not in ("", "nvidia", "nouveau")), None):
        reason, remedy = (
            f"the GPU is bound to {other}, which hands it to a virtual machine",
            f"Take it from {other} in the kernel's command line or in /etc/modprobe.d, then reboot.",
        )
    elif host.secure_boot and state.dkms:
        reason, remedy = (
            "Secure Boot lets only signed modules in, and DKMS built these here",
            "Install Ubuntu's signed linux-modules-nvidia packages, enrol the key of DKMS, or switch Secure Boot off.",
        )
    else:
        flavour = "the open flavour" if state.flavour == OPEN else "this flavour"
        reason, remedy = (
            f"module {state.module_version} is installed for kernel {host.kernel} and was not loaded",
            f"`modprobe nvidia` loads it, or tells why not; `dmesg | grep NVRM` tells whether {flavour} knows the GPU.",
        )
    ended = "" if smi.rc == NOT_FOUND else f" (nvidia-smi: status {smi.rc})"
    return warning("facts.nvidia_not_loaded", f"The NVIDIA driver is not loaded{ended}: {reason}.", remedy)


def _no_gpu(state: DriverState) -> Finding:
    return info(
        "facts.nvidia_no_gpu",
        f"The NVIDIA driver {state.module_version or state.library_version} is installed, and no NVIDIA GPU is on the "
        "PCI bus.",
        "As it should be while an image is made; else look at the slot and power of the GPU, or at the hypervisor.",
    )


def _rest(state: DriverState, gpus: Sequence[DriverGpu], host: Surroundings) -> Iterator[Finding]:
    if state.loaded_version and "nouveau" in state.modules:
        yield warning(
            "facts.nvidia_nouveau",
            "nouveau is loaded beside NVIDIA's driver, and holds any GPU that it has found first.",
            "Reboot: the packages of the driver keep nouveau from being loaded.",
        )
    if state.loaded_version:
        yield from _nodes(state, gpus, host)
    for module in state.dkms:
        if module.kernel == host.kernel and module.state != "installed":
            yield warning(
                "facts.nvidia_dkms",
                f"DKMS has {module.module} {module.version} for the running kernel {module.kernel} as {module.state}.",
                f"`dkms autoinstall -k {module.kernel}` builds it, or tells why not.",
            )
    waiting = [gpu.index for gpu in gpus if gpu.fabric and (gpu.fabric.state, gpu.fabric.status) != _READY]
    if waiting and host.nvswitches:
        yield warning(
            "facts.nvidia_fabric",
            f"The fabric of NVSwitches is not ready for GPU {', '.join(map(str, waiting))}: CUDA fails on all of them.",
            "nvidia-fabricmanager has to run, in exactly the driver's version: `journalctl -u nvidia-fabricmanager`.",
        )


def _nodes(state: DriverState, gpus: Sequence[DriverGpu], host: Surroundings) -> Iterator[Finding]:
    """Name the device nodes that are missing. Their numbers follow the machine, whose other GPUs a container lacks."""
    wanted = ["/dev/nvidiactl", *(f"/dev/nvidia{number}" for number in range(0 if host.container else len(gpus)))]
    missing = [node for node in wanted if node not in state.device_nodes]
    if host.container and not any(node[11:].isdigit() for node in state.device_nodes):
        missing.append("/dev/nvidia0")
    if missing and host.gpus:
        yield warning(
            "facts.nvidia_no_nodes",
            f"The NVIDIA driver is loaded, and {', '.join(missing)} is not there.",
            "Start the container with its GPUs (for Docker: --gpus all)."
            if host.container
            else "`nvidia-smi` as root makes them, or `nvidia-modprobe -c 0`.",
        )
    if "/dev/nvidia-uvm" not in state.device_nodes and not missing:
        yield warning(
            "facts.nvidia_no_uvm",
            "/dev/nvidia-uvm is not there: CUDA fails, and some servers then compute on the CPU without a word.",
            "Load nvidia-uvm on the machine that this container runs on."
            if host.container
            else "`modprobe nvidia-uvm`, and name it in /etc/modules-load.d so that it comes back at boot.",
        )

"""The NVIDIA part of a machine: its driver, its GPUs as that sees them, and what lies between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.command import (
    NOT_FOUND,
    TIMED_OUT,
    CommandResult,
    RunCommand,
)
from ansible_collections.llmhost.core.plugins.module_utils.files import list_names, read_int, read_text, read_word
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding
from ansible_collections.llmhost.core.plugins.module_utils.host.acs import redirecting_bridges
from ansible_collections.llmhost.core.plugins.module_utils.host.gpu import Gpu
from ansible_collections.llmhost.core.plugins.module_utils.host.gpu_ids import GPU_MODELS, GpuModel
from ansible_collections.llmhost.core.plugins.module_utils.host.pcie import PcieLink
from ansible_collections.llmhost.core.plugins.module_utils.nvidia import driver_state, matrix, nvlink, smi_query
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.driver_findings import Surroundings, judge_driver
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.driver_state import DriverState
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.gpu import DriverGpu
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.nvml_facts import NvmlFacts
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.pair import Pair, pairs_from_matrices
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.smi_status import complaint

AskNvml = Callable[[str | None], NvmlFacts]

_NVIDIA = "0x10de"
_NVSWITCH_CLASS = "0x0680"
_P2P = {"read": "r", "write": "w", "atomics": "a"}


@dataclass(frozen=True)
class Nvidia:
    """The facts of ``host_info`` under ``nvidia``."""

    driver: DriverState
    smi: CommandResult
    cuda_version: str | None
    gpus: tuple[DriverGpu, ...]
    pairs: tuple[Pair, ...]
    nvswitches: tuple[str, ...]
    acs: list[str] | None
    iommu: bool
    source: str

    @classmethod
    def from_host(
        cls,
        run_command: RunCommand,
        root: str,
        functions: Sequence[str],
        ask_nvml: AskNvml = NvmlFacts.from_library,
    ) -> Nvidia:
        """Ask the driver of the machine whose files are at ``root``; ``functions`` are the addresses of its GPUs."""
        sysfs = os.path.join(root, "sys")
        state = DriverState.from_host(run_command, root)
        smi = smi_query.query(run_command)
        # Who hangs once hangs again.
        nvml = NvmlFacts(None) if smi.result.rc == TIMED_OUT else ask_nvml(state.library_path)
        by_smi = {gpu.index: gpu for gpu in smi.gpus}
        gpus = [gpu.completed(by_smi.get(gpu.index)) for gpu in nvml.gpus] or list(smi.gpus)
        pairs: Sequence[Pair] = nvml.pairs
        if not nvml.gpus and len(gpus) > 1:
            gpus, pairs = _ask_smi(run_command, gpus)
        version = state.loaded_version or nvml.driver_version or smi.driver_version
        return cls(
            driver=replace(state, loaded_version=version),
            smi=smi.result,
            cuda_version=nvml.cuda_version or (_cuda_version(run_command) if smi.gpus else None),
            gpus=tuple(_from_sysfs(gpu, sysfs) for gpu in gpus),
            pairs=tuple(pairs),
            nvswitches=tuple(find_nvswitches(sysfs)),
            acs=redirecting_bridges([_function(sysfs, address) for address in functions]),
            iommu=any(_translates(_function(sysfs, address)) for address in functions),
            source="nvml" if nvml.gpus else "nvidia-smi" if smi.gpus else "none",
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the plain dict that host_info returns."""
        driver = asdict(self.driver)
        del driver["library_path"]
        modes = [gpu.persistence for gpu in self.gpus if gpu.persistence is not None]
        return {
            "driver": {
                **{name: list(value) if isinstance(value, tuple) else value for name, value in driver.items()},
                "smi": {"rc": None if self.smi.rc == NOT_FOUND else self.smi.rc, "text": complaint(self.smi)},
                "cuda_version": self.cuda_version,
                "persistence": all(modes) if modes else None,
            },
            "gpus": [gpu.as_dict() for gpu in self.gpus],
            "pairs": [pair.as_dict() for pair in self.pairs],
            "nvswitches": list(self.nvswitches),
            "acs": self.acs,
            "iommu": self.iommu,
            "source": self.source,
        }


def read_nvidia(
    run_command: RunCommand,
    root: str,
    gpus: Sequence[Gpu],
    *,
    kernel: str,
    container: bool,
    secure_boot: bool,
    asked: bool = False,
    ask_nvml: AskNvml = NvmlFacts.from_library,
) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Return the facts, and findings for what is wrong with the driver; None where nothing is of NVIDIA's.

    ``asked``: somebody wants them though nothing is, as for an image of a machine that will have a GPU.
    """
    sysfs = os.path.join(root, "sys")
    if not (asked or gpus or find_nvswitches(sysfs) or has_driver(root)):
        return None, []
    found = Nvidia.from_host(run_command, root, [gpu.pci_address for gpu in gpus], ask_nvml)
    surroundings = Surroundings(
        kernel=kernel,
        container=container,
        secure_boot=secure_boot,
        gpus=len(gpus) or len(found.gpus),
        bound_to=tuple(gpu.driver or "" for gpu in gpus),
        nvswitches=len(found.nvswitches),
    )
    return found.as_dict(), judge_driver(found.driver, found.smi, found.gpus, surroundings)


def has_driver(root: str) -> bool:
    """Tell whether something of NVIDIA's driver is on the host, loaded or installed, without running a program."""
    loaded = os.path.isdir(os.path.join(root, "sys/module/nvidia"))
    return loaded or driver_state.find_library(root) is not None or _has_package(root)


def find_nvswitches(sysfs: str = "/sys") -> list[str]:
    """Return the addresses of the NVSwitches on the PCI bus."""
    devices = os.path.join(sysfs, "bus/pci/devices")
    return [
        address
        for address in list_names(devices)
        if read_word(devices, address, "vendor") == _NVIDIA
        and read_word(devices, address, "class").startswith(_NVSWITCH_CLASS)
    ]


def largest_region(text: str) -> int | None:
    """Return the size of the largest of the six regions in the ``resource`` of a PCI function: a GPU's BAR1."""
    sizes = []
    for line in text.splitlines()[:6]:
        words = line.split()
        try:
            start, end = int(words[0], 16), int(words[1], 16)
        except (IndexError, ValueError):
            return None
        sizes.append(end - start + 1 if 0 < start < end else 0)
    return max(sizes, default=0) or None


def _ask_smi(run_command: RunCommand, gpus: Sequence[DriverGpu]) -> tuple[list[DriverGpu], Sequence[Pair]]:
    """Ask nvidia-smi for what lies between the GPUs."""

    def said(*arguments: str) -> str:
        return run_command(["nvidia-smi", *arguments]).stdout

    links = nvlink.parse_status(said("nvlink", "--status"))
    remotes = nvlink.parse_remotes(said("nvlink", "--remotelinkinfo")) if links else {}
    addresses = frozenset(gpu.pci_address for gpu in gpus if gpu.pci_address)
    levels = matrix.parse_topology(said("topo", "-m"))
    statuses = {name: matrix.parse_p2p(said("topo", "-p2p", letter)) for name, letter in _P2P.items()}
    joined = [
        replace(gpu, nvlinks=nvlink.joined(links.get(gpu.index, ()), gpu.index, remotes, addresses)) for gpu in gpus
    ]
    return joined, pairs_from_matrices(levels, statuses)


def _cuda_version(run_command: RunCommand) -> str | None:
    return driver_state.parse_cuda_version(run_command(["nvidia-smi", "--version"]).stdout)


def _function(sysfs: str, address: str) -> str:
    return os.path.join(sysfs, "bus/pci/devices", address)


def _from_sysfs(gpu: DriverGpu, sysfs: str) -> DriverGpu:
    """Add what the kernel knows of a GPU."""
    if gpu.pci_address is None:
        return gpu
    function = _function(sysfs, gpu.pci_address)
    node = read_int(function, "numa_node")
    by_kernel = DriverGpu(
        gpu.index,
        numa_node=node if node is not None and node >= 0 else None,
        bar1_bytes=largest_region(read_text(function, "resource") or ""),
    )
    return gpu.completed(by_kernel)


def _translates(function: str) -> bool:
    """Tell whether an IOMMU translates what the GPU reads and writes; one that passes it on does no harm."""
    kind = read_word(function, "iommu_group/type")
    return kind != "identity" and os.path.isdir(os.path.join(function, "iommu_group"))


def _has_package(root: str) -> bool:
    """Look for a file list of a driver's package: the database of dpkg is a hundred times as long."""
    names = list_names(root, "var/lib/dpkg/info")
    return any(name.startswith(("nvidia-", "libnvidia-", "linux-modules-nvidia-")) for name in names)


def unseen_gpus(gpus: Sequence[Gpu], facts: Mapping[str, Any] | None) -> list[Gpu]:
    """Return the GPUs that only the driver shows: some containers are shown no PCI bus."""
    if gpus or not facts:
        return []
    return [_unseen(gpu) for gpu in facts["gpus"] if gpu["pci_address"]]


def _unseen(gpu: Mapping[str, Any]) -> Gpu:
    link = gpu["pcie"]
    model = GPU_MODELS.get(gpu["device_id"], GpuModel(gpu["name"] or "NVIDIA device", None))
    return Gpu(
        pci_address=gpu["pci_address"],
        device_id=gpu["device_id"] or "",
        name=model.name,
        vram_bytes=gpu["vram_bytes"] if model.vram_gib is None else model.vram_gib << 30,
        driver="nvidia",
        pci_class="",
        numa_node=gpu["numa_node"],
        pcie=PcieLink.from_generations(link["width"], link["max_width"], link["generation"], link["max_generation"]),
    )


def told_by_driver(gpu: dict[str, Any], facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a GPU of the PCI bus with what only its driver knows: links to others, and the memory of a rare card."""
    known = [found for found in facts["gpus"] if found["pci_address"] == gpu["pci_address"]] if facts else []
    if not facts or not known:
        return {**gpu, "nvlink": False}
    index = known[0]["index"]
    linked = any(pair["nvlinks"] > 0 for pair in facts["pairs"] if index in (pair["a"], pair["b"]))
    return {**gpu, "vram_bytes": gpu["vram_bytes"] or known[0]["vram_bytes"], "nvlink": linked}

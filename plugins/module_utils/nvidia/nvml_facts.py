"""What NVML tells of the GPUs and of each two of them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.nvidia.gpu import DriverGpu, Fabric, NvLink, RemappedRows
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.isolated import run_isolated
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.matrix import status_between
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.nvlink import SWITCH, links_between
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.nvml import (
    INVALID_ARGUMENT,
    LIBRARY_NOT_FOUND,
    SUCCESS,
    Nvml,
)
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.pair import Pair
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.smi_text import device_id, pci_address

# The first call on GPUs that nothing keeps awake takes some seconds for each.
_SECONDS = 60

_MAX_LINKS = 36
_UNCORRECTED, _AGGREGATE = 1, 1
# The MB/s of the link in the scope, and the older field for what all active links have.
_LINK_SPEED, _COMMON_LINK_SPEED = 164, 90
_REMOTE_SWITCH = 2
_LINK_VERSIONS = {1: "1.0", 2: "2.0", 3: "2.2", 4: "3.0", 5: "3.1", 6: "4.0", 7: "5.0", 8: "6.0"}
_LEVELS = {0: "PSB", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}
_STATUSES = {0: "OK", 1: "CNS", 2: "GNS", 3: "TNS", 4: "DR", 5: "NS", 6: "U"}
_CAPABILITIES = {"read": 0, "write": 1, "atomics": 3}
_FABRIC_STATES = {1: "Not Started", 2: "In Progress", 3: "Completed"}


@dataclass(frozen=True)
class NvmlFacts:
    """The answer of NVML; ``rc`` is the status of its start, and None where it crashed or did not end."""

    rc: int | None
    driver_version: str | None = None
    cuda_version: str | None = None
    gpus: tuple[DriverGpu, ...] = ()
    pairs: tuple[Pair, ...] = ()

    @classmethod
    def from_library(cls, path: str | None, seconds: float = _SECONDS) -> NvmlFacts:
        """Ask the library at a path, in a process of its own: a GPU that is ill may hang or crash whoever asks."""
        if path is None:
            return cls(LIBRARY_NOT_FOUND)
        told = run_isolated(lambda: asdict(cls.from_nvml(Nvml.open(path))), seconds)
        return cls.from_fields(told) if isinstance(told, dict) else cls(None)

    @classmethod
    def from_nvml(cls, nvml: Nvml | None) -> NvmlFacts:
        """Ask an open library."""
        rc = nvml.start() if nvml else LIBRARY_NOT_FOUND
        if nvml is None or rc != SUCCESS:
            return cls(rc)
        count = nvml.number("nvmlDeviceGetCount_v2") or 0
        devices = {index: device for index in range(count) if (device := nvml.device(index))}
        gpus = {index: _gpu(nvml, index, device) for index, device in devices.items()}
        version = nvml.number("nvmlSystemGetCudaDriverVersion_v2", kind=ctypes.c_int)
        return cls(
            rc,
            nvml.text("nvmlSystemGetDriverVersion"),
            cuda_version=f"{version // 1000}.{version % 1000 // 10}" if version else None,
            gpus=tuple(gpus.values()),
            pairs=tuple(_pair(nvml, devices, gpus[a], gpus[b]) for a, b in combinations(devices, 2)),
        )

    @classmethod
    def from_fields(cls, told: Mapping[str, Any]) -> NvmlFacts:
        """Return what another process told."""
        gpus = tuple(DriverGpu.from_fields(gpu) for gpu in told["gpus"])
        pairs = tuple(Pair(**pair) for pair in told["pairs"])
        return cls(told["rc"], told["driver_version"], told["cuda_version"], gpus, pairs)


def _gpu(nvml: Nvml, index: int, device: ctypes.c_void_p) -> DriverGpu:
    limit = nvml.number("nvmlDeviceGetPowerManagementLimit", device)
    address, ids = nvml.pci("nvmlDeviceGetPciInfo_v3", device)
    limits = nvml.numbers(2, "nvmlDeviceGetPowerManagementLimitConstraints", device)
    return DriverGpu(
        index=index,
        uuid=nvml.text("nvmlDeviceGetUUID", device),
        pci_address=pci_address(address),
        device_id=device_id(ids),
        name=nvml.text("nvmlDeviceGetName", device),
        vram_bytes=nvml.memory("nvmlDeviceGetMemoryInfo", device),
        compute_capability=_capability(nvml, device),
        generation=nvml.number("nvmlDeviceGetCurrPcieLinkGeneration", device),
        max_generation=nvml.number("nvmlDeviceGetMaxPcieLinkGeneration", device),
        gpu_max_generation=nvml.number("nvmlDeviceGetGpuMaxPcieLinkGeneration", device),
        width=nvml.number("nvmlDeviceGetCurrPcieLinkWidth", device),
        max_width=nvml.number("nvmlDeviceGetMaxPcieLinkWidth", device),
        bar1_bytes=nvml.memory("nvmlDeviceGetBAR1MemoryInfo", device),
        persistence=_switch(nvml.numbers(1, "nvmlDeviceGetPersistenceMode", device)),
        ecc=_switch(nvml.numbers(2, "nvmlDeviceGetEccMode", device)),
        uncorrected_errors=nvml.number(
            "nvmlDeviceGetTotalEccErrors", device, _UNCORRECTED, _AGGREGATE, kind=ctypes.c_ulonglong
        ),
        remapped_rows=_remapped_rows(nvml, device),
        power_limit_watts=None if limit is None else round(limit / 1000),
        power_limit_max_watts=None if limits is None else round(limits[1] / 1000),
        mig=_switch(nvml.numbers(2, "nvmlDeviceGetMigMode", device)),
        temperature=nvml.number("nvmlDeviceGetTemperature", device, 0),
        fabric=_fabric(nvml, device),
        nvlinks=tuple(_links(nvml, device)),
    )


def _switch(found: Sequence[int] | None) -> bool | None:
    """Return a mode that is on or off; of two, the first is the current one."""
    return bool(found[0]) if found else None


def _capability(nvml: Nvml, device: ctypes.c_void_p) -> str | None:
    found = nvml.numbers(2, "nvmlDeviceGetCudaComputeCapability", device, kind=ctypes.c_int)
    return f"{found[0]}.{found[1]}" if found else None


def _remapped_rows(nvml: Nvml, device: ctypes.c_void_p) -> RemappedRows | None:
    found = nvml.numbers(4, "nvmlDeviceGetRemappedRows", device)
    return RemappedRows(found[0], found[1], bool(found[2]), bool(found[3])) if found else None


def _fabric(nvml: Nvml, device: ctypes.c_void_p) -> Fabric | None:
    state, status = nvml.fabric(device) or (0, SUCCESS)
    name = _FABRIC_STATES.get(state)
    if name is None:
        return None
    # As nvidia-smi has it, which tells no status before the end.
    return Fabric(name, None if state != 3 else "Success" if status == SUCCESS else f"error {status}")


def _links(nvml: Nvml, device: ctypes.c_void_p) -> Iterator[NvLink]:
    for number in range(_MAX_LINKS):
        link = ctypes.c_uint(number)
        active = ctypes.c_uint()
        done = nvml.call("nvmlDeviceGetNvLinkState", device, link, ctypes.byref(active))
        if done == INVALID_ARGUMENT:
            return
        if done == SUCCESS and active.value:
            yield _active_link(nvml, device, number)
        elif done == SUCCESS:
            yield NvLink(number, False)


def _active_link(nvml: Nvml, device: ctypes.c_void_p, number: int) -> NvLink:
    link = ctypes.c_uint(number)
    speed = nvml.field(device, _LINK_SPEED, number) or nvml.field(device, _COMMON_LINK_SPEED)
    kind = nvml.number("nvmlDeviceGetNvLinkRemoteDeviceType", device, link, kind=ctypes.c_int)
    remote, _ = nvml.pci("nvmlDeviceGetNvLinkRemotePciInfo_v2", device, link)
    return NvLink(
        number,
        True,
        version=_LINK_VERSIONS.get(nvml.number("nvmlDeviceGetNvLinkVersion", device, link) or 0),
        gbs=speed / 1000 if speed else None,
        remote=SWITCH if kind == _REMOTE_SWITCH else pci_address(remote),
    )


def _pair(nvml: Nvml, devices: Mapping[int, ctypes.c_void_p], first: DriverGpu, second: DriverGpu) -> Pair:
    a, b = first.index, second.index
    links = links_between(first.nvlinks, second.nvlinks, second.pci_address)
    ancestor = nvml.number("nvmlDeviceGetTopologyCommonAncestor", devices[a], devices[b])
    granted = {}
    for name, capability in _CAPABILITIES.items():
        statuses = {
            (one, other): _STATUSES.get(found, "U")
            for one, other in ((a, b), (b, a))
            if (found := nvml.number("nvmlDeviceGetP2PStatus", devices[one], devices[other], capability)) is not None
        }
        granted[name] = status_between(statuses, a, b)
    level = f"NV{links}" if links else None if ancestor is None else _LEVELS.get(ancestor)
    return Pair(a, b, level, links, **granted)

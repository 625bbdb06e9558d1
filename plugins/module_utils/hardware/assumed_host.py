"""The facts of a host that nobody has looked at: what a phrase names, and what such a machine usually is besides.

The dict has the form of ``host_info`` (plugins/modules/host_info.yml), so that a plan needs no second way, and three
things more: ``assumed``, sentences about what was not said; ``memory.bandwidth_bytes_per_second``; ``gpus[].nvlink``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.hardware.cpus import COMMON, GRACE, CpuSpec
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpu_table import SWITCH, GpuSpec
from ansible_collections.llmhost.core.plugins.module_utils.host.gpu_ids import PCI_IDS
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB, format_gib

Facts = dict[str, Any]

# GT/s of a PCI Express lane by generation.
_LANE_GTS = {1: 2.5, 2: 5.0, 3: 8.0, 4: 16.0, 5: 32.0, 6: 64.0}
_SYSTEM_DISK = 100 * 10**9
_SYSTEM_FILES = 15 * 10**9
_DEFAULT_DISK = 10**12
_LEAST_RAM = 32 * GIB
_CORES = 8
# Of memory that CPU and GPU share, what the system and the processes keep.
_SHARED_FOR_SYSTEM = 16 * GIB


@dataclass(frozen=True)
class AssumedDisk:
    """A disk for models. ``kind`` is nvme, ssd or hdd."""

    size_bytes: int
    kind: str = "nvme"
    ephemeral: bool = False
    network: bool = False


@dataclass
class Hardware:
    """What a phrase says; None and empty mean that it does not say."""

    gpus: list[GpuSpec] = field(default_factory=list)
    ram_bytes: int | None = None
    ram_is_exact: bool = False
    disks: list[AssumedDisk] = field(default_factory=list)
    system_bytes: int | None = None  # the disk that the system lies on
    swap_bytes: int = 0
    cpu: CpuSpec | None = None
    sockets: int = 1
    cores: int | None = None
    cpus: int | None = None
    bandwidth: int | None = None  # of RAM, bytes a second
    channels: int | None = None
    mts: int | None = None
    nvlink: bool | None = None
    pcie_gen: int | None = None
    pcie_lanes: int | None = None
    container: bool = False
    virtual: bool = False
    assumed: list[str] = field(default_factory=list)


def assume_host(said: Hardware, phrase: str) -> Facts:
    """Return host facts: Ubuntu 22.04 with root and systemd, nothing on it but sshd, and the hardware of the phrase."""
    assumed = list(said.assumed)
    arm = any(gpu.arm for gpu in said.gpus)
    said = replace(said, cpu=GRACE) if arm and said.cpu is None else said
    ram = _ram(said, assumed)
    disks = _disks(said, assumed)
    cpu = _cpu(said, assumed)
    if len(said.gpus) > 1 and said.pcie_lanes is None and not any(gpu.fabric == SWITCH for gpu in said.gpus):
        assumed.append("Each GPU has all the PCI Express lanes that it is built with.")
    return {
        "schema": 1,
        "hardware": " ".join(phrase.split()),
        "assumed": assumed,
        "distribution": {"id": "ubuntu", "version": "22.04", "codename": "jammy", "name": "Ubuntu 22.04.5 LTS"},
        "kernel": {"release": "5.15.0-153-generic", "architecture": "aarch64" if arm else "x86_64", "boot_id": ""},
        "init": "bash" if said.container else "systemd",
        "virtualization": {
            "machine": "kvm" if said.virtual else "none",
            "container": "docker" if said.container else "none",
        },
        "cloud": {"name": "none", "fresh": False, "first_boot": None, "mounts": [], "swaps": []},
        "secure_boot": False,
        "capabilities": _capabilities(said.container),
        "cpu": cpu,
        "memory": {
            "total_bytes": ram,
            "available_bytes": max(0, ram - GIB),
            "cgroup_limit_bytes": ram if said.container else None,
            "overcommit": 0,
            "swap_total_bytes": said.swap_bytes,
            "swaps": [_swap(said.swap_bytes)] if said.swap_bytes else [],
            "bandwidth_bytes_per_second": _bandwidth(said, assumed),
        },
        "filesystems": [_root(said, disks)],
        "disks": [] if said.container else [_system_disk(said), *(_disk(at, disk) for at, disk in enumerate(disks, 1))],
        "gpus": [_gpu(number, spec, said) for number, spec in enumerate(said.gpus)],
        "nvidia": None,
        "proof": None,
        "listening": [
            {"address": "0.0.0.0", "port": 22, "user": "root", "process": "sshd", "unit": "ssh.service"},
        ],
        "state": {"storage": {}, "swap": {}, "models": {}, "inference": {}, "driver": {}},
        "findings": [],
    }


def kernel_ram(installed_bytes: int) -> int:
    """Return the MemTotal of a machine with this much memory installed: firmware and kernel keep 1.7 % and 256 MiB.

    MemTotal of public logs: 7.7 of 8 GiB, 15.5 of 16, 31.2 of 32, 62.7 of 64, 125.6 of 128, 251.5 of 256.
    """
    return max(0, installed_bytes - installed_bytes * 17 // 1000 - 256 * MIB)


def _ram(said: Hardware, assumed: list[str]) -> int:
    shared = [spec for spec in said.gpus if spec.shared]
    if shared:
        assumed.append(
            f"{shared[0].name} shares its memory with the CPU: {format_gib(_SHARED_FOR_SYSTEM)} of it count as RAM."
        )
        return _SHARED_FOR_SYSTEM
    installed = said.ram_bytes
    if installed is None:
        vram = sum(spec.vram_bytes for spec in said.gpus)
        installed = max(_LEAST_RAM, 1 << (vram - 1).bit_length() if vram else 0)
        assumed.append(f"{format_gib(installed)} of RAM: as much as the GPUs have, at least 32 GiB.")
    if said.container or said.ram_is_exact:
        return installed
    total = kernel_ram(installed)
    assumed.append(f"Of {format_gib(installed)} of RAM the kernel leaves {format_gib(total)}.")
    return total


def _disks(said: Hardware, assumed: list[str]) -> list[AssumedDisk]:
    if not said.disks and said.system_bytes is not None:
        assumed.append("No disk but that of the system, which is nearly empty.")
        return []
    if not said.disks:
        assumed.append("1 TB of NVMe for models.")
    if not said.container:
        assumed.append("The system lies on a disk of its own; those for models are blank.")
    return said.disks or [AssumedDisk(_DEFAULT_DISK)]


def _cpu(said: Hardware, assumed: list[str]) -> Facts:
    generation = said.cpu.generation if said.cpu else COMMON
    threads = generation.threads
    if said.cores is not None:
        cores = said.cores
    elif said.cpus is not None:
        cores = max(1, said.cpus // 2)
    elif said.cpu:
        cores = said.cpu.cores * said.sockets
    else:
        cores = _CORES * max(1, len(said.gpus))
        assumed.append(f"{cores} cores: 8 for each GPU, at least 8.")
    if not said.cpu:
        assumed.append("A CPU with AVX2.")
    logical = said.cpus or cores * threads
    return {
        "vendor": generation.vendor,
        "family": generation.family,
        "model": generation.model,
        "name": said.cpu.name if said.cpu else "x86-64 with AVX2 (assumed)",
        "sockets": said.sockets,
        "physical_cores": min(cores, logical),
        "logical_cpus": logical,
        "usable_cpus": logical,
        "numa_nodes": said.sockets,
        "features": sorted(generation.features),
    }


def _bandwidth(said: Hardware, assumed: list[str]) -> int | None:
    """Bytes a second by what was said of channels and speed; None leaves it to ``speed.ram_bandwidth``."""
    if said.bandwidth is not None:
        return said.bandwidth
    if said.mts is None and said.channels is None:
        return None
    generation = said.cpu.generation if said.cpu else COMMON
    channels, mts = said.channels or generation.channels, said.mts or generation.mts
    if said.channels is None and not said.cpu:
        assumed.append(f"{channels} channels of memory.")
    if said.mts is None and not said.cpu:
        assumed.append(f"Memory at {mts} MT/s.")
    return channels * mts * 8_000_000


def _capabilities(container: bool) -> Facts:
    able = {"able": True, "reason": ""}
    names = ("root", "systemd", "kernel_modules", "swap", "mkfs", "sysctl", "reboot")
    if not container:
        return {name: dict(able) for name in names}
    box = {"able": False, "reason": "This host is a container (docker) without CAP_SYS_ADMIN."}
    return {name: dict(able if name == "root" else box) for name in names}


def _gpu(number: int, spec: GpuSpec, said: Hardware) -> Facts:
    generation = min(spec.pcie_gen, said.pcie_gen or spec.pcie_gen)
    width = min(spec.lanes, said.pcie_lanes or spec.lanes)
    vram = spec.vram_bytes - (_SHARED_FOR_SYSTEM if spec.shared else 0)
    return {
        "pci_address": f"0000:{number + 1:02x}:00.0",
        "device_id": next((key for key, names in PCI_IDS.items() if spec.name in names), ""),
        "name": spec.name,
        "vram_bytes": vram,
        "driver": None,
        "class": "030200" if spec.fabric == SWITCH else "030000",
        "numa_node": None,
        "pcie": {
            "current_width": width,
            "max_width": spec.lanes,
            "current_speed_gts": _LANE_GTS[generation],
            "max_speed_gts": _LANE_GTS[spec.pcie_gen],
            "upstream_max_width": width,
            "upstream_max_speed_gts": _LANE_GTS[generation],
        },
        "bridges": [],
        "nvlink": _linked(spec, said),
    }


def _linked(spec: GpuSpec, said: Hardware) -> bool:
    """Boards with a switch are linked unless the phrase denies it; a bridge is there only when the phrase names it."""
    several = len(said.gpus) > 1
    return several and bool(spec.nvlink_gbs) and (said.nvlink if said.nvlink is not None else spec.fabric == SWITCH)


def _swap(size_bytes: int) -> Facts:
    return {"path": "/swapfile", "type": "file", "size_bytes": size_bytes, "used_bytes": 0, "priority": -2}


def _root(said: Hardware, disks: list[AssumedDisk]) -> Facts:
    container = said.container
    disk = said.system_bytes or (disks[0].size_bytes if container else _SYSTEM_DISK)
    size = disk if container else disk * 96 // 100
    return {
        "mountpoint": "/",
        "device": "overlay" if container else "/dev/nvme0n1p2",
        "type": "overlay" if container else "ext4",
        "size_bytes": size,
        "available_bytes": max(size // 2, size * 95 // 100 - _SYSTEM_FILES),
        "uuid": None if container else "0000-0000",
        "rotational": None if container else False,
        "network": False,
        "read_only": False,
    }


def _system_disk(said: Hardware) -> Facts:
    used = {"blank": False, "not_blank": ["it has a partition table (gpt)"], "partition_table": "gpt"}
    disk = AssumedDisk(said.system_bytes or _SYSTEM_DISK)
    return {**_disk(0, disk), **used, "children": ["nvme0n1p1", "nvme0n1p2"], "use": "/ (ext4)"}


def _disk(number: int, disk: AssumedDisk) -> Facts:
    name = f"nvme{number}n1" if disk.kind == "nvme" else f"sd{chr(ord('a') + number % 26)}"
    serial = f"ASSUMED{number:04d}"
    return {
        "path": f"/dev/{name}",
        "by_id": [f"/dev/disk/by-id/{'nvme' if disk.kind == 'nvme' else 'ata'}-Assumed_{serial}"],
        "by_path": [],
        "name": name,
        "type": "disk",
        "size_bytes": disk.size_bytes,
        "model": "Assumed",
        "serial": serial,
        "wwn": None,
        "transport": "nvme" if disk.kind == "nvme" else "sata",
        "rotational": disk.kind == "hdd",
        "removable": False,
        "read_only": False,
        "filesystem": None,
        "label": None,
        "uuid": None,
        "partition_table": None,
        "mountpoints": [],
        "children": [],
        "holders": [],
        "signatures": [],
        "blkid_status": 2,
        "ephemeral": disk.ephemeral,
        "network": disk.network,
        "blank": True,
        "use": "",
        "contents": [],
        "not_blank": [],
        "unrecognised_data": False,
        "remains": "",
        "pcie": None,
    }

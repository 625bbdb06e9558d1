"""The host as the planner sees it: the facts of ``host_info`` that decide something."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.record import Record


@dataclass(frozen=True)
class Capability:
    """Whether the host can do something, and why not."""

    able: bool
    reason: str = ""

    @classmethod
    def from_facts(cls, facts: Record, name: str) -> Capability:
        """Read one capability; one that was not looked at counts as absent."""
        found = record.section(facts, name)
        reason = record.text(found, "reason", "this host does not say that it can").rstrip(".")
        return cls(record.flag(found, "able"), reason)


@dataclass(frozen=True)
class Disk:
    """A block device, and whether every test says that nobody uses it. ``parts`` is what divides it or stands on it."""

    path: str
    by_id: tuple[str, ...]
    name: str
    type: str
    size_bytes: int
    model: str
    serial: str
    wwn: str
    turns: bool
    removable: bool
    read_only: bool
    network: bool
    ephemeral: bool
    blank: bool
    not_blank: tuple[str, ...]
    unrecognised_data: bool
    filesystem: str
    label: str
    uuid: str
    mountpoints: tuple[str, ...]
    parts: tuple[str, ...]

    @classmethod
    def from_facts(cls, facts: Record) -> Disk:
        """Read one entry of the facts' ``disks``."""
        return cls(
            path=record.text(facts, "path"),
            by_id=tuple(sorted(record.texts(facts, "by_id"))),
            name=record.text(facts, "name"),
            type=record.text(facts, "type"),
            size_bytes=record.integer(facts, "size_bytes"),
            model=record.text(facts, "model").strip(),
            serial=record.text(facts, "serial").strip(),
            wwn=record.text(facts, "wwn").strip(),
            turns=_turns(facts, record.text(facts, "transport") == "virtio"),
            removable=record.flag(facts, "removable"),
            read_only=record.flag(facts, "read_only"),
            network=record.flag(facts, "network"),
            ephemeral=record.flag(facts, "ephemeral"),
            # Facts that contradict each other are read the safe way.
            blank=record.flag(facts, "blank") and not record.text(facts, "filesystem"),
            not_blank=record.texts(facts, "not_blank"),
            # A disk of which nobody says that it reads as zeros may hold anything.
            unrecognised_data=record.flag(facts, "unrecognised_data", default=True),
            filesystem=record.text(facts, "filesystem"),
            label=record.text(facts, "label"),
            uuid=record.text(facts, "uuid"),
            mountpoints=record.texts(facts, "mountpoints"),
            parts=(
                *record.texts(facts, "children"),
                *record.texts(facts, "holders"),
                *filter(None, [record.text(facts, "partition_table")]),
            ),
        )

    @property
    def stable_path(self) -> str:
        """The name that survives a reboot, where udev gives one."""
        return self.by_id[0] if self.by_id else self.path

    def is_called(self, wanted: str) -> bool:
        """Whether a path, a by-id path or a serial number typed by a person means this disk."""
        return bool(wanted) and wanted in (self.path, self.name, self.serial, self.wwn, *self.by_id)

    def identity(self) -> dict[str, Any]:
        """What tells this disk from every other one, for the plan and for the state kept on the host."""
        return {
            "serial": self.serial or None,
            "model": self.model or None,
            "wwn": self.wwn or None,
            "size_bytes": self.size_bytes,
        }


@dataclass(frozen=True)
class Filesystem:
    """A mounted filesystem that could hold models."""

    mountpoint: str
    device: str
    type: str
    size_bytes: int
    available_bytes: int
    turns: bool
    network: bool
    read_only: bool

    @classmethod
    def from_facts(cls, facts: Record) -> Filesystem:
        """Read one entry of the facts' ``filesystems``."""
        return cls(
            mountpoint=record.text(facts, "mountpoint"),
            device=record.text(facts, "device"),
            type=record.text(facts, "type"),
            size_bytes=record.integer(facts, "size_bytes"),
            available_bytes=record.integer(facts, "available_bytes"),
            turns=_turns(facts, record.text(facts, "device").startswith("/dev/vd")),
            network=record.flag(facts, "network"),
            read_only=record.flag(facts, "read_only"),
        )

    def holds(self, path: str) -> bool:
        """Whether a path lies below this mount point."""
        root = self.mountpoint.rstrip("/")
        return bool(self.mountpoint) and (path == self.mountpoint or path.startswith(root + "/"))


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU."""

    name: str
    vram_bytes: int
    lanes: int
    nvlink: bool = False
    speed_gts: float = 0.0

    @classmethod
    def from_facts(cls, facts: Record) -> Gpu:
        """Read one entry of the facts' ``gpus``."""
        name = record.text(facts, "name") or f"NVIDIA device {record.text(facts, 'device_id', 'unknown')}"
        pcie = record.section(facts, "pcie")
        # An idle GPU lowers the speed of its link, so that the current one says nothing.
        speeds = [pcie.get("max_speed_gts"), pcie.get("upstream_max_speed_gts")]
        known = [float(speed) for speed in speeds if isinstance(speed, (int, float)) and 0 < speed < 1000]
        return cls(
            name=name,
            vram_bytes=record.integer(facts, "vram_bytes"),
            lanes=record.integer(pcie, "current_width"),
            nvlink=record.flag(facts, "nvlink"),
            speed_gts=min(known, default=0.0),
        )


@dataclass(frozen=True)
class Listener:
    """A TCP socket that listens on the host."""

    address: str
    port: int
    user: str
    process: str
    unit: str

    @classmethod
    def from_facts(cls, facts: Record) -> Listener:
        """Read one entry of the facts' ``listening``."""
        return cls(
            record.text(facts, "address"),
            record.integer(facts, "port"),
            record.text(facts, "user"),
            record.text(facts, "process"),
            record.text(facts, "unit"),
        )


@dataclass(frozen=True)
class Swap:
    """A swap area in use."""

    path: str
    size_bytes: int

    @classmethod
    def from_facts(cls, facts: Record) -> Swap:
        """Read one entry of the facts' ``memory.swaps``."""
        return cls(record.text(facts, "path"), record.integer(facts, "size_bytes"))


@dataclass(frozen=True)
class Cpu:
    """The processors that the runtime may use."""

    vendor: str
    family: int
    model: int
    name: str
    physical_cores: int
    usable_cpus: int
    features: frozenset[str]

    @classmethod
    def from_facts(cls, facts: Record) -> Cpu:
        """Read the facts' ``cpu``; a host always has at least one core."""
        physical = max(1, record.integer(facts, "physical_cores", 1))
        return cls(
            vendor=record.text(facts, "vendor"),
            family=record.integer(facts, "family"),
            model=record.integer(facts, "model"),
            name=record.text(facts, "name", "unknown CPU"),
            physical_cores=physical,
            usable_cpus=max(1, record.integer(facts, "usable_cpus", physical)),
            features=frozenset(record.texts(facts, "features")),
        )


@dataclass(frozen=True)
class HostFacts:
    """Everything about the host that a decision rests on."""

    distribution_id: str
    distribution_version: str
    distribution_name: str
    codename: str
    machine: str
    container: str
    init: str
    capabilities: dict[str, Capability]
    cpu: Cpu
    memory_bytes: int
    machine_memory_bytes: int
    overcommit: int
    swaps: tuple[Swap, ...]
    filesystems: tuple[Filesystem, ...]
    disks: tuple[Disk, ...]
    gpus: tuple[Gpu, ...]
    listeners: tuple[Listener, ...]
    storage_state: Record = field(default_factory=dict)
    models_state: Record = field(default_factory=dict)
    inference_state: Record = field(default_factory=dict)

    @classmethod
    def from_facts(cls, facts: Record) -> HostFacts:
        """Read the result of ``host_info``."""
        distribution = record.section(facts, "distribution")
        memory = record.section(facts, "memory")
        capabilities = record.section(facts, "capabilities")
        state = record.section(facts, "state")
        total = record.integer(memory, "total_bytes")
        limit = record.optional_integer(memory, "cgroup_limit_bytes")
        return cls(
            distribution_id=record.text(distribution, "id", "unknown"),
            distribution_version=record.text(distribution, "version"),
            distribution_name=record.text(distribution, "name", "an unknown distribution"),
            codename=record.text(distribution, "codename", "unknown"),
            machine=record.text(record.section(facts, "kernel"), "architecture", "unknown"),
            container=record.text(record.section(facts, "virtualization"), "container", "none"),
            init=record.text(facts, "init", "unknown"),
            capabilities={name: Capability.from_facts(capabilities, name) for name in _CAPABILITIES},
            cpu=Cpu.from_facts(record.section(facts, "cpu")),
            memory_bytes=total if limit is None else min(total, limit),
            machine_memory_bytes=total,
            overcommit=record.integer(memory, "overcommit"),
            swaps=tuple(Swap.from_facts(swap) for swap in record.sections(memory, "swaps")),
            filesystems=tuple(Filesystem.from_facts(fs) for fs in record.sections(facts, "filesystems")),
            disks=tuple(Disk.from_facts(disk) for disk in record.sections(facts, "disks")),
            gpus=tuple(Gpu.from_facts(gpu) for gpu in record.sections(facts, "gpus")),
            listeners=tuple(Listener.from_facts(socket) for socket in record.sections(facts, "listening")),
            storage_state=record.section(state, "storage"),
            models_state=record.section(state, "models"),
            inference_state=record.section(state, "inference"),
        )

    @property
    def vram_bytes(self) -> int:
        """The memory of all GPUs together."""
        return sum(gpu.vram_bytes for gpu in self.gpus)

    def filesystem_of(self, path: str) -> Filesystem | None:
        """Return the filesystem on which a path lies: the one with the longest mount point above it."""
        above = [filesystem for filesystem in self.filesystems if filesystem.holds(path)]
        return max(above, key=lambda filesystem: len(filesystem.mountpoint), default=None)


def _turns(facts: Record, paravirtual: bool) -> bool:
    """Whether the disk below is a slow, turning one. The kernel says so of every virtio disk, which means nothing."""
    return record.flag(facts, "rotational") and not paravirtual


_CAPABILITIES = ("root", "systemd", "kernel_modules", "swap", "mkfs", "reboot")

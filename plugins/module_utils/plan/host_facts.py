"""The host as the planner sees it: the facts of ``host_info`` that decide something."""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk import Disk, tell_apart, turns
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
    btrfs_devices: int = 0
    btrfs_profiles: tuple[str, ...] = ()

    @classmethod
    def from_facts(cls, facts: Record) -> Filesystem:
        """Read one entry of the facts' ``filesystems``."""
        return cls(
            mountpoint=record.text(facts, "mountpoint"),
            device=record.text(facts, "device"),
            type=record.text(facts, "type"),
            size_bytes=record.integer(facts, "size_bytes"),
            available_bytes=record.integer(facts, "available_bytes"),
            turns=turns(facts, record.text(facts, "device").startswith("/dev/vd")),
            network=record.flag(facts, "network"),
            read_only=record.flag(facts, "read_only"),
            btrfs_devices=record.integer(record.section(facts, "btrfs"), "devices"),
            btrfs_profiles=record.texts(record.section(facts, "btrfs"), "data_profiles"),
        )

    def holds(self, path: str) -> bool:
        """Whether a path lies below this mount point."""
        root = self.mountpoint.rstrip("/")
        return bool(self.mountpoint) and (path == self.mountpoint or path.startswith(root + "/"))


@dataclass(frozen=True)
class CloudMount:
    """A mount that a tool of the machine's cloud made; ``ephemeral``: it may come back empty."""

    path: str
    by: str
    ephemeral: bool

    @classmethod
    def from_facts(cls, facts: Record) -> CloudMount:
        """Read one entry of the facts' ``cloud.mounts``."""
        return cls(record.text(facts, "path"), record.text(facts, "by"), record.flag(facts, "ephemeral"))


@dataclass(frozen=True)
class Cloud:
    """The cloud of the machine, if any; ``fresh``: the instance was first booted less than a day ago."""

    name: str
    fresh: bool
    mounts: tuple[CloudMount, ...]

    @classmethod
    def from_facts(cls, facts: Record) -> Cloud:
        """Read the facts' ``cloud``; facts of an older release have none."""
        return cls(
            name=record.text(facts, "name", "none"),
            fresh=record.flag(facts, "fresh"),
            mounts=tuple(CloudMount.from_facts(mount) for mount in record.sections(facts, "mounts")),
        )


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
    """A swap area in use; ``compressed``: it is zram, which keeps the pages in RAM."""

    path: str
    size_bytes: int
    priority: int = 0

    @property
    def compressed(self) -> bool:
        """Whether it is a zram device."""
        return self.path.startswith("/dev/zram")

    @classmethod
    def from_facts(cls, facts: Record) -> Swap:
        """Read one entry of the facts' ``memory.swaps``."""
        return cls(record.text(facts, "path"), record.integer(facts, "size_bytes"), record.integer(facts, "priority"))


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
    """Everything about the host that a decision rests on. One that is ``described`` is words, no machine."""

    distribution_id: str
    distribution_version: str
    distribution_name: str
    codename: str
    machine: str
    container: str
    virtual: bool
    described: bool
    cloud: Cloud
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
    swap_state: Record = field(default_factory=dict)
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
            virtual=record.text(record.section(facts, "virtualization"), "machine", "none") != "none",
            described="hardware" in facts,
            cloud=Cloud.from_facts(record.section(facts, "cloud")),
            init=record.text(facts, "init", "unknown"),
            capabilities={name: Capability.from_facts(capabilities, name) for name in _CAPABILITIES},
            cpu=Cpu.from_facts(record.section(facts, "cpu")),
            memory_bytes=total if limit is None else min(total, limit),
            machine_memory_bytes=total,
            # What llmhost has set is no fact of the host: the next plan would take it back.
            overcommit=record.integer(
                record.section(record.section(state, "swap"), "before"),
                "vm.overcommit_memory",
                record.integer(memory, "overcommit"),
            ),
            swaps=tuple(Swap.from_facts(swap) for swap in record.sections(memory, "swaps")),
            filesystems=tuple(Filesystem.from_facts(fs) for fs in record.sections(facts, "filesystems")),
            disks=tell_apart([Disk.from_facts(disk) for disk in record.sections(facts, "disks")]),
            gpus=tuple(Gpu.from_facts(gpu) for gpu in record.sections(facts, "gpus")),
            listeners=tuple(Listener.from_facts(socket) for socket in record.sections(facts, "listening")),
            storage_state=record.section(state, "storage"),
            swap_state=record.section(state, "swap"),
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


_CAPABILITIES = ("root", "systemd", "kernel_modules", "swap", "mkfs", "sysctl", "reboot")

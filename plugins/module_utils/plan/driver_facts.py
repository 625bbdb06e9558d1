"""The facts on which the choice of a driver rests, as the planner reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpus import gpu_of_facts
from ansible_collections.llmhost.core.plugins.module_utils.record import Record

OPEN, PROPRIETARY = "open", "proprietary"

# NVIDIA's device ids rise with the generations: Maxwell begins here, Turing here, and Blackwell here.
_MAXWELL_ID, _TURING_ID, _BLACKWELL_ID = 0x1340, 0x1E00, 0x2900
_MAXWELL, _TURING, _BLACKWELL = (5, 0), (7, 5), (10, 0)


@dataclass(frozen=True)
class DrivenGpu:
    """A GPU and what can drive it. ``capability``: of its generation at least, where the GPU itself is not known."""

    name: str
    capability: tuple[int, int]
    bound_to: str
    fabric: str

    @classmethod
    def from_facts(cls, facts: Record) -> DrivenGpu:
        """Read one entry of the facts' ``gpus``."""
        name = record.text(facts, "name", "an unknown NVIDIA GPU")
        spec = gpu_of_facts(name, record.integer(facts, "vram_bytes"))
        return cls(
            name=name,
            capability=spec.capability if spec else _generation(record.text(facts, "device_id")),
            bound_to=record.text(facts, "driver"),
            fabric=spec.fabric if spec else "",
        )

    @property
    def flavours(self) -> frozenset[str]:
        """The kernel modules that drive it: the open ones need the GPU's own processor, which came with Turing."""
        if self.capability >= _BLACKWELL:
            return frozenset((OPEN,))
        if self.capability >= _TURING:
            return frozenset((OPEN, PROPRIETARY))
        return frozenset((PROPRIETARY,)) if self.capability >= _MAXWELL else frozenset()

    @property
    def is_old(self) -> bool:
        """Whether it is of the generations that 580 is the last branch for: Maxwell, Pascal, Volta."""
        return self.capability < _TURING


@dataclass(frozen=True)
class PackageFacts:
    """The fact ``nvidia.packages``; ``known`` is whether it was looked at and apt has lists."""

    known: bool
    installed: Mapping[str, str]
    candidates: Mapping[str, str]
    transitional: Mapping[str, str]
    kernel_flavour: str
    kernel_latest: str
    kernel_packages: tuple[str, ...]
    kernel_images: tuple[str, ...]
    headers: bool
    prebuilt: frozenset[str]
    newer_kernel: Mapping[str, str]
    source: str

    @classmethod
    def from_facts(cls, facts: Record) -> PackageFacts:
        """Read the fact."""
        return cls(
            known=record.flag(facts, "lists"),
            installed=_texts(facts, "installed"),
            candidates=_texts(facts, "candidates"),
            transitional=_texts(facts, "transitional"),
            kernel_flavour=record.text(facts, "kernel_flavour"),
            kernel_latest=record.text(facts, "kernel_latest"),
            kernel_packages=record.texts(facts, "kernel_packages"),
            kernel_images=record.texts(facts, "kernel_images"),
            headers=record.flag(facts, "headers"),
            prebuilt=frozenset(record.texts(facts, "prebuilt")),
            newer_kernel=_texts(facts, "newer_kernel"),
            source=record.text(facts, "source", "none"),
        )


@dataclass(frozen=True)
class DriverFacts:
    """The driver that is there, the packages that could be, and the machine. Versions are empty where there is none."""

    gpus: tuple[DrivenGpu, ...]
    release: str
    boot_id: str
    secure_boot: bool
    loaded: str
    on_disk: str
    library: str
    loaded_flavour: str
    modules: frozenset[str]
    nvswitches: int
    most_watts: int | None
    packages: PackageFacts
    made: Record = field(default_factory=dict)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> DriverFacts:
        """Read the result of ``host_info``."""
        nvidia = record.section(facts, "nvidia")
        driver = record.section(nvidia, "driver")
        kernel = record.section(facts, "kernel")
        made = record.section(record.section(facts, "state"), "driver")
        limits = [record.integer(gpu, "power_limit_max_watts") for gpu in record.sections(nvidia, "gpus")]
        return cls(
            gpus=tuple(DrivenGpu.from_facts(gpu) for gpu in record.sections(facts, "gpus")),
            release=record.text(kernel, "release"),
            boot_id=record.text(kernel, "boot_id"),
            secure_boot=record.flag(facts, "secure_boot"),
            loaded=record.text(driver, "loaded_version"),
            on_disk=record.text(driver, "module_version"),
            library=record.text(driver, "library_version"),
            loaded_flavour=record.text(driver, "flavour"),
            modules=frozenset(record.texts(driver, "modules")),
            nvswitches=len(record.texts(nvidia, "nvswitches")),
            most_watts=min(filter(None, limits), default=None),
            packages=PackageFacts.from_facts(record.section(nvidia, "packages")),
            made={} if record.flag(made, "kept") else made,
        )

    def without_apt(self) -> DriverFacts:
        """Return the facts without those that say nothing about the host for which the driver is meant."""
        return replace(self, release="", packages=PackageFacts.from_facts({}))

    @property
    def version(self) -> str:
        """The version of the driver that is there: the loaded one, else that on the disk."""
        return self.loaded or self.on_disk or self.library

    @property
    def flavours(self) -> frozenset[str]:
        """The kernel modules that drive every GPU of the host."""
        common = frozenset((OPEN, PROPRIETARY))
        for gpu in self.gpus:
            common &= gpu.flavours
        return common

    @property
    def nouveau(self) -> bool:
        """Whether the kernel's own driver has a GPU, or may take one."""
        return "nouveau" in self.modules or any(gpu.bound_to == "nouveau" for gpu in self.gpus)


def _generation(device_id: str) -> tuple[int, int]:
    try:
        number = int(device_id, 16)
    except ValueError:
        return _TURING
    if number >= _BLACKWELL_ID:
        return _BLACKWELL
    if number >= _TURING_ID:
        return _TURING
    return _MAXWELL if number >= _MAXWELL_ID else (3, 0)


def _texts(facts: Record, key: str) -> dict[str, str]:
    found = record.section(facts, key)
    return {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, str)}

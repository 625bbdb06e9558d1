"""One GPU as its driver sees it, whether nvidia-smi or NVML was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class NvLink:
    """One NVLink of a GPU: ``gbs`` each way; ``remote`` is the PCI address of a GPU, or ``switch``."""

    link: int
    active: bool
    version: str | None = None
    gbs: float | None = None
    remote: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the plain dict that host_info returns."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class RemappedRows:
    """Rows of memory that were replaced by spare ones; ``failure``: there was none left."""

    correctable: int
    uncorrectable: int
    pending: bool
    failure: bool


@dataclass(frozen=True)
class Fabric:
    """How far a GPU is with joining the fabric of NVSwitches: ``Completed`` and ``Success`` when it may be used."""

    state: str
    status: str | None = None


@dataclass(frozen=True)
class DriverGpu:
    """What the driver says of a GPU; None where it does not say, as a GeForce does of much."""

    index: int
    uuid: str | None = None
    pci_address: str | None = None
    device_id: str | None = None
    name: str | None = None
    vram_bytes: int | None = None
    compute_capability: str | None = None
    generation: int | None = None
    max_generation: int | None = None
    gpu_max_generation: int | None = None
    host_max_generation: int | None = None
    width: int | None = None
    max_width: int | None = None
    bar1_bytes: int | None = None
    persistence: bool | None = None
    ecc: bool | None = None
    uncorrected_errors: int | None = None
    remapped_rows: RemappedRows | None = None
    power_limit_watts: int | None = None
    power_limit_max_watts: int | None = None
    mig: bool | None = None
    numa_node: int | None = None
    temperature: int | None = None
    fabric: Fabric | None = None
    nvlinks: tuple[NvLink, ...] = ()

    @classmethod
    def from_fields(cls, said: Mapping[str, Any]) -> DriverGpu:
        """Return the GPU whose fields another process told, as ``dataclasses.asdict`` names them."""
        rows, fabric = said.get("remapped_rows"), said.get("fabric")
        nested = {
            "remapped_rows": RemappedRows(**rows) if rows else None,
            "fabric": Fabric(**fabric) if fabric else None,
            "nvlinks": tuple(NvLink(**link) for link in said.get("nvlinks", ())),
        }
        return cls(**{**said, **nested})

    def completed(self, other: DriverGpu | None) -> DriverGpu:
        """Return this GPU with what only the other source knows of it."""
        if other is None:
            return self
        empty: dict[str, Any] = {
            field.name: getattr(other, field.name)
            for field in fields(self)
            if getattr(self, field.name) in (None, ()) and getattr(other, field.name) is not None
        }
        return replace(self, **empty)

    def as_dict(self) -> dict[str, Any]:
        """Return the plain dict that host_info returns, where what belongs to the PCI link is together."""
        rows, fabric = self.remapped_rows, self.fabric
        return {
            "index": self.index,
            "uuid": self.uuid,
            "pci_address": self.pci_address,
            "device_id": self.device_id,
            "name": self.name,
            "vram_bytes": self.vram_bytes,
            "compute_capability": self.compute_capability,
            "pcie": {
                "generation": self.generation,
                "max_generation": self.max_generation,
                "gpu_max_generation": self.gpu_max_generation,
                "host_max_generation": self.host_max_generation,
                "width": self.width,
                "max_width": self.max_width,
            },
            "bar1_bytes": self.bar1_bytes,
            "persistence": self.persistence,
            "ecc": self.ecc,
            "uncorrected_errors": self.uncorrected_errors,
            "remapped_rows": rows and {field.name: getattr(rows, field.name) for field in fields(rows)},
            "power_limit_watts": self.power_limit_watts,
            "power_limit_max_watts": self.power_limit_max_watts,
            "mig": self.mig,
            "numa_node": self.numa_node,
            "temperature": self.temperature,
            "fabric": fabric and {"state": fabric.state, "status": fabric.status},
            "nvlinks": [link.as_dict() for link in self.nvlinks],
        }

"""What is to be proved, as the role writes it; and by what a result is known to belong to this machine."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.files import read_text, read_word
from ansible_collections.llmhost.core.plugins.module_utils.proof.cuda import LIBRARY
from ansible_collections.llmhost.core.plugins.module_utils.record import integer, section, text, texts
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB

MATRIX_SIZE = 4096
REQUEST = "/etc/llmhost/proof.json"
NO_PEER = "NCCL_P2P_DISABLE"
_IN_ENVIRONMENT = "lib/python3*/site-packages/nvidia/nccl/lib/libnccl.so.2"
_NUMBERS = (
    *("burn_in_seconds", "transfer_bytes", "chunk_bytes", "reserve_bytes", "matrix_size", "measure_ms"),
    "step_seconds",
)


@dataclass(frozen=True)
class Request:
    """GPUs by their PCI addresses, in the order of the plan, and how they are proved."""

    gpus: tuple[str, ...]
    burn_in_seconds: int = 60
    environment: Mapping[str, str] = field(default_factory=dict)
    nccl: str = ""  # libnccl, or the environment of Python that has it; nothing leaves the all-reduce out
    cuda: str = LIBRARY
    transfer_bytes: int = 128 * MIB
    chunk_bytes: int = 256 * MIB
    reserve_bytes: int = 512 * MIB
    matrix_size: int = MATRIX_SIZE
    measure_ms: int = 500
    step_seconds: int = 60

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Request:
        """Read a request; what it leaves out is as above."""
        environment = {str(key): str(value) for key, value in section(data, "environment").items()}
        given: dict[str, Any] = {name: integer(data, name) for name in _NUMBERS if name in data}
        given |= {"nccl": text(data, "nccl"), "cuda": text(data, "cuda") or LIBRARY}
        return cls(gpus=texts(data, "gpus"), environment=environment, **given)

    def work(self, kind: str, **more: Any) -> dict[str, Any]:
        """Return what a process gets for one piece of work."""
        common = {"kind": kind, "cuda": self.cuda, "gpus": list(self.gpus), "library": self._library()}
        numbers = {name: getattr(self, name) for name in ("transfer_bytes", "chunk_bytes", "reserve_bytes")}
        numbers |= {"matrix_size": self.matrix_size, "burn_in_seconds": self.burn_in_seconds}
        return {**common, **numbers, "measure_seconds": self.measure_ms / 1000, **more}

    def _library(self) -> str:
        if not os.path.isdir(self.nccl):
            return self.nccl
        found = glob.glob(os.path.join(glob.escape(self.nccl), _IN_ENVIRONMENT))
        return found[0] if found else os.path.join(self.nccl, _IN_ENVIRONMENT)

    def environment_for(self, peer: bool) -> dict[str, str]:
        """Return the environment of an all-reduce with or without peer access; both are proved, whatever is planned."""
        kept = {key: value for key, value in self.environment.items() if key != NO_PEER}
        return kept if peer else kept | {NO_PEER: "1"}

    def fingerprint(self, proc: str = "/proc", sysfs: str = "/sys") -> str:
        """Return what changes when another proof is asked for, the driver is another, or a GPU was exchanged."""
        asked = {"gpus": self.gpus, "environment": self.environment_for(True), "nccl": self.nccl}
        parts = [json.dumps(asked, sort_keys=True), driver_version(sysfs)]
        parts += [gpu_uuid(address, proc) for address in self.gpus]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def driver_version(sysfs: str = "/sys") -> str:
    """Return the version of the loaded module."""
    return read_word(sysfs, "module/nvidia/version")


def gpu_uuid(pci_address: str, proc: str = "/proc") -> str:
    """Return the UUID that the driver gives a GPU; nothing without a driver."""
    told = read_text(os.path.join(proc, "driver/nvidia/gpus", pci_address, "information")) or ""
    lines = (line.partition(":") for line in told.splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == "GPU UUID"), "")

"""What an engine allocates, device by device: the common answer of ``llama_cpp.py`` and ``vllm.py``."""

from __future__ import annotations

from dataclasses import dataclass

HOST = "host"
"""The name of the row for RAM; GPUs are named GPU0, GPU1 and so on."""


@dataclass(frozen=True)
class DeviceBytes:
    """Bytes on one device, by what they are for. ``overhead_bytes`` is what the engine's own log does not count:
    the CUDA context, libraries, the process. ``droppable_bytes`` are pages of a mapped file that the
    kernel may drop, counted in the weights."""

    name: str
    weights_bytes: int = 0
    kv_cache_bytes: int = 0
    recurrent_bytes: int = 0
    compute_bytes: int = 0
    output_bytes: int = 0  # logits and embeddings handed back
    overhead_bytes: int = 0
    droppable_bytes: int = 0

    @property
    def logged_bytes(self) -> int:
        """What the engine's log adds up to."""
        state = self.kv_cache_bytes + self.recurrent_bytes
        return self.weights_bytes + state + self.compute_bytes + self.output_bytes

    @property
    def total_bytes(self) -> int:
        """Everything that has to be on the device at once."""
        return self.logged_bytes + self.overhead_bytes - self.droppable_bytes


@dataclass(frozen=True)
class Allocation:
    """All devices; ``doubts`` is empty where every figure follows a rule that is known for this model and engine."""

    gpus: tuple[DeviceBytes, ...]
    host: DeviceBytes
    doubts: tuple[str, ...] = ()

    @property
    def devices(self) -> tuple[DeviceBytes, ...]:
        """GPUs first, then RAM."""
        return (*self.gpus, self.host)

    @property
    def vram_bytes(self) -> int:
        """All GPUs together."""
        return sum(gpu.total_bytes for gpu in self.gpus)

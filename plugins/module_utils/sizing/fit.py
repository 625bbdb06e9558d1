"""Whether and how a model fits: the settings to serve it with, and the bytes on each device with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import Allocation, DeviceBytes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import Room

FITS, OFFLOAD, DOES_NOT_FIT, UNKNOWN = "fits", "fits_with_offload", "does_not_fit", "unknown"

LLAMA_CPP, VLLM = "llama_cpp", "vllm"

LEAST_CONTEXT = 2048
"""Shorter than this, hardly a conversation fits; ``auto`` goes no lower, whatever that costs."""
GOOD_CONTEXT = 8192
"""What ``auto`` wants before it leaves anything in RAM; to reach it, it may take q8_0 cells on GPUs."""
MOST_CONTEXT = {"cpu": 8192, "nvidia": 32768}
"""What ``auto`` takes at most: a longer prompt takes minutes on a CPU, and on a GPU it is what most clients can use."""
MOST_PARALLEL = 4
"""What ``llmhost_parallel: auto`` takes at most, with llama.cpp."""


class Want(NamedTuple):
    """What the user asked for; None means that the planner chooses. ``reach``: whether to look for the largest context
    and parallelism too; ``offload``: whether a part of the model may be in RAM beside GPUs."""

    context: int | None = None
    parallel: int | None = 1
    cache_type: str | None = None
    accelerator: str = "nvidia"
    reach: bool = True
    offload: bool = True


@dataclass(frozen=True)
class Fit:
    """The answer. ``gpus`` are the numbers of the host's GPUs in use, in the order of the allocation's.

    ``largest_context`` and ``largest_parallel`` are what would still get the same verdict, each with the rest of the
    settings as they are; 0 where nothing does.
    """

    verdict: str
    engine: str
    context: int
    parallel: int
    cache_type: str
    allocation: Allocation
    gpus: tuple[int, ...] = ()
    usable_bytes: tuple[int, ...] = ()
    ram_usable_bytes: int = 0
    gpu_layers: int | None = None
    places: int = 0
    cpu_expert_layers: int = 0
    split: tuple[int, ...] = ()
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    memory_utilization: float = 0.0
    sequences: int = 0  # vLLM's max_num_seqs, 0 for its own
    cpu_offload_bytes: int = 0
    largest_context: int = 0
    largest_parallel: int = 0
    most_ram_bytes: int = 0  # RAM with the largest of these
    why: str = ""  # why it does not fit, in the engine's words

    @property
    def weights_bytes(self) -> int:
        """The weights wherever they are."""
        return sum(device.weights_bytes for device in self.allocation.devices)

    @property
    def host(self) -> DeviceBytes:
        """The row for RAM."""
        return self.allocation.host

    @property
    def ram_need_bytes(self) -> int:
        """All that is in RAM."""
        return self.allocation.host.total_bytes

    @property
    def ram_missing_bytes(self) -> int:
        """RAM that the host lacks and swap must stand in for."""
        return max(0, self.ram_need_bytes - self.ram_usable_bytes)

    @property
    def layers_in_ram(self) -> int:
        """Layers (the output is one more) of which all is in RAM though the host has GPUs."""
        return 0 if self.gpu_layers is None else self.places - self.gpu_layers

    @property
    def vram_missing_bytes(self) -> int:
        """What the GPUs lack, each for itself."""
        pairs = zip(self.allocation.gpus, self.usable_bytes, strict=True)
        return sum(max(0, gpu.total_bytes - usable) for gpu, usable in pairs)


def target_context(want: Want, model_context: int) -> int:
    """Return the context to try first: what the user wants, else what is useful, never more than the model's own."""
    most = want.context if want.context is not None else MOST_CONTEXT.get(want.accelerator, GOOD_CONTEXT)
    return max(1, min(most, model_context or most))


def least_context(want: Want, target: int) -> int:
    """Return the context below which the planner does not go by itself."""
    return target if want.context is not None else min(target, LEAST_CONTEXT)


def room_of(gpus: tuple[int, ...], room: Room) -> tuple[int, ...]:
    """Return the usable bytes of those GPUs."""
    return tuple(room.gpus[number].usable_bytes for number in gpus)

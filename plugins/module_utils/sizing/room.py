"""What a host offers a model: its GPUs, its RAM, and the swap that may stand in for RAM."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple


class GpuRoom(NamedTuple):
    """One GPU. ``usable_bytes`` is what a process can have of ``vram_bytes``; bandwidth is 0 where it is not known.

    ``link`` is how it reaches the others: switch, bridge, or nothing for PCI Express.
    """

    name: str
    usable_bytes: int
    vram_bytes: int
    bandwidth_gbs: float = 0.0
    capability: tuple[int, int] = (0, 0)
    link: str = ""
    pcie_gen: int = 3
    lanes: int = 16


@dataclass(frozen=True)
class Room:
    """A host. ``ram_bytes`` is what is left of RAM for the runtime; the order of ``gpus`` is the host's own.

    ``tensor_ranks``: over how many GPUs tensor parallel may go, for the ways between them; 0 for all.
    """

    gpus: tuple[GpuRoom, ...]
    ram_bytes: int
    swap_bytes: int = 0
    machine_ram_bytes: int = 0
    ram_bandwidth: int = 0  # bytes a second, 0 where it is not known
    tensor_ranks: int = 0

    @property
    def ram_and_swap_bytes(self) -> int:
        """The most that may be asked of RAM, slowly where it is swap."""
        return self.ram_bytes + self.swap_bytes

    def without_ram_limit(self) -> Room:
        """The same GPUs in a host with all the RAM that it takes."""
        return replace(self, ram_bytes=1 << 62, swap_bytes=0)

    def sets(self) -> list[tuple[int, ...]]:
        """Return which GPUs to try, from one alone to all: layers split over several are no faster than on one.

        Of each number, the fastest first and then the largest.
        """
        if not self.gpus:
            return []
        numbers = range(len(self.gpus))
        fastest = sorted(numbers, key=lambda at: (-self.gpus[at].bandwidth_gbs, -self.gpus[at].usable_bytes, at))
        largest = sorted(numbers, key=lambda at: (-self.gpus[at].usable_bytes, -self.gpus[at].bandwidth_gbs, at))
        found: dict[tuple[int, ...], None] = {}
        for count in range(1, len(self.gpus) + 1):
            for order in (fastest, largest):
                found[tuple(sorted(order[:count]))] = None
        return list(found)

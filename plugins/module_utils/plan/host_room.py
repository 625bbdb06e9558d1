"""What a host has room for: its facts as the sizing engine reads them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpu_table import SWITCH
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpus import gpu_of_facts, usable_vram
from ansible_collections.llmhost.core.plugins.module_utils.hardware.hardware import parse_hardware
from ansible_collections.llmhost.core.plugins.module_utils.hardware.machines import MACHINES, TIERS
from ansible_collections.llmhost.core.plugins.module_utils.hardware.pci_express import generation_of
from ansible_collections.llmhost.core.plugins.module_utils.hardware.ram_speed import ram_speed
from ansible_collections.llmhost.core.plugins.module_utils.plan.facts_cache import FactsCache
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import Gpu, HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB, round_down
from ansible_collections.llmhost.core.plugins.module_utils.sizing.advice import Machine
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import GpuRoom, Room

# What is left to the system: sshd, journal, page tables, and the page cache that keeps the machine responsive.
_RESERVE_SHARE = 20
_RESERVE_LEAST, _RESERVE_MOST = 768 * MIB, 4 * GIB
# Figures that come from a measurement are rounded, so that another kernel does not change the plan by some pages.
_GRAIN = 64 * MIB


_known: FactsCache[HostFacts] = FactsCache(HostFacts.from_facts, kept=64)


def host_facts(facts: Mapping[str, Any]) -> HostFacts:
    """Return the facts as the planner reads them; those of the last hosts are remembered, for plans of many models."""
    return _known(facts)


def room_of_host(host: HostFacts, swap_budget: int, ram_bandwidth: int = 0, tensor_ranks: int = 0) -> Room:
    """Return the room of a host; ``swap_budget`` is the swap that may stand in for RAM that is not there.

    ``tensor_ranks``: over how many GPUs tensor parallel may go, 0 for all.
    """
    return Room(
        gpus=tuple(gpu_room(gpu) for gpu in host.gpus),
        ram_bytes=usable_ram(host.memory_bytes),
        swap_bytes=swap_budget,
        machine_ram_bytes=host.machine_memory_bytes,
        ram_bandwidth=ram_bandwidth,
        tensor_ranks=tensor_ranks,
    )


def usable_ram(memory_bytes: int) -> int:
    """Return the RAM that the runtime may fill: that of the machine or its cgroup, less what the system needs."""
    reserve = min(max(memory_bytes // _RESERVE_SHARE, _RESERVE_LEAST), _RESERVE_MOST)
    return round_down(max(0, memory_bytes - reserve), _GRAIN)


def choose_accelerator(host: HostFacts, intent: Intent) -> str:
    """Return what computes: what the user named, else a GPU if there is one."""
    if intent.accelerator != "auto":
        return intent.accelerator if host.gpus else "cpu"
    return "nvidia" if host.gpus else "cpu"


@functools.lru_cache(maxsize=4096)
def gpu_room(gpu: Gpu) -> GpuRoom:
    """Return the room on a GPU."""
    spec = gpu_of_facts(gpu.name, gpu.vram_bytes)
    return GpuRoom(
        name=gpu.name,
        usable_bytes=usable_vram(gpu.name, gpu.vram_bytes),
        vram_bytes=gpu.vram_bytes,
        bandwidth_gbs=spec.bandwidth_gbs if spec else 0.0,
        capability=spec.capability if spec else (0, 0),
        link=spec.fabric if spec and (gpu.nvlink or spec.fabric == SWITCH) else "",
        pcie_gen=generation_of(gpu.speed_gts) or 3,
        lanes=gpu.lanes or 16,
    )


class Catalogue:
    """The machines that may be advised: the tiers first, then those of clouds, the smallest first.

    Those of clouds are read only when they are asked for: that takes tens of milliseconds, once.
    """

    def __iter__(self) -> Iterator[Machine]:
        """Return one after the other."""
        yield from _machines(tuple(TIERS))
        yield from _machines(tuple(name for name in MACHINES if name not in TIERS))


@functools.cache
def _machines(names: tuple[str, ...]) -> tuple[Machine, ...]:
    found = []
    for name in names:
        facts = parse_hardware(name)
        host = HostFacts.from_facts(facts)
        if host.gpus and host.container == "none":
            room = room_of_host(host, 0, ram_speed(facts).bandwidth)
            found.append(Machine(name, MACHINES[name], room, sum(gpu.usable_bytes for gpu in room.gpus) / GIB))
    return tuple(sorted(found, key=lambda machine: (machine.vram_gib, machine.name)))

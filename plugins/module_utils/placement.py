"""Where the model goes: GPU or RAM, with which context, and whether it fits at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils import memory_model
from ansible_collections.llmhost.core.plugins.module_utils.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.intent import Intent
from ansible_collections.llmhost.core.plugins.module_utils.memory_model import Need, Settings
from ansible_collections.llmhost.core.plugins.module_utils.model_facts import ModelFacts
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB, round_down

FITS, OFFLOAD, DOES_NOT_FIT, UNKNOWN = "fits", "fits_with_offload", "does_not_fit", "unknown"

# What is left to the system: sshd, journal, page tables, and the page cache that keeps the machine responsive.
_RESERVE_SHARE = 20
_RESERVE_LEAST, _RESERVE_MOST = 768 * MIB, 4 * GIB
# A driver keeps a little of each GPU: 23.6 of the 24 GiB of an RTX 3090, 79.2 of the 80 of an H100.
_VRAM_USABLE = 0.975
# Figures that come from a measurement are rounded, so that another kernel does not change the plan by some pages.
_GRAIN = 64 * MIB

_CONTEXT_STEP = 1024
_LEAST_AUTO_CONTEXT = 2048
# Beyond this a prompt takes minutes on a CPU; on a GPU it is what most clients can use.
_MOST_AUTO_CONTEXT = {"cpu": 8192, "nvidia": 32768}


@dataclass(frozen=True)
class Device:
    """One place with memory, and what the plan puts there."""

    name: str
    need_bytes: int
    usable_bytes: int


@dataclass(frozen=True)
class Placement:
    """The answer to: does it fit, where, and with which context?"""

    verdict: str
    context: int
    need: Need
    devices: tuple[Device, ...]
    ram_need_bytes: int
    ram_usable_bytes: int
    vram_need_bytes: int = 0
    gpu_layers: int = 0

    @property
    def ram_missing_bytes(self) -> int:
        """RAM that the host lacks and swap must stand in for."""
        return max(0, self.ram_need_bytes - self.ram_usable_bytes)


def usable_ram(host: HostFacts) -> int:
    """Return the RAM that the runtime may fill: that of the machine or its cgroup, less what the system needs."""
    reserve = min(max(host.memory_bytes // _RESERVE_SHARE, _RESERVE_LEAST), _RESERVE_MOST)
    return round_down(max(0, host.memory_bytes - reserve), _GRAIN)


def usable_vram(host: HostFacts) -> list[int]:
    """Return the memory of each GPU that a process can have."""
    return [round_down(int(gpu.vram_bytes * _VRAM_USABLE), _GRAIN) for gpu in host.gpus]


def place(host: HostFacts, model: ModelFacts, intent: Intent, accelerator: str, swap_budget: int) -> Placement:
    """Place the model; ``swap_budget`` is the swap that may stand in for RAM that is not there."""
    place_at = _place_on_gpus if accelerator == "nvidia" else _place_in_ram

    def at(context: int) -> Placement:
        return place_at(host, model, Settings(context, intent.parallel), swap_budget)

    if intent.context is not None:
        return at(min(intent.context, model.context_length or intent.context))
    return _largest_that_fits(at, min(_MOST_AUTO_CONTEXT[accelerator], model.context_length or _LEAST_AUTO_CONTEXT))


def _largest_that_fits(at: Callable[[int], Placement], most: int) -> Placement:
    """Return the placement with the largest context that fits without swap or offload, else the smallest useful one."""
    least = min(most, _LEAST_AUTO_CONTEXT)
    steps = range(round_down(most, _CONTEXT_STEP), least, -_CONTEXT_STEP)
    for context in steps:
        placement = at(context)
        if placement.verdict == FITS and not placement.ram_missing_bytes:
            return placement
    return at(least)


def _place_in_ram(host: HostFacts, model: ModelFacts, settings: Settings, swap_budget: int) -> Placement:
    need = memory_model.cpu_need(model, settings)
    usable = usable_ram(host)
    fits = need.total_bytes <= usable + swap_budget
    return Placement(
        verdict=FITS if fits else DOES_NOT_FIT,
        context=settings.context,
        need=need,
        devices=(Device("RAM", need.total_bytes, usable),),
        ram_need_bytes=need.total_bytes,
        ram_usable_bytes=usable,
    )


def _place_on_gpus(host: HostFacts, model: ModelFacts, settings: Settings, swap_budget: int) -> Placement:
    usable, usable_host = usable_vram(host), usable_ram(host)
    needs = memory_model.gpu_needs(model, settings, usable)
    beside = memory_model.gpu_host_bytes(model, settings)
    over = sum(max(0, need - room) for need, room in zip(needs, usable, strict=True))
    ram_need = beside + over
    verdict = OFFLOAD if over else FITS
    if ram_need > usable_host + swap_budget:
        verdict = DOES_NOT_FIT
    on_gpus = [min(need, room) for need, room in zip(needs, usable, strict=True)] if verdict == OFFLOAD else needs
    devices = [
        Device(f"GPU{number} {gpu.name}", need, room)
        for number, (gpu, need, room) in enumerate(zip(host.gpus, on_gpus, usable, strict=True))
    ]
    kv = memory_model.kv_cache_bytes(model, settings)
    compute = memory_model.compute_bytes(model, settings) * len(needs)
    weights = memory_model.resident_weights_bytes(model)
    return Placement(
        verdict=verdict,
        context=settings.context,
        need=Need(weights, kv, compute, max(0, sum(needs) + beside - weights - kv - compute)),
        devices=(*devices, Device("RAM", ram_need, usable_host)),
        ram_need_bytes=ram_need,
        ram_usable_bytes=usable_host,
        vram_need_bytes=sum(on_gpus),
        gpu_layers=_layers_that_fit(model, kv, over),
    )


def _layers_that_fit(model: ModelFacts, kv: int, over: int) -> int:
    """Return the layers (and the output, as one more) left on the GPUs when ``over`` bytes must move to RAM."""
    layer = model.layer_bytes + (kv // model.layers if model.layers else 0)
    moved = -(-over // layer) if layer else 0
    return max(0, model.layers + 1 - moved)

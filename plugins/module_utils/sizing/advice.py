"""What would make a model fit that does not, or only with a part of it in RAM: the three ways that cost users least.

Each way is computed by the same search as the plan, so it carries a whole answer, not an estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, format_gib
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import DOES_NOT_FIT, FITS, LLAMA_CPP, Fit, Want
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import Room
from ansible_collections.llmhost.core.plugins.module_utils.sizing.sizes import ModelSizes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.solve import solve

MOST_WAYS = 3
QUANTISATION, CONTEXT, CELLS, GPUS, MACHINE, RAM = "quantisation", "context", "kv_cache", "gpus", "machine", "ram"

# Machines with five or seven GPUs are not built.
_GPU_COUNTS = (2, 3, 4, 6, 8)
# What a model may be converted to, with about the bits of a weight.
_CONVERSIONS = {"Q8_0": 8.5, "Q6_K": 6.6, "Q5_K_M": 5.7, "Q4_K_M": 4.9, "Q3_K_M": 4.0, "Q2_K": 3.2}
_RAM_SIZES = tuple(size * GIB for size in (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048))


@dataclass(frozen=True)
class Way:
    """One way. ``loss`` ranks: about the percent of quality, or of what else users want, that it costs."""

    kind: str
    text: str
    loss: float
    fit: Fit
    sizes: ModelSizes
    room: Room
    machine: str = ""


@dataclass(frozen=True)
class Machine:
    """A host that can be had, for the way to another one."""

    name: str
    phrase: str
    room: Room
    vram_gib: float


@dataclass(frozen=True)
class Problem:
    """What was asked, and the answer that is not good enough. ``usable_ram`` gives what is usable of a size of RAM."""

    sizes: ModelSizes
    engine: str
    room: Room
    want: Want
    fit: Fit
    usable_ram: Callable[[int], int]
    machines: Iterable[Machine] = ()

    def better(self, fit: Fit) -> bool:
        """Whether that is an improvement that is worth a sentence."""
        return fit.verdict == FITS and not fit.ram_missing_bytes


def ways(problem: Problem) -> tuple[Way, ...]:
    """Return the three best ways, one of a kind, that which costs least first. A model that fits needs none."""
    if problem.fit.verdict == FITS and not problem.fit.ram_missing_bytes:
        return ()
    problem = replace(problem, want=problem.want._replace(reach=False, offload=False))
    found: dict[str, Way] = {}
    for way in _all(problem):
        if way.kind not in found or way.loss < found[way.kind].loss:
            found[way.kind] = way
    return tuple(sorted(found.values(), key=lambda way: (way.loss, way.kind))[:MOST_WAYS])


def _all(problem: Problem) -> Iterator[Way]:
    yield from _cells(problem)
    yield from _context(problem)
    yield from _quantisation(problem)
    yield from _gpus(problem)
    yield from _ram(problem)
    yield from _machine(problem)


def _cells(problem: Problem) -> Iterator[Way]:
    """Smaller cells of the KV cache: q8_0 is hardly noticed, q4_0 is."""
    if not _may_hold(problem.room, problem.sizes):
        return
    losses = {"q8_0": 0.5, "q4_0": 5.0} if problem.engine == LLAMA_CPP else {"fp8": 0.5}
    for cells, loss in losses.items():
        if cells == problem.want.cache_type:
            continue
        fit = solve(problem.sizes, problem.engine, problem.room, problem.want._replace(cache_type=cells))
        if problem.better(fit):
            text = f"{cells} cells of the KV cache, with a context of {fit.context}"
            yield Way(CELLS, text, loss, fit, problem.sizes, problem.room)
            return


def _context(problem: Problem) -> Iterator[Way]:
    """A shorter context than the one asked for."""
    wanted = problem.want.context
    if wanted is None or not _may_hold(problem.room, problem.sizes):
        return
    fit = solve(problem.sizes, problem.engine, problem.room, problem.want._replace(context=None, reach=True))
    context = max(fit.context, min(fit.largest_context, wanted))
    if problem.better(fit) and context < wanted:
        fit = solve(problem.sizes, problem.engine, problem.room, problem.want._replace(context=context))
        yield Way(
            CONTEXT,
            f"a context of {context} instead of {wanted}",
            1 + 2 * math.log2(wanted / context),
            fit,
            problem.sizes,
            problem.room,
        )


def _quantisation(problem: Problem) -> Iterator[Way]:
    """The best smaller quantisation of the same repository."""
    own = problem.sizes.files_bytes
    smaller = sorted(
        (variant for variant in problem.sizes.variants if variant.size_bytes < own), key=lambda one: -one.size_bytes
    )
    for variant in smaller:
        other = problem.sizes.other(variant)
        if not _may_hold(problem.room, other):
            continue
        fit = solve(other, problem.engine, problem.room, problem.want)
        if problem.better(fit):
            text = f"{variant.label} of the same repository ({format_gib(variant.size_bytes)})"
            loss = max(0.1, quality_loss(other.bits_per_weight) - quality_loss(problem.sizes.bits_per_weight))
            yield Way(QUANTISATION, text, loss, fit, other, problem.room)
            return
    if not problem.sizes.variants:
        yield from _conversion(problem)


def _conversion(problem: Problem) -> Iterator[Way]:
    """The best GGUF that could be made of the model, or be found: where its repository has one quantisation alone."""
    bits = problem.sizes.bits_per_weight
    for target, target_bits in _CONVERSIONS.items():
        if bits and target_bits >= bits:
            continue
        try:
            other = problem.sizes.quantized(target)
        except ModelError:
            return
        if not _may_hold(problem.room, other):
            continue
        fit = solve(other, LLAMA_CPP, problem.room, problem.want._replace(cache_type=None))
        if problem.better(fit):
            text = f"a GGUF of the model in {target} (about {format_gib(other.weights_bytes)}), with llama.cpp"
            loss = max(0.1, quality_loss(target_bits) - quality_loss(bits))
            yield Way(QUANTISATION, text, loss, fit, other, problem.room)
            return


def quality_loss(bits_per_weight: float) -> float:
    """Return about how many percent worse a model of that many bits per weight predicts text than at 16 bits.

    2.8 at 4.9 bits (Q4_K_M), and half of it with every half bit more: fits the perplexities of Llama 3 8B in
    ``tools/perplexity/README.md`` of llama.cpp (q6_K 0.3, q5_K_M 0.9, q4_K_M 2.8, q3_K_M 10).
    """
    return 2.8 * 2.0 ** (2 * (4.9 - bits_per_weight)) if bits_per_weight else 2.8


def _gpus(problem: Problem) -> Iterator[Way]:
    """More GPUs like the largest there is."""
    gpus = problem.room.gpus
    if not gpus:
        return
    one = max(gpus, key=lambda gpu: gpu.usable_bytes)
    for total in _GPU_COUNTS:
        count = total - len(gpus)
        if count <= 0:
            continue
        room = replace(problem.room, gpus=(*gpus, *(one,) * count))
        if not _may_hold(room, problem.sizes):
            continue
        fit = solve(problem.sizes, problem.engine, room, problem.want)
        if problem.better(fit):
            text = f"{total} GPUs instead of {len(gpus)}, {count} more {one.name}"
            yield Way(GPUS, text, 8.0 * count, fit, problem.sizes, room)
            return


def _ram(problem: Problem) -> Iterator[Way]:
    """More RAM, where that makes the difference."""
    if problem.fit.verdict != DOES_NOT_FIT and not problem.fit.ram_missing_bytes:
        return
    for size in _RAM_SIZES:
        usable = problem.usable_ram(size)
        if usable <= problem.room.ram_bytes:
            continue
        room = replace(problem.room, ram_bytes=usable)
        fit = solve(problem.sizes, problem.engine, room, problem.want._replace(offload=True))
        if fit.verdict != DOES_NOT_FIT and not fit.ram_missing_bytes:
            slow = " (with a part of the model in it, slower)" if fit.verdict != FITS else ""
            text = f"{format_gib(size)} of RAM{slow}"
            yield Way(RAM, text, 6.0 if fit.verdict == FITS else 20.0, fit, problem.sizes, room)
            return


def _machine(problem: Problem) -> Iterator[Way]:
    """The smallest machine of the catalogue."""
    tried = set()
    for machine in problem.machines:
        if machine.room.gpus in tried or not _may_hold(machine.room, problem.sizes):
            continue
        tried.add(machine.room.gpus)
        fit = solve(problem.sizes, problem.engine, machine.room, problem.want._replace(accelerator="nvidia"))
        if problem.better(fit):
            text = f"the machine {machine.name} ({machine.phrase})"
            yield Way(MACHINE, text, 12.0 + machine.vram_gib / 24, fit, problem.sizes, machine.room, machine.name)
            return


def _may_hold(room: Room, sizes: ModelSizes) -> bool:
    """Whether layers and the smallest cache would fit; what comes on top is left to the search."""
    return sizes.least_bytes <= (sum(gpu.usable_bytes for gpu in room.gpus) or room.ram_bytes)

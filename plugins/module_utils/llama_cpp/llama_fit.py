"""The best settings of llama.cpp for a model on a host: GPUs, context, KV cells, and what stays in RAM.

What is tried on GPUs, in this order (the first that fits is taken):

1. all layers on as few GPUs as hold the context wanted, with f16 cells;
2. ``auto`` alone: a shorter context on all GPUs, but no shorter than ``GOOD_CONTEXT``;
3. q8_0 cells on all GPUs, unless the user named a type (``auto``: up to ``GOOD_CONTEXT``);
4. the experts of the first layers in RAM, as few as need be: each token reads a few of them, so that costs least;
5. whole layers in RAM, as few as need be; what is left in RAM is never left to swap;
6. else it does not fit, and the figures are those of the least that was wanted on all GPUs.

On a CPU: f16 cells without swap, then q8_0 cells, then with swap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_model import Choice, LlamaModel
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import (
    DOES_NOT_FIT,
    FITS,
    GOOD_CONTEXT,
    LLAMA_CPP,
    MOST_PARALLEL,
    OFFLOAD,
    Fit,
    Want,
    least_context,
    room_of,
    target_context,
)
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import Room
from ansible_collections.llmhost.core.plugins.module_utils.sizing.search import grid, largest, smallest

AUTO_STEP, CELL_STEP = 1024, 256
"""A context that the planner chooses is a multiple of the first; the largest that fits is one of the second."""
DEFAULT_CELLS, SMALLER_CELLS = "f16", "q8_0"
# More at once than anybody serves: with a part in RAM, and from GPUs.
_MOST_IN_RAM, _MOST_SEQUENCES = 64, 256

Find = Callable[[int, int, str], Choice | None]
"""From context, parallel sequences and cell type to the settings that fit with them."""


class _Reach(NamedTuple):
    """The longest context and the most sequences, and the RAM that the larger of both takes."""

    context: int
    parallel: int
    ram_bytes: int


def _count_to(size: int, parts: list[int]) -> int:
    """Return how many of the first parts make up a size."""
    for count, upto in enumerate(accumulate(parts), 1):
        if upto >= size:
            return count
    return len(parts)


def fit_llama(model: LlamaModel, room: Room, want: Want) -> Fit:
    """Return the best settings for that model on that host."""
    return _Search(model, room, want).answer()


class _Search:
    """One search; ``verdict`` and ``find`` follow from what was found: how the largest context is looked for."""

    def __init__(self, model: LlamaModel, room: Room, want: Want) -> None:
        self.model, self.room, self.want = model, room, want
        self.target = target_context(want, model.shape.context_length)
        self.least = least_context(want, self.target)
        self.parallel = want.parallel or 1
        self.cells = want.cache_type or DEFAULT_CELLS
        self.all_gpus = tuple(range(len(room.gpus)))

    def answer(self) -> Fit:
        on_gpus = self.want.accelerator == "nvidia" and bool(self.room.gpus)
        return self._on_gpus() if on_gpus else self._on_cpu()

    # --- On GPUs

    def _on_gpus(self) -> Fit:
        # What fits on GPUs alone is the same for every host with these GPUs, whatever its RAM.
        key = (self.room.gpus, self.want)
        whole = self.model.whole.get(key, self)
        if whole is self:
            whole = self.model.whole[key] = _Search(self.model, self.room.without_ram_limit(), self.want).whole()
        if isinstance(whole, Fit):
            if whole.most_ram_bytes <= self.room.ram_and_swap_bytes:
                return replace(whole, ram_usable_bytes=self.room.ram_bytes)
            whole = self.whole()
            if whole is not None:
                return whole
        choice = None
        if self.want.offload:
            choice = self._longest(self._offloaded, self.cells, self.least, self._good())
        if choice is not None:
            return self._found(OFFLOAD, self.all_gpus, choice, self._offloaded_somehow)
        choice = self._balanced(self.all_gpus, Choice(self.least, self.parallel, self.cells, len(self.all_gpus)))
        return self._fit(DOES_NOT_FIT, self.all_gpus, choice)

    def _good(self) -> int:
        return self.target if self.want.context is not None else min(self.target, GOOD_CONTEXT)

    def whole(self) -> Fit | None:
        """Return the best settings with every layer on GPUs, or None where there are none."""
        for gpus in self.room.sets():
            choice = self._whole(gpus)(self.target, self.parallel, self.cells)
            if choice is not None:
                return self._found(FITS, gpus, choice, self._whole(gpus))
        everywhere, good = self._whole(self.all_gpus), self._good()
        choice = self._longest(everywhere, self.cells, good, self.target)
        if choice is None:
            cells = SMALLER_CELLS if self.want.cache_type is None else self.cells
            choice = self._longest(everywhere, cells, self.least, good)
        return None if choice is None else self._found(FITS, self.all_gpus, choice, everywhere)

    def _whole(self, gpus: tuple[int, ...]) -> Find:
        """Return how to find settings with every layer on those GPUs."""

        too_small = sum(self.model.layer_bytes) > sum(room_of(gpus, self.room))

        def find(context: int, parallel: int, cells: str) -> Choice | None:
            if too_small:
                return None
            choice = self._balanced(gpus, Choice(context, parallel, cells, len(gpus)))
            return choice if self._holds(gpus, choice) and self._ram_holds(choice) else None

        return find

    def _offloaded(self, context: int, parallel: int, cells: str) -> Choice | None:
        """Leave experts in RAM, and then layers, as few as need be."""
        base = Choice(context, parallel, cells, len(self.all_gpus))
        key = (self.room.gpus, base)
        known = self.model.offloaded
        if key not in known:
            known[key] = self._least_offload(base)
        choice = known[key]
        return choice if choice is not None and self._ram_reads(choice) else None

    def _offloaded_somehow(self, context: int, parallel: int, cells: str) -> Choice | None:
        """Return settings with a part in RAM, not the best ones: with all layers there it takes no search to know."""
        return self._all_in_ram(context, parallel, cells) or self._offloaded(context, parallel, cells)

    def _all_in_ram(self, context: int, parallel: int, cells: str) -> Choice | None:
        choice = Choice(context, parallel, cells, len(self.all_gpus), 0, self.model.places - 1)
        return choice if self._holds(self.all_gpus, choice) and self._ram_reads(choice) else None

    def _least_offload(self, base: Choice) -> Choice | None:
        experts, layers = self.model.expert_bytes, self.model.places - 1
        over = self._over(base)

        def expert_choice(count: int) -> Choice:
            return self._balanced(self.all_gpus, base._replace(cpu_expert_layers=count))

        def layer_choice(in_ram: int) -> Choice:
            on_gpus = self.model.places - in_ram
            return self._balanced(
                self.all_gpus, base._replace(gpu_layers=on_gpus, cpu_expert_layers=layers if any(experts) else 0)
            )

        if any(experts):
            guess = _count_to(over, experts)
            count = smallest(lambda count: self._holds(self.all_gpus, expert_choice(count)), 1, layers, guess)
            if count is not None:
                return expert_choice(count)
            over = self._over(expert_choice(layers))
        rest = [size - expert for size, expert in zip(self.model.layer_bytes, experts, strict=True)]
        in_ram = smallest(
            lambda count: self._holds(self.all_gpus, layer_choice(count)), 1, self.model.places, _count_to(over, rest)
        )
        return None if in_ram is None else layer_choice(in_ram)

    def _over(self, choice: Choice) -> int:
        """Return by how much the GPUs are too small, together."""
        rows = self.model.allocation(self._balanced(self.all_gpus, choice)).gpus
        return sum(row.total_bytes for row in rows) - sum(room_of(self.all_gpus, self.room))

    def _balanced(self, gpus: tuple[int, ...], choice: Choice) -> Choice:
        return self.model.balanced(choice, room_of(gpus, self.room))

    def _holds(self, gpus: tuple[int, ...], choice: Choice) -> bool:
        rows = self.model.allocation(choice).gpus
        return all(row.total_bytes <= self.room.gpus[at].usable_bytes for row, at in zip(rows, gpus, strict=True))

    def _in_ram_of(self, choice: Choice) -> int:
        return self.model.allocation(choice).host.total_bytes

    def _ram_reads(self, choice: Choice) -> bool:
        """Whether RAM alone holds what each token reads there: from swap that would take minutes."""
        return self._in_ram_of(choice) <= self.room.ram_bytes

    def _ram_holds(self, choice: Choice) -> bool:
        return self._in_ram_of(choice) <= self.room.ram_and_swap_bytes

    # --- On a CPU

    def _on_cpu(self) -> Fit:
        found = self._longest(self._in_ram, self.cells, self.least, self.target)
        if found is None and self.want.cache_type is None:
            found = self._longest(self._in_ram, SMALLER_CELLS, self.least, self.least)
        if found is not None:
            return self._found(FITS, (), found, self._in_ram)
        choice = Choice(self.least, self.parallel, self.cells, 0)
        if self._ram_holds(choice):
            return self._found(FITS, (), choice, self._in_ram_and_swap)
        return self._fit(DOES_NOT_FIT, (), choice)

    def _in_ram(self, context: int, parallel: int, cells: str) -> Choice | None:
        choice = Choice(context, parallel, cells, 0)
        return choice if self._in_ram_of(choice) <= self.room.ram_bytes else None

    def _in_ram_and_swap(self, context: int, parallel: int, cells: str) -> Choice | None:
        choice = Choice(context, parallel, cells, 0)
        return choice if self._ram_holds(choice) else None

    # --- The answer

    def _longest(self, find: Find, cells: str, least: int, most: int) -> Choice | None:
        """Return the settings with the longest context from ``least`` to ``most`` tokens."""
        context = largest(lambda size: find(size, self.parallel, cells) is not None, least, most, AUTO_STEP)
        return None if context is None else find(context, self.parallel, cells)

    def _found(self, verdict: str, gpus: tuple[int, ...], choice: Choice, find: Find) -> Fit:
        if self.want.parallel is None:
            choice = self._more_parallel(choice, find)
        if not self.want.reach:
            return replace(self._fit(verdict, gpus, choice), most_ram_bytes=self._in_ram_of(choice))
        # One GPU may hold what is wanted; all of them hold the most.
        finds = [find] if verdict != FITS or len(gpus) == len(self.all_gpus) else [find, self._whole(self.all_gpus)]
        reaches = [self._reach(one, choice) for one in finds]
        return replace(
            self._fit(verdict, gpus, choice),
            largest_context=max(reach.context for reach in reaches),
            largest_parallel=max(reach.parallel for reach in reaches),
            most_ram_bytes=max(reach.ram_bytes for reach in reaches),
        )

    def _reach(self, find: Find, choice: Choice) -> _Reach:
        """Return how far context and parallelism go, each with the rest of the choice as it is."""
        cells, most = choice.cache_type, max(self.model.shape.context_length, choice.context)
        # What RAM decides differs from host to host: steps of 2 %, so that hosts share what was computed.
        by_ram = find in (self._in_ram, self._in_ram_and_swap, self._offloaded_somehow)
        sizes = grid(choice.context, most, CELL_STEP) if by_ram else None

        def holds(size: int) -> bool:
            return find(size if sizes is None else sizes[size], choice.parallel, cells) is not None

        if sizes is None:
            context = largest(holds, choice.context, most, CELL_STEP) or choice.context
        else:
            context = sizes[largest(holds, 0, len(sizes) - 1) or 0]
        # With a part in RAM each number would take a search; what fits with all of it there is enough to know.
        wider = self._all_in_ram if find == self._offloaded_somehow else find
        parallel = largest(
            lambda count: wider(choice.context, count, cells) is not None,
            choice.parallel,
            max(choice.parallel, _MOST_IN_RAM if by_ram else _MOST_SEQUENCES),
        )
        ends = (
            choice,
            find(context, choice.parallel, cells),
            wider(choice.context, parallel or choice.parallel, cells),
        )
        in_ram = max(self._in_ram_of(end) for end in ends if end is not None)
        return _Reach(context, parallel or choice.parallel, in_ram)

    def _more_parallel(self, choice: Choice, find: Find) -> Choice:
        most = largest(lambda count: find(choice.context, count, choice.cache_type) is not None, 1, MOST_PARALLEL)
        return find(choice.context, most or 1, choice.cache_type) or choice

    def _fit(self, verdict: str, gpus: tuple[int, ...], choice: Choice) -> Fit:
        return Fit(
            verdict=verdict,
            engine=LLAMA_CPP,
            context=choice.context,
            parallel=choice.parallel,
            cache_type=choice.cache_type,
            allocation=self.model.allocation(choice),
            gpus=gpus,
            usable_bytes=room_of(gpus, self.room),
            ram_usable_bytes=self.room.ram_bytes,
            gpu_layers=choice.gpu_layers,
            places=self.model.places,
            cpu_expert_layers=choice.cpu_expert_layers,
            split=choice.split,
        )

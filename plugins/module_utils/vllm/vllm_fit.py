"""The best settings of vLLM for a checkpoint on equal GPUs: tensor and pipeline parallel, context, cells, offload.

What is tried, in this order (the first that comes up with the wanted context and parallelism is taken):

1. tensor parallel over as many GPUs as the model's heads can be divided by and the ways between them are fast enough
   for, because it divides the bytes that each GPU reads for a token; then pipeline parallel over the rest; then fewer
   GPUs;
2. each of them with vLLM's own share of the memory, then with room for 16 requests at once instead of its hundreds,
   then with all of the memory that is free, up to 95 %; ``auto``: with the longest context, at least ``GOOD_CONTEXT``;
3. fp8 cells, on GPUs that compute with them, unless the user named a type;
4. ``auto`` alone: a shorter context;
5. weights in RAM (``--cpu-offload-gb``), as few as need be, and never in swap;
6. else it does not fit.

GPUs that differ count as the smallest of them, as for vLLM itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Shape
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import Allocation
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import (
    DOES_NOT_FIT,
    FITS,
    GOOD_CONTEXT,
    OFFLOAD,
    VLLM,
    Fit,
    Want,
    least_context,
    room_of,
    target_context,
)
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import GpuRoom, Room
from ansible_collections.llmhost.core.plugins.module_utils.sizing.search import smallest
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm import (
    CONTEXT_TOO_LONG,
    VllmAllocation,
    allocate_vllm,
)
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_parallel import check_parallel
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import VllmGpu, VllmSettings
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights, scaled

CONTEXT_STEP = 16
"""Tokens of a block: a context is floored to it."""
FULL_SHARE, FEW_REQUESTS = 0.95, 16
_FP8_CAPABILITY = (8, 9)
_REMEMBERED = 5_000


class Layout(NamedTuple):
    """The settings that the search varies."""

    context: int
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    share: float | None = None
    sequences: int | None = None
    cells: str = "auto"
    offload_gib: int = 0


class VllmModel:
    """A model as vLLM loads it; remembers what it has computed."""

    def __init__(self, shape: Shape, weights: Weights, quantization: str = "") -> None:
        """Size a checkpoint of that shape and those weights."""
        self.shape = shape
        self.weights = weights
        self.quantization = quantization
        # Searches that are the same for every host with the same GPUs.
        self.fits: dict[object, Fit] = {}
        self._allocations: dict[tuple[Layout, GpuRoom], VllmAllocation] = {}

    def allocation(self, layout: Layout, gpu: GpuRoom) -> VllmAllocation:
        """Return what vLLM allocates with these settings on GPUs like that one."""
        key = (layout, gpu)
        found = self._allocations.get(key)
        if found is None:
            weights, moved = self.weights, layout.offload_gib * GIB * layout.tensor_parallel * layout.pipeline_parallel
            if moved:
                total = max(1, weights.total_bytes)
                weights = scaled(weights, max(0, total - moved), total)
            found = allocate_vllm(self.shape, weights, self.settings(layout), _gpu(gpu))
            if len(self._allocations) >= _REMEMBERED:
                self._allocations.clear()
            self._allocations[key] = found
        return found

    def settings(self, layout: Layout) -> VllmSettings:
        """Return the engine's own form of a layout."""
        return VllmSettings(
            max_model_len=layout.context,
            max_num_seqs=layout.sequences,
            tensor_parallel=layout.tensor_parallel,
            pipeline_parallel=layout.pipeline_parallel,
            gpu_memory_utilization=layout.share,
            kv_cache_dtype=layout.cells,
            quantization=self.quantization,
        )


def fit_vllm(model: VllmModel, room: Room, want: Want) -> Fit:
    """Return the best settings for that model on that host, which has GPUs."""
    key = (room.gpus, room.tensor_ranks, want)
    fit = model.fits.get(key)
    if fit is None:
        fit = model.fits[key] = _Search(model, room, want).answer()
    # Weights that each token reads are not left to swap.
    limit = room.ram_bytes if fit.cpu_offload_bytes else room.ram_and_swap_bytes
    verdict = fit.verdict if fit.ram_need_bytes <= limit else DOES_NOT_FIT
    return replace(fit, verdict=verdict, ram_usable_bytes=room.ram_bytes)


class _Search:
    """One search, as if RAM were endless."""

    def __init__(self, model: VllmModel, room: Room, want: Want) -> None:
        self.model, self.room, self.want = model, room, want
        self.target = target_context(want, model.shape.context_length)
        self.least = least_context(want, self.target)
        self.wanted_parallel = want.parallel or 1
        self.layouts = list(self._parallel())

    def answer(self) -> Fit:
        nothing = self.layouts[0]._replace(context=self.least)
        widest = nothing._replace(cells=self._cells()[-1])
        if self._allocation(widest).needed_bytes > self._smallest(widest).usable_bytes:
            # Not even the cache of the shortest context fits, which neither fewer GPUs nor offload can change.
            return self._fit(DOES_NOT_FIT, nothing)
        good = self.target if self.want.context is not None else min(self.target, GOOD_CONTEXT)
        for least in dict.fromkeys((good, self.least)):
            for cells in self._cells():
                for base in self.layouts:
                    layout = self._longest(base._replace(cells=cells), least)
                    if layout is not None:
                        return self._fit(FITS, layout)
        for base in self.layouts if self.want.offload else ():
            offloaded = self._offloaded(base)
            if offloaded is not None:
                return self._fit(OFFLOAD, offloaded)
        return self._fit(DOES_NOT_FIT, nothing)

    def _parallel(self) -> Iterator[Layout]:
        """Return the ways to use the GPUs, from all of them down to one; of each number, tensor parallel first."""
        any_way = False
        for count in range(len(self.room.gpus), 0, -1):
            for tensor in range(min(count, self.room.tensor_ranks or count), 0, -1):
                if count % tensor == 0 and not check_parallel(self.model.shape, tensor, count // tensor, False):
                    any_way = True
                    yield Layout(self.target, tensor, count // tensor)
        if not any_way:
            yield Layout(self.target)

    def _cells(self) -> list[str]:
        named = self.want.cache_type
        if named is not None:
            return ["fp8" if named == "fp8" else "auto"]
        able = all(gpu.capability >= _FP8_CAPABILITY for gpu in self.room.gpus)
        return ["auto", "fp8"] if able else ["auto"]

    def _variants(self, layout: Layout) -> Iterator[Layout]:
        yield layout
        yield self._few(layout)
        yield self._tight(layout)

    def _few(self, layout: Layout) -> Layout:
        return layout._replace(sequences=max(FEW_REQUESTS, self.wanted_parallel))

    def _tight(self, layout: Layout) -> Layout:
        few = self._few(layout)
        return few._replace(share=self._full_share(few))

    def _full_share(self, layout: Layout) -> float:
        """Return the largest share with which vLLM comes up: what CUDA itself takes of a GPU is not free."""
        gpu = self._smallest(layout)
        outside = max((rank.context_bytes for rank in self._allocation(layout).ranks), default=0)
        free = (gpu.usable_bytes - outside) * 100 // max(1, gpu.usable_bytes)
        return min(FULL_SHARE, max(0, free) / 100)

    def _smallest(self, layout: Layout) -> GpuRoom:
        return min((self.room.gpus[number] for number in self._numbers(layout)), key=lambda gpu: gpu.usable_bytes)

    def _numbers(self, layout: Layout) -> tuple[int, ...]:
        """Return the GPUs of a layout: the largest."""
        numbers = sorted(range(len(self.room.gpus)), key=lambda at: (-self.room.gpus[at].usable_bytes, at))
        return tuple(sorted(numbers[: layout.tensor_parallel * layout.pipeline_parallel]))

    def _allocation(self, layout: Layout) -> VllmAllocation:
        return self.model.allocation(layout, self._smallest(layout))

    def _serves(self, layout: Layout) -> bool:
        found = self._allocation(layout)
        return found.starts and found.max_concurrency >= self.wanted_parallel

    def _longest(self, base: Layout, least: int) -> Layout | None:
        """Return the longest context that comes up, from ``least`` on; the first of equal ones."""
        found: list[Layout] = []
        for layout in self._variants(base):
            if self._serves(layout):
                return layout
            tried = self._allocation(layout)
            if tried.starts or tried.verdict == CONTEXT_TOO_LONG:
                context = min(tried.max_context // self.wanted_parallel, self.target) // CONTEXT_STEP * CONTEXT_STEP
                shorter = layout._replace(context=context)
                if context >= least and self._serves(shorter):
                    found.append(shorter)
        return max(found, key=lambda layout: layout.context, default=None)

    def _offloaded(self, base: Layout) -> Layout | None:
        context = self.target if self.want.context is not None else min(self.target, GOOD_CONTEXT)
        tight = self._tight(base._replace(context=context))
        most = self.model.weights.total_bytes // (base.tensor_parallel * base.pipeline_parallel) // GIB
        found = smallest(lambda gib: self._serves(tight._replace(offload_gib=gib)), 1, most)
        return None if found is None else tight._replace(offload_gib=found)

    def _fit(self, verdict: str, layout: Layout) -> Fit:
        found = self._allocation(layout)
        gpus = self._numbers(layout)
        moved = layout.offload_gib * GIB * len(gpus)
        allocation = found.allocation
        if moved:
            host = replace(allocation.host, weights_bytes=moved)
            allocation = Allocation(allocation.gpus, host, allocation.doubts)
        at_once = max(1, int(found.max_concurrency))
        fits = verdict != DOES_NOT_FIT
        return Fit(
            verdict=verdict,
            engine=VLLM,
            context=layout.context,
            parallel=self.want.parallel or min(at_once, 256),
            cache_type="fp8" if layout.cells == "fp8" else "f16",
            allocation=allocation,
            gpus=gpus,
            usable_bytes=room_of(gpus, self.room),
            places=len(self.model.shape.layers) + 1,
            tensor_parallel=layout.tensor_parallel,
            pipeline_parallel=layout.pipeline_parallel,
            memory_utilization=self.model.settings(layout).utilization,
            sequences=layout.sequences or 0,
            cpu_offload_bytes=layout.offload_gib * GIB,
            largest_context=max(layout.context, found.max_context) if fits else 0,
            largest_parallel=at_once if fits else 0,
            why=found.message,
        )


def _gpu(gpu: GpuRoom) -> VllmGpu:
    return VllmGpu(gpu.usable_bytes, name=gpu.name, compute_capability=gpu.capability)

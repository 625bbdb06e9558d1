"""The speed to expect of a fit: what each of its devices reads for a token, and how fast."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpu_table import BRIDGE, GpuSpec
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpus import gpu_of_facts
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp import llama_cpp
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_cpp import LlamaSettings
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import VLLM, Fit
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import GpuRoom, Room
from ansible_collections.llmhost.core.plugins.module_utils.sizing.sizes import ModelSizes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.speed import DeviceRead, SpeedRange, decode_speed
from ansible_collections.llmhost.core.plugins.module_utils.sizing.token_bytes import Read, layer_reads, rank_reads
from ansible_collections.llmhost.core.plugins.module_utils.vllm import vllm_parallel

TOKENS_BEFORE = 1024
"""Tokens of context that the speed is given for: a short conversation. A longer one is slower."""

CACHED_BYTES = 256 * 10**6
"""Less than this lies in the last-level cache of a large CPU, which is several times as fast as RAM: a model of 35 MB
made 990 tokens/s on two cores where RAM would have allowed 440."""

_WIDE_BITS = 12.0


def expected_speed(sizes: ModelSizes, fit: Fit, room: Room) -> SpeedRange | None:
    """Return the tokens per second of one request; None when a bandwidth is not known, or a CPU may hold all in its
    cache."""
    gpus = tuple(room.gpus[number] for number in fit.gpus)
    key = (
        *(fit.engine, gpus, room.ram_bandwidth, fit.gpu_layers, fit.cpu_expert_layers, fit.split, fit.cache_type),
        *(fit.tensor_parallel, fit.pipeline_parallel, fit.cpu_offload_bytes, min(fit.context, TOKENS_BEFORE)),
        fit.ram_missing_bytes,
    )
    if key not in sizes.speeds:
        sizes.speeds[key] = _Reader(sizes, fit, gpus, room.ram_bandwidth).speed()
    return sizes.speeds[key]


@functools.lru_cache(maxsize=1024)
def _spec(name: str, vram_bytes: int) -> GpuSpec | None:
    return gpu_of_facts(name, vram_bytes)


class _Reader:
    def __init__(self, sizes: ModelSizes, fit: Fit, gpus: tuple[GpuRoom, ...], ram_bandwidth: int) -> None:
        self.shape, self.weights = sizes.shape, sizes.weights
        self.fit, self.gpus, self.ram_bandwidth = fit, gpus, ram_bandwidth
        self.quantized = 0 < sizes.bits_per_weight < _WIDE_BITS
        self.context = min(fit.context, TOKENS_BEFORE)

    def speed(self) -> SpeedRange | None:
        devices: list[DeviceRead] = []
        for device in self._vllm() if self.fit.engine == VLLM else self._llama():
            if device is None:
                return None
            devices.append(device)
        if not self.gpus and sum(device.read.total_bytes for device in devices) < CACHED_BYTES:
            return None
        return decode_speed(devices, self.fit.engine, self.context)

    def _llama(self) -> Iterator[DeviceRead | None]:
        """Each GPU reads its layers, and the CPU what is in RAM."""
        fit, layers = self.fit, len(self.shape.layers)
        settings = LlamaSettings(fit.context, gpu_layers=fit.gpu_layers, tensor_split=fit.split)
        on_host, on_gpus = llama_cpp.spans(max(0, fit.places - 1), settings, len(self.gpus))
        in_ram = self._layers(on_host.first, min(on_host.last, layers), on_host.output)
        for number, gpu, span in zip(fit.gpus, self.gpus, on_gpus, strict=True):
            read = self._layers(span.first, min(span.last, layers), span.output)
            experts = self._layers(span.first, min(span.last, fit.cpu_expert_layers, layers), False)
            moved = experts.routed_bytes
            read = read.without(Read(moved, moved))
            if moved:
                in_ram = in_ram + Read(moved, moved, 0, experts.heavy_layers, experts.heavy_layers)
            yield self._gpu(f"GPU{number}", gpu, read)
        if in_ram.total_bytes:
            in_swap = self._swapped(in_ram)
            yield self._ram(in_ram.without(in_swap))
            yield DeviceRead.of_swap(in_swap)

    def _vllm(self) -> Iterator[DeviceRead | None]:
        """Ranks of a stage read at once, stages one after the other; what is in RAM is read over PCI Express."""
        fit = self.fit
        stages = vllm_parallel.pipeline_stages(len(self.shape.layers), fit.pipeline_parallel)
        slowest = min(self.gpus, key=lambda gpu: gpu.bandwidth_gbs)
        for number, stage in enumerate(stages):
            read = rank_reads(
                *(self.shape, self.weights, stage.start, stage.stop, self.context, fit.cache_type),
                ranks=fit.tensor_parallel,
                output=number == len(stages) - 1,
            )
            offloaded = min(fit.cpu_offload_bytes, read.weights_bytes)
            if offloaded:
                read = read.without(Read(offloaded))
                yield DeviceRead.of_link(Read(offloaded), slowest.pcie_gen, slowest.lanes, fit.tensor_parallel)
            yield self._gpu(f"GPU{fit.gpus[number * fit.tensor_parallel]}", slowest, read, fit.tensor_parallel)

    def _swapped(self, in_ram: Read) -> Read:
        """The part of what the CPU reads that RAM has no room for: it comes from disk for each token."""
        share = min(1.0, self.fit.ram_missing_bytes / max(1, self.fit.ram_need_bytes))
        return Read(int(in_ram.weights_bytes * share), int(in_ram.routed_bytes * share))

    def _layers(self, first: int, last: int, output: bool) -> Read:
        if last <= first and not output:
            return Read()
        cells = self.fit.cache_type
        return layer_reads(self.shape, self.weights, first, max(first, last), self.context, cells, output)

    def _gpu(self, name: str, gpu: GpuRoom, read: Read, ranks: int = 1) -> DeviceRead | None:
        spec = _spec(gpu.name, gpu.vram_bytes)
        # A bridge joins two cards; more of them talk over PCI Express.
        link = "" if gpu.link == BRIDGE and ranks > 2 else gpu.link
        return None if spec is None else DeviceRead.of_gpu(name, read, spec, self.quantized, ranks, link)

    def _ram(self, read: Read) -> DeviceRead | None:
        return DeviceRead.of_ram(read, self.ram_bandwidth, self.quantized) if self.ram_bandwidth else None

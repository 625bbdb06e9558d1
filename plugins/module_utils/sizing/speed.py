"""Tokens per second to expect of one request, as a range: it is reading memory that making tokens takes time for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpu_table import GpuSpec
from ansible_collections.llmhost.core.plugins.module_utils.sizing.speed_rates import (
    ALL_REDUCE,
    EXPERTS_IN_RAM,
    HANDOVER,
    HOP,
    LANE_GBS,
    LINK,
    LLAMA_CPP,
    RAM,
    RATES,
    SWAP,
    SWAP_GBS,
    Rates,
    Span,
    memory_kind,
)
from ansible_collections.llmhost.core.plugins.module_utils.sizing.token_bytes import Read


@dataclass(frozen=True)
class DeviceRead:
    """What one device reads for a token. ``memory`` is a kind of ``speed_rates``, ``bandwidth_gbs`` the most of it.

    With ``ranks`` above 1 it stands for as many GPUs, each of which reads as much: tensor parallel. They exchange sums
    over ``link``: switch, bridge, or "" for PCI Express.
    """

    name: str
    read: Read
    bandwidth_gbs: float
    memory: str
    quantized: bool = True
    ranks: int = 1
    link: str = ""

    @classmethod
    def of_gpu(
        cls, name: str, read: Read, gpu: GpuSpec, quantized: bool = True, ranks: int = 1, link: str = ""
    ) -> DeviceRead:
        """A GPU, or several like it."""
        return cls(name, read, gpu.bandwidth_gbs, memory_kind(gpu), quantized, ranks, link)

    @classmethod
    def of_ram(cls, read: Read, bandwidth: int, quantized: bool = True) -> DeviceRead:
        """The CPU, which reads RAM at ``bandwidth`` bytes a second."""
        return cls("host", read, bandwidth / 1e9, RAM, quantized)

    @classmethod
    def of_link(cls, read: Read, generation: int, lanes: int, ranks: int = 1) -> DeviceRead:
        """GPUs that read weights in RAM over PCI Express, each over its own lanes."""
        return cls("link", read, LANE_GBS.get(generation, LANE_GBS[3]) * max(1, lanes), LINK, ranks=ranks)

    @classmethod
    def of_swap(cls, read: Read) -> DeviceRead:
        """The disk, for what RAM has no room for."""
        return cls("swap", read, SWAP_GBS, SWAP)

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU with its own memory."""
        return self.memory not in (RAM, LINK, SWAP)

    def rates(self, engine: str) -> Rates:
        """How near the engine comes to this memory's bandwidth."""
        return RATES[engine].get(self.memory) or LLAMA_CPP[self.memory]

    def fraction(self, engine: str) -> Span:
        """The fractions of the bandwidth that weights and cache are read at."""
        rates = self.rates(engine)
        return rates.quantized if self.quantized else rates.wide


@dataclass(frozen=True)
class DeviceSpeed:
    """One device's part of a token: bytes, the bandwidth, and the fractions of it that the range is made with."""

    name: str
    bytes_per_token: int
    bandwidth_gbs: float
    fraction_low: float
    fraction_high: float
    ranks: int = 1


@dataclass(frozen=True)
class SpeedRange:
    """Tokens per second: ``low`` to ``high`` are to be expected, ``ceiling`` is what the bandwidth alone allows.

    ``context`` is the number of tokens before the one that is made.
    """

    low: float
    high: float
    ceiling: float
    devices: tuple[DeviceSpeed, ...]
    context: int = 0

    @property
    def bytes_per_token(self) -> int:
        """What all devices together read for one token."""
        return sum(device.bytes_per_token * device.ranks for device in self.devices)

    @property
    def text(self) -> str:
        """What was assumed, for people."""
        parts = (
            f"{device.name} reads {device.bytes_per_token / 1e9:.2f} GB a token at {device.fraction_low:.0%} to "
            f"{device.fraction_high:.0%} of {device.bandwidth_gbs:.0f} GB/s"
            for device in self.devices
        )
        return f"{'; '.join(parts)}; one request with {self.context} tokens of context"


def decode_speed(devices: Sequence[DeviceRead], engine: str, context: int = 0) -> SpeedRange | None:
    """Return the speed of a placement, or None when nothing is read or a bandwidth is not known.

    ``engine`` is llama_cpp or vllm. The devices work one after the other, each on its layers, so that their times add
    up; only ranks of tensor parallel work at once. ``context`` is what the reads were counted with.
    """
    busy = [device for device in devices if device.read.total_bytes > 0]
    if not busy or any(device.bandwidth_gbs <= 0 for device in busy):
        return None
    least = sum(device.read.total_bytes / device.bandwidth_gbs / 1e6 for device in busy)
    return SpeedRange(
        low=1000 / _milliseconds(busy, engine, best=False),
        high=1000 / _milliseconds(busy, engine, best=True),
        ceiling=1000 / least,
        devices=tuple(_shown(device, engine) for device in busy),
        context=context,
    )


def _milliseconds(devices: Sequence[DeviceRead], engine: str, best: bool) -> float:
    gpus = sum(device.is_gpu for device in devices)
    times = sum(_device_ms(device, engine, best, gpus > 0) for device in devices)
    step = max(_pick(device.rates(engine).step, best) for device in devices)
    return step + times + max(0, gpus - 1) * _pick(HOP, best)


def _device_ms(device: DeviceRead, engine: str, best: bool, beside_gpu: bool) -> float:
    read, rates = device.read, device.rates(engine)
    bytes_a_ms = device.bandwidth_gbs * 1e6
    plain = max(0, read.layers - read.heavy_layers)
    time = plain * _pick(rates.layer, best) + read.heavy_layers * _pick(rates.heavy, best)
    routed = read.routed_bytes if device.memory == RAM and beside_gpu else 0
    if routed:
        time += routed / (bytes_a_ms * _pick(EXPERTS_IN_RAM, best)) + read.heavy_layers * _pick(HANDOVER, best)
    if device.ranks > 1:
        time += 2 * read.layers * _pick(ALL_REDUCE.get(device.link, ALL_REDUCE[""]), best)
    return time + (read.total_bytes - routed) / (bytes_a_ms * _pick(device.fraction(engine), best))


def _shown(device: DeviceRead, engine: str) -> DeviceSpeed:
    """Experts alone in RAM are shown with their own fractions."""
    read = device.read
    experts = device.memory == RAM and 0 < read.routed_bytes == read.total_bytes
    low, high = EXPERTS_IN_RAM if experts else device.fraction(engine)
    name = f"each of {device.ranks} GPUs" if device.ranks > 1 and device.is_gpu else device.name
    return DeviceSpeed(name, read.total_bytes, device.bandwidth_gbs, low, high, device.ranks)


def _pick(span: Span, best: bool) -> float:
    return span.fast if best else span.slow

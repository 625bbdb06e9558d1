"""The expected speed of what the planner chose: each device reads its part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.hardware.hardware import parse_hardware
from ansible_collections.llmhost.core.plugins.module_utils.hardware.ram_speed import ram_speed
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_room import room_of_host
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Attention, FeedForward, Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import HOST, Allocation, DeviceBytes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import FITS, OFFLOAD, Fit
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit_speed import TOKENS_BEFORE, expected_speed
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import Room
from ansible_collections.llmhost.core.plugins.module_utils.sizing.sizes import ModelSizes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.speed import SpeedRange
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights

GB = 10**9


def model() -> ModelSizes:
    """Qwen3 30B A3B in round figures: 48 layers, 128 experts of which 8 are used."""
    layer = Layer(
        Attention(heads=32, kv_heads=4, head_dim_k=128, head_dim_v=128),
        None,
        FeedForward(experts=128, experts_used=8, expert_length=768),
    )
    part = LayerWeights(split_bytes=11_000_000, replicated_bytes=1_000_000, expert_bytes=368_000_000)
    shape = Shape("qwen3moe", 2048, 151_936, 40_960, (layer,) * 48)
    return ModelSizes(
        shape, Weights(175_000_000, 175_000_000, 255_000_000, 8192, (part,) * 48, parameters=30_530_000_000)
    )


def fit(engine: str = "llama_cpp", gpus: int = 1, **fields: Any) -> Fit:
    """All of the model on that many GPUs, but for the fields given."""
    rows = tuple(DeviceBytes(f"GPU{at}") for at in range(gpus))
    allocation = Allocation(rows, DeviceBytes(HOST, weights_bytes=18 * GB))
    base = Fit(FITS, engine, 8192, 1, "f16", allocation, tuple(range(gpus)), (0,) * gpus, 64 * GB, places=49)
    return replace(base, **fields)


def room(phrase: str) -> Room:
    facts = parse_hardware(phrase)
    return room_of_host(HostFacts.from_facts(facts), 0, ram_speed(facts).bandwidth)


def speed(phrase: str, wanted: Fit) -> SpeedRange:
    found = expected_speed(model(), wanted, room(phrase))
    assert found is not None
    return found


def test_all_on_gpus() -> None:
    one = speed("RTX 3090, 64 GB", fit())
    assert one.low < 141.5 < one.high  # measured: see test_speed.py
    assert [device.name for device in one.devices] == ["GPU0"]
    assert one.context == TOKENS_BEFORE
    two = speed("2x RTX 3090, 64 GB", fit(gpus=2))
    assert two.bytes_per_token == one.bytes_per_token
    assert two.high < one.high


def test_layers_or_experts_in_ram() -> None:
    whole = speed("RTX 3090, 64 GB", fit())
    layers = speed("RTX 3090, 64 GB", fit(verdict=OFFLOAD, gpu_layers=25))
    experts = speed("RTX 3090, 64 GB", fit(verdict=OFFLOAD, cpu_expert_layers=24))
    cpu = speed("CPU only, 64 GB", fit(gpus=0))
    assert cpu.high < layers.high < whole.high
    assert cpu.high < experts.high < whole.high
    assert {found.bytes_per_token for found in (whole, layers, experts, cpu)} == {whole.bytes_per_token}
    host = experts.devices[-1]
    assert (host.name, host.bytes_per_token) == ("host", 24 * 23_000_000)
    assert speed("EPYC 9654, CPU only, 64 GB", fit(gpus=0)).low > 2 * cpu.low


def test_what_ram_has_no_room_for_is_read_from_disk() -> None:
    enough = speed("CPU only, 64 GB", fit(gpus=0))
    short = speed("CPU only, 16 GB", fit(gpus=0, ram_usable_bytes=12 * GB))
    assert short.bytes_per_token == enough.bytes_per_token
    assert [device.name for device in short.devices] == ["host", "swap"]
    # A third of 1.9 GB at 0.3 to 1.1 GB/s.
    assert 0.4 < short.low < short.high < 2


def test_vllm() -> None:
    one = speed("H100 SXM, 256 GB", fit("vllm", cache_type="auto"))
    pair = speed("2x H100 SXM, 256 GB", fit("vllm", 2, cache_type="auto", tensor_parallel=2))
    stages = speed("2x H100 SXM, 256 GB", fit("vllm", 2, cache_type="auto", pipeline_parallel=2))
    assert one.ceiling < pair.ceiling
    assert stages.high < one.high
    bridged = speed("2x RTX 3090 NVLink, 64 GB", fit("vllm", 2, cache_type="auto", tensor_parallel=2))
    assert speed("2x RTX 3090, 64 GB", fit("vllm", 2, cache_type="auto", tensor_parallel=2)).high < bridged.high
    offloaded = speed("H100 SXM, 256 GB", fit("vllm", cache_type="auto", cpu_offload_bytes=1 * GB))
    assert offloaded.high < one.high
    assert "link" in [device.name for device in offloaded.devices]


def test_nothing_is_said_of_a_gpu_that_is_not_known() -> None:
    known = room("RTX 3090, 64 GB")
    unknown = replace(known, gpus=(known.gpus[0]._replace(name="NVIDIA device FFFF"),))
    assert expected_speed(model(), fit(), unknown) is None


def test_no_speed_is_given_for_a_model_that_a_cpu_holds_in_its_cache() -> None:
    layer = Layer(Attention(heads=8, kv_heads=4, head_dim_k=64, head_dim_v=64), None, FeedForward(1408))
    on_a_cpu = fit(gpus=0, gpu_layers=0)

    def speed(split_bytes: int) -> SpeedRange | None:
        weights = Weights(4_000_000, 4_000_000, 4_000_000, 2048, (LayerWeights(split_bytes),) * 10)
        sizes = ModelSizes(Shape("llama", 512, 4_000, 4_096, (layer,) * 10), weights)
        return expected_speed(sizes, on_a_cpu, Room((), 64 * GB, ram_bandwidth=50 * GB))

    assert speed(3_000_000) is None
    assert speed(300_000_000) is not None

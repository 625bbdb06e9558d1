"""Compute buffers and caches against llama.cpp's own figures for 43 real models (fixtures/llama_cpp)."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_cpp import LlamaSettings, allocate
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_settings import RPC
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Shape
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import DeviceBytes
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights

FIXTURE = Path(__file__).parent.parent / "fixtures" / "llama_cpp" / "fit_params.json"
MODELS: list[dict[str, Any]] = json.loads(FIXTURE.read_text(encoding="utf-8"))["models"]
NAMES = [model["model"] for model in MODELS]

# State spaces beside attention, and with several groups: MiB that the plan of a server is off.
NOT_EXACT = {"falcon-h1-7b": 6.5, "nemotron-h-8b": 8.5, "mamba2-2.7b": 3.5}


def settings_of(facts: dict[str, Any]) -> LlamaSettings:
    """The settings of a run of llama-fit-params, which reserves logits for every token."""
    split = tuple(facts.get("tensor_split", ()))
    return LlamaSettings(**{**facts, "tensor_split": split, "outputs": 2**30, "backend": RPC})


def weightless(shape: Shape) -> Weights:
    """No weights: they change nothing here."""
    return Weights(0, 0, 0, 0, (LayerWeights(),) * (len(shape.layers) + len(shape.draft_layers)))


def runs(model: dict[str, Any]) -> Iterator[tuple[str, float, float, DeviceBytes]]:
    """Each device of each run: what it is, MiB of context and of compute as seen, and the plan."""
    shape = replace(Shape.from_facts(model["shape"]), vocab_size=32)
    for gpus, facts, seen in model["runs"]:
        plan = allocate(shape, weightless(shape), settings_of(facts), gpus)
        for device, (context, compute) in zip(plan.devices, seen, strict=True):
            yield f"{device.name} of {gpus} {facts}", context, compute, device


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_caches_and_states_are_exact(model: dict[str, Any]) -> None:
    off = {
        run: (device.kv_cache_bytes + device.recurrent_bytes) / MIB - context
        for run, context, _, device in runs(model)
        if not 0 <= (device.kv_cache_bytes + device.recurrent_bytes) / MIB - context < 1.01  # the tool cuts to MiB
    }
    assert not off


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_compute_buffers_are_close(model: dict[str, Any]) -> None:
    off = {
        run: (device.compute_bytes / MIB, compute)
        for run, _, compute, device in runs(model)
        if not 0.87 * compute - 1 <= device.compute_bytes / MIB <= 1.3 * compute + 4
    }
    assert not off


def test_most_compute_buffers_are_not_under_and_hardly_over() -> None:
    errors = [
        device.compute_bytes / MIB / compute - 1
        for model in MODELS
        for _, _, compute, device in runs(model)
        if compute > 40
    ]
    assert len(errors) > 800
    assert 0 <= statistics.median(errors) < 0.02
    assert sum(error < -0.01 for error in errors) < 0.06 * len(errors)
    assert sum(error > 0.06 for error in errors) < 0.08 * len(errors)


@pytest.mark.parametrize("model", [model for model in MODELS if model["server"]], ids=lambda model: model["model"])
def test_a_server_takes_exactly_that(model: dict[str, Any]) -> None:
    shape = Shape.from_facts(model["shape"])
    for facts, (kv, state, compute) in model["server"]:
        host = allocate(shape, weightless(shape), LlamaSettings(**facts), 0).host

        assert host.kv_cache_bytes / MIB == pytest.approx(kv, abs=0.02), facts
        assert host.recurrent_bytes / MIB == pytest.approx(state, abs=0.02), facts
        assert host.compute_bytes / MIB == pytest.approx(compute, abs=NOT_EXACT.get(model["model"], 0.6)), facts


def llama_3_8b() -> tuple[Shape, Weights]:
    """Meta-Llama-3 8B."""
    (model,) = (model for model in MODELS if model["model"] == "llama3-8b")
    shape = Shape.from_facts(model["shape"])
    return shape, weightless(shape)


@pytest.mark.parametrize(
    ("gpus", "seen", "in_ram"),
    # XiongjieDai/GPU-Benchmarks-on-LLM-Inference@aa72e0ec, 'LLaMA 3/Gaming GPUs', llama.cpp of April 2024
    [(1, (560.00,), 24.01), (2, (640.01, 640.02), 72.02), (4, (640.01, 640.01, 640.01, 640.02), 72.02)],
)
def test_several_gpus_take_copies_for_each_other(gpus: int, seen: tuple[float, ...], in_ram: float) -> None:
    settings = LlamaSettings(8192, flash_attention=False, build="2024-05")
    plan = allocate(*llama_3_8b(), settings, gpus)

    for device, compute in zip(plan.gpus, seen, strict=True):
        assert compute <= device.compute_bytes / MIB <= 1.03 * compute
    assert plan.host.compute_bytes / MIB == pytest.approx(in_ram, abs=0.2)


def test_a_search_over_contexts_gives_what_each_gives_alone() -> None:
    shape, weights = llama_3_8b()
    together = [allocate(shape, weights, LlamaSettings(context), 2) for context in range(512, 9000, 1000)]
    alone = []
    for context in range(512, 9000, 1000):
        fresh = Shape.from_facts(shape.as_dict())
        alone.append(allocate(fresh, weights, LlamaSettings(context), 2))

    assert together == alone

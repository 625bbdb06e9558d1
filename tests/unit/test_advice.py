"""What would make a model fit, each way with an answer of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_room import Catalogue, usable_ram
from ansible_collections.llmhost.core.plugins.module_utils.sizing.advice import Problem, Way, quality_loss, ways
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import DOES_NOT_FIT, FITS, Want
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import Room
from ansible_collections.llmhost.core.plugins.module_utils.sizing.sizes import ModelSizes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.solve import solve

from tests.unit.models import GIB, room, sizes

AUTO = Want()


def advice(model: ModelSizes, host: Room, want: Want = AUTO, engine: str = "llama_cpp") -> list[Way]:
    """The ways, after a look at whether each is what the search says of it."""
    fit = solve(model, engine, host, want)
    found = list(ways(Problem(model, engine, host, want, fit, usable_ram, Catalogue())))
    assert len(found) <= 3
    assert len({way.kind for way in found}) == len(found)
    assert [way.loss for way in found] == sorted(way.loss for way in found)
    for way in found:
        assert way.fit.verdict != DOES_NOT_FIT
        assert way.fit.ram_missing_bytes == 0
        assert all(
            row.total_bytes <= usable for row, usable in zip(way.fit.allocation.gpus, way.fit.usable_bytes, strict=True)
        )
    return found


def kinds(found: list[Way]) -> list[str]:
    return [way.kind for way in found]


def test_what_fits_needs_no_advice() -> None:
    assert advice(sizes("Qwen3 32B", "Q4_K_M"), room("RTX 3090")) == []


def test_a_smaller_quantisation_of_the_repository_or_a_second_gpu() -> None:
    found = advice(sizes("Qwen3 32B", "Q8_0", with_variants=True), room("RTX 3090"))

    assert kinds(found)[:2] == ["quantisation", "gpus"]
    assert found[0].text.startswith("Q5_K_M of the same repository")
    assert found[0].fit.verdict == FITS
    assert found[1].text == "2 GPUs instead of 1, 1 more NVIDIA GeForce RTX 3090"
    assert len(found[1].fit.gpus) == 2


def test_a_checkpoint_may_be_had_as_gguf() -> None:
    found = advice(sizes("17B", "BF16", "safetensors"), room("RTX 3090"), engine="vllm")

    assert found[0].kind == "quantisation"
    assert found[0].text.startswith("a GGUF of the model in Q8_0 (about 17.")
    assert (found[0].fit.engine, found[0].fit.verdict) == ("llama_cpp", FITS)


def test_small_cells_cost_least_and_then_a_shorter_context() -> None:
    want = Want(context=32768, cache_type="f16")
    found = advice(sizes("Qwen3 32B", "Q4_K_M", with_variants=True), room("RTX 3090"), want)

    assert kinds(found)[:2] == ["kv_cache", "context"]
    assert found[0].fit.cache_type == "q8_0"
    assert found[0].fit.context == 32768
    assert 16384 < found[1].fit.context < 32768


def test_more_ram_where_offload_has_too_little() -> None:
    found = advice(sizes("Qwen3 235B-A22B", "Q8_0"), room("RTX 3090", ram_gib=64))

    assert "ram" in kinds(found)
    ram = next(way for way in found if way.kind == "ram")
    assert ram.room.ram_bytes > 200 * GIB


def test_a_host_without_gpu_that_swaps_is_told_of_ram_and_of_machines() -> None:
    found = advice(sizes("Qwen3 32B", "Q4_K_M"), room(ram_gib=16, swap_gib=32), Want(accelerator="cpu"))

    assert {"ram", "machine"} <= set(kinds(found))
    assert next(way for way in found if way.kind == "ram").text == "32.0 GiB of RAM"
    assert next(way for way in found if way.kind == "machine").machine


@pytest.mark.parametrize(("bits", "percent"), [(8.5, 0.02), (6.6, 0.3), (5.7, 0.9), (4.9, 2.8), (4.0, 10)])
def test_the_loss_of_a_quantisation_is_near_what_was_measured(bits: float, percent: float) -> None:
    assert quality_loss(bits) == pytest.approx(percent, rel=0.2)


def test_the_answer_does_not_change_the_question() -> None:
    model, host = sizes("Qwen3 32B", "Q8_0", with_variants=True), room("RTX 3090")
    assert advice(model, host) == advice(model, replace(host))

"""The best settings of vLLM for checkpoints on one GPU and on several."""

from __future__ import annotations

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import DOES_NOT_FIT, FITS, OFFLOAD, Fit, Want
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import Room
from ansible_collections.llmhost.core.plugins.module_utils.sizing.sizes import ModelSizes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.solve import choose_engine, solve
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_fit import Layout

from tests.unit.models import GIB, room, sizes

AUTO = Want()


def fit(model: ModelSizes, host: Room, want: Want = AUTO) -> Fit:
    """The answer, after a look at whether the engine would come up with it."""
    found = solve(model, "vllm", host, want)
    if found.verdict != DOES_NOT_FIT:
        layout = Layout(
            found.context,
            found.tensor_parallel,
            found.pipeline_parallel,
            found.memory_utilization,
            found.sequences or None,
            "fp8" if found.cache_type == "fp8" else "auto",
            found.cpu_offload_bytes // GIB,
        )
        assert model.vllm.allocation(layout, host.gpus[found.gpus[0]]).starts
        assert found.ram_need_bytes <= host.ram_and_swap_bytes
    return found


def checkpoint(name: str, target: str = "BF16") -> ModelSizes:
    return sizes(name, target, "safetensors")


def test_tensor_parallel_over_all_gpus_that_divide_the_heads() -> None:
    found = fit(checkpoint("Llama 3.1 8B"), room("RTX 3090", "RTX 3090"))

    assert (found.verdict, found.tensor_parallel, found.pipeline_parallel) == (FITS, 2, 1)
    assert found.context == 32768
    assert found.largest_context > found.context


def test_three_gpus_make_a_pipeline_where_heads_cannot_be_divided() -> None:
    found = fit(checkpoint("Llama 3.1 8B"), room("RTX 3060", "RTX 3060", "RTX 3060"))

    assert (found.tensor_parallel, found.pipeline_parallel) == (1, 3)
    assert found.gpus == (0, 1, 2)


def test_a_tight_fit_gives_up_concurrency_before_context() -> None:
    model, host = checkpoint("Llama 3.1 8B"), room("RTX 3090")
    usual = fit(model, host)
    tight = fit(model, host, Want(context=usual.largest_context + 256))

    assert (usual.verdict, usual.sequences) == (FITS, 0)
    assert (tight.verdict, tight.sequences) == (FITS, 16)


def test_the_wanted_concurrency_must_fit() -> None:
    host = room("RTX 3090")

    assert fit(checkpoint("Llama 3.1 8B"), host, Want(context=8192, parallel=4)).verdict == FITS
    assert fit(checkpoint("Llama 3.1 8B"), host, Want(context=32768, parallel=4)).verdict != FITS


def test_unquantised_17b_on_one_24_gb_gpu_leaves_weights_in_ram() -> None:
    found = fit(checkpoint("17B"), room("RTX 3090"))

    assert found.verdict == OFFLOAD
    assert found.cpu_offload_bytes > 8 * GIB
    assert found.ram_need_bytes > found.cpu_offload_bytes


def test_without_the_ram_for_them_it_does_not_fit() -> None:
    assert fit(checkpoint("17B"), room("RTX 3090", ram_gib=16)).verdict == DOES_NOT_FIT


@pytest.mark.parametrize(("gpu", "cells"), [("RTX 4090", "fp8"), ("RTX 3090", "f16")])
def test_fp8_cells_are_taken_where_they_are_needed_and_computed(gpu: str, cells: str) -> None:
    found = fit(checkpoint("Llama 3.1 8B"), room(gpu), Want(context=65536))

    assert found.cache_type == cells
    assert (found.verdict == FITS) is (cells == "fp8")


@pytest.mark.parametrize(
    ("asked", "model_format", "on_gpus", "engine"),
    [
        ("auto", "gguf", True, "llama_cpp"),
        ("auto", "safetensors", True, "vllm"),
        ("auto", "safetensors", False, "llama_cpp"),
        ("vllm", "gguf", True, "vllm"),
        ("vllm", "gguf", False, "llama_cpp"),
        ("llama_cpp", "safetensors", True, "llama_cpp"),
    ],
)
def test_the_engine_follows_from_format_and_accelerator(
    asked: str, model_format: str, on_gpus: bool, engine: str
) -> None:
    assert choose_engine(asked, model_format, on_gpus) == engine


def test_what_one_engine_calls_its_small_cells_the_other_calls_otherwise() -> None:
    assert (
        solve(sizes("Qwen3 32B", "Q4_K_M"), "llama_cpp", room("RTX 3090"), Want(cache_type="fp8")).cache_type == "q8_0"
    )
    assert solve(checkpoint("Llama 3.1 8B"), "vllm", room("RTX 4090"), Want(cache_type="q4_0")).cache_type == "fp8"

"""The best settings of llama.cpp: the mission's own claims, and what is given up in which order."""

from __future__ import annotations

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_cpp import LlamaSettings, allocate, spans
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import DOES_NOT_FIT, FITS, OFFLOAD, Fit, Want
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit_speed import expected_speed
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import Room
from ansible_collections.llmhost.core.plugins.module_utils.sizing.sizes import ModelSizes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.solve import solve
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.models import GIB, room, sizes

AUTO = Want()
CPU = Want(accelerator="cpu")


def fit(model: ModelSizes, host: Room, want: Want = AUTO) -> Fit:
    """The answer, after a look at whether it keeps what it promises."""
    found = solve(model, "llama_cpp", host, want)
    rows = zip(found.allocation.gpus, found.usable_bytes, strict=True)
    if found.verdict != DOES_NOT_FIT:
        assert all(row.total_bytes <= usable for row, usable in rows)
        assert found.ram_need_bytes <= host.ram_and_swap_bytes
        assert found.largest_context >= found.context
        assert found.largest_parallel >= found.parallel
    assert found.allocation == again(model, found, found.context)
    return found


def again(model: ModelSizes, found: Fit, context: int) -> object:
    """What the engine allocates with the answer's settings and some context."""
    chosen = LlamaSettings(
        context=context,
        parallel=found.parallel,
        cell_type_k=found.cache_type,
        cell_type_v=found.cache_type,
        gpu_layers=found.gpu_layers,
        cpu_expert_layers=found.cpu_expert_layers,
        tensor_split=found.split,
    )
    return allocate(model.shape, model.weights, chosen, len(found.gpus))


# --- What the mission says


def test_65b_fits_two_3090() -> None:
    found = fit(sizes("LLaMA 65B", "Q4_0"), room("RTX 3090", "RTX 3090"))

    assert (found.verdict, found.context, found.cache_type) == (FITS, 2048, "f16")
    assert abs(found.split[0] - found.split[1]) <= 2
    assert 38 * GIB < found.allocation.vram_bytes < 44 * GIB


def test_65b_does_not_fit_one_3090_without_offload() -> None:
    assert fit(sizes("LLaMA 65B", "Q4_0"), room("RTX 3090")).verdict == OFFLOAD


def test_quantised_30b_on_one_3090_makes_more_than_30_tokens_a_second() -> None:
    model, host = sizes("LLaMA 30B", "Q4_0"), room("RTX 3090")
    found = fit(model, host)
    speed = expected_speed(model, found, host)

    assert found.verdict == FITS
    assert speed is not None
    # 33.7 were measured with llama.cpp of November 2023 (XiongjieDai/GPU-Benchmarks-on-LLM-Inference, "3090.ipynb").
    assert 30 < speed.high < speed.ceiling < 52
    assert speed.low <= 33.7


def test_unquantised_17b_on_one_24_gb_gpu_does_not_fit_without_offload() -> None:
    model, host = sizes("17B", "F16"), room("RTX 3090")
    found = fit(model, host)

    assert model.weights_bytes > 31 * GIB
    assert found.usable_bytes[0] < 24 * GIB
    assert found.verdict == OFFLOAD
    assert 0 < found.layers_in_ram < 55
    assert fit(sizes("17B", "Q8_0"), host).verdict == FITS


# --- Which GPUs


def test_a_model_that_one_gpu_holds_is_not_split() -> None:
    found = fit(sizes("Llama 3.1 8B", "Q4_K_M"), room("RTX 3090", "RTX 3090"))

    assert (found.gpus, found.split, found.context) == ((0,), (), 32768)
    assert found.largest_context == 131072


def test_of_unequal_gpus_the_faster_is_taken() -> None:
    assert fit(sizes("Llama 3.1 8B", "Q4_K_M"), room("RTX 3060", "RTX 4090")).gpus == (1,)


def test_unequal_gpus_get_layers_by_their_room() -> None:
    found = fit(sizes("Qwen3 32B", "Q6_K"), room("RTX 3090", "RTX 3060"))

    assert found.verdict == FITS
    assert found.gpus == (0, 1)
    assert found.split[0] > 1.6 * found.split[1]
    assert sum(found.split) == 65


def test_the_split_is_what_the_runtime_makes_of_it() -> None:
    found = fit(sizes("Llama 3.3 70B", "Q4_K_M"), room("RTX 3090", "RTX 3060", "RTX 4090"))
    _, on_gpus = spans(80, LlamaSettings(found.context, tensor_split=found.split), len(found.gpus))

    assert found.verdict == FITS
    assert tuple(span.places for span in on_gpus) == found.split


# --- What is given up, and when


def test_experts_go_to_ram_before_layers() -> None:
    found = fit(sizes("Qwen3 235B-A22B", "Q4_K_M"), room("RTX 3090", ram_gib=192))

    assert (found.verdict, found.gpu_layers) == (OFFLOAD, None)
    assert 60 < found.cpu_expert_layers < 94


def test_no_more_is_left_in_ram_than_needs_be() -> None:
    model, host = sizes("Llama 3.3 70B", "Q4_K_M"), room("RTX 3090")
    found = fit(model, host)
    assert found.gpu_layers is not None
    more = LlamaSettings(found.context, gpu_layers=found.gpu_layers + 1)

    assert allocate(model.shape, model.weights, more, 1).gpus[0].total_bytes > host.gpus[0].usable_bytes


def test_q8_cells_are_taken_to_reach_a_good_context_and_no_further() -> None:
    found = fit(sizes("Qwen3 32B", "Q5_K_M"), room("RTX 3090"))

    assert (found.verdict, found.cache_type) == (FITS, "q8_0")
    assert found.context <= 8192


def test_cells_that_the_user_named_are_kept() -> None:
    found = fit(sizes("Qwen3 32B", "Q5_K_M"), room("RTX 3090"), Want(cache_type="f16"))

    assert found.cache_type == "f16"
    assert found.context < 8192


def test_a_context_that_the_user_named_is_kept_and_takes_q8_cells_before_ram() -> None:
    found = fit(sizes("Qwen3 32B", "Q4_K_M"), room("RTX 3090"), Want(context=32768))
    assert (found.verdict, found.context, found.cache_type) == (FITS, 32768, "q8_0")

    longer = fit(sizes("Qwen3 32B", "Q4_K_M"), room("RTX 3090"), Want(context=40960))
    assert (longer.verdict, longer.context) == (OFFLOAD, 40960)


def test_too_little_ram_for_the_rest_does_not_fit() -> None:
    found = fit(sizes("Qwen3 235B-A22B", "Q8_0"), room("RTX 3090", ram_gib=64))

    assert found.verdict == DOES_NOT_FIT
    assert found.vram_missing_bytes > 200 * GIB
    assert (found.largest_context, found.largest_parallel) == (0, 0)


def test_on_a_cpu_swap_comes_last() -> None:
    model = sizes("Qwen3 32B", "Q4_K_M")

    assert fit(model, room(ram_gib=64), CPU).ram_missing_bytes == 0
    short = fit(model, room(ram_gib=16, swap_gib=16), CPU)
    assert (short.verdict, short.context) == (FITS, 2048)
    assert short.ram_missing_bytes > 0
    assert fit(model, room(ram_gib=16), CPU).verdict == DOES_NOT_FIT


@pytest.mark.parametrize("want", [AUTO, Want(context=4096), Want(cache_type="q4_0")])
def test_parallel_auto_takes_what_fits(want: Want) -> None:
    model, host = sizes("Llama 3.1 8B", "Q8_0"), room("RTX 3090")
    found = fit(model, host, want._replace(parallel=None))

    assert found.parallel == min(4, fit(model, host, want._replace(parallel=1)).largest_parallel)


# --- The largest that fits


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([("Llama 3.1 8B", "Q8_0"), ("Qwen3 32B", "Q4_K_M"), ("LLaMA 30B", "Q4_0")]),
    st.lists(st.sampled_from(["RTX 3090", "RTX 3060", "RTX 4090", "T4"]), min_size=1, max_size=3),
    st.sampled_from([16, 32, 64]),
)
def test_the_largest_context_fits_and_a_step_more_does_not(
    model: tuple[str, str], gpus: list[str], ram_gib: int
) -> None:
    known, host = sizes(*model), room(*gpus, ram_gib=ram_gib)
    found = fit(known, host)
    if found.verdict != FITS:
        return
    most = known.shape.context_length

    def wanted(context: int) -> Fit:
        return solve(known, "llama_cpp", host, Want(context=context, cache_type=found.cache_type))

    assert wanted(found.largest_context).verdict == FITS
    assert found.largest_context == most or wanted(found.largest_context + 256).verdict != FITS


def test_an_answer_for_one_host_is_the_same_after_answers_for_others() -> None:
    fresh = ModelSizes(sizes("Qwen3 32B", "Q4_K_M").shape, sizes("Qwen3 32B", "Q4_K_M").weights)
    first = solve(fresh, "llama_cpp", room("RTX 3090", ram_gib=48), AUTO)
    for ram_gib in (4, 16, 200):
        solve(fresh, "llama_cpp", room("RTX 3090", ram_gib=ram_gib), AUTO)

    assert solve(fresh, "llama_cpp", room("RTX 3090", ram_gib=48), AUTO) == first

"""Which quantisation a repository alone means."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.hardware.hardware import parse_hardware
from ansible_collections.llmhost.core.plugins.module_utils.plan import planner
from ansible_collections.llmhost.core.plugins.module_utils.plan.variant_choice import (
    best_variant,
    choose_variant,
    worth,
)
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import Want
from ansible_collections.llmhost.core.plugins.module_utils.sizing.sizes import Variant

from tests.unit import hosts
from tests.unit.models import LABELS, room, sizes

Facts = dict[str, Any]


@pytest.mark.parametrize(
    ("name", "gpus", "want", "label"),
    [
        ("Qwen3 32B", ("RTX 3090",), Want(), "Q4_K_M"),
        ("Qwen3 32B", ("RTX 3090",), Want(context=4096), "Q5_K_M"),
        ("Qwen3 32B", ("RTX 3090", "RTX 3090"), Want(), "Q8_0"),
        ("Llama 3.1 8B", ("RTX 3090",), Want(), "Q8_0"),
        ("Llama 3.1 8B", ("RTX 3060",), Want(), "Q8_0"),
        ("Llama 3.3 70B", ("RTX 3090", "RTX 3090"), Want(), "Q4_K_M"),
        # Nothing fits wholly: the best usual one, with a part in RAM.
        ("Qwen3 235B-A22B", ("RTX 3090",), Want(), "Q4_K_M"),
        ("Qwen3 32B", ("RTX 3060",), Want(context=2048), "Q4_K_M"),
    ],
)
def test_the_best_that_fits_with_the_context_wanted(name: str, gpus: tuple[str, ...], want: Want, label: str) -> None:
    model = sizes(name, "Q4_K_M", with_variants=True)
    found = best_variant(model, "llama_cpp", room(*gpus, ram_gib=128), want)

    assert found is not None
    assert found.label == label


def test_the_order_does_not_depend_on_the_variant_that_was_read() -> None:
    host = room("RTX 3090")
    chosen = {
        best_variant(sizes("Qwen3 32B", label, with_variants=True), "llama_cpp", host, Want())
        for label in ("Q2_K", "Q4_K_M", "Q8_0")
    }

    assert {variant.label for variant in chosen if variant} == {"Q4_K_M"}


def test_nothing_is_chosen_where_nothing_fits() -> None:
    model = sizes("Qwen3 235B-A22B", "Q4_K_M", with_variants=True)

    assert best_variant(model, "llama_cpp", room("RTX 3060", ram_gib=16), Want()) is None


def test_old_types_are_worth_less_than_k_quants_and_iq_types_more() -> None:
    labels = ["Q4_0", "Q4_K_S", "IQ4_NL"]

    assert sorted((Variant(label, 10**10) for label in labels), key=worth) == [
        Variant(label, 10**10) for label in labels
    ]


# --- The flow of the role


def repository(label: str = "Q4_K_M", **fields: Any) -> Facts:
    """What model_info says of a repository with several quantisations."""
    model = sizes("Qwen3 32B", label)
    variants = [
        {"label": name, "files": [f"{name}.gguf"], "size_bytes": size}
        for name, size in ((name, sizes("Qwen3 32B", name).weights_bytes) for name in LABELS)
    ]
    return hosts.qwen3_32b(
        shape=model.shape.as_dict(),
        weights=model.weights.as_dict(),
        weights_bytes=model.weights_bytes,
        total_bytes=model.weights_bytes,
        quantization=label,
        pinned=False,
        variants=variants,
        request={"model": "Qwen/Qwen3-32B-GGUF", "revision": "main", "endpoint": "", "variant": ""},
        **fields,
    )


def choose(host: Facts, model: Facts, **variables: Any) -> str:
    return choose_variant(host, model, {"llmhost_model": "Qwen/Qwen3-32B-GGUF"} | variables)


def test_a_repository_alone_is_read_again_for_the_quantisation_that_fits_better() -> None:
    assert choose(parse_hardware("2x RTX 3090, 64 GiB RAM"), repository()) == "Q8_0"
    assert choose(parse_hardware("RTX 3090, 64 GiB RAM"), repository()) == ""
    assert choose(parse_hardware("RTX 3090, 64 GiB RAM"), repository("Q8_0")) == "Q4_K_M"
    assert choose(parse_hardware("CPU only, 24 GiB RAM"), repository(), llmhost_accelerator="cpu") == ""


@pytest.mark.parametrize("fields", [{"pinned": True}, {"variants": []}, {"shape": {}}])
def test_there_is_no_choice(fields: Facts) -> None:
    assert choose(parse_hardware("2x RTX 3090, 64 GiB RAM"), repository() | fields) == ""


def test_what_a_host_serves_stays_as_long_as_it_fits() -> None:
    host, served = hosts.workstation(gpus=2), repository()
    host["state"]["models"] = {"models": [{"model": served}]}
    assert choose(host, served) == ""

    smaller = copy.deepcopy(host)
    smaller["gpus"], smaller["memory"]["total_bytes"] = [], 8 * 2**30
    assert choose(smaller, served, llmhost_swap_max="0") in ("Q2_K", "")
    assert choose(hosts.workstation(gpus=2), served) == "Q8_0"


def test_the_plan_says_that_the_quantisation_was_chosen() -> None:
    made = planner.plan(parse_hardware("RTX 3090, 64 GiB RAM"), repository(), {"llmhost_model": "Qwen/Qwen3-32B-GGUF"})
    found = next(entry for entry in made["findings"] if entry["code"] == "model.variant")

    assert found["level"] == "info"
    assert "Q4_K_M is planned, of 8 quantisations" in found["message"]

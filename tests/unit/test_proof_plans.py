"""What a proof on a host decides in its whole plan: split, environment and arguments of both engines."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan import planner
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_schema import problems
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_table import plan_table

from tests.unit import gpu_hosts, hosts
from tests.unit.gpu_hosts import address, alike
from tests.unit.test_links_proven import proved, transfers

Facts = dict[str, Any]
PAIR = {(0, 1): ("PHB", "OK")}
OWN_SUMS_OFF = "--disable-custom-all-reduce"
NO_P2P = {"NCCL_P2P_DISABLE": "1"}


def planned(gpus: Facts, engine: str) -> Facts:
    """The plan of a workstation with these GPUs for a model that takes more than one of them."""
    shape = {"vllm": {"format": "safetensors", "quantization": "FP8"}, "llama_cpp": {}}[engine]
    model = hosts.qwen3_32b({"weights_bytes": 36 * hosts.GIB}, **shape)
    made = planner.plan({**hosts.workstation(), **gpus}, model, {"llmhost_model": "x/y"}, what_if=True)
    assert problems(made) == []
    assert made["engine"] == engine
    assert (made["multi_gpu"]["split"], len(made["multi_gpu"]["order"])) != ("none", 1)
    return made


def settings(plan: Facts) -> Facts:
    """What the service's environment says of the ways between GPUs."""
    found: Facts = plan["runtime"]["environment"]
    return {name: value for name, value in found.items() if "P2P" in name}


def host(outcome: str, joined: str = "PHB", summed: str = "ok") -> Facts:
    """Two cards whose driver grants direct transfers, and what a proof made of them; ``none``: there is no proof."""
    facts = proved({(0, 1): outcome}, summed=summed)
    if joined.startswith("NV"):
        facts["nvidia"]["pairs"] = gpu_hosts.bridged()["nvidia"]["pairs"]
        for gpu in facts["nvidia"]["gpus"]:
            gpu["nvlinks"] = gpu_hosts.nvlinks(4)
    return facts if outcome != "none" else {**facts, "proof": None}


FAILURES = ["wrong", "hang", "error"]


@pytest.mark.parametrize(
    ("outcome", "joined", "found", "own_sums", "peers"),
    [
        ("ok", "PHB", {"NCCL_P2P_LEVEL": "PHB"}, True, "proved"),
        ("none", "PHB", NO_P2P, False, "granted"),
        *((outcome, "PHB", NO_P2P, False, "failed") for outcome in FAILURES),
        ("ok", "NV4", {}, True, "proved"),
        ("none", "NV4", {}, True, "granted"),
        *((outcome, "NV4", NO_P2P, False, "failed") for outcome in FAILURES),
    ],
)
def test_vllm(outcome: str, joined: str, found: Facts, own_sums: bool, peers: str) -> None:
    plan = planned(host(outcome, joined), "vllm")
    assert (plan["multi_gpu"]["split"], plan["multi_gpu"]["peers"]) == ("tensor", peers)
    assert settings(plan) == found
    assert plan["multi_gpu"]["custom_all_reduce"] is own_sums
    assert (OWN_SUMS_OFF not in plan["runtime"]["arguments"]) is own_sums


@pytest.mark.parametrize("joined", ["PHB", "NV4"])
@pytest.mark.parametrize("outcome", ["ok", "none", *FAILURES])
def test_llama_cpp_copies_directly_only_what_was_proved(outcome: str, joined: str) -> None:
    plan = planned(host(outcome, joined), "llama_cpp")
    assert plan["multi_gpu"]["split"] == "layer"
    assert (settings(plan).get("GGML_CUDA_P2P") == "1") is (outcome == "ok")
    assert "layer" in plan["runtime"]["arguments"]


@pytest.mark.parametrize("summed", ["wrong", "hang", "error"])
@pytest.mark.parametrize("joined", ["PHB", "NV4"])
def test_pairs_that_are_right_with_a_sum_that_is_not(joined: str, summed: str) -> None:
    plan = planned(host("ok", joined, summed), "vllm")
    assert settings(plan) == NO_P2P
    assert OWN_SUMS_OFF in plan["runtime"]["arguments"]
    assert "proof.all_reduce" in {finding["code"] for finding in plan["findings"]}
    assert "GGML_CUDA_P2P" not in settings(planned(host("ok", joined, summed), "llama_cpp"))


def test_a_bad_pair_among_four_leaves_what_is_nearer() -> None:
    """Two bridges, of which each joins two; the way between them over PCI Express hangs."""
    pairs = {(a, b): "hang" for a in range(4) for b in range(a + 1, 4)} | {(0, 1): "ok", (2, 3): "ok"}
    facts = proved(pairs)
    for pair in facts["nvidia"]["pairs"]:
        if (pair["a"], pair["b"]) in ((0, 1), (2, 3)):
            pair.update(level="NV4", nvlinks=4)
    for gpu in facts["nvidia"]["gpus"]:
        gpu["nvlinks"] = gpu_hosts.nvlinks(4)
    plan = planned(facts, "vllm")
    assert settings(plan) == {"NCCL_P2P_LEVEL": "NVL"}
    assert OWN_SUMS_OFF in plan["runtime"]["arguments"]


@pytest.mark.parametrize("engine", ["vllm", "llama_cpp"])
@pytest.mark.parametrize("change", ["driver", "card", "fewer"])
def test_a_proof_is_of_these_cards_with_this_driver(engine: str, change: str) -> None:
    facts = host("ok")
    if change == "driver":
        facts["nvidia"]["driver"]["loaded_version"] = "595.91.07"
    elif change == "card":
        facts["nvidia"]["gpus"][1]["uuid"] = "GPU-of-another-card"
    else:
        facts["proof"]["uuids"].popitem()
    plan = planned(facts, engine)
    assert (plan["multi_gpu"]["peers"], settings(plan)) == ("granted", NO_P2P)


@pytest.mark.parametrize("engine", ["vllm", "llama_cpp"])
@pytest.mark.parametrize("outcome", ["ok", *FAILURES])
def test_what_is_proved_does_not_hang_on_what_was_found(engine: str, outcome: str) -> None:
    """Or a proof would ask for another one, for ever."""
    asked = [planned(host(which), engine)["multi_gpu"]["proof"] for which in ("none", outcome)]
    assert asked[0] == asked[1]
    assert asked[0]["gpus"] == [address(0), address(1)]


@pytest.mark.parametrize(
    ("proof", "row"),
    [
        ("ok", "proved"),
        ("hang", "failed"),
        ("none", "granted by the driver"),
    ],
)
def test_the_table_says_what_was_proved(proof: str, row: str) -> None:
    lines = plan_table(planned(host(proof), "vllm")).splitlines()
    assert f"direct         {row}" in [line.removeprefix("links").strip() for line in lines]


@pytest.mark.parametrize(
    "proof",
    [
        {},
        {"driver_version": "580.178.04"},
        {"driver_version": 580, "uuids": [], "pairs": 3, "all_reduce": "x"},
        "broken",
        [],
    ],
)
def test_a_record_that_is_broken_is_no_proof(proof: Any) -> None:
    plan = planned({**host("none"), "proof": proof}, "vllm")
    assert (plan["multi_gpu"]["peers"], settings(plan)) == ("granted", NO_P2P)


@pytest.mark.parametrize(
    "entry",
    [
        {"a": None, "b": [], "transfers": "all"},
        {"a": address(0), "b": address(1), "transfers": [{"way": "copy", "outcome": "ok", "gbs": "fast"}, 3, None]},
        {"a": address(0), "b": address(1), "transfers": [{"way": "copy"}, {"outcome": "ok"}]},
        {"a": address(0), "b": address(1), "transfers": transfers(0, 1, "ok")[:-1]},
        {"a": address(0), "b": "0000:ff:00.0", "transfers": [{"way": "copy", "outcome": "ok", "gbs": 1}]},
    ],
)
def test_a_pair_of_which_the_record_says_nonsense_is_not_proved(entry: Facts) -> None:
    facts = {**alike(2, PAIR), **host("ok")}
    facts["proof"]["pairs"] = [entry]
    assert settings(planned(facts, "vllm"))["NCCL_P2P_DISABLE"] == "1"

"""What a proof that was made on a host changes in its plan."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan.links import UNPROVEN, Links
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_plan import multi_gpu
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_proven import read_proof
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_split import Use
from ansible_collections.llmhost.core.plugins.module_utils.plan.together import Together

from tests.unit.gpu_hosts import address, alike

Facts = dict[str, Any]
WAYS = ("copy", "read", "write")
DRIVER = "580.178.04"


def transfers(a: int, b: int, outcome: str, gbs: float = 24.0) -> list[Facts]:
    """All transfers of a pair, direct ones with that outcome."""
    ends = [{"from": address(one), "to": address(other)} for one, other in ((a, b), (b, a))]
    found = [{"way": "staged", "outcome": "ok", "gbs": 10.0, **way} for way in ends]
    return found + [{"way": name, "outcome": outcome, "gbs": gbs, **way} for name in WAYS for way in ends]


def proved(pairs: dict[tuple[int, int], str], summed: str = "ok", gbs: float = 24.0, **fields: Any) -> Facts:
    """A host of equal cards, whose pairs the driver grants direct transfers, with a proof of these outcomes."""
    count = max(max(pair) for pair in pairs) + 1
    facts = alike(count, dict.fromkeys(pairs, ("PHB", "OK")))
    facts["nvidia"]["driver"] = {"loaded_version": DRIVER}
    facts["proof"] = {
        "driver_version": DRIVER,
        "uuids": {gpu["pci_address"]: gpu["uuid"] for gpu in facts["nvidia"]["gpus"]},
        "devices": {"outcome": "ok"},
        "gpus": [],
        "pairs": [
            {"a": address(a), "b": address(b), "transfers": transfers(a, b, outcome, gbs)}
            for (a, b), outcome in pairs.items()
        ],
        "all_reduce": {"without_peer": {"outcome": "ok"}, "with_peer": {"outcome": summed}},
        **fields,
    }
    return facts


def planned(facts: Facts, engine: str = "vllm") -> Facts:
    """The section for a model on all cards."""
    links = Links.from_facts(facts)
    numbers = tuple(card.number for card in links.cards)
    made = multi_gpu(links, Use(engine, numbers, len(numbers)), read_proof(facts, links)[0], 580)
    assert made is not None
    return made


def codes(facts: Facts) -> dict[str, str]:
    found = Together.from_facts(facts, None, False).findings({}, "vllm")
    return {finding.code: finding.level for finding in found}


def test_a_proof_opens_the_way_over_pci_express() -> None:
    facts = proved({(0, 1): "ok"})
    made = planned(facts)
    assert (made["peers"], made["custom_all_reduce"]) == ("proved", True)
    assert made["environment"]["NCCL_P2P_LEVEL"] == "PHB"
    assert planned(facts, "llama_cpp")["environment"]["GGML_CUDA_P2P"] == "1"
    assert codes(facts) == {}


@pytest.mark.parametrize("outcome", ["wrong", "hang", "error"])
def test_what_failed_stays_off(outcome: str) -> None:
    facts = proved({(0, 1): outcome})
    made = planned(facts)
    assert (made["peers"], made["custom_all_reduce"]) == ("failed", False)
    assert made["environment"]["NCCL_P2P_DISABLE"] == "1"
    assert codes(facts) == {"proof.peer": "warning"}


def test_a_sum_that_is_wrong_speaks_against_all_pairs() -> None:
    made = planned(proved({(0, 1): "ok"}, summed="hang"))
    assert (made["peers"], made["environment"]["NCCL_P2P_DISABLE"]) == ("failed", "1")


def test_a_sum_that_was_not_tried_says_nothing() -> None:
    assert planned(proved({(0, 1): "ok"}, all_reduce=None))["peers"] == "proved"
    assert planned(proved({(0, 1): "ok"}, summed="not_tried"))["peers"] == "proved"


def test_a_pair_that_failed_among_good_ones_is_not_used() -> None:
    made = planned(proved({(0, 1): "ok", (0, 2): "wrong", (1, 2): "ok"}))
    assert (made["peers"], made["environment"]["NCCL_P2P_DISABLE"]) == ("failed", "1")


def test_a_slow_way_is_compared_with_what_was_expected() -> None:
    assert codes(proved({(0, 1): "ok"}, gbs=5.0)) == {"proof.slow_link": "warning"}


@pytest.mark.parametrize("fields", [{"driver_version": "570.211.01"}, {"uuids": {}}])
def test_the_proof_of_something_else_counts_for_nothing(fields: Facts) -> None:
    facts = proved({(0, 1): "ok"}, **fields)
    assert read_proof(facts, Links.from_facts(facts)) == (UNPROVEN, [])
    assert codes(facts) == {"gpus.peers_unproven": "info"}


def test_bad_hardware_keeps_no_plan_from_proving_it_again() -> None:
    facts = proved({(0, 1): "ok"}, gpus=[{"pci_address": address(0), "memory": {"outcome": "wrong", "wrong_words": 3}}])
    assert codes(facts) == {"proof.memory": "warning"}


def test_a_host_without_a_proof() -> None:
    facts = alike(2, {(0, 1): ("PHB", "OK")})
    assert read_proof(facts, Links.from_facts(facts)) == (UNPROVEN, [])
    assert read_proof({**facts, "proof": None}, Links.from_facts(facts)) == (UNPROVEN, [])

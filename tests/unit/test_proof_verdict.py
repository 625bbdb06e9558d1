"""What a proof says about a host, to a person and to the plan."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.proof.proof_table import as_text
from ansible_collections.llmhost.core.plugins.module_utils.proof.verdict import Verdict
from hypothesis import given
from hypothesis import strategies as st

A, B = "0000:01:00.0", "0000:41:00.0"
BRIDGE = [{"a": A, "b": B, "gbs": 50.6, "path": "nvlink"}]


def transfers(gbs: float = 52.0, **outcomes: str) -> list[dict[str, Any]]:
    """Return all transfers between two GPUs; each is well unless it is told otherwise."""
    return [
        {
            "way": way,
            "from": source,
            "to": target,
            "outcome": outcomes.get(way, "ok"),
            "gbs": gbs if way != "staged" else 9.0,
        }
        for way in ("staged", "copy", "read", "write")
        for source, target in ((A, B), (B, A))
    ]


def gpu(address: str, **more: Any) -> dict[str, Any]:
    well: dict[str, Any] = {step: {"outcome": "ok"} for step in ("checker", "memory", "host_link", "product")}
    well["memory"]["tested_bytes"] = 23 << 30
    return {"pci_address": address, **well, "sensors": {"throttled": []}, **more}


def result(**more: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "driver_version": "580.178.04",
        "uuids": {A: "GPU-a", B: "GPU-b"},
        "devices": {"outcome": "ok"},
        "gpus": [gpu(A), gpu(B)],
        "pairs": [{"a": A, "b": B, "transfers": transfers()}],
        "all_reduce": {"without_peer": {"outcome": "ok"}, "with_peer": {"outcome": "ok"}},
        "xids": [],
        **more,
    }


def facts(version: str = "580.178.04", *uuids: str) -> dict[str, Any]:
    named = zip((A, B), uuids or ("GPU-a", "GPU-b"), strict=True)
    gpus = [{"pci_address": address, "uuid": uuid} for address, uuid in named]
    return {"driver": {"loaded_version": version}, "gpus": gpus}


def codes(verdict: Verdict) -> list[tuple[str, str]]:
    return [(finding.level, finding.code) for finding in verdict.findings]


def test_a_healthy_pair() -> None:
    verdict = Verdict.from_result(result(), BRIDGE)
    assert codes(verdict) == []
    assert (verdict.healthy, verdict.peer_transfers, verdict.reduces) == (True, True, True)
    assert (verdict.bad_pairs, verdict.peers, verdict.last_word()) == ([], "proved", {})
    assert verdict.pairs[0].gbs == 52.0


@pytest.mark.parametrize("nothing", [None, {}])
def test_nothing_says_nothing(nothing: dict[str, Any] | None) -> None:
    verdict = Verdict.from_result(nothing)
    assert codes(verdict) == []
    assert (verdict.healthy, verdict.peer_transfers, verdict.reduces) == (False, None, None)
    assert not verdict.is_of(None)


@pytest.mark.parametrize(
    ("nvidia", "same"),
    [
        (facts(), True),
        (facts("595.91.07"), False),
        (facts("580.178.04", "GPU-a", "GPU-c"), False),
        ({}, False),
        (None, False),
    ],
)
def test_a_proof_belongs_to_gpus_and_their_driver(nvidia: dict[str, Any] | None, same: bool) -> None:
    assert Verdict.from_result(result()).is_of(nvidia) is same


def test_a_link_slower_than_it_should_be() -> None:
    slow = result(pairs=[{"a": A, "b": B, "transfers": transfers(gbs=26.1)}])
    verdict = Verdict.from_result(slow, BRIDGE)
    assert codes(verdict) == [("warning", "proof.slow_link")]
    assert "26.1 GB/s, where the link should give 50.6" in verdict.findings[0].message
    assert verdict.healthy
    assert codes(Verdict.from_result(slow)) == [], "nothing is expected of it"


def test_transfers_through_the_host_are_judged_where_none_go_directly() -> None:
    through = transfers(copy="not_granted", read="not_granted", write="not_granted")
    verdict = Verdict.from_result(result(pairs=[{"a": B, "b": A, "transfers": through}]), [{"a": A, "b": B, "gbs": 20}])
    assert (verdict.peer_transfers, verdict.pairs[0].gbs) == (None, 9.0)
    assert codes(verdict) == [("warning", "proof.slow_link")]


def test_several_bad_pairs_are_one_finding() -> None:
    pairs = [{"a": A, "b": other, "transfers": transfers(copy="hang", read="wrong")} for other in (B, "0000:81:00.0")]
    verdict = Verdict.from_result(result(pairs=pairs))
    assert codes(verdict) == [("warning", "proof.peer")]
    assert verdict.findings[0].message.count("copy hangs, read gives wrong data") == 2
    assert verdict.bad_pairs == [(A, B), (A, "0000:81:00.0")]
    assert verdict.peers == "failed"


def test_a_pair_that_was_not_tried_proves_nothing() -> None:
    untried = {"a": A, "b": "0000:81:00.0", "setup": {"outcome": "not_tried"}, "transfers": []}
    verdict = Verdict.from_result(result(pairs=[*result()["pairs"], untried]))
    assert (verdict.peer_transfers, codes(verdict)) == (None, [])


@pytest.mark.parametrize(
    ("number", "level"), [(79, "error"), (48, "error"), (31, "info"), (43, "info"), (63, "warning"), (9999, "error")]
)
def test_an_xid_weighs_what_it_means(number: int, level: str) -> None:
    verdict = Verdict.from_result(result(xids=[{"pci_address": A, "number": number, "text": f"Xid {number}"}]))
    assert codes(verdict) == [(level, "proof.xid")]
    assert verdict.healthy is (level != "error")


def test_a_gpu_that_throttles_is_told() -> None:
    hot = gpu(A, sensors={"throttled": ["too hot (by the driver)"], "temperature_max": 93.0})
    verdict = Verdict.from_result(result(gpus=[hot, gpu(B)]))
    assert codes(verdict) == [("warning", "proof.throttled")]
    assert "93 C" in as_text(verdict)


def test_a_process_stuck_in_the_kernel_is_the_worst() -> None:
    verdict = Verdict.from_result(result(stuck=True))
    assert codes(verdict) == [("error", "proof.stuck")]
    assert "reboot" in verdict.last_word()["remedy"].lower()


def test_the_tables_show_everything() -> None:
    seen = {"temperature_max": 71.0, "clock_mhz": 1800.0, "power_watts": 349.5, "throttled": []}
    figures = {
        "memory": {"outcome": "ok", "tested_bytes": 23 << 30},
        "host_link": {"outcome": "ok", "to_gpu_gbs": 25.1, "to_host_gbs": 24.7},
        "product": {"outcome": "ok", "tflops": 18.2},
        "sensors": seen,
    }
    summed = {"outcome": "ok", "bus_gbs": 40.1, "latency_us": 12.0}
    reduced = {"with_peer": summed, "without_peer": {"outcome": "hang"}}
    told = as_text(Verdict.from_result(result(gpus=[gpu(A, **figures), gpu(B)], all_reduce=reduced), BRIDGE))
    cells = [line.split() for line in told.splitlines()]
    assert cells[1] == (f"GPU0 {A} ok 23.0 GiB 25.1 GB/s 24.7 GB/s ok 18.2 71 C 1800 MHz 349.5 W".split())
    assert cells[2] == f"GPU1 {B} ok 23.0 GiB - - ok - - - -".split()
    assert [cells[4], cells[5], cells[6]] == [
        ["GPU0", "GPU1"],
        ["GPU0", "-", "52", "direct"],
        ["GPU1", "52", "direct", "-"],
    ]
    assert "NCCL all-reduce direct            ok    40.1 GB/s  12 us for 32 KiB" in told
    assert "NCCL all-reduce through the host  hang  -          -" in told
    assert "warning: An all-reduce over all GPUs with NCCL_P2P_DISABLE=1 hangs." in told


@pytest.mark.parametrize(
    ("ways", "cell"),
    [
        (transfers(), "52 direct"),
        (transfers(30.0), "30 direct slow"),
        (transfers(copy="hang"), "9 host* slow"),
        (transfers(copy="not_granted", read="not_granted", write="not_granted"), "9 host slow"),
        ([], "not tried"),
    ],
)
def test_the_matrix_says_how_each_pair_went(ways: list[dict[str, Any]], cell: str) -> None:
    told = as_text(Verdict.from_result(result(pairs=[{"a": A, "b": B, "transfers": ways}]), BRIDGE))
    assert f"GPU0  -{' ' * len(cell)} {cell}" in told


def test_there_is_no_table_of_nothing() -> None:
    assert "GPU0" not in as_text(Verdict.from_result({}))
    single = as_text(Verdict.from_result(result(gpus=[gpu(A)], pairs=[], all_reduce=None)))
    assert ("GB/s, the slower" in single, "all-reduce" in single) == (False, False)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
odd = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner), max_leaves=8
)
KEYS = ("devices", "gpus", "pairs", "all_reduce", "xids", "stuck", "uuids", "driver_version")


@given(
    st.fixed_dictionaries(dict.fromkeys(KEYS, odd)),
    st.fixed_dictionaries({"pci_address": odd, "memory": odd, "sensors": odd, "setup": odd, "checker": odd}),
    st.fixed_dictionaries({"a": odd, "b": odd, "gbs": odd, "transfers": odd, "setup": odd}),
    st.fixed_dictionaries({"way": odd, "outcome": odd, "gbs": odd, "from": odd, "message": odd, "number": odd}),
)
def test_no_record_is_too_odd(
    top: dict[str, Any], one_gpu: dict[str, Any], pair: dict[str, Any], leaf: dict[str, Any]
) -> None:
    deep = {"gpus": [one_gpu], "pairs": [pair, {**pair, "transfers": [leaf]}], "xids": [leaf]}
    for record in (top, top | deep, top | deep | {"all_reduce": {"with_peer": leaf, "odd": leaf}}):
        verdict = Verdict.from_result(record, [pair])
        assert isinstance(as_text(verdict), str)
        assert isinstance(verdict.healthy, bool)
        assert isinstance(verdict.is_of(record), bool)
        assert verdict.peer_transfers in (True, False, None)
        assert verdict.reduces in (True, False, None)

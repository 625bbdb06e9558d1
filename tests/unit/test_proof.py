"""The proof as the host runs it: one file, its processes, and a CUDA driver that computes, lies, fails and hangs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.proof.program import packed
from ansible_collections.llmhost.core.plugins.module_utils.proof.verdict import Verdict

from tests.tools.fake_libraries import compiled

A, B, C = "0000:1a:00.0", "0000:1b:00.0", "0000:1c:00.0"
TWO = "gpus=2 peer"

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on this machine")

Prove = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("libraries")
    return {"cuda": str(compiled("libcuda", folder)), "nccl": str(compiled("libnccl", folder))}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "llmhost-proof.pyz"
    path.write_bytes(packed())
    return path


@pytest.fixture
def prove(program: Path, libraries: dict[str, str], tmp_path: Path) -> Prove:
    """Return a function that proves a host whose driver and NCCL are as its words say, and returns the result."""

    def run(cuda: str, gpus: tuple[str, ...] = (A, B), nccl: str = "", **request: Any) -> dict[str, Any]:
        small = {"transfer_bytes": 1 << 16, "chunk_bytes": 4 << 20, "reserve_bytes": 1 << 20, "matrix_size": 128}
        quick = {"measure_ms": 1, "step_seconds": 20, "burn_in_seconds": 0}
        loaded = {kind: request.pop(f"{kind}_library", path) for kind, path in libraries.items()}
        asked = {"gpus": gpus, **loaded, **small, **quick, **request}
        (tmp_path / "request.json").write_text(json.dumps(asked), encoding="utf-8")
        options = [f"--{name}={tmp_path / name}" for name in ("files", "record")]
        done = subprocess.run(
            [sys.executable, program, f"--request={tmp_path / 'request.json'}", *options],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "FAKE_CUDA": cuda, "FAKE_NCCL": nccl},
        )
        assert done.stderr == ""
        result: dict[str, Any] = json.loads((tmp_path / "files/result.json").read_text(encoding="utf-8"))
        assert done.returncode == (0 if result["ok"] else 1)
        kept = json.loads((tmp_path / "record/gpu_proof.json").read_text(encoding="utf-8"))
        assert kept == {key: value for key, value in result.items() if key not in ("message", "remedy")}
        return result

    return run


def levels(result: dict[str, Any]) -> set[tuple[str, str]]:
    return {(finding["level"], finding["code"]) for finding in result["findings"]}


def outcomes(result: dict[str, Any]) -> dict[str, set[str]]:
    """Return how each way between GPUs went."""
    found: dict[str, set[str]] = {}
    for pair in result["pairs"]:
        for transfer in pair["transfers"]:
            found.setdefault(transfer["way"], set()).add(transfer["outcome"])
    return found


def test_a_healthy_host_is_proved(prove: Prove, tmp_path: Path) -> None:
    result = prove("gpus=3 peer", (A, B, C), burn_in_seconds=1)
    assert result["findings"] == []
    assert [gpu["pci_address"] for gpu in result["gpus"]] == [A, B, C]
    for gpu in result["gpus"]:
        assert {gpu[step]["outcome"] for step in ("checker", "memory", "host_link", "product")} == {"ok"}
        assert gpu["memory"]["tested_bytes"] == 12 << 20, "16 MiB are free, of which one stays"
        assert gpu["product"]["products"] > 0
    assert [(pair["a"], pair["b"]) for pair in result["pairs"]] == [(A, B), (A, C), (B, C)]
    assert outcomes(result) == {key: {"ok"} for key in ("staged", "copy", "read", "write")}
    assert {way: reduced["outcome"] for way, reduced in result["all_reduce"].items()} == {
        "with_peer": "ok",
        "without_peer": "ok",
    }
    assert result["all_reduce"]["with_peer"]["nccl_version"] == "2.31.2"
    progress = json.loads((tmp_path / "files/progress.json").read_text(encoding="utf-8"))
    assert (progress["stage"], progress["done"], progress["total"]) == ("all-reduce", 7, 8)
    verdict = Verdict.from_result(result)
    assert (verdict.peer_transfers, verdict.reduces, verdict.peers) == (True, True, "proved")


def test_a_single_gpu_is_proved_alone(prove: Prove) -> None:
    result = prove("gpus=1", (A,))
    assert result["ok"]
    assert (result["pairs"], result["all_reduce"]) == ([], None)


def test_gpus_without_peer_access_go_through_the_host(prove: Prove) -> None:
    result = prove("gpus=2")
    assert result["ok"]
    assert outcomes(result) == {"staged": {"ok"}} | {key: {"not_granted"} for key in ("copy", "read", "write")}
    assert list(result["all_reduce"]) == ["without_peer"]
    assert Verdict.from_result(result).peer_transfers is None


@pytest.mark.parametrize("way", ["copy", "read", "write"])
@pytest.mark.parametrize("fault", ["wrong", "crash"])
def test_a_grant_that_does_not_hold_is_found(prove: Prove, way: str, fault: str) -> None:
    result = prove(f"{TWO} {fault}={way}")
    assert levels(result) == {("warning", "proof.peer")}
    others = {"staged", "copy", "read", "write"} - {way}
    assert outcomes(result) == {key: {"ok"} for key in others} | {way: {"wrong" if fault == "wrong" else "error"}}
    assert list(result["all_reduce"]) == ["without_peer"]
    verdict = Verdict.from_result(result)
    assert (verdict.peer_transfers, verdict.bad_pairs) == (False, [(A, B)])
    assert verdict.peers == "failed"


def test_a_transfer_that_hangs_is_a_result(prove: Prove) -> None:
    result = prove(f"{TWO} hang=copy", step_seconds=2)
    assert outcomes(result) == {"staged": {"ok"}, "copy": {"hang"}, "read": {"ok"}, "write": {"ok"}}
    assert levels(result) == {("warning", "proof.peer")}
    assert "hangs" in result["findings"][0]["message"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("wrong=memory", "proof.memory", "words are wrong"),
        ("wrong=host", "proof.host_link", "changes data"),
        ("wrong=product", "proof.product", "words are wrong"),
        ("wrong=staged", "proof.transfer", "gives wrong data"),
        ("wrong=checker", "proof.checker", "compares data wrongly"),
        ("fail=cuInit:803", "proof.cuda", "803 (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)"),
        ("fail=cuModuleLoadData:218", "proof.gpu", "218"),
        ("fail=cuMemcpyPeerAsync:719", "proof.transfer", "719"),
        ("crash=product", "proof.product", "signal 9"),
    ],
)
def test_hardware_that_fails_ends_the_run(prove: Prove, words: str, code: str, said: str) -> None:
    result = prove(f"{TWO} {words}", burn_in_seconds=int("product" in words))
    assert ("error", code) in levels(result)
    assert said in result["message"]
    assert result["message"].endswith(".")


def test_work_that_hangs_ends_the_run(prove: Prove) -> None:
    result = prove("gpus=2 hang=product", step_seconds=1, burn_in_seconds=1)
    assert levels(result) == {("error", "proof.product")}
    assert {gpu["product"]["outcome"] for gpu in result["gpus"]} == {"hang"}


def test_a_gpu_that_cannot_compare_has_nothing_to_say(prove: Prove) -> None:
    result = prove(f"{TWO} wrong=checker")
    assert [set(gpu) for gpu in result["gpus"]] == [{"pci_address", "checker"}] * 2
    assert result["pairs"][0]["transfers"] == []
    assert result["all_reduce"] is None


SMI = """#!/bin/sh
case $1 in *clocks_event_reasons*) [ {knows} = new ] || exit 2;; esac
echo "00000000:1A:00.0, 93, 1200, 2100, 350.00, 350.00, {reasons}"
echo "00000000:1B:00.0, [N/A], [Unknown Error], [Not Supported], 99.5, [N/A], [N/A]"
"""


@pytest.mark.parametrize("knows", ["new", "old"])
def test_gpus_are_watched_while_they_work(
    prove: Prove, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows: str
) -> None:
    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(SMI.format(knows=knows, reasons="0x0000000000000048"))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    result = prove("gpus=2", burn_in_seconds=3)
    hot, silent = (gpu["sensors"] for gpu in result["gpus"])
    assert (hot["temperature_max"], hot["throttled"]) == (93.0, ["hardware slowdown", "too hot (by the hardware)"])
    assert (silent["temperature_max"], silent["power_watts"], silent["throttled"]) == (None, 99.5, [])
    assert (result["ok"], levels(result)) == (True, {("warning", "proof.throttled")})


def test_a_gpu_that_cuda_does_not_show_is_named(prove: Prove) -> None:
    result = prove("gpus=1", burn_in_seconds=1)
    assert levels(result) == {("error", "proof.gpu")}
    assert B in result["message"]
    assert result["gpus"][0]["product"]["outcome"] == "ok", "the other one is proved all the same"


def test_memory_in_use_is_left_alone(prove: Prove) -> None:
    result = prove("gpus=1 free=1", (A,))
    assert result["gpus"][0]["memory"]["tested_bytes"] == 0
    assert levels(result) == {("info", "proof.memory_in_use")}


def test_memory_that_is_free_in_pieces_is_tested_as_far_as_it_goes(prove: Prove) -> None:
    result = prove("gpus=1 free=32 chunks=3", (A,))
    assert result["gpus"][0]["memory"] == {
        "outcome": "ok",
        "wrong_words": 0,
        "wrong_bits": 0,
        "tested_bytes": 12 << 20,
    }


@pytest.mark.parametrize(
    ("nccl", "outcome"),
    [("wrong=reduce", "wrong"), ("fail=reduce", "error"), ("hang=reduce", "hang"), ("hang=join", "hang")],
)
def test_an_all_reduce_that_works_only_without_peer_access_is_found(prove: Prove, nccl: str, outcome: str) -> None:
    result = prove(TWO, nccl=f"peer {nccl}", step_seconds=2)
    assert result["all_reduce"]["with_peer"]["outcome"] == outcome
    assert result["all_reduce"]["without_peer"]["outcome"] == "ok"
    assert levels(result) == {("warning", "proof.all_reduce")}
    verdict = Verdict.from_result(result)
    assert (verdict.reduces, verdict.peers) == (True, "failed")


def test_an_all_reduce_that_never_works_is_no_fault_of_the_hardware(prove: Prove) -> None:
    result = prove(TWO, nccl="fail=reduce")
    assert result["ok"]
    verdict = Verdict.from_result(result)
    assert verdict.reduces is False
    assert len(verdict.findings) == 2


def test_the_environment_of_the_plan_reaches_the_all_reduce(prove: Prove) -> None:
    # What the environment says of peer access is not what is proved: both ways are.
    result = prove(TWO, nccl="peer fail=reduce", environment={"NCCL_P2P_DISABLE": "1", "NCCL_X": "y"})
    assert result["all_reduce"]["with_peer"]["environment"] == {"NCCL_X": "y"}
    assert result["all_reduce"]["with_peer"]["outcome"] == "error"
    assert result["all_reduce"]["without_peer"]["environment"] == {"NCCL_P2P_DISABLE": "1", "NCCL_X": "y"}
    assert result["all_reduce"]["without_peer"]["outcome"] == "ok"


def test_a_host_without_a_driver_is_told_so(prove: Prove) -> None:
    result = prove(TWO, cuda_library="libcuda-none.so")
    assert levels(result) == {("error", "proof.cuda")}
    assert "libcuda-none.so" in result["message"]


def test_an_nccl_that_is_not_there_is_told(prove: Prove, tmp_path: Path) -> None:
    result = prove("gpus=2", nccl_library=str(tmp_path))
    assert levels(result) == {("warning", "proof.all_reduce")}
    assert "libnccl.so.2 cannot be loaded" in result["findings"][0]["message"]


def test_without_a_burn_in_nothing_is_burnt_in(prove: Prove) -> None:
    result = prove("gpus=1", (A,))
    assert result["ok"]
    assert "product" not in result["gpus"][0]

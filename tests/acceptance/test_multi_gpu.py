"""The GPUs: each was proved with the driver that runs, the report shows what was found, and the plan goes by it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.proof.verdict import Verdict

from tests.acceptance.expectation import Figure, expect, expect_equal, gib
from tests.acceptance.report import Proved
from tests.acceptance.target import STATE_PATH, Target

RERUN = "run the tier's playbook again: what is not proved is proved then."
RECORD = f"{STATE_PATH}/gpu_proof.json"
UUIDS = "grep -H UUID: /proc/driver/nvidia/gpus/*/information"

pytestmark = pytest.mark.applied("multi_gpu")


def verdict_of(target: Target) -> Verdict:
    """Return what the last proof of the host found."""
    __tracebackhide__ = True
    answer = target.host.run(f"cat {RECORD}")
    expect(answer.rc == 0, RECORD, expected="the record of a proof", found="none", remedy=RERUN)
    return Verdict.from_result(json.loads(answer.stdout), target.slice("multi_gpu")["expected"])


def planned_gpus(plan: dict[str, Any]) -> list[str]:
    """Return the addresses of the GPUs that the plan wants proved."""
    return list(((plan.get("multi_gpu") or {}).get("proof") or {}).get("gpus", []))


def test_the_gpus_are_healthy(target: Target, proved: Proved, figure: Figure) -> None:
    verdict = verdict_of(target)
    proved(verdict)
    found = [f"{finding.message} {finding.remedy}" for finding in verdict.findings if finding.level == "error"]
    figure("proved in", f"{verdict.result.get('seconds', '?')} s")
    expect(verdict.healthy, "the proof of the GPUs", expected="no error", found=" ".join(found), remedy=RERUN)


def test_the_proof_is_of_these_gpus_with_this_driver(target: Target, figure: Figure) -> None:
    result = verdict_of(target).result
    version = target.shell("cat /sys/module/nvidia/version").strip()
    figure("driver", version)
    expect_equal("driver of the proof", expected=version, found=result["driver_version"], remedy=RERUN)
    here = {}
    for line in target.lines(UUIDS):
        path, _, told = line.partition("information:")
        here[path.rstrip("/").rpartition("/")[2]] = told.partition("UUID:")[2].strip()
    wanted = {address: here.get(address, "not shown") for address in planned_gpus(target.plan)}
    expect_equal("GPUs of the proof", expected=wanted, found=result["uuids"], remedy=RERUN)


@pytest.mark.each.with_args(planned_gpus)
def test_a_gpu_remembers_and_computes(target: Target, item: str, figure: Figure) -> None:
    gpu: dict[str, Any] = next((one for one in verdict_of(target).result["gpus"] if one["pci_address"] == item), {})
    memory, product, seen = gpu.get("memory", {}), gpu.get("product", {}), gpu.get("sensors") or {}
    figure("memory", gib(memory.get("tested_bytes", 0)))
    if target.slice("multi_gpu")["proof"]["burn_in_seconds"]:
        figure("product", f"{product.get('tflops', '?')} TFLOPS")
        figure("hottest", f"{seen.get('temperature_max', '?')} C")
    outcomes = {name: gpu[name]["outcome"] for name in ("checker", "memory", "host_link", "product") if name in gpu}
    good = bool(outcomes) and set(outcomes.values()) == {"ok"}
    expect(good, f"the GPU at {item}", expected="every test ok", found=outcomes or gpu, remedy=RERUN)


def test_data_between_gpus_is_right(target: Target, figure: Figure) -> None:
    pairs = verdict_of(target).pairs
    if not pairs:
        pytest.skip("there is one GPU")
    speeds = [pair.gbs for pair in pairs if pair.gbs is not None]
    figure("slowest", f"{min(speeds, default=0):g} GB/s")
    figure("direct", f"{sum(pair.direct is True for pair in pairs)} of {len(pairs)} pairs")
    told = [finding.message for pair in pairs for finding in pair.findings() if finding.level == "error"]
    expect(
        len(speeds) == len(pairs) and not told,
        "data between GPUs",
        expected="right, at least through the host",
        found=" ".join(told) or f"{len(pairs) - len(speeds)} of {len(pairs)} pairs not tried",
        remedy=RERUN,
    )


def test_a_sum_over_all_gpus_is_right(target: Target, figure: Figure) -> None:
    if not target.slice("multi_gpu")["proof"]["nccl"]:
        pytest.skip("the plan asks for no all-reduce")
    verdict = verdict_of(target)
    for way, reduced in (verdict.result.get("all_reduce") or {}).items():
        figure(way.replace("_", " "), f"{reduced.get('bus_gbs', '-')} GB/s, {reduced.get('latency_us', '-')} us")
    expect(verdict.reduces is True, "NCCL's all-reduce", expected="the right sum", found="none", remedy=RERUN)


def test_the_plan_uses_no_way_that_failed(target: Target) -> None:
    verdict, part = verdict_of(target), target.slice("multi_gpu")
    expect_equal("direct transfers", expected=verdict.peers or part["peers"], found=part["peers"], remedy=RERUN)
    if verdict.peers == "failed" and len(verdict.pairs) == 1:
        expect("NCCL_P2P_DISABLE" in part["environment"], "NCCL", expected="off", found="on", remedy=RERUN)
        expect(not part["custom_all_reduce"], "vLLM's own sums", expected="off", found="on", remedy=RERUN)


@pytest.mark.applied("inference")
def test_the_server_has_the_environment_of_the_plan(target: Target) -> None:
    held = target.as_service("cat", f"/proc/{target.main_pid}/environ").split("\0")
    missing = [f"{key}={value}" for key, value in target.slice("multi_gpu")["environment"].items()]
    missing = [pair for pair in missing if pair not in held]
    expect(not missing, "environment of the server", expected="all of the plan's", found=f"no {missing}", remedy=RERUN)

"""The CUDA toolkit of a host: bounded by its driver and its GPUs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan import cuda_plan
from ansible_collections.llmhost.core.plugins.module_utils.plan.cuda_plan import NO_CUDA, TOOLKITS, CudaPlan, choose
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.runtime_plan import archive_name, build_options
from ansible_collections.llmhost.core.plugins.module_utils.service.runtime_store import checked_name
from hypothesis import given
from hypothesis import strategies as st

GIB = 1 << 30
ROLE = Path(__file__).parents[2] / "roles/cuda"


def machine(*names: str, seen: list[str] | None = None, loaded: str | None = None) -> dict[str, Any]:
    """Return facts of a host with these GPUs; ``seen`` is what its driver says of their compute capability."""
    nvidia = {
        "driver": {"loaded_version": loaded},
        "gpus": [{"compute_capability": capability} for capability in seen or []],
    }
    return {
        "distribution": {"codename": "jammy"},
        "kernel": {"architecture": "x86_64"},
        "gpus": [{"name": name, "vram_bytes": 0} for name in names],
        "nvidia": nvidia,
    }


def plan(facts: dict[str, Any], driver: dict[str, Any] | None = None) -> CudaPlan:
    return cuda_plan.plan_cuda(facts, HostFacts.from_facts(facts), driver)


@pytest.mark.parametrize(
    ("gpus", "driver", "toolkit", "capabilities"),
    [
        (["NVIDIA GeForce RTX 3090"], "580.178.04", "13.0", ["86"]),
        (["NVIDIA GeForce RTX 3090"] * 2, "580-server", "13.0", ["86"]),
        (["NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 4090"], "595", "13.0", ["86", "89"]),
        (["NVIDIA GeForce RTX 5090"], "615-server-open", "13.0", ["120"]),
        (["NVIDIA B200"], "", "13.0", ["100"]),
        (["NVIDIA GeForce RTX 3090"], "570.211.01", "12.9", ["86"]),
        (["NVIDIA GeForce RTX 3090"], "525.60.13", "12.9", ["86"]),
        (["Tesla P40"], "580.178.04", "12.9", ["61"]),
        (["Tesla V100-SXM2-32GB"], "580.178.04", "12.9", ["70"]),
        (["Tesla T4"], "580.178.04", "13.0", ["75"]),
        (["Tesla P40", "NVIDIA GeForce RTX 5090"], "580.178.04", "12.9", ["61", "120"]),
    ],
)
def test_the_newest_toolkit_that_driver_and_gpus_allow(
    gpus: list[str], driver: str, toolkit: str, capabilities: list[str]
) -> None:
    made = plan(machine(*gpus), {"version": driver if "." in driver else None, "branch": driver}).as_dict()
    assert made is not None
    assert (made["toolkit"], made["capabilities"]) == (toolkit, capabilities)
    assert made["prefix"] == f"/opt/llmhost/cuda/{toolkit}"


def test_an_old_driver_is_refused_with_the_way_out() -> None:
    made = plan(machine("NVIDIA GeForce RTX 3090"), {"version": "470.256.02"})
    assert made.as_dict() is None
    assert [finding.code for finding in made.findings] == ["cuda.driver_too_old"]
    assert "470" in made.findings[0].message
    assert made.findings[0].remedy


def test_an_older_toolkit_is_explained() -> None:
    by_driver = plan(machine("NVIDIA GeForce RTX 3090"), {"version": "570.211.01"})
    by_gpu = plan(machine("Tesla P40"), {"version": "580.178.04"})
    assert [finding.code for finding in (*by_driver.findings, *by_gpu.findings)] == ["cuda.older_toolkit"] * 2
    assert "580" in by_driver.findings[0].message
    assert "6.1" in by_gpu.findings[0].message


def test_what_the_driver_says_counts_before_the_table() -> None:
    made = plan(machine("NVIDIA Something New", seen=["8.9"], loaded="580.1"))
    assert made.capabilities == ((8, 9),)
    assert made.toolkit is TOOLKITS[0]


def test_the_loaded_driver_counts_where_the_plan_names_none() -> None:
    made = plan(machine("NVIDIA GeForce RTX 3090", loaded="535.309.01"))
    assert made.toolkit is not None
    assert made.toolkit.version == "12.9"


@pytest.mark.parametrize("seen", [[], ["N/A"], ["8.6 or so"]])
def test_an_unknown_gpu_is_an_error(seen: list[str]) -> None:
    made = plan(machine("NVIDIA Something New", seen=seen))
    assert (made.as_dict(), [finding.code for finding in made.findings]) == (None, ["cuda.unknown_gpu"])
    assert "Something New" in made.findings[0].message


def test_no_toolkit_compiles_for_all_of_them() -> None:
    made = choose([(3, 5), (12, 0)], 580)
    assert [finding.code for finding in made.findings] == ["cuda.no_toolkit"]
    assert "3.5, 12.0" in made.findings[0].message


def test_a_host_without_a_gpu_has_none() -> None:
    assert plan(machine()) == NO_CUDA


@given(
    st.lists(st.sampled_from(sorted(set().union(*(one.capabilities for one in TOOLKITS)))), min_size=1),
    st.one_of(st.none(), st.integers(0, 999)),
)
def test_a_toolkit_always_fits_and_none_is_always_explained(
    capabilities: list[tuple[int, int]], branch: int | None
) -> None:
    made = choose(capabilities, branch)
    if made.toolkit is None:
        assert [finding.level for finding in made.findings] == ["error"]
        return
    assert made.toolkit.capabilities.issuperset(capabilities)
    assert branch is None or branch >= made.toolkit.driver
    assert "error" not in [finding.level for finding in made.findings]


@given(st.text())
def test_no_driver_version_raises(text: str) -> None:
    assert cuda_plan.driver_branch({"version": text}) in (None, *range(1000, 10000), *range(1000))


def test_the_archive_lies_beside_the_one_for_the_cpu() -> None:
    facts = machine("NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 4090")
    host, cuda = HostFacts.from_facts(facts), plan(facts)
    on_cpu, on_gpu = build_options(host, "x86-64-v3"), build_options(host, "x86-64-v3", cuda)
    names = [archive_name(host, on_cpu), archive_name(host, on_gpu, cuda)]
    assert re.fullmatch(r"llama_cpp-[\d.]+-jammy-x86_64-cpu-[0-9a-f]{12}", names[0])
    assert re.fullmatch(r"llama_cpp-[\d.]+-jammy-x86_64-cuda13\.0-sm86_89-[0-9a-f]{12}", names[1])
    assert [checked_name(name) for name in names] == names
    assert on_gpu.items() > on_cpu.items()
    assert on_gpu["CMAKE_CUDA_ARCHITECTURES"] == "86-real;89-real"
    assert on_gpu["CMAKE_INSTALL_RPATH"] == "/opt/llmhost/cuda/13.0/lib"


@pytest.mark.parametrize("part", ["libraries", "compiler"])
def test_the_role_pins_what_the_plan_names(part: str) -> None:
    toolkit = TOOLKITS[0]
    pinned = (ROLE / f"files/{toolkit.version}/{part}.txt").read_text()
    assert tuple(re.findall(r"^(\S+==\S+) \\$", pinned, re.MULTILINE)) == getattr(toolkit, part)
    for block in re.split(r"^(?=\S+==)", pinned, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in block

"""The options of the build, for one CPU and for a level that several reach."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan.cpu_build import LEVELS, check_cpu_level, cmake_options
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts

ZEN_2 = ["avx", "avx2", "bmi2", "f16c", "fma", "sse4_2"]
ZEN_4 = [*ZEN_2, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_bf16", "avx512_vnni"]
SANDY_BRIDGE = ["avx", "sse4_2"]


def host(features: list[str], machine: str = "x86_64") -> HostFacts:
    facts: dict[str, Any] = {"kernel": {"architecture": machine}, "cpu": {"name": "a CPU", "features": features}}
    return HostFacts.from_facts(facts)


def switched_on(of: HostFacts, level: str = "auto") -> set[str]:
    return {name for name, value in cmake_options(of, level).items() if name.startswith("GGML_A") and value == "ON"}


def test_a_build_for_one_cpu_uses_all_that_it_can() -> None:
    assert switched_on(host(ZEN_4)) == {
        "GGML_AVX",
        "GGML_AVX2",
        "GGML_AVX512",
        "GGML_AVX512_BF16",
        "GGML_AVX512_VNNI",
    }


@pytest.mark.parametrize("level", LEVELS)
def test_cpus_that_reach_a_level_share_a_build(level: str) -> None:
    other = [*ZEN_4, "amx_tile", "amx_int8", "avx512vbmi"]
    assert cmake_options(host(ZEN_4), level) == cmake_options(host(other), level)
    assert check_cpu_level(host(ZEN_4), level) == []


def test_the_levels_differ() -> None:
    assert switched_on(host(ZEN_4), "x86-64-v2") == set()
    assert switched_on(host(ZEN_4), "x86-64-v3") == {"GGML_AVX", "GGML_AVX2"}
    assert switched_on(host(ZEN_4), "x86-64-v4") == {"GGML_AVX", "GGML_AVX2", "GGML_AVX512"}


def test_a_cpu_below_the_level_is_an_error_that_names_what_it_lacks() -> None:
    (found,) = check_cpu_level(host(SANDY_BRIDGE), "x86-64-v3")
    assert (found.level, found.code) == ("error", "cpu.level_not_reached")
    assert "avx2, bmi2, f16c, fma" in found.message
    assert "a CPU" in found.message


def test_a_level_means_nothing_on_another_architecture() -> None:
    arm = host(["asimd", "sve"], "aarch64")
    assert check_cpu_level(arm, "x86-64-v3") == []
    assert switched_on(arm, "x86-64-v3") == set()

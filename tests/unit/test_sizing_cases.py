"""The plan beside what engines really took, in measured cases from public logs: the error stays in its targets."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from tests.tools.sizing_cases import FIXTURES, FORK, LLAMA, VLLM, Case, read_cases
from tests.tools.sizing_errors import all_figures, main, summary
from tests.tools.sizing_figures import (
    CONCURRENCY,
    CONTEXT,
    HOST_WEIGHTS,
    KV,
    OUTPUT,
    POOL,
    RECURRENT,
    TOKENS,
    TOTAL,
    VERDICT,
    WEIGHTS,
    Figure,
)

ENGINES = (LLAMA, FORK, VLLM)


INDEPENDENT = "independent.json"
"""Cases that were collected without looking at any rule: they have a test of their own."""


@cache
def cases() -> tuple[Case, ...]:
    paths = [path for path in FIXTURES.glob("*.json") if path.name not in ("configs.json", INDEPENDENT)]
    return tuple(read_cases(sorted(paths)))


@cache
def figures() -> tuple[Figure, ...]:
    return tuple(all_figures(cases()))


def of(part: str, *engines: str) -> list[Figure]:
    found = [figure for figure in figures() if figure.part == part and figure.case.engine in (engines or ENGINES)]
    return [figure for figure in found if not figure.exception]


def misses(found: list[Figure]) -> list[str]:
    return [f"{f.case.id} {f.device}: {f.predicted:.2f} for {f.measured:.2f}" for f in found if not f.in_target]


def share(found: list[Figure]) -> float:
    return sum(figure.in_target for figure in found) / len(found)


def test_there_are_many_cases_of_both_engines() -> None:
    engines = Counter(case.engine for case in cases())
    assert engines[LLAMA] >= 100
    assert engines[FORK] >= 50
    assert engines[VLLM] >= 50


def test_each_case_has_a_name_of_its_own_and_a_source() -> None:
    found = read_cases()
    assert len({case.id for case in found}) == len(found)
    assert all(case.facts["source"] and case.facts["certainty"] and case.facts["engine"] for case in found)


def test_each_exception_has_a_reason() -> None:
    assert all(len(reason.split()) > 3 for case in read_cases() for reason in case.section("exceptions").values())


@pytest.mark.parametrize("part", [KV, RECURRENT])
def test_caches_are_exact(part: str) -> None:
    assert misses(of(part)) == []


def test_weights_of_llama_cpp_are_exact_on_each_device() -> None:
    assert misses(of(WEIGHTS, LLAMA)) == []


def test_weights_of_vllm_are_within_a_percent_on_each_rank() -> None:
    found = of(WEIGHTS, VLLM)
    assert share(found) >= 0.95, misses(found)


def test_weights_in_ram_are_exact() -> None:
    assert misses(of(HOST_WEIGHTS)) == []


def test_the_output_buffer_of_llama_cpp_is_exact() -> None:
    assert misses(of(OUTPUT, LLAMA)) == []


def test_the_total_is_never_under_and_at_most_six_percent_over() -> None:
    found = of(TOTAL, LLAMA, VLLM)
    assert share(found) >= 0.95, misses(found)


def test_the_fork_is_never_under_on_gpus() -> None:
    found = of(TOTAL, FORK)
    assert len(found) >= 20
    assert [figure.case.id for figure in found if figure.predicted < figure.measured] == []


def test_verdicts_are_right() -> None:
    found = of(VERDICT)
    assert share(found) >= 0.97, misses(found)


@pytest.mark.parametrize("part", [POOL, CONCURRENCY])
def test_the_cache_of_vllm_is_not_promised_too_large(part: str) -> None:
    found = of(part, VLLM)
    assert share(found) >= 0.95, misses(found)


def test_tokens_in_the_pool_that_was_there_are_exact() -> None:
    assert misses(of(TOKENS)) == []


def test_the_largest_context_is_never_too_high_and_at_most_three_percent_too_low() -> None:
    assert misses(of(CONTEXT)) == []


def test_the_table_has_a_line_for_each_engine_and_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--summary", "--engine", LLAMA]) == 0
    printed = capsys.readouterr().out
    assert all(part in printed for part in (KV, WEIGHTS, TOTAL, VERDICT))
    assert len(list(summary(figures()))) > len(ENGINES)

"""The comparison of a plan with what was allocated: its sign, its tolerance, and what it does with odd plans."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import HOST, Allocation, DeviceBytes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.plan_check import (
    PROCESS,
    TOTAL,
    Row,
    compare,
    findings,
    planned_allocation,
    table,
)
from hypothesis import given, settings
from hypothesis import strategies as st

PLANNED = Allocation(
    (DeviceBytes("GPU1", 4000 * MIB, 512 * MIB, 0, 300 * MIB, 0, 400 * MIB),),
    DeviceBytes(HOST, 280 * MIB, 0, 0, 24 * MIB, MIB, 90 * MIB),
)


def seen(gpu_compute_mib: int) -> Allocation:
    return Allocation(
        (DeviceBytes("GPU0", 4000 * MIB, 512 * MIB, 0, gpu_compute_mib * MIB),),
        DeviceBytes(HOST, 280 * MIB, 0, 0, 24 * MIB, MIB),
    )


def test_what_is_as_planned_is_no_finding() -> None:
    rows = compare(PLANNED, seen(300))
    assert not findings(rows)
    assert {row.difference_bytes for row in rows} == {0}
    assert [row.part for row in rows if row.device == "GPU1"] == ["weights", "KV cache", "compute", TOTAL]


@pytest.mark.parametrize(
    ("compute", "code"),
    [(40, ""), (560, ""), (20, "memory.planned_over"), (700, "memory.planned_under")],
    ids=["5.7 over", "5.1 under", "6.2 over", "7.7 under"],
)
def test_over_six_percent_of_a_total_is_a_finding_that_says_which_way(compute: int, code: str) -> None:
    found = findings(compare(PLANNED, seen(compute)))
    assert [finding.code for finding in found] == ([code] if code else [])
    assert all(finding.level == "warning" and finding.remedy for finding in found)


def test_a_finding_names_the_device_both_sizes_and_the_difference() -> None:
    [finding] = findings(compare(PLANNED, seen(700)))
    wanted = "GPU1: the plan is 400.0 MiB (7.7 %) under what was allocated: 4812.0 MiB planned, 5212.0 MiB seen."
    assert finding.message == wanted


def test_a_device_that_only_one_side_has_is_not_lost() -> None:
    twice = Allocation((*seen(300).gpus, DeviceBytes("GPU1", 10 * MIB)), seen(300).host)
    [finding] = findings(compare(PLANNED, twice))
    assert finding.code == "memory.planned_under"
    [finding] = findings(compare(PLANNED, Allocation((), seen(300).host)))
    assert finding.message.startswith("GPU1: the plan is 4812.0 MiB over what was allocated")


def test_less_than_a_mib_is_rounding() -> None:
    assert not Row("GPU0", TOTAL, MIB - 1, 0).off
    assert Row("GPU0", TOTAL, MIB, 0).off


def test_a_process_that_holds_less_than_planned_is_no_finding_and_one_that_holds_more_is() -> None:
    assert not findings([Row(HOST, PROCESS, 100 * MIB, 60 * MIB), Row(HOST, PROCESS, 100 * MIB, 105 * MIB)])
    [finding] = findings([Row(HOST, PROCESS, 100 * MIB, 110 * MIB)])
    assert finding.code == "memory.planned_under"


def test_the_table_is_aligned() -> None:
    lines = table(compare(PLANNED, seen(20))).splitlines()
    assert lines[0].split() == ["device", "part", "planned", "MiB", "seen", "MiB", "difference", "%"]
    assert lines[3].split() == ["GPU1", "compute", "300.00", "20.00", "+280.00", "+1400.00"]
    assert len({len(line) for line in lines}) == 1


def test_rows_are_plain_data() -> None:
    assert Row("GPU0", TOTAL, 106, 100).as_dict() == {
        "device": "GPU0",
        "part": TOTAL,
        "planned_bytes": 106,
        "seen_bytes": 100,
        "difference_bytes": 6,
        "percent": 6.0,
    }
    assert Row("GPU0", TOTAL, 106, 0).as_dict()["percent"] is None


def test_a_saved_plan_is_read() -> None:
    devices = [{**vars(device), "need_bytes": 1} for device in PLANNED.devices]
    assert planned_allocation({"devices": devices}) == PLANNED


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
NAMES = st.sampled_from(["name", "weights_bytes", "kv_cache_bytes", "overhead_bytes", "compute_bytes"])


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["devices", "other"]), st.one_of(JSON, st.lists(st.dictionaries(NAMES, JSON)))))
def test_an_odd_plan_never_raises(memory: dict[str, Any]) -> None:
    rows = compare(planned_allocation(memory), PLANNED)
    assert len(table(rows).splitlines()) == len(rows) + 1
    assert all(row.planned_bytes >= 0 for row in rows)

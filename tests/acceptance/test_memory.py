"""The plan's memory against what the engine really allocated. A difference is a finding, part of the report."""

from __future__ import annotations

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import HOST
from ansible_collections.llmhost.core.plugins.module_utils.sizing.plan_check import (
    PROCESS,
    TOTAL,
    Row,
    compare,
    planned_allocation,
)

from tests.acceptance.allocation import seen_allocation, service_memory
from tests.acceptance.expectation import Figure, expect, expect_equal, gib
from tests.acceptance.report import Measure
from tests.acceptance.target import SERVICE, Target

LOOK = f"systemctl status {SERVICE}; journalctl -u {SERVICE}"

# The plan's need is an upper bound with this much room: allocators round up, and a program has code and stacks.
MEMORY_TOLERANCE = 0.10
MEMORY_SLACK_BYTES = 256 << 20

pytestmark = pytest.mark.applied("inference")


def test_what_the_engine_allocated_is_known_and_compared_with_the_plan(
    target: Target, figure: Figure, measure: Measure
) -> None:
    if "devices" not in target.plan["memory"]:
        pytest.skip("the host keeps the plan of an older llmhost, which has no figures by device")
    planned = planned_allocation(target.plan["memory"])
    seen = seen_allocation(target)
    found = "nothing in its journal" if seen is None else seen.source
    expect(seen is not None, f"load log of {SERVICE}", expected="its buffers", found=found, remedy=LOOK)
    assert seen is not None
    rows = compare(*seen.comparable(planned))
    measure(rows)
    totals = [row for row in rows if row.part == TOTAL]
    figure("planned", gib(sum(row.planned_bytes for row in totals)))
    figure("allocated", gib(sum(row.seen_bytes for row in totals)))
    figure("source", seen.source)


def test_the_process_needs_no_more_memory_than_planned(target: Target, figure: Figure, measure: Measure) -> None:
    memory = target.plan["memory"]
    # While nothing else wants the RAM, the kernel leaves pages there that it may drop.
    used, need = service_memory(target), memory["ram_need_bytes"] + memory.get("droppable_bytes", 0)
    limit = int(need * (1 + MEMORY_TOLERANCE)) + MEMORY_SLACK_BYTES
    measure([Row(HOST, PROCESS, need, used)])
    figure("memory", gib(used))
    figure("planned", gib(need))
    allowed = f"{gib(need)} planned, {gib(limit)} with tolerance"
    expect(used <= limit, f"memory of {SERVICE}", expected=allowed, found=gib(used), remedy="report the model; " + LOOK)


def test_no_more_of_the_service_is_swapped_out_than_planned(target: Target, figure: Figure) -> None:
    part = target.slice("inference")
    if "memory_swap_max_bytes" not in part:
        pytest.skip("the host keeps the plan of an older llmhost, which has no bound for swap")
    planned = part["memory_swap_max_bytes"]
    wanted = "infinity" if planned is None else str(planned)
    found = target.unit_property("MemorySwapMax")
    expect_equal(f"MemorySwapMax of {SERVICE}", expected=wanted, found=found, remedy="run the tier's playbook again.")
    swapped = target.lines(f"cat /sys/fs/cgroup{target.unit_property('ControlGroup')}/memory.swap.current")
    used = int(swapped[0]) if swapped else 0  # a kernel with the older control groups does not tell
    figure("swapped out", gib(used))
    allowed = "any" if planned is None else gib(planned)
    kept = planned is None or used <= planned
    expect(kept, f"swap that {SERVICE} uses", expected=allowed, found=gib(used), remedy=LOOK)

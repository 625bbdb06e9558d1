"""What holds for every host and every model, however odd."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.plan import planner
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import DEFAULTS
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_schema import problems
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_table import plan_table, summary
from ansible_collections.llmhost.core.plugins.module_utils.size import parse_size
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit import hosts
from tests.unit.hosts import GIB, Facts

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-3, 3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
RAM = st.integers(GIB, 512 * GIB)


@st.composite
def damaged(draw: st.DrawFn, facts: Facts) -> Facts:
    """Facts in which some values are of another type, absurd, or absent."""

    def damage(value: Any) -> Any:
        fate = draw(st.integers(0, 12))
        if fate == 0:
            return draw(ODD)
        if isinstance(value, dict):
            return {key: damage(entry) for key, entry in value.items() if fate != 1 or draw(st.booleans())}
        return [damage(entry) for entry in value] if isinstance(value, list) else value

    return {key: damage(value) for key, value in facts.items()}


@st.composite
def variables(draw: st.DrawFn) -> Facts:
    """Variables that a user might set, a few of them nonsense."""
    chosen: Facts = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "llmhost_model": st.just("a/b"),
                "llmhost_accelerator": st.sampled_from(["auto", "cpu", "nvidia"]),
                "llmhost_context": st.one_of(st.just("auto"), st.integers(256, 200_000)),
                "llmhost_parallel": st.integers(1, 8),
                "llmhost_storage_devices": st.sampled_from(["auto", "none", "/dev/nvme1n1", "S1n1", "/dev/nope"]),
                "llmhost_swap": st.sampled_from(["auto", "0", "8 GiB", "100 GiB"]),
                "llmhost_swap_max": st.sampled_from(["0", "500 MiB", "10 GiB", "64 GiB", "300 GiB"]),
                "llmhost_requirements": st.sampled_from([{}, {"gpus": 2, "vram": "48 GB"}, {"ram": "1 TB"}]),
            },
        )
    )
    if draw(st.booleans()):
        name = draw(st.sampled_from([*(f"llmhost_{name}" for name in DEFAULTS), "llmhost_odd"]))
        chosen[name] = draw(ODD)
    return chosen


@settings(max_examples=200, deadline=None)
@given(damaged(hosts.workstation(gpus=2)), damaged(hosts.qwen3_32b()), variables())
def test_odd_facts_give_a_plan_and_never_a_traceback(host: Facts, model: Facts, asked: Facts) -> None:
    plan = planner.plan(host, model, asked)

    assert problems(plan) == []
    assert plan_table(plan, host)
    assert summary(plan)


@settings(max_examples=100, deadline=None)
@given(RAM, st.integers(0, 3), variables())
def test_the_same_input_gives_the_same_plan_and_it_can_be_kept(ram: int, gpus: int, asked: Facts) -> None:
    def decide() -> Facts:
        return planner.plan(hosts.workstation(gpus=gpus, ram_bytes=ram), hosts.qwen3_32b(), asked)

    assert json.loads(json.dumps(decide())) == json.loads(json.dumps(decide()))


@settings(max_examples=100, deadline=None)
@given(RAM, RAM, st.integers(0, 2), variables())
def test_more_ram_never_turns_what_fits_into_what_does_not(one: int, other: int, gpus: int, asked: Facts) -> None:
    order = ["does_not_fit", "fits_with_offload", "fits"]
    less, more = (
        planner.plan(hosts.workstation(gpus=gpus, ram_bytes=ram), hosts.qwen3_32b(), asked)
        for ram in sorted((one, other))
    )

    assert order.index(less["verdict"]) <= order.index(more["verdict"])
    if "llmhost_context" not in asked and less["verdict"] == more["verdict"]:
        assert less["context"] <= more["context"]


@settings(max_examples=100, deadline=None)
@given(RAM, variables())
def test_swap_never_exceeds_the_maximum_and_is_enough_where_it_fits(ram: int, asked: Facts) -> None:
    plan = planner.plan(hosts.workstation(gpus=0, ram_bytes=ram), hosts.qwen3_32b(), asked)
    try:
        most = parse_size(asked.get("llmhost_swap_max", "64 GiB"))
    except ValueError:
        most = parse_size("64 GiB")

    assert 0 <= plan["swap"]["size_bytes"] <= most
    if plan["verdict"] == "fits":
        room = plan["memory"]["devices"][-1]["usable_bytes"] + plan["swap"]["size_bytes"]
        assert plan["memory"]["ram_need_bytes"] <= room


@settings(max_examples=100, deadline=None)
@given(RAM, st.integers(0, 2), variables())
def test_a_finished_host_always_gives_the_plan_that_made_it(ram: int, gpus: int, asked: Facts) -> None:
    host = hosts.workstation(gpus=gpus, ram_bytes=ram)
    plan = planner.plan(host, hosts.qwen3_32b(), asked)
    if planner.errors(plan):
        return

    again = planner.plan(hosts.finished(host, plan), hosts.qwen3_32b(), asked)
    assert hosts.lasting(again) == hosts.lasting(plan)

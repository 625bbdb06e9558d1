"""What the plan of a whole host makes of the links between its GPUs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan import planner
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_schema import problems
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_table import plan_table
from ansible_collections.llmhost.core.plugins.module_utils.plan.together import Together

from tests.unit import gpu_hosts, hosts
from tests.unit.gpu_hosts import address, alike, card, host, nvlinks, pair, seen

Facts = dict[str, Any]
DISABLED = "--disable-custom-all-reduce"


def on_vllm(gpus: Facts, /, **variables: Any) -> Facts:
    """The plan of a checkpoint that takes more than one GPU, on a workstation with these GPUs."""
    model = hosts.qwen3_32b({"weights_bytes": 36 * hosts.GIB}, format="safetensors", quantization="FP8")
    return plan_of(gpus, model, **variables)


def plan_of(gpus: Facts, model: Facts | None = None, /, **variables: Any) -> Facts:
    """The plan of a workstation with these GPUs; of a model that fits on one of them, unless another is given."""
    asked = {"llmhost_model": "x/y", **{f"llmhost_{name}": value for name, value in variables.items()}}
    model = hosts.qwen3_32b() if model is None else model
    made = planner.plan({**hosts.workstation(), **gpus}, model, asked, what_if=True)
    assert problems(made) == []
    return made


def codes(plan: Facts) -> dict[str, str]:
    return {finding["code"]: finding["level"] for finding in plan["findings"]}


def risers(lanes: int) -> Facts:
    """Two cards behind narrow slots, without a bridge."""
    return host([card(0), card(1, lanes=lanes, generation=3)], [seen(0, 0), seen(1, 1)], [pair(0, 1)])


def test_a_bridged_pair_divides_each_layer() -> None:
    plan = on_vllm(gpu_hosts.bridged())
    together = plan["multi_gpu"]
    assert (together["split"], together["custom_all_reduce"]) == ("tensor", True)
    assert (plan["placement"]["tensor_parallel"], plan["steps"]["multi_gpu"]["action"]) == (2, "apply")
    assert DISABLED not in plan["runtime"]["arguments"]
    assert not [code for code in codes(plan) if code.startswith("gpus.")]


def test_without_a_bridge_vllm_is_kept_from_the_memory_of_other_gpus() -> None:
    plan = on_vllm(alike(2, {(0, 1): ("PHB", "OK")}))
    assert plan["multi_gpu"]["split"] == "tensor"
    assert plan["multi_gpu"]["environment"]["NCCL_P2P_DISABLE"] == "1"
    assert DISABLED in plan["runtime"]["arguments"]
    assert codes(plan)["gpus.peers_unproven"] == "info"


@pytest.mark.parametrize(("lanes", "tensor", "split"), [(8, 2, "tensor"), (1, 1, "pipeline")])
def test_over_a_slow_way_each_gpu_gets_layers_of_its_own(lanes: int, tensor: int, split: str) -> None:
    plan = on_vllm(risers(lanes))
    assert (plan["placement"]["tensor_parallel"], plan["placement"]["pipeline_parallel"]) == (tensor, 2 // tensor)
    assert plan["multi_gpu"]["split"] == split


def test_llama_cpp_on_one_of_two() -> None:
    plan = plan_of(gpu_hosts.bridged(), context=4096)
    assert (plan["multi_gpu"]["split"], plan["multi_gpu"]["order"]) == ("none", [address(0)])
    # What is proved is the host, not the model's part of it.
    assert plan["multi_gpu"]["proof"]["gpus"] == [address(0), address(1)]


def test_the_tiers_link_is_missed() -> None:
    wanted = {"gpus": 2, "gpu_link": {"nvlink": True, "lanes": 8}}
    down = alike(2, {(0, 1): ("PHB", "CNS")}, nvlinks=nvlinks(0, range(4)))
    assert codes(plan_of(down, requirements=wanted))["requirements.nvlink"] == "warning"
    assert "requirements.nvlink" not in codes(plan_of(gpu_hosts.bridged(), requirements=wanted))


def test_a_plan_without_a_model_says_it_too() -> None:
    asked = {"llmhost_model": ""}
    made = planner.plan({**hosts.workstation(), **risers(1)}, None, asked)
    assert problems(made) == []
    assert codes(made)["gpus.narrow_slot"] == "warning"
    assert made["multi_gpu"] is None


def test_on_the_cpu_no_link_matters() -> None:
    plan = plan_of(risers(1), accelerator="cpu")
    assert plan["multi_gpu"] is None
    assert plan["steps"]["multi_gpu"] == {"action": "skip", "reason": "the model runs on the CPU"}
    assert not [code for code in codes(plan) if code.startswith("gpus.")]


def test_declared_gpus_cannot_be_proved() -> None:
    plan = plan_of({"gpus": []}, gpus=["2x RTX 3090"])
    assert plan["multi_gpu"] is None
    assert "llmhost_gpus" in plan["steps"]["multi_gpu"]["reason"]


@pytest.mark.parametrize(
    ("planned", "loaded", "settled"),
    [
        (None, "580.178.04", False),
        ({"source": "kept", "branch": "570"}, "570.211.01", True),
        ({"source": "ubuntu", "branch": "580-server", "version": "580.178.04-0ubuntu0.22.04.1"}, "580.178.04", True),
        ({"source": "ubuntu", "branch": "580-server", "version": "580.178.04-0ubuntu0.22.04.1"}, "570.211.01", False),
        ({"source": "ubuntu", "branch": "580-server", "version": None}, None, False),
        (
            {"source": "ubuntu", "branch": "580-server", "version": "580.178.04-1", "reboot": {"needed": True}},
            *("580.178.04", False),
        ),
    ],
)
def test_a_card_is_missed_for_good_once_the_driver_is_settled(
    planned: Facts | None, loaded: str | None, settled: bool
) -> None:
    facts = host([card(0), card(1)], [seen(0, 0)], [])
    facts["nvidia"]["driver"] = {"loaded_version": loaded}
    together = Together.from_facts(facts, planned, False)
    levels = {finding.code: finding.level for finding in together.findings({}, "llama_cpp")}
    assert levels["gpus.missing"] == ("error" if settled else "warning")


@pytest.mark.parametrize(
    ("facts", "rows"),
    [
        (
            gpu_hosts.bridged(),
            [
                "split          tensor: Every GPU reads a part of each layer, all at once.",
                "between        0000:01:00.0 and 0000:21:00.0: NVLink, about 50.6 GB/s each way",
                "direct         granted by the driver",
            ],
        ),
        (
            alike(4, {(0, 1): ("PHB", "CNS"), (2, 3): ("PHB", "CNS")}),
            [
                "between        through RAM, about 10.1 GB/s each way (2 pairs)",
                "between        through RAM, about 10 GB/s each way (4 pairs)",
                "direct         none, what is exchanged goes through RAM",
                "settings       NCCL_P2P_DISABLE=1",
            ],
        ),
    ],
)
def test_the_table_says_how_gpus_are_joined(facts: Facts, rows: list[str]) -> None:
    lines = plan_table(on_vllm(facts)).splitlines()
    shown = [line.removeprefix("links").strip() for line in lines]
    assert [row for row in rows if row not in shown] == []


def test_the_table_has_no_word_on_the_links_of_a_single_gpu() -> None:
    facts = host([card(0)], [seen(0, 0)], [])
    assert not [line for line in plan_table(plan_of(facts)).splitlines() if line.startswith("links")]

"""What counts as swap, where the file may be, and what the kernel and the service are told."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan.planner import plan as make_plan

from tests.unit import hosts
from tests.unit.hosts import GIB, Facts

ON_CPU = {"llmhost_accelerator": "cpu", "llmhost_model": "org/model:Q4"}
TO_LOAD = {"llmhost_model": "org/model"}


def area(path: str, size_gib: int, priority: int = -2) -> Facts:
    return {"path": path, "type": "file", "size_bytes": size_gib * GIB, "used_bytes": 0, "priority": priority}


def laptop(*areas: Facts, **state: Any) -> Facts:
    """A host that lacks 13 GiB of RAM for the model."""
    facts = hosts.laptop()
    facts["memory"]["swaps"] = list(areas)
    facts["state"]["swap"] = state
    return facts


def decide(host: Facts, model: Facts | None = None, **variables: Any) -> Facts:
    wanted = {**ON_CPU, **{f"llmhost_{key}": value for key, value in variables.items()}}
    return make_plan(host, model or hosts.qwen3_32b(), wanted)


def checkpoint(size_gib: int, host: Facts, **variables: Any) -> Facts:
    """Plan for one file of safetensors on two GPUs."""
    size = {"weights_bytes": size_gib * GIB}
    model = hosts.qwen3_32b(size, format="safetensors", largest_file_bytes=size_gib * GIB)
    return make_plan(host, model, {**TO_LOAD, **{f"llmhost_{key}": value for key, value in variables.items()}})


def server(overcommit: int = 0, *areas: Facts, able: bool = True) -> Facts:
    facts = hosts.workstation(gpus=2, ram_bytes=32 * GIB)
    facts["memory"] |= {"overcommit": overcommit, "swaps": list(areas)}
    if not able:
        facts["capabilities"]["sysctl"] = {"able": False, "reason": "/proc/sys cannot be written."}
    return facts


def levels(plan: Facts, code: str) -> list[str]:
    return [found["level"] for found in plan["findings"] if found["code"] == code]


@pytest.mark.parametrize(
    ("areas", "size_gib", "priority"),
    [
        ((), 13, 10),
        ((area("/swap.img", 8),), 5, 10),
        ((area("/dev/nvme0n1p3", 16),), 0, 10),
        ((area("/dev/zram0", 8, 100),), 13, 101),
        ((area("/dev/zram0", 4, 100), area("/dev/zram1", 4, 5), area("/swap.img", 8, 300)), 5, 101),
        ((area("/dev/zram0", 4, 32767),), 13, 32767),
        ((area("/dev/zram0", 4, 3),), 13, 10),
    ],
)
def test_compressed_ram_is_no_room_for_weights_and_gets_none(
    areas: tuple[Facts, ...], size_gib: int, priority: int
) -> None:
    swap = decide(laptop(*areas))["swap"]
    assert (swap["size_bytes"], swap["priority"]) == (size_gib * GIB, priority)


def test_the_file_of_an_earlier_place_is_not_counted() -> None:
    host = laptop(area("/old/swapfile", 13, 10), path="/old/swapfile", size_bytes=13 * GIB)
    assert decide(host)["swap"]["size_bytes"] == 13 * GIB


@pytest.mark.parametrize(
    ("devices", "profiles", "says"),
    [(1, ["single"], ""), (2, ["single"], "2 devices"), (1, ["raid1"], "raid1"), (1, ["dup"], "dup"), (0, [], "known")],
)
def test_btrfs_holds_swap_on_one_device_in_the_profile_single(devices: int, profiles: list[str], says: str) -> None:
    facts = hosts.filesystem("/", 230 * GIB, type="btrfs", btrfs={"devices": devices, "data_profiles": profiles})
    plan = decide(laptop() | {"filesystems": [facts]})
    if says:
        assert says in plan["steps"]["swap"]["reason"]
        assert plan["swap"]["size_bytes"] == 0
    else:
        assert plan["steps"]["swap"]["action"] == "apply"
        assert plan["swap"]["path"] == f"{plan['storage']['path']}/swap/swapfile"


@pytest.mark.parametrize(
    ("overcommit", "areas", "variables", "value", "level"),
    [
        (0, (), {}, 1, ["info"]),
        (0, (area("/swap.img", 5),), {}, None, []),
        (0, (area("/dev/zram0", 5, 100),), {}, None, []),
        (0, (), {"swap": "6 GiB"}, None, []),
        (1, (), {}, None, []),
        (2, (area("/swap.img", 5),), {}, 0, ["warning"]),
        (2, (), {}, 1, ["warning"]),
    ],
)
def test_a_file_larger_than_ram_and_all_swap_is_granted(
    overcommit: int, areas: tuple[Facts, ...], variables: Facts, value: int | None, level: list[str]
) -> None:
    plan = checkpoint(36, server(overcommit, *areas), **variables)
    assert plan["swap"]["overcommit_memory"] == value
    assert levels(plan, "memory.overcommit") == level


def test_what_llmhost_has_set_is_wanted_again_and_taken_back_when_the_model_changes() -> None:
    first = checkpoint(36, server())
    done = hosts.finished(server(), first)
    assert done["memory"]["overcommit"] == 1
    assert checkpoint(36, done)["swap"] == first["swap"]
    assert checkpoint(20, done)["swap"]["overcommit_memory"] is None


def test_where_the_kernel_cannot_be_told_the_plan_says_who_can() -> None:
    plan = checkpoint(36, server(able=False))
    assert plan["swap"]["overcommit_memory"] is None
    (found,) = [entry for entry in plan["findings"] if entry["code"] == "memory.overcommit"]
    assert found["level"] == "warning"
    assert "on the machine itself" in found["remedy"]


@pytest.mark.parametrize("state", [{}, {"path": "/x", "size_bytes": 0, "before": {"vm.overcommit_memory": 0}}])
def test_a_host_without_swap_is_told_of_overcommit_and_has_it_taken_back(state: Facts) -> None:
    host = server()
    host["capabilities"]["swap"] = {"able": False, "reason": "no."}
    host["state"]["swap"] = state
    assert checkpoint(36, host)["steps"]["swap"]["action"] == "apply"
    assert checkpoint(20, host)["steps"]["swap"]["action"] == ("apply" if state else "skip")


def test_strict_accounting_must_grant_what_is_copied_to_ram() -> None:
    host = hosts.workstation(gpus=0, ram_bytes=32 * GIB)
    host["memory"]["overcommit"] = 2
    plan = decide(host)
    assert plan["host_memory"]["load_path"] == "mmap"
    assert plan["swap"]["overcommit_memory"] is None
    assert decide(host, context=40960)["verdict"] == "fits"


@pytest.mark.parametrize(
    ("host", "variables", "most"),
    [
        (hosts.workstation(gpus=0), {}, 0),
        (hosts.workstation(gpus=0), {"swap": "0"}, 0),
        (hosts.workstation(gpus=0), {"swap": "1 GiB"}, None),
        (laptop(), {}, None),
        (laptop(), {"swap": "0"}, None),
    ],
)
def test_a_model_that_fits_is_never_swapped(host: Facts, variables: Facts, most: int | None) -> None:
    assert decide(host, **variables)["runtime"]["memory_swap_max_bytes"] == most

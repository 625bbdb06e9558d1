"""What is said of GPUs and the ways between them: each finding on a host that has it, and none on a good one."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.hardware.hardware import parse_hardware
from ansible_collections.llmhost.core.plugins.module_utils.plan.links import UNPROVEN, Links, Proven
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_findings import check_links

from tests.unit import gpu_hosts as hosts
from tests.unit.gpu_hosts import (
    A100_PCIE,
    CHIPSET_PORT,
    CPU_PORT,
    GIB,
    H100,
    L4,
    RTX_3060,
    RTX_3090,
    RTX_4090,
    alike,
    card,
    host,
    nvlinks,
    pair,
    seen,
)

NVLINK_WANTED = {"nvlink": True, "lanes": 8}
VIRTUAL = {"virtualization": {"machine": "kvm", "container": "none"}}


def found(
    facts: dict[str, Any],
    wanted: dict[str, Any] | None = None,
    engine: str = "llama_cpp",
    proven: Proven = UNPROVEN,
    settled: bool = True,
) -> dict[str, tuple[str, str]]:
    """Return level and text of each finding by its code."""
    made = check_links(Links.from_facts(facts), wanted or {}, engine, proven, settled)
    assert all(finding.remedy for finding in made)
    return {finding.code: (finding.level, f"{finding.message} {finding.remedy}") for finding in made}


def one(gpu: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A host with one card."""
    return host([gpu], [seen(0, 0, **fields)], [])


def both(gpu: dict[str, Any]) -> dict[str, Any]:
    """A host with a good card and another one."""
    return host([card(0), gpu], [seen(0, 0), seen(1, 1)], [pair(0, 1)])


@pytest.mark.parametrize(
    "facts",
    [
        hosts.bridged(),
        hosts.switched(),
        one(card(0)),
        # Eight lanes for a single card cost nothing worth a word.
        one(card(0, lanes=8)),
        one(card(0), remapped_rows={"correctable": 0, "uncorrectable": 0, "pending": False, "failure": False}),
        parse_hardware("2x RTX 3090 NVLink, PCIe 3.0 x4"),
        {"gpus": [], "nvidia": None},
        {},
        # Before there is a driver: nothing is missing.
        host([card(0), card(1)], [], []),
    ],
)
def test_nothing_to_say(facts: dict[str, Any]) -> None:
    assert found(facts) == {}


@pytest.mark.parametrize(
    ("facts", "code", "level", "words"),
    [
        # Cards that the driver does not show.
        (
            host([card(0), card(1)], [seen(0, 0)], []),
            "gpus.missing",
            "error",
            "has 2 NVIDIA GPU(s), the driver shows 1",
        ),
        (
            host([card(0), card(1, driver="vfio-pci")], [seen(0, 0)], []),
            *("gpus.taken", "error", "GPU1 (NVIDIA GeForce RTX 3090, 0000:21:00.0) is bound to vfio-pci"),
        ),
        # NVLinks.
        (
            alike(2, {(0, 1): ("NV3", "OK")}, nvlinks=nvlinks(3, [2])),
            *("gpus.nvlink_inactive", "warning", "has 3 of 4 NVLinks up; link 2 is down. Switch the machine off"),
        ),
        (
            alike(2, {(0, 1): ("PHB", "CNS")}, nvlinks=nvlinks(0, range(4))),
            *("gpus.no_bridge", "info", "An NVLink bridge could join GPU0 and GPU1"),
        ),
        (
            alike(2, {(0, 1): ("NV4", "OK")}, kind=A100_PCIE, nvlinks=nvlinks(4, range(4, 12), gbs=25.0)),
            *("gpus.nvlink_bridges", "info", "has 4 of 12 NVLinks up: 1 of the 3 bridges"),
        ),
        (
            alike(2, {(0, 1): ("NV11", "OK")}, kind=A100_PCIE, nvlinks=nvlinks(11, [7], gbs=25.0)),
            *("gpus.nvlink_inactive", "warning", "has 11 of 12 NVLinks up; link 7 is down"),
        ),
        (
            alike(2, {(0, 1): ("SYS", "OK")}, kind=H100, nvlinks=nvlinks(0, range(18))),
            *("gpus.nvlink_inactive", "warning", "journalctl -u nvidia-fabricmanager"),
        ),
        (
            alike(2, {(0, 1): ("NV4", "NS")}, nvlinks=nvlinks(4)),
            *("gpus.nvlink_refused", "warning", "NVLinks join GPU0 and GPU1, yet the driver refuses"),
        ),
        # Slots.
        (
            both(card(1, lanes=4, port_lanes=16)),
            *("gpus.lanes_lost", "warning", "runs at PCIe 4.0 x4, in a slot that gives it 16 lanes"),
        ),
        (
            both(card(1, lanes=4, bridges=[CHIPSET_PORT, CPU_PORT])),
            *("gpus.chipset_slot", "warning", "its slot is one of the chipset"),
        ),
        (
            one(card(0, lanes=4, bridges=[{"address": "0000:00:1c.0", "vendor": "8086", "device": "7ab8"}])),
            *("gpus.chipset_slot", "warning", "its slot is one of the chipset"),
        ),
        (one(card(0, lanes=4)), "gpus.narrow_slot", "warning", "could use 16 lanes: loading takes longer"),
        (one(card(0, lanes=1, generation=3)), "gpus.narrow_slot", "warning", "runs at PCIe 3.0 x1"),
        (both(card(1, lanes=8)), "gpus.narrow_slot", "info", "loading and transfers between GPUs take longer"),
        (both(card(1, generation=3)), "gpus.slow_slot", "info", "runs at PCIe 3.0 x16, and could at 4.0"),
        (one(card(0, generation=2)), "gpus.slow_slot", "info", "runs at PCIe 2.0 x16"),
        # What the card itself says.
        (one(card(0), mig=True), "gpus.mig", "error", "nvidia-smi -i 0000:01:00.0 -mig 0"),
        (one(card(0), uncorrected_errors=3), "gpus.memory_errors", "warning", "has counted 3 uncorrected memory"),
        (one(card(0), remapped_rows={"pending": True}), "gpus.memory_pending", "warning", "Restart the machine."),
        (one(card(0), remapped_rows={"failure": True}), "gpus.memory_failing", "warning", "has no spare rows left"),
        # Between cards.
        (
            alike(2, {(0, 1): ("PHB", "CNS")}, kind=RTX_4090),
            *("gpus.no_peer_transfers", "info", "CNS (the chipset does not support it)"),
        ),
        (
            alike(8, {}, kind=RTX_4090),
            *("gpus.no_peer_transfers", "info", "between 28 pairs of 8 GPUs: CNS"),
        ),
        (alike(2, {(0, 1): ("PHB", "OK")}), "gpus.peers_unproven", "info", "A grant is no proof."),
        (alike(2, {(0, 1): ("SYS", "CNS")}), "gpus.sockets", "info", "hang on different processors"),
        (
            alike(2, {(0, 1): ("PHB", "OK")}, acs=["0000:00:01.1", "0000:40:01.1"]),
            *("gpus.acs", "warning", "bridges 0000:00:01.1 sends transfers"),
        ),
        (alike(2, {(0, 1): ("PHB", "OK")}, iommu=True), "gpus.iommu", "warning", "iommu=pt"),
    ],
)
def test_each_finding(facts: dict[str, Any], code: str, level: str, words: str) -> None:
    made = found(facts)
    assert code in made, made
    assert made[code][0] == level
    assert words in made[code][1]


def test_a_missing_card_is_no_error_while_the_driver_may_change() -> None:
    facts = host([card(0), card(1)], [seen(0, 0)], [])
    assert found(facts, settled=False)["gpus.missing"][0] == "warning"


def test_a_narrow_slot_is_named_once() -> None:
    slot = [code for code in found(both(card(1, lanes=4, generation=3))) if "slot" in code or "lanes" in code]
    assert slot == ["gpus.narrow_slot"]


def test_mixed_cards() -> None:
    facts = host([card(0), card(1, RTX_3060)], [seen(0, 0), seen(1, 1, RTX_3060)], [pair(0, 1)])
    level, text = found(facts)["gpus.mixed"]
    assert (level, "1 NVIDIA GeForce RTX 3060 (12.0 GiB), 1 NVIDIA GeForce RTX 3090 (24.0 GiB)" in text) == (
        "info",
        True,
    )
    level, text = found(facts, engine="vllm")["gpus.mixed"]
    assert (level, "as much as the smallest" in text) == ("warning", True)


@pytest.mark.parametrize(
    ("facts", "missed"),
    [
        (hosts.bridged(), False),
        (hosts.switched(), False),
        (alike(2, {(0, 1): ("PHB", "CNS")}, nvlinks=nvlinks(0, range(4))), True),
        (alike(2, {(0, 1): ("PHB", "CNS")}, kind=RTX_4090), True),
        (parse_hardware("2x RTX 3090"), True),
        (parse_hardware("2x RTX 3090 NVLink"), False),
        # One card is too few, which the tier says itself; and without a driver nobody knows.
        (one(card(0)), False),
        (host([card(0), card(1)], [], []), False),
    ],
)
def test_the_nvlink_that_a_tier_asks_for(facts: dict[str, Any], missed: bool) -> None:
    made = found(facts, NVLINK_WANTED)
    assert ("requirements.nvlink" in made) is missed
    assert "gpus.no_bridge" not in made


def test_a_proof_says_more_than_settings() -> None:
    facts = alike(2, {(0, 1): ("PHB", "OK")}, acs=["0000:00:01.1"], iommu=True)
    assert {"gpus.peers_unproven", "gpus.acs", "gpus.iommu"} <= found(facts).keys()
    assert found(facts, proven=Proven(True)) == {}


def test_where_nobody_could_look_for_acs_nothing_is_said_of_it() -> None:
    assert "gpus.acs" not in found(alike(2, {(0, 1): ("PHB", "OK")}, acs=None))


def test_settings_that_concern_no_transfer_are_left_alone() -> None:
    assert found({**hosts.bridged(acs=["0000:00:01.1"], iommu=True)}) == {}


def test_a_bar_smaller_than_the_memory() -> None:
    shown = [seen(number, number, bar1_bytes=GIB // 4) for number in range(2)]
    made = found(host([card(0), card(1)], shown, [pair(0, 1, "PHB", "OK")]))
    assert made["gpus.small_bar"][0] == "info"
    assert "GPU0, GPU1 show 0.2 GiB" in made["gpus.small_bar"][1]
    assert "gpus.small_bar" not in found(host([card(0), card(1)], shown, [pair(0, 1)]))


def test_the_slots_of_a_virtual_machine_are_its_hypervisors_invention() -> None:
    narrow = alike(2, {(0, 1): ("PHB", "CNS")}, kind=L4, card={"lanes": 1, "generation": 1}, **VIRTUAL)
    assert found(narrow).keys() == {"gpus.no_peer_transfers"}
    assert "x-nv-gpudirect-clique" in found(narrow)["gpus.no_peer_transfers"][1]
    granted = alike(2, {(0, 1): ("SYS", "OK")}, acs=["0000:00:01.1"], iommu=True, **VIRTUAL)
    assert found(granted).keys() == {"gpus.peers_unproven"}


def test_a_card_of_which_no_links_are_known_lacks_no_bridge() -> None:
    facts = alike(2, {(0, 1): ("PHB", "CNS")}, kind=RTX_3090)
    assert found(facts).keys() == {"gpus.no_peer_transfers"}

"""The catalogue of machines: each is a host that says what decides."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.llmhost.core.plugins.filter.machines import machines
from ansible_collections.llmhost.core.plugins.module_utils.hardware.assumed_host import kernel_ram
from ansible_collections.llmhost.core.plugins.module_utils.hardware.hardware import parse_hardware
from ansible_collections.llmhost.core.plugins.module_utils.hardware.machines import MACHINES, TIERS
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import read_intent
from ansible_collections.llmhost.core.plugins.module_utils.plan.requirements import check_platform, check_requirements

GIB = 1 << 30
INVENTORIES = Path(__file__).parents[2] / "inventories"


def names(facts: dict[str, Any]) -> list[str]:
    return [gpu["name"] for gpu in facts["gpus"]]


@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_of_the_catalogue_is_a_host(name: str) -> None:
    facts = parse_hardware(name)
    host = HostFacts.from_facts(facts)
    assert host.gpus
    assert all(gpu.vram_bytes for gpu in host.gpus)
    assert name == name.lower()
    if "arm" not in facts["kernel"]["architecture"] and "gh200" not in name:
        codes = {finding.code for finding in check_platform(host)}
        assert codes == ({"platform.no_systemd"} if facts["virtualization"]["container"] == "docker" else set())
    # What a catalogue must say, so that nothing that decides is guessed.
    usual = (
        "Of ",
        "The system lies",
        "No disk but",
        "A CPU with",
        "Each GPU has",
        *(["8 cores", "16 cores"] if name in TIERS else []),
    )
    assert [sentence for sentence in facts["assumed"] if not sentence.startswith(usual)] == []


@pytest.mark.parametrize(
    ("name", "gpus", "cpus", "gib"),
    [
        ("g5.xlarge", ["NVIDIA A10G"], 4, 16),
        ("aws p4d.24xlarge", ["NVIDIA A100-SXM4-40GB"] * 8, 96, 1152),
        ("AWS p5.48xlarge", ["NVIDIA H100 80GB HBM3"] * 8, 192, 2048),
        ("a2-ultragpu-1g", ["NVIDIA A100-SXM4-80GB"], 12, 170),
        ("gcp n1-standard-8 t4", ["NVIDIA Tesla T4"], 8, 30),
        ("Standard_NC24ads_A100_v4", ["NVIDIA A100 80GB PCIe"], 24, 220),
        ("azure nc40ads_h100_v5", ["NVIDIA H100 NVL"], 40, 320),
        ("lambda gpu_1x_h100_pcie", ["NVIDIA H100 PCIe"], 26, 200),
    ],
)
def test_machines_by_name(name: str, gpus: list[str], cpus: int, gib: int) -> None:
    facts = parse_hardware(name)
    assert (names(facts), facts["cpu"]["usable_cpus"]) == (gpus, cpus)
    assert facts["memory"]["total_bytes"] == kernel_ram(gib * GIB)
    assert facts["hardware"].startswith(name)


def test_the_tiers_machines_meet_their_tiers() -> None:
    for tier in TIERS:
        group = yaml.safe_load((INVENTORIES / tier / "group_vars" / f"{tier}.yml").read_text(encoding="utf-8"))
        intent, _ = read_intent({"llmhost_tier": tier, "llmhost_requirements": group["llmhost_requirements"]})
        assert check_requirements(HostFacts.from_facts(parse_hardware(tier)), intent, on_cpu=False) == []


def test_what_runpod_rents_is_not_meant_by_the_gpu_alone() -> None:
    assert parse_hardware("RTX 4090")["virtualization"]["container"] == "none"
    assert parse_hardware("runpod rtx 4090")["virtualization"]["container"] == "docker"


@pytest.mark.parametrize(
    ("given", "rest", "says"),
    [
        ("2x", "RTX 3900", "'2x RTX 3900' is not understood. Did you mean RTX 3090"),
        ("4x", "H1000, 64 GB", "'4x H1000' is not understood"),
        ("2x RTX 3900", "", "'2x RTX 3900' is not understood"),
        ("RTX", "3090; RTX 3900", "'RTX 3900' is not understood"),
    ],
)
def test_a_phrase_that_ansible_cut_at_its_spaces_is_named_as_a_whole(given: str, rest: str, says: str) -> None:
    with pytest.raises(AnsibleFilterError, match=re.escape(says)):
        machines(given, rest)


def test_a_phrase_that_ansible_cut_at_its_spaces_is_read_as_a_whole() -> None:
    (machine,) = machines("2x", "RTX 3090, 64 GiB RAM, 1 TB NVMe")
    assert names(machine["host"]) == ["NVIDIA GeForce RTX 3090"] * 2
    assert [machine["name"] for machine in machines("intermediate;", "aws g5.xlarge")] == [
        "intermediate",
        "aws g5.xlarge",
    ]
    # Words of another variable are left alone.
    assert machines("intermediate", "and more")[0]["name"] == "intermediate"

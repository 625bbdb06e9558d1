"""The variables that a user sets are the same in the planner, in the role that declares them and in the inventory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.llmhost.core.plugins.module_utils.plan import planner
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import DEFAULTS, PREFIX

from tests.unit import hosts

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/llmhost"
TIERS = ["intermediate", "advanced"]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_role_declares_what_the_planner_reads() -> None:
    declared = load(ROLE / "defaults/main.yml")
    # The directory of the archives depends on the environment of whoever runs Ansible; disks have another name, too.
    templates = {"archive_dir", "storage_devices"}
    expected = {PREFIX + name: value for name, value in DEFAULTS.items() if name not in templates}

    assert {name: value for name, value in declared.items() if "{{" not in str(value)} == expected
    assert declared.keys() == {PREFIX + name for name in DEFAULTS}


@pytest.mark.parametrize("entry_point", ["main", "plan"])
def test_every_default_is_documented_as_it_is(entry_point: str) -> None:
    options = load(ROLE / "meta/argument_specs.yml")["argument_specs"][entry_point]["options"]

    assert {name: option["default"] for name, option in options.items()} == load(ROLE / "defaults/main.yml")
    assert all(option["description"] for option in options.values())


def test_the_inventory_shows_every_variable() -> None:
    text = (ROOT / "inventories/common/group_vars/all.yml").read_text(encoding="utf-8")
    shown = set(re.findall(r"^# (llmhost_\w+):", text, re.MULTILINE))

    assert shown == {PREFIX + name for name in DEFAULTS}


@pytest.mark.parametrize("tier", TIERS)
def test_a_tier_sets_variables_that_there_are(tier: str) -> None:
    variables = load(ROOT / f"inventories/{tier}/group_vars/{tier}.yml")
    plan = planner.plan(hosts.laptop(), None, variables)

    assert plan["tier"] == tier
    assert {finding["code"] for finding in plan["findings"]} >= {"accelerator.no_gpu", "requirements.ram"}
    assert not {"variable.unknown", "variable.invalid"} & {finding["code"] for finding in plan["findings"]}


@pytest.mark.parametrize("tier", TIERS)
def test_a_tier_runs_on_this_machine_unless_told_otherwise(tier: str) -> None:
    hosts_of_tier = load(ROOT / f"inventories/{tier}/hosts.yml")[tier]["hosts"]

    assert [host["ansible_connection"] for host in hosts_of_tier.values()] == ["local"]
    assert (ROOT / f"inventories/{tier}/group_vars/all.yml").resolve() == ROOT / "inventories/common/group_vars/all.yml"

"""What the role inference and the rest of llmhost must agree on."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.llmhost.core.plugins.filter.runtime_builder import runtime_builder
from ansible_collections.llmhost.core.plugins.module_utils.plan.runtime_plan import PROVIDER, SDIST_SHA256, VERSION

ROLE = Path(__file__).parents[2] / "roles/inference"


def test_the_role_knows_the_sources_that_the_plan_names() -> None:
    variables = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    assert variables["__inference_providers"][PROVIDER]["sources"][VERSION] == SDIST_SHA256
    assert (ROLE / f"tasks/{PROVIDER}.yml").exists()


@pytest.mark.parametrize(
    ("runtimes", "builder"),
    [
        ({"a": ("x", False), "b": ("x", False)}, "a"),
        ({"a": ("x", True), "b": ("x", False), "c": ("x", False)}, "b"),
        ({"a": ("y", False), "b": ("x", False)}, "b"),
        ({"a": ("x", True), "b": None}, ""),
        ({}, ""),
    ],
)
def test_one_host_builds_for_all(runtimes: dict[str, tuple[str, bool] | None], builder: str) -> None:
    hostvars = {
        host: {} if known is None else {"__inference_runtime": {"name": known[0], "present": known[1]}}
        for host, known in runtimes.items()
    }
    assert runtime_builder(list(runtimes), hostvars, "x") == builder

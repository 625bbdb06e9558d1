"""Plans for machines that nobody has, and several of them in one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.llmhost.core.plugins.filter.comparison import comparison
from ansible_collections.llmhost.core.plugins.filter.machines import machines
from ansible_collections.llmhost.core.plugins.filter.plan_table import plan_table
from ansible_collections.llmhost.core.plugins.filter.wanted_variants import wanted_variants
from ansible_collections.llmhost.core.plugins.filter.what_if import what_if
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_schema import problems

from tests.unit import hosts
from tests.unit.test_variant_choice import repository

Facts = dict[str, Any]

TWO = "RTX 3090, 64 GiB RAM; 2x RTX 3090, 128 GiB RAM"


def plans(given: Any = TWO, models: list[Facts] | None = None, **others: Any) -> list[Facts]:
    found = what_if(machines(given), [hosts.qwen3_32b()] if models is None else models, {}, **others)
    assert all(problems(row["plan"]) == [] for row in found if row["plan"])
    return json.loads(json.dumps(found)) and found


def test_each_model_is_planned_for_each_machine() -> None:
    rows = plans(models=[hosts.qwen3_32b(), hosts.nonsense()])

    assert [(row["model"], row["machine"]) for row in rows] == [
        ("Qwen/Qwen3-32B-GGUF:Q4_K_M", "RTX 3090, 64 GiB RAM"),
        ("Qwen/Qwen3-32B-GGUF:Q4_K_M", "2x RTX 3090, 128 GiB RAM"),
        ("llmhost/demo-nonsense-GGUF:Q8_0", "RTX 3090, 64 GiB RAM"),
        ("llmhost/demo-nonsense-GGUF:Q8_0", "2x RTX 3090, 128 GiB RAM"),
    ]
    assert [row["plan"]["verdict"] for row in rows] == ["fits"] * 4


def test_what_this_release_cannot_install_is_no_error_in_a_what_if() -> None:
    rows = plans(models=[hosts.qwen3_32b(format="safetensors", quantization="FP8")])
    found = [entry for row in rows for entry in row["plan"]["findings"]]

    assert {entry["level"] for entry in found if entry["code"] == "accelerator.no_cuda_runtime"} == {"info"}
    assert not [entry for entry in found if entry["level"] == "error"]
    assert any(entry["code"] == "what_if.assumed" for entry in found)


def test_each_machine_gets_the_quantisation_that_suits_it() -> None:
    asked = wanted_variants(machines(TWO), [repository()])
    assert asked == [{"model": "Qwen/Qwen3-32B-GGUF", "variant": "Q8_0"}]

    rows = plans(models=[repository()], others=[repository("Q8_0")])
    assert [row["plan"]["model"]["quantization"] for row in rows] == ["Q4_K_M", "Q8_0"]


def test_a_model_that_cannot_be_read_does_not_hide_the_others() -> None:
    failure = {"item": "x/y", "code": "model.not_found", "msg": "x/y is not on the hub.", "failed": True}
    rows = plans(failures=[failure])
    table = comparison(rows)

    assert [row["error"] and row["error"]["code"] for row in rows] == [None, None, "model.not_found", "model.not_found"]
    assert "error: model.not_found" in table
    assert table.count("x/y: x/y is not on the hub.") == 1


def test_the_table_has_a_line_for_each_and_aligned_columns() -> None:
    lines = comparison(plans()).splitlines()
    columns = [lines[0].index(head) for head in ("machine", "verdict", "quantisation")]

    assert len(lines) == 3
    assert [line[: columns[0]].strip() for line in lines[1:]] == ["Qwen/Qwen3-32B-GGUF:Q4_K_M"] * 2
    assert [line[columns[1] : columns[2]].strip() for line in lines[1:]] == ["fits", "fits"]
    assert "of 23.6 GiB" in lines[1]


def test_a_table_says_what_makes_a_machine_slow() -> None:
    rows = plans("CPU only, 16 GiB RAM; RTX 3060, 64 GiB RAM; CPU only, 4 GiB RAM")
    verdicts = [line.split("  ")[2:] for line in comparison(rows).splitlines()]

    assert [next(cell.strip() for cell in line if cell.strip() in _WORDS) for line in verdicts[1:]] == [
        "with swap",
        "with RAM",
        "with swap",
    ]


_WORDS = ("fits", "with swap", "with RAM", "does not fit")


def test_one_plan_of_a_what_if_says_so_and_leaves_out_what_roles_would_do() -> None:
    (machine,) = machines("RTX 3090, 64 GiB RAM")
    (row,) = plans("RTX 3090, 64 GiB RAM")
    table = plan_table(row["plan"], machine["host"], True)

    assert table.endswith("This is a what-if: no host was looked at, and nothing is changed.")
    assert "model_cache" not in table
    assert "tokens/s expected" in table
    assert all(len(line) <= 110 for line in table.splitlines())


def test_saved_facts_are_a_machine_too(tmp_path: Path) -> None:
    path = tmp_path / "workstation.json"
    path.write_text(json.dumps({"host": hosts.workstation()}), encoding="utf-8")
    (row,) = plans(str(path))

    assert row["machine"] == "workstation.json"
    assert row["plan"]["verdict"] == "fits"


def test_a_description_cut_at_its_first_space_is_put_together_again() -> None:
    assert machines("2x", "RTX 3090, 64 GiB RAM") == machines("2x RTX 3090, 64 GiB RAM")
    assert machines("intermediate", "8 GiB of another variable") == machines("intermediate")


def test_a_description_that_is_not_understood_is_an_entry_where_that_is_asked() -> None:
    with pytest.raises(AnsibleFilterError, match="3900"):
        machines("2x RTX 3900, 64 GiB RAM")
    (entry,) = machines("2x RTX 3900, 64 GiB RAM", "", True)

    assert entry["host"] == {}
    assert "Did you mean RTX 3090" in entry["error"]

"""The rules of the house for roles: small, named, documented, and silent about nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tools.role_docs import BEGIN, END, table

CHECKOUT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent.parent for path in CHECKOUT.glob("roles/*/meta/argument_specs.yml"))
TASK_FILES = sorted(CHECKOUT.glob("roles/*/tasks/*.yml"))
PLAYBOOKS = sorted(CHECKOUT.glob("playbooks/*.yml"))

COMMANDS = {"ansible.builtin.command", "ansible.builtin.shell", "ansible.builtin.raw", "ansible.builtin.script"}
CONTENTS = {"ansible.builtin.import_tasks", "ansible.builtin.include_tasks", "ansible.builtin.meta"}
BLOCKS = ("block", "rescue", "always")

# Words of a task that are not its module.
KEYWORDS = {
    *("name", "when", "register", "loop", "loop_control", "vars", "notify", "become", "become_user", "environment"),
    *("changed_when", "failed_when", "check_mode", "diff", "no_log", "delegate_to", "run_once", "until", "retries"),
    *("delay", "tags", "args", "ignore_unreachable", "throttle", "any_errors_fatal", "async", "poll", "listen"),
    *("delegate_facts", "module_defaults", "timeout", "ignore_errors", "connection", "collections", "with_items"),
}

# What a default may be where the argument spec names a type; a template is judged when it has a value.
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str, type(None)),
    "path": (str, type(None)),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
    "raw": (object,),
}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def specs_of(role: Path) -> dict[str, Any]:
    specs: dict[str, Any] = load(role / "meta/argument_specs.yml")["argument_specs"]
    return specs


def options_of(role: Path) -> dict[str, Any]:
    """Return the variables of every entry point of a role."""
    return {name: option for spec in specs_of(role).values() for name, option in (spec.get("options") or {}).items()}


def defaults_of(role: Path) -> dict[str, Any]:
    path = role / "defaults/main.yml"
    return (load(path) or {}) if path.exists() else {}


def tasks_in(entries: Any) -> Iterator[dict[str, Any]]:
    """Yield every task of a list, those inside blocks too."""
    for entry in entries or []:
        if any(part in entry for part in BLOCKS):
            for part in BLOCKS:
                yield from tasks_in(entry.get(part))
        else:
            yield entry


def handlers_and_tasks(role: Path) -> list[dict[str, Any]]:
    files = [*sorted(role.glob("tasks/*.yml")), *sorted(role.glob("handlers/*.yml"))]
    return [task for file in files for task in tasks_in(load(file))]


def every_task() -> list[tuple[str, dict[str, Any]]]:
    """Return all tasks of roles and playbooks with the place they are in."""
    found = [(role.name, task) for role in ROLES for task in handlers_and_tasks(role)]
    for playbook in PLAYBOOKS:
        for play in load(playbook):
            lists = [play.get(part) for part in ("pre_tasks", "tasks", "post_tasks", "handlers")]
            found += [(playbook.name, task) for entries in lists for task in tasks_in(entries)]
    return found


def module_of(task: dict[str, Any]) -> str:
    names = [key for key in task if key not in KEYWORDS]
    return names[0] if len(names) == 1 else f"unclear: {names}"


def relative(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


by_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def test_there_are_roles_to_judge() -> None:
    assert len(ROLES) >= 5
    assert {role.name for role in ROLES} == {path.name for path in CHECKOUT.glob("roles/*") if path.is_dir()}


@by_role
def test_argument_specs_cover_exactly_the_defaults(role: Path) -> None:
    required = {name for name, option in options_of(role).items() if option.get("required")}
    assert set(options_of(role)) - required == set(defaults_of(role))


@by_role
def test_defaults_fit_their_types(role: Path) -> None:
    options = options_of(role)
    for name, value in defaults_of(role).items():
        kind = options[name].get("type", "str")
        templated = isinstance(value, str) and "{{" in value
        assert templated or isinstance(value, TYPES[kind]), f"{name} is {value!r}, its spec says {kind}"


@by_role
def test_documented_defaults_are_the_defaults(role: Path) -> None:
    defaults = defaults_of(role)
    differing = {
        name: (option["default"], defaults[name])
        for name, option in options_of(role).items()
        if "default" in option and name in defaults and str(option["default"]) != str(defaults[name])
    }
    assert not differing


@by_role
def test_variables_begin_with_the_name_of_their_role(role: Path) -> None:
    assert [name for name in defaults_of(role) if not name.startswith(f"{role.name}_")] == []


@by_role
def test_every_entry_point_and_variable_is_described(role: Path) -> None:
    for entry_point, spec in specs_of(role).items():
        assert spec.get("short_description"), entry_point
        assert spec.get("description"), entry_point
        assert (role / f"tasks/{entry_point}.yml").exists(), f"no tasks for the entry point {entry_point}"
    assert [name for name, option in options_of(role).items() if not option.get("description")] == []


@by_role
def test_the_readme_has_the_current_table(role: Path) -> None:
    text = (role / "README.md").read_text(encoding="utf-8")
    found = text.partition(BEGIN)[2].partition(END)[0]
    assert found == table(specs_of(role)), "run `make docs`"


@by_role
def test_meta_names_licence_and_platform(role: Path) -> None:
    info = load(role / "meta/main.yml")["galaxy_info"]
    assert info["license"] == "Apache-2.0"
    assert info["min_ansible_version"] == "2.17"
    assert info["platforms"] == [{"name": "Ubuntu", "versions": ["jammy"]}]


@by_role
def test_a_role_is_small(role: Path) -> None:
    """Lines of a table of contents are no tasks: they do nothing by themselves."""
    doing = [task["name"] for task in handlers_and_tasks(role) if module_of(task) not in CONTENTS]
    assert len(doing) <= 20, doing


@pytest.mark.parametrize("path", TASK_FILES, ids=relative)
def test_a_tasks_file_is_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= (40 if path.name == "main.yml" else 80)


def test_every_task_is_named_and_names_its_module_in_full() -> None:
    tasks = every_task()
    assert [task for _, task in tasks if not task.get("name")] == []
    modules = {(place, module_of(task)) for place, task in tasks}
    assert sorted(pair for pair in modules if not re.fullmatch(r"\w+\.\w+\.\w+", pair[1])) == []


def test_commands_are_rare_and_truthful() -> None:
    tasks = every_task()
    commands = [(place, task) for place, task in tasks if module_of(task) in COMMANDS]
    assert len(commands) * 20 <= len(tasks), [(place, task["name"]) for place, task in commands]
    for place, task in commands:
        arguments = task[module_of(task)]
        guarded = isinstance(arguments, dict) and ("creates" in arguments or "removes" in arguments)
        assert guarded or "changed_when" in task, f"{place}: {task['name']} does not say when it changed something"
        assert guarded or "check_mode" in task or "when" in task, f"{place}: {task['name']} has no answer in check mode"


def test_no_failure_is_hidden() -> None:
    for place, task in every_task():
        assert "ignore_errors" not in task, f"{place}: {task['name']}"
        assert task.get("failed_when", True) is not False, f"{place}: {task['name']}"


@pytest.mark.parametrize("path", [*TASK_FILES, *PLAYBOOKS], ids=relative)
def test_no_injected_fact_is_used(path: Path) -> None:
    """Facts are read as ``ansible_facts['x']``; these names are Ansible's own variables, and no facts."""
    own = {
        *("ansible_facts", "ansible_builtin", "ansible_check_mode", "ansible_connection", "ansible_host"),
        *(
            "ansible_failed_result",
            "ansible_inventory_sources",
            "ansible_play_hosts",
            "ansible_play_hosts_all",
            "ansible_playbook_python",
        ),
        *(
            "ansible_python_interpreter",
            "ansible_limit",
            "ansible_play_batch",
            "ansible_version",
            "ansible_collections",
        ),
    }
    code = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
    assert set(re.findall(r"\bansible_\w+", code)) - own == set()

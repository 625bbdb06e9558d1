"""How far cloud-init is, and when a run waits for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.host.cloud_init import CloudInit
from ansible_collections.llmhost.core.plugins.module_utils.service.wait_meter import WaitMeter
from ansible_collections.llmhost.core.plugins.module_utils.wait import wait_until_free

from tests.unit.machine import Machine

RUN = "run/cloud-init"
ENABLED = {f"{RUN}/enabled": ""}
RUNNING = {**ENABLED, f"{RUN}/status.json": json.dumps({"v1": {"stage": "modules-final", "init": {"errors": []}}})}
DONE = {**RUNNING, f"{RUN}/result.json": json.dumps({"v1": {"datasource": "DataSourceEc2", "errors": []}})}


def look(root: Path, files: dict[str, str], shown: str = "ActiveState=inactive\n", rc: int = 0) -> CloudInit:
    machine = Machine(root, {"systemctl": CommandResult(rc, shown, "")})
    machine.write(files)
    return CloudInit.from_host(str(root), machine.run_command)


def codes(found: CloudInit) -> list[str]:
    return [finding.code for finding in found.findings]


@pytest.mark.parametrize(
    ("files", "state"),
    [
        ({}, "absent"),
        ({f"{RUN}/ds-identify.log": ""}, "absent"),
        ({f"{RUN}/disabled": ""}, "disabled"),
        (DONE, "done"),
    ],
)
def test_nothing_to_wait_for(tmp_path: Path, files: dict[str, str], state: str) -> None:
    machine = Machine(tmp_path)
    machine.write(files)
    found = CloudInit.from_host(str(tmp_path), machine.run_command)
    assert (found.state, found.waiting_for, found.findings) == (state, "", [])
    assert machine.calls == []


@pytest.mark.parametrize("shown", ["ActiveState=activating\n", "ActiveState=inactive\nJob=161\n"])
def test_running(tmp_path: Path, shown: str) -> None:
    found = look(tmp_path, RUNNING, shown)
    assert found.waiting_for == "cloud-init to end (running packages and scripts of its user data)"
    assert codes(found) == ["facts.cloud_init_running"]


def test_a_stage_that_is_not_known(tmp_path: Path) -> None:
    assert look(tmp_path, ENABLED, "ActiveState=activating\n").waiting_for == "cloud-init to end"
    files = {f"{RUN}/status.json": '{"v1": {"stage": ["x"]}}'}
    assert look(tmp_path, files, "ActiveState=activating\n").waiting_for == "cloud-init to end"


@pytest.mark.parametrize(
    ("shown", "rc"),
    [("ActiveState=failed\nJob=0\n", 0), ("ActiveState=inactive\n", 0), ("ActiveState=active\n", 0), ("", 1)],
)
def test_an_end_without_a_result_is_told_and_not_waited_for(tmp_path: Path, shown: str, rc: int) -> None:
    found = look(tmp_path, RUNNING, shown, rc)
    assert (found.state, found.waiting_for) == ("stopped", "")
    assert codes(found) == ["facts.cloud_init_failed"]
    assert "stopped before its end." in found.findings[0].message


@pytest.mark.parametrize("text", ["", "{", "[]", '{"v1": []}', "[" * 100_000])
def test_a_result_that_makes_no_sense(tmp_path: Path, text: str) -> None:
    assert look(tmp_path, {**ENABLED, f"{RUN}/result.json": text}).state == "stopped"


def test_errors_are_told(tmp_path: Path) -> None:
    result = {"v1": {"errors": ["('scripts_user',\n RuntimeError('1 of 1 failed'))", "another"]}}
    found = look(tmp_path, {**ENABLED, f"{RUN}/result.json": json.dumps(result)})
    assert found.state == "done"
    assert found.errors == ("('scripts_user', RuntimeError('1 of 1 failed'))", "another")
    assert codes(found) == ["facts.cloud_init_failed"]
    assert "ended with an error: ('scripts_user'" in found.findings[0].message


@pytest.mark.parametrize("unit", ["cloud-final.service", "cloud-init.service", "cloud-init-network.service"])
def test_what_cloud_init_started_does_not_wait_for_it(tmp_path: Path, unit: str) -> None:
    files = {**RUNNING, "proc/self/cgroup": f"0::/system.slice/{unit}\n"}
    found = look(tmp_path, files, "ActiveState=activating\n")
    assert (found.state, found.waiting_for) == ("running", "")


def test_other_units_wait(tmp_path: Path) -> None:
    files = {**RUNNING, "proc/self/cgroup": "0::/system.slice/not-cloud-final.service\n"}
    assert look(tmp_path, files, "ActiveState=activating\n").waiting_for


def test_wait_until_free() -> None:
    slept: list[float] = []
    obstacles = iter(["a", "b", ""])
    assert wait_until_free(lambda: next(obstacles), 5, slept.append, lambda: sum(slept)) == ""
    assert len(slept) == 2
    slept.clear()
    assert wait_until_free(lambda: "a", 5, slept.append, lambda: sum(slept)) == "a"
    assert sum(slept) == 5
    slept.clear()
    assert wait_until_free(lambda: "", 5, slept.append, lambda: sum(slept)) == ""
    assert slept == []


def test_a_wait_is_mentioned_at_once_when_it_changes_and_now_and_then() -> None:
    meter = WaitMeter()
    looks = [("a", 0.0), ("a", 5.0), ("a", 20.0), ("a", 25.0), ("b", 30.0), ("b", 70.0), ("a", 71.0)]
    assert [meter.line(text, now) for text, now in looks] == [
        "waiting for a",
        None,
        "waiting for a: 20 s",
        None,
        "waiting for b",
        "waiting for b: 40 s",
        "waiting for a",
    ]

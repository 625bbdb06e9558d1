"""An upgrade of driver and kernel, its way back, and the removal: whole, or completed by the next run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.driver.doing import act, needs_apt
from ansible_collections.llmhost.core.plugins.module_utils.driver.transaction import TransactionError
from ansible_collections.llmhost.core.plugins.module_utils.driver.work import DriverError

from tests.unit.driver_machine import (
    NEWER,
    NOT_FOUND,
    PLAN,
    RUNNING,
    V580_NEWER,
    V595,
    DriverMachine,
    Killed,
    driver_index,
    kernel_index,
)
from tests.unit.test_driver_install import DKMS, THERE, codes

MODULES = "linux-modules-nvidia-580-server-open"
NEWEST: dict[str, Any] = {
    "branch": "595-server",
    "packages": [name.replace("580", "595") for name in PLAN["packages"]],
    "hold": ["linux-image-generic"],
}


def ready(root: Path, gpus: int = 0) -> DriverMachine:
    """A machine with a proved driver, for which apt has a newer kernel and newer drivers by now."""
    machine = DriverMachine(root, gpus=gpus)
    machine.driver().apply()
    machine.offer(kernel_index(NEWER), driver_index("580-server", V580_NEWER), driver_index("595-server", V595))
    return machine


def do(machine: DriverMachine, state: str, **changes: Any) -> str:
    """Do what the module does in one of its states."""
    return act(machine.driver(**changes), state)


def proved(machine: DriverMachine) -> dict[str, str]:
    """Return the versions of what is there, the record and the kept files left out."""
    return {name: version for name, (version, _needs) in machine.packages.items()}


def test_driver_and_kernel_change_together(tmp_path: Path) -> None:
    machine = ready(tmp_path)
    assert do(machine, "upgraded") == ""
    assert machine.packages["nvidia-utils-580-server"][0] == V580_NEWER
    assert f"linux-image-{NEWER}" in machine.packages
    assert {f"{MODULES}-{NEWER}", f"{MODULES}-{RUNNING}"} <= machine.packages.keys() & machine.held
    assert "upgrade" not in machine.host().state.read()
    machine.boot()
    assert do(machine, "present") == ""
    assert do(machine, "upgraded") == ""


def test_modules_in_use_ask_for_a_restart_and_then_for_nothing(tmp_path: Path) -> None:
    machine = ready(tmp_path, gpus=1)
    assert do(machine, "upgraded") == "the module 580.159.03 is loaded, and 580.178.04 is installed"
    assert machine.host().state.read()["upgrade"]["before"]["linux-image-generic"] == "5.15.0.203.1"
    machine.boot()
    assert do(machine, "present") == ""
    assert "upgrade" not in machine.host().state.read()


def test_modules_for_a_kernel_that_the_newest_driver_has_none_for_go(tmp_path: Path) -> None:
    machine = ready(tmp_path)
    machine.index[f"{MODULES}-{RUNNING}"] = ("", ())
    assert do(machine, "upgraded") == f"the driver has modules for the kernel {NEWER}, and {RUNNING} runs"
    assert f"{MODULES}-{RUNNING}" not in machine.packages
    machine.boot()
    assert do(machine, "present", packages=[f"{MODULES}-{NEWER}", *PLAN["packages"][1:]]) == ""


def test_a_kernel_without_modules_stops_the_upgrade_before_it_begins(tmp_path: Path) -> None:
    machine = ready(tmp_path)
    machine.index[f"{MODULES}-{NEWER}"] = ("", ())
    before = proved(machine)
    with pytest.raises(TransactionError, match=f"{MODULES}-{NEWER}"):
        do(machine, "upgraded")
    assert proved(machine) == before
    assert do(machine, "returned") == ""


def test_a_compiled_driver_gets_the_headers_of_the_newer_kernel(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    machine.driver(**DKMS).apply()
    machine.offer(kernel_index(NEWER))
    assert do(machine, "upgraded", **DKMS) == ""
    assert f"linux-headers-{NEWER}" in machine.packages


def test_another_branch_takes_the_place_of_the_first(tmp_path: Path) -> None:
    machine = ready(tmp_path)
    assert do(machine, "upgraded", **NEWEST) == ""
    assert not [name for name in machine.packages if "-580-server" in name]
    assert "nvidia-utils-595-server" in machine.held
    good = machine.host().state.read()["good"]
    assert good["nvidia-utils-595-server"] == V595


def test_old_firmware_and_modules_for_old_kernels_go(tmp_path: Path) -> None:
    machine = ready(tmp_path)
    do(machine, "upgraded")
    assert [name for name in machine.packages if "firmware" in name] == ["nvidia-firmware-580-server-580.178.04"]
    assert f"{MODULES}-{RUNNING}" in machine.packages  # it runs
    machine.boot()
    newest = "5.15.0-205-generic"
    machine.offer(kernel_index(newest), driver_index("580-server", V580_NEWER, [RUNNING, NEWER, newest]))
    plan = {"packages": [f"{MODULES}-{NEWER}", *PLAN["packages"][1:]]}
    assert do(machine, "upgraded", **plan) == ""
    assert {f"{MODULES}-{NEWER}", f"{MODULES}-{newest}"} <= machine.packages.keys()
    assert f"{MODULES}-{RUNNING}" not in machine.packages


def test_without_anything_newer_nothing_is_done(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    machine.driver().apply()
    before = machine.state()
    driver = machine.driver()
    assert act(driver, "upgraded") == ""
    assert driver.work.actions == []
    assert machine.state() == before


@pytest.mark.parametrize("changes", [{}, NEWEST], ids=["same branch", "other branch"])
@pytest.mark.parametrize("gpus", [0, 1])
def test_a_bad_upgrade_is_taken_back(tmp_path: Path, changes: dict[str, Any], gpus: int) -> None:
    machine = ready(tmp_path, gpus)
    before, record = (proved(machine), set(machine.held)), machine.host().state.read()
    machine.modprobe = CommandResult(1, "", "modprobe: ERROR: could not insert 'nvidia': Exec format error")
    if gpus:
        do(machine, "upgraded", **changes)
        machine.boot()
    else:
        with pytest.raises(DriverError, match="Exec format error"):
            do(machine, "upgraded", **changes)
    machine.modprobe = DriverMachine(tmp_path / "other").modprobe
    machine.deb_index, machine.index = {}, {}  # Ubuntu's archive has only the newest: the way back is on the host
    reason = do(machine, "returned", **changes)
    machine.boot()
    assert bool(reason) == bool(gpus)
    assert do(machine, "returned", **changes) == ""
    assert (proved(machine), machine.held) == before
    assert machine.host().state.read() == record
    do(machine, "absent")
    assert not [name for name in machine.packages if "nvidia" in name]


def test_the_running_kernel_may_go_and_no_other_question_is_answered(tmp_path: Path) -> None:
    machine = ready(tmp_path, gpus=1)
    do(machine, "upgraded")
    do(machine, "returned")
    answers = [call[-1].split()[4] for call in machine.calls if call[0] == "sh"]
    assert answers == ["false", "true"]


def test_a_package_that_no_source_has_is_made_of_what_is_installed(tmp_path: Path) -> None:
    machine = ready(tmp_path)
    do(machine, "upgraded")
    assert ["dpkg-deb", "--build"] in [call[:2] for call in machine.calls]  # linux-image-generic of before


def test_without_a_way_back_nothing_is_upgraded(tmp_path: Path) -> None:
    machine = ready(tmp_path)
    machine.says["dpkg-deb"] = CommandResult(2, "", "")
    before = proved(machine)
    with pytest.raises(DriverError) as failure:
        do(machine, "upgraded")
    assert codes(failure) == ["driver.no_way_back"]
    assert proved(machine) == before


def test_what_cannot_be_fetched_leaves_the_driver_as_it_was(tmp_path: Path) -> None:
    machine = ready(tmp_path)
    before = machine.state()
    machine.answers = [CommandResult(0, "", ""), *[CommandResult(100, NOT_FOUND, "")] * 9]
    with pytest.raises(TransactionError):
        do(machine, "upgraded")
    machine.answers = []
    assert do(machine, "returned") == ""
    found = machine.state()
    assert {**found, "files": {}} == {**before, "files": {}}


def test_a_driver_that_was_there_is_not_upgraded(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    with pytest.raises(DriverError) as failure:
        do(machine, "upgraded", source="kept", packages=[], hold=[])
    assert codes(failure) == ["driver.not_ours"]


def test_check_mode_tells_what_would_be_done(tmp_path: Path) -> None:
    machine = ready(tmp_path, gpus=1)
    do(machine, "upgraded")
    before = machine.state()
    for state, word in (
        ("upgraded", "upgrade the driver"),
        ("returned", "install linux-image-generic"),
        ("absent", "purge"),
    ):
        driver = machine.driver(check=True)
        act(driver, state)
        assert [action for action in driver.work.actions if action.startswith(word)], state
    assert machine.state() == before
    assert [needs_apt(machine.driver(), state) for state in ("present", "upgraded", "returned", "absent")] == [
        False,
        True,
        True,
        True,
    ]


# --- Killed anywhere ---


@pytest.mark.parametrize("how", ["before", "after", "half"])
@pytest.mark.parametrize("changes", [{}, NEWEST], ids=["same branch", "other branch"])
def test_an_upgrade_that_is_killed_is_completed_by_the_next(tmp_path: Path, how: str, changes: dict[str, Any]) -> None:
    calm = ready(tmp_path / "calm")
    first = calm.count
    do(calm, "upgraded", **changes)
    wanted = proved(calm), calm.held
    for at in range(first + 1, calm.count + 1):
        machine = ready(tmp_path / str(at))
        machine.killed_at, machine.how = at, how
        with pytest.raises(Killed):
            do(machine, "upgraded", **changes)
        machine.killed_at = 0
        assert do(machine, "upgraded", **changes) == "", f"killed at {at}"
        assert (proved(machine), machine.held) == wanted, f"killed at {at}: {machine.calls[at - 1]}"


@pytest.mark.parametrize("how", ["before", "after", "half"])
@pytest.mark.parametrize("changes", [{}, NEWEST], ids=["same branch", "other branch"])
def test_an_upgrade_that_is_killed_can_be_taken_back(tmp_path: Path, how: str, changes: dict[str, Any]) -> None:
    calm = ready(tmp_path / "calm")
    before, first = (proved(calm), set(calm.held)), calm.count
    do(calm, "upgraded", **changes)
    after = proved(calm), calm.held
    for at in range(first + 1, calm.count + 1):
        machine = ready(tmp_path / str(at))
        machine.killed_at, machine.how = at, how
        with pytest.raises(Killed):
            do(machine, "upgraded", **changes)
        machine.killed_at = 0
        do(machine, "returned", **changes)
        # Killed after the proof, there is nothing to take back any more.
        assert (proved(machine), machine.held) in (before, after), f"killed at {at}: {machine.calls[at - 1]}"
        assert machine.half == set()


@pytest.mark.parametrize("how", ["before", "after", "half"])
def test_a_way_back_that_is_killed_is_completed_by_the_next(tmp_path: Path, how: str) -> None:
    def failed(root: Path) -> DriverMachine:
        machine = ready(root, gpus=1)
        do(machine, "upgraded", **NEWEST)
        machine.boot()
        return machine

    calm = failed(tmp_path / "calm")
    first = calm.count
    do(calm, "returned", **NEWEST)
    wanted = proved(calm), calm.held
    for at in range(first + 1, calm.count + 1):
        machine = failed(tmp_path / str(at))
        machine.killed_at, machine.how = at, how
        with pytest.raises(Killed):
            do(machine, "returned", **NEWEST)
        machine.killed_at = 0
        do(machine, "returned", **NEWEST)
        assert (proved(machine), machine.held) == wanted, f"killed at {at}: {machine.calls[at - 1]}"


# --- Removal ---


@pytest.mark.parametrize("gpus", [0, 1])
def test_the_removal_takes_what_llmhost_brought(tmp_path: Path, gpus: int) -> None:
    machine = DriverMachine(tmp_path, gpus=gpus)
    before = machine.state()
    machine.driver(container_toolkit=True, power_limit_watts=250).apply()
    do(machine, "absent")
    assert machine.state() == before
    driver = machine.driver()
    act(driver, "absent")
    assert driver.work.actions == []


def test_the_removal_takes_compiler_and_headers_and_leaves_a_kernel(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    machine.driver(**DKMS).apply()
    machine.offer(kernel_index(NEWER))
    do(machine, "upgraded", **DKMS)
    do(machine, "absent")
    assert machine.packages.keys() == {
        *("linux-image-generic", f"linux-image-{RUNNING}", f"linux-modules-{RUNNING}"),
        *(f"linux-image-{NEWER}", f"linux-modules-{NEWER}"),
    }
    assert machine.held == set()


def test_settings_that_a_power_cut_left_behind_are_purged(tmp_path: Path) -> None:
    machine = ready(tmp_path)
    do(machine, "upgraded", **NEWEST)
    left = "nvidia-kernel-common-580-server"
    record = machine.host().state.read()
    machine.host().state.write({**record, "brought": [*record["brought"], left]})
    machine.remains = {left}
    machine._sync()
    do(machine, "absent")
    assert machine.remains == set()


def test_what_others_came_to_need_stays(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    machine.driver(**DKMS).apply()
    machine.index["build-essential"] = ("12.9", ("gcc",))
    machine.put("build-essential")
    do(machine, "absent")
    assert {"gcc", "build-essential"} <= machine.packages.keys()
    assert not [name for name in machine.packages if "nvidia" in name]


def test_what_was_there_before_stays_held_as_it_was(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    machine.put(*THERE)
    machine.held = {"linux-image-generic"}
    machine._sync()
    before = machine.state()
    machine.driver().apply()
    assert "nvidia-utils-580-server" in machine.held
    do(machine, "absent")
    assert machine.state() == before


@pytest.mark.parametrize("how", ["before", "after", "half"])
@pytest.mark.parametrize("plan", [{"container_toolkit": True}, DKMS], ids=["signed", "compiled"])
def test_what_a_killed_run_has_begun_is_removed(tmp_path: Path, how: str, plan: dict[str, Any]) -> None:
    calm = DriverMachine(tmp_path / "calm")
    calm.driver(**plan).apply()
    for at in range(1, calm.count + 1):
        machine = DriverMachine(tmp_path / str(at))
        before = machine.state()
        machine.killed_at, machine.how = at, how
        with pytest.raises(Killed):
            machine.driver(**plan).apply()
        machine.killed_at = 0
        do(machine, "absent")
        assert machine.state() == before, f"killed at {at}: {machine.calls[at - 1]}"


@pytest.mark.parametrize("how", ["before", "after", "half"])
def test_a_removal_that_is_killed_is_completed_by_the_next(tmp_path: Path, how: str) -> None:
    def made(root: Path) -> DriverMachine:
        machine = DriverMachine(root, gpus=1)
        machine.driver(container_toolkit=True, power_limit_watts=250).apply()
        return machine

    calm = made(tmp_path / "calm")
    first = calm.count
    do(calm, "absent")
    wanted = calm.state()
    for at in range(first + 1, calm.count + 1):
        machine = made(tmp_path / str(at))
        machine.killed_at, machine.how = at, how
        with pytest.raises(Killed):
            do(machine, "absent")
        machine.killed_at = 0
        do(machine, "absent")
        assert machine.state() == wanted, f"killed at {at}: {machine.calls[at - 1]}"

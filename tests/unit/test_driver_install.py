"""The driver is brought in one transaction, pinned, loaded and judged; a run that was cut off, by the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.driver.doing import needs_apt
from ansible_collections.llmhost.core.plugins.module_utils.driver.transaction import TransactionError
from ansible_collections.llmhost.core.plugins.module_utils.driver.work import DriverError
from ansible_collections.llmhost.core.plugins.module_utils.service.packages import BusyError

from tests.unit.driver_machine import (
    LOCKED,
    NEWER,
    NOT_FOUND,
    PLAN,
    RUNNING,
    USUAL,
    V580,
    DriverMachine,
    Killed,
    driver_index,
    kernel_index,
)

HEADLESS = "nvidia-headless-no-dkms-580-server-open"
THERE = sorted(
    name for name in driver_index("580-server", V580, [RUNNING]) if "dkms-580" not in name and "ss-580" not in name
)
DKMS: dict[str, Any] = {
    "source": "ubuntu-dkms",
    "packages": [
        f"linux-headers-{RUNNING}",
        "nvidia-headless-580-server-open",
        "nvidia-dkms-580-server-open",
        "nvidia-utils-580-server",
    ],
}


def codes(failure: pytest.ExceptionInfo[DriverError]) -> list[str]:
    """Return what a refusal says; every finding has a remedy."""
    assert all(finding.remedy and finding.level == "error" for finding in failure.value.findings)
    return [finding.code for finding in failure.value.findings]


def installed(machine: DriverMachine) -> list[str]:
    """Return the calls of apt that install something."""
    calls = [" ".join(call) for call in machine.calls if call[0] == "apt-get"]
    return [call for call in calls if " install " in call and "--simulate" not in call]


def refused(machine: DriverMachine, **changes: Any) -> list[str]:
    """Return why the driver is refused."""
    with pytest.raises(DriverError) as failure:
        machine.driver(**changes).apply()
    return codes(failure)


def test_an_image_is_made_without_a_gpu(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    driver = machine.driver()
    assert driver.apply() == ""
    assert driver.version == "580.159.03"
    assert len(installed(machine)) == 1
    assert set(PLAN["packages"]) <= machine.packages.keys()
    assert "dkms" not in machine.packages
    assert {"linux-image-generic", HEADLESS, "libnvidia-compute-580-server"} <= machine.held
    assert "libnvidia-compute-580-server" in machine.host().state.read()["good"]
    modules = tmp_path / "etc/modules-load.d/llmhost.conf"
    assert modules.read_text().splitlines()[1:] == ["nvidia", "nvidia_uvm"]
    assert machine.enabled == {"nvidia-persistenced.service"}
    assert machine.active == set()
    assert ["modprobe", "nvidia"] in machine.calls


def test_the_second_run_does_nothing(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    machine.driver().apply()
    before, machine.calls = machine.state(), []
    again = machine.driver()
    assert (again.apply(), again.work.actions) == ("", [])
    assert machine.state() == before
    assert not any(call[0].startswith("apt") for call in machine.calls)


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_host_with_gpus_uses_them_at_once(tmp_path: Path, gpus: int) -> None:
    machine = DriverMachine(tmp_path, gpus=gpus)
    driver = machine.driver()
    assert driver.apply() == ""
    assert (tmp_path / "dev/nvidia-uvm").exists()
    assert machine.active == {"nvidia-persistenced.service"}
    assert {"load nvidia", "load nvidia_uvm", "start nvidia-persistenced.service"} <= set(driver.work.actions)
    assert machine.driver().apply() == ""


def test_check_mode_tells_and_changes_nothing(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path, gpus=1)
    before = machine.state()
    driver = machine.driver(check=True)
    assert driver.apply() == ""
    assert driver.work.actions[0] == f"install {' '.join(PLAN['packages'])}"
    assert machine.state() == before
    assert {call[0] for call in machine.calls} <= {"modinfo", "systemctl"}
    machine.driver().apply()
    driver = machine.driver(check=True)
    assert (driver.apply(), driver.work.actions) == ("", [])


def test_no_compiler_comes_that_nobody_asked_for(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    before = machine.state()
    assert refused(machine, packages=["nvidia-headless-580-server-open"]) == ["driver.would_compile"]
    assert machine.state() == before
    assert machine.driver(**DKMS).apply() == ""
    assert {"dkms", "gcc", f"linux-headers-{RUNNING}"} <= machine.packages.keys()


def test_a_branch_that_only_leads_to_another_is_refused(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    machine.index["nvidia-headless-no-dkms-570-server-open"] = ("570.211.01", (HEADLESS,))
    changes = {"branch": "570-server", "packages": ["nvidia-headless-no-dkms-570-server-open"]}
    assert refused(machine, **changes) == ["driver.other_branch"]


def test_a_proved_driver_is_changed_deliberately_only(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    machine.driver().apply()
    machine.offer(driver_index("595-server", "595.91.07-0ubuntu0.22.04.1"))
    changes = {"branch": "595-server", "packages": [word.replace("580", "595") for word in PLAN["packages"]]}
    before = machine.state()
    assert refused(machine, **changes) == ["driver.upgrade_is_deliberate"]
    assert machine.state() == before


def test_a_kernel_comes_with_its_modules_and_a_restart(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path, gpus=1)
    machine.offer(kernel_index(NEWER))
    packages = ["linux-image-generic", PLAN["packages"][0].replace(RUNNING, NEWER), *PLAN["packages"][1:]]
    plan: dict[str, Any] = {"packages": packages, "kernel": "linux-image-generic"}
    del machine.packages["linux-image-generic"]
    machine.boot(RUNNING)
    assert machine.driver(**plan).apply() == f"the driver has modules for the kernel {NEWER}, and {RUNNING} runs"
    assert "modprobe" not in {call[0] for call in machine.calls}
    machine.boot()
    assert machine.driver(**plan).apply() == ""
    assert "linux-image-generic" in machine.held


def test_nouveau_and_older_modules_go_with_a_restart_only(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path, gpus=1)
    (tmp_path / "sys/module/nouveau").mkdir(parents=True)
    assert machine.driver().apply() == "nouveau drives the GPUs"
    machine.boot()
    machine.write({"sys/module/nvidia/version": "570.211.01\n"})
    assert machine.driver().apply() == "the module 570.211.01 is loaded, and 580.159.03 is installed"
    machine.boot()
    assert machine.driver().apply() == ""


def test_a_driver_that_was_there_is_only_checked(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path, gpus=1)
    machine.put(*THERE)
    plan: dict[str, Any] = {"source": "kept", "branch": "580", "packages": [], "hold": []}
    before = machine.state()
    driver = machine.driver(**plan)
    assert driver.apply() == ""
    found = machine.state()
    assert found.pop("files").keys() - before.pop("files") == {"etc/modules-load.d/llmhost.conf"}
    assert found == before
    assert machine.host().state.read() == {}


def test_in_a_container_the_driver_of_the_machine_is_checked(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path, gpus=2)
    machine.put(*THERE)
    for module in ("nvidia", "nvidia_uvm"):
        machine._modprobe(module)
    del machine.packages[f"linux-modules-nvidia-580-server-open-{RUNNING}"]
    machine.gpus = 1  # one of two was handed in
    plan: dict[str, Any] = {"source": "kept", "branch": "580", "packages": [], "hold": [], "modules": []}
    driver = machine.driver(**plan)
    assert (driver.apply(), driver.work.actions) == ("", [])
    (tmp_path / "dev/nvidia-uvm").unlink()
    assert refused(machine, **plan) == ["facts.nvidia_no_uvm"]


def test_the_container_toolkit_comes_beside_any_driver(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path, gpus=1)
    machine.driver(container_toolkit=True).apply()
    assert "nvidia-container-toolkit" in machine.packages
    assert machine.held & {"nvidia-container-toolkit", "libnvidia-container1"} == set()


def test_what_came_beside_a_kept_driver_does_not_make_the_driver_ours(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path, gpus=1)
    machine.put(*THERE)
    machine.driver(source="kept", branch="580", packages=[], hold=[], container_toolkit=True).apply()
    record = machine.host().state.read()
    assert record == {
        "brought": ["libnvidia-container1", "nvidia-container-toolkit"],
        "kept": True,
        "named": ["nvidia-container-toolkit"],
    }


def test_the_power_limit_comes_and_goes(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path, gpus=1)
    unit, name = tmp_path / "etc/systemd/system/llmhost-gpu-power.service", "llmhost-gpu-power.service"
    machine.driver(power_limit_watts=250).apply()
    assert "--power-limit=250" in unit.read_text()
    assert name in machine.enabled & machine.active
    assert f"start {name}" in _actions(machine, power_limit_watts=300)
    assert _actions(machine, power_limit_watts=300) == []
    machine.driver().apply()
    assert not unit.exists()
    assert name not in machine.enabled | machine.active


def test_the_fabric_manager_has_its_condition_before_it_is_installed(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    package = "nvidia-fabricmanager-580"
    machine.driver(packages=[*PLAN["packages"], package], fabric_manager=package).apply()
    assert package in machine.held
    assert "nvidia-fabricmanager.service" in machine.enabled - machine.active
    drop_in = tmp_path / "etc/systemd/system/nvidia-fabricmanager.service.d/llmhost.conf"
    reload = machine.calls.index(["systemctl", "daemon-reload"])
    assert drop_in.exists()
    assert reload < next(at for at, call in enumerate(machine.calls) if "install" in call and "--simulate" not in call)


def _actions(machine: DriverMachine, **changes: Any) -> list[str]:
    driver = machine.driver(**changes)
    driver.apply()
    return driver.work.actions


# --- What is judged ---


def test_the_module_must_end_without_a_device_and_for_no_other_reason(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    machine.modprobe = CommandResult(1, "", "modprobe: ERROR: could not insert 'nvidia': Key was rejected by service")
    with pytest.raises(DriverError, match="Key was rejected by service"):
        machine.driver().apply()
    machine.modprobe = CommandResult(1, "", "modprobe: ERROR: could not insert 'nvidia': No such device")
    assert machine.driver().apply() == ""


def test_what_results_is_judged_and_not_what_was_asked_for(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    machine.driver().apply()
    assert refused(machine, flavour="proprietary") == ["driver.other_flavour"]
    machine.signer = ""
    assert refused(machine, secure_boot=True) == ["driver.not_signed"]
    machine.signer = "Canonical"
    library = tmp_path / "usr/lib/x86_64-linux-gnu"
    (library / "libnvidia-ml.so.580.159.03").rename(library / "libnvidia-ml.so.580.95.05")
    assert refused(machine) == ["driver.library_mismatch"]
    machine.write({f"boot/vmlinuz-{NEWER}": "", f"lib/modules/{NEWER}/x": ""})
    assert "driver.no_module_for_next_boot" in refused(machine)
    machine.kernel = "6.8.0-31-generic"
    machine.write({"boot/vmlinuz-6.8.0-31-generic": "", "lib/modules/6.8.0-31-generic/x": ""})
    assert refused(machine) == ["driver.no_module"]


def test_another_branch_that_lies_there_is_seen(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    machine.driver().apply()
    assert refused(machine, branch="595-server") == ["driver.other_branch"]


# --- apt in every state ---


def test_a_file_that_the_source_does_not_have_is_looked_for_once_more(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    machine.answers = [CommandResult(100, NOT_FOUND, "")]
    driver = machine.driver()
    driver.apply()
    assert [action.split()[:2] for action in driver.work.actions if action.startswith("apt-get")] == [
        ["apt-get", "install"],
        ["apt-get", "update"],
        ["apt-get", "install"],
    ]


def test_what_cannot_be_fetched_changes_nothing_and_is_not_recorded(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    machine.answers = [CommandResult(100, NOT_FOUND, "")] * 9
    packages = dict(machine.packages)
    with pytest.raises(TransactionError, match="Run again in an hour"):
        machine.driver().apply()
    assert machine.packages == packages
    assert machine.host().state.read() == {}


def test_newer_lists_change_what_is_recorded(tmp_path: Path) -> None:
    """Between two looks apt may come to another kernel, and what is removed later is what was recorded."""
    machine = DriverMachine(tmp_path)
    machine.answers = [CommandResult(100, NOT_FOUND, "")]
    utils = (V580, ("libnvidia-compute-580-server", "libpciaccess0"))
    machine.newer_lists = {"nvidia-utils-580-server": utils, "libpciaccess0": ("0.16-3", ())}
    machine.driver().apply()
    assert "libpciaccess0" in machine.host().state.read()["brought"]


def test_lists_that_are_missing_are_fetched(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    (tmp_path / "var/lib/apt/lists/mirror_jammy_Packages").unlink()
    driver = machine.driver()
    driver.apply()
    assert next(action for action in driver.work.actions if action.startswith("apt-get")) == "apt-get update"


def test_an_installation_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    machine = DriverMachine(tmp_path)
    machine.driver().apply()
    machine.half = {"libnvidia-compute-580-server"}
    machine._sync()
    driver = machine.driver()
    assert driver.missing() == ["libnvidia-compute-580-server"]
    driver.apply()
    assert machine.half == set()


@pytest.mark.parametrize("at", ["apt", "mark"])
def test_somebody_who_holds_the_locks_is_waited_for(tmp_path: Path, at: str) -> None:
    machine = DriverMachine(tmp_path)
    locked = CommandResult(100, LOCKED, "")
    if at == "apt":
        machine.answers = [locked]
    else:
        machine.says["apt-mark"] = locked
    with pytest.raises(BusyError):
        machine.driver().apply()
    assert needs_apt(machine.driver(), "present") == (at == "apt")


@pytest.mark.parametrize("how", ["before", "after", "half"])
@pytest.mark.parametrize("gpus", [0, 1])
def test_a_run_that_is_killed_anywhere_is_completed_by_the_next(tmp_path: Path, how: str, gpus: int) -> None:
    calm = DriverMachine(tmp_path / "calm", gpus=gpus)
    calm.driver(container_toolkit=True).apply()
    for at in range(1, calm.count + 1):
        machine = DriverMachine(tmp_path / str(at), gpus=gpus)
        machine.killed_at, machine.how = at, how
        with pytest.raises(Killed):
            machine.driver(container_toolkit=True).apply()
        machine.killed_at = 0
        assert machine.driver(container_toolkit=True).apply() == "", f"killed at {at}"
        assert _left(machine) == _left(calm), f"killed at {at}: {machine.calls[at - 1]}"


def _left(machine: DriverMachine) -> dict[str, Any]:
    """Return all that a run leaves. What was half there is asked for by name, and that is recorded."""
    files = {path: text for path, text in machine.state()["files"].items() if not path.endswith("driver.json")}
    return {**machine.state(), "files": files, "record": {**machine.host().state.read(), "named": ()}}


def test_the_index_of_this_machine_is_whole() -> None:
    names = set(USUAL)
    assert {need for _version, needs in USUAL.values() for need in needs} <= names | {f"linux-image-{NEWER}"}

"""A driver is healthy when all of it is: versions, nvidia-smi, every GPU, device nodes, DKMS, nouveau, NVSwitches."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult, RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.driver.health import load, settled_health, without_gpu
from ansible_collections.llmhost.core.plugins.module_utils.driver.kernel_module import KernelModule
from ansible_collections.llmhost.core.plugins.module_utils.driver.state import DriverState
from ansible_collections.llmhost.core.plugins.module_utils.driver.wanted import Wanted

from tests.unit.nvidia_machine import KERNEL, NvidiaMachine

WANTED = Wanted("ubuntu", "580-server")
CONTAINER = Wanted("kept", "580", modules=())


def gpus_on_bus(machine: NvidiaMachine) -> int:
    """Count what lspci shows of GPUs."""
    return len([line for line in machine.said["lspci"].stdout.splitlines() if line.strip()])


def judged(
    machine: NvidiaMachine, wanted: Wanted = WANTED, gpus: int | None = None, run: RunCommand | None = None
) -> list[str]:
    """Return the codes of what is wrong; each has a remedy and is an error."""
    module = KernelModule(KERNEL, "580.178.04", "open", "Canonical")
    count = gpus_on_bus(machine) if gpus is None else gpus
    state = DriverState(KERNEL, KERNEL, module, module, "580.178.04", "580.178.04", False, count)
    found = settled_health(state, wanted, run or machine.run_command, str(machine.root), 0)
    assert all(finding.level == "error" and finding.remedy for finding in found)
    return [finding.code for finding in found]


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("1x3090", []),
        ("2x3090-bridge", []),
        ("8xa100-nvswitch", []),
        ("no-driver-loaded", ["facts.nvidia_not_loaded"]),
        ("version-mismatch", ["facts.nvidia_version_mismatch"]),
        ("library-missing", ["facts.nvidia_smi_no_library"]),
        ("gpu-lost", ["facts.nvidia_smi_lost"]),
    ],
)
def test_drivers_as_they_are_found(tmp_path: Path, name: str, codes: list[str]) -> None:
    assert judged(NvidiaMachine(tmp_path, name)) == codes


def test_every_gpu_of_the_bus_is_driven(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, "2x3090-bridge")
    assert judged(machine, gpus=3) == ["driver.gpu_missing"]
    assert judged(machine, CONTAINER, gpus=3) == []


@pytest.mark.parametrize(
    ("node", "code"), [("nvidia-uvm", "facts.nvidia_no_uvm"), ("nvidiactl", "facts.nvidia_no_nodes")]
)
def test_every_device_node_is_there(tmp_path: Path, node: str, code: str) -> None:
    machine = NvidiaMachine(tmp_path, "1x3090")
    (tmp_path / "dev" / node).unlink()
    assert judged(machine) == [code]


def test_nouveau_is_gone(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, "1x3090")
    (tmp_path / "sys/module/nouveau").mkdir(parents=True)
    assert judged(machine) == ["facts.nvidia_nouveau"]


def test_dkms_is_done(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, "1x3090")
    (tmp_path / "var/lib/dkms/nvidia").mkdir(parents=True)
    machine.said["dkms status"] = CommandResult(0, f"nvidia/580.178.04, {KERNEL}, x86_64: built\n", "")
    assert judged(machine) == ["facts.nvidia_dkms"]
    machine.said["dkms status"] = CommandResult(0, f"nvidia/580.178.04, {KERNEL}, x86_64: installed\n", "")
    assert judged(machine) == []


def test_nvswitches_are_waited_for_and_joined(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, "8xh100-nvswitch-nics")
    assert judged(machine) == []
    asked = machine.said["nvidia-smi --query-gpu"]
    text = asked.stdout.replace("Completed", "In Progress")
    assert text != asked.stdout
    machine.said["nvidia-smi --query-gpu"] = asked._replace(stdout=text)
    assert judged(machine) == ["facts.nvidia_fabric"]


def test_nvidia_smi_is_there(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, "1x3090")
    gone = CommandResult(127, "", "no such file")
    run = machine.run_command
    assert judged(machine, run=lambda argv: gone if argv[0] == "nvidia-smi" else run(argv)) == ["driver.no_smi"]


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("modprobe: ERROR: could not insert 'nvidia': No such device", True),
        ("modprobe: ERROR: could not insert 'nvidia': Key was rejected by service", False),
        ("modprobe: ERROR: could not insert 'nvidia': Exec format error", False),
        ("modprobe: FATAL: Module nvidia not found in directory /lib/modules/5.15.0-204-generic", False),
    ],
)
def test_without_a_gpu_the_module_ends_for_that_reason_alone(said: str, taken: bool) -> None:
    module = KernelModule(KERNEL, "580.178.04", "open", "Canonical")
    state = DriverState(KERNEL, KERNEL, module, module, "580.178.04", "", False, 0)
    found = list(without_gpu(state, lambda argv: CommandResult(1, "", said)))
    assert (found == []) == taken
    assert all(said.split(": ")[-1] in finding.message for finding in found)
    assert [finding.code for finding in load("nvidia", lambda argv: CommandResult(1, "", said))] == [
        "driver.not_loaded"
    ]
    assert list(load("nvidia", lambda argv: CommandResult(0, "", ""))) == []

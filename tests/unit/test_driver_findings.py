"""What is wrong with a driver, by its versions and by how nvidia-smi ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.driver_findings import Surroundings, judge_driver
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.driver_state import DkmsModule, DriverState
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.gpu import DriverGpu, Fabric

OLD, NEW = "570.211.01", "580.178.04"
KERNEL = "5.15.0-204-generic"
HEALTHY = DriverState(
    loaded_version=NEW,
    module_version=NEW,
    library_version=NEW,
    library_path="/usr/lib/libnvidia-ml.so.1",
    flavour="open",
    modules=("nvidia", "nvidia_uvm"),
    device_nodes=("/dev/nvidia0", "/dev/nvidia-uvm", "/dev/nvidiactl"),
    dkms=(),
)
OUTSIDE = Surroundings(KERNEL, False, False, 1, ("nvidia",))
INSIDE = replace(OUTSIDE, container=True)
WELL = CommandResult(0, "index, uuid\n0, GPU-1\n", "")
NOT_LOADED: dict[str, Any] = {"loaded_version": None, "modules": (), "device_nodes": ()}
NO_DRIVER = CommandResult(9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", "")


def judge(
    smi: CommandResult = WELL,
    host: Surroundings = OUTSIDE,
    gpus: tuple[DriverGpu, ...] = (DriverGpu(0),),
    **changes: Any,
) -> list[Finding]:
    return judge_driver(replace(HEALTHY, **changes), smi, gpus, host)


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code.removeprefix("facts.nvidia_") for finding in findings]


def test_a_healthy_driver_has_no_finding() -> None:
    assert judge() == []


def test_no_driver_at_all_is_for_the_plan() -> None:
    nothing = {**NOT_LOADED, "module_version": None, "library_version": None, "modules": ("nouveau",)}
    assert judge(CommandResult(127, "", "no such file"), **nothing) == []


@pytest.mark.parametrize(
    ("loaded", "module", "library", "code", "remedy"),
    [
        (OLD, NEW, NEW, "version_mismatch", "Reboot"),
        (OLD, OLD, NEW, "version_mismatch", f"Install the libraries of version {OLD}"),
        (OLD, None, NEW, "version_mismatch", f"Install modules of version {NEW} for kernel {KERNEL}"),
        (OLD, NEW, OLD, "module_outdated", "one version"),
        (OLD, NEW, None, "module_outdated", "one version"),
        (None, OLD, NEW, "module_library_mismatch", "one version"),
    ],
)
def test_versions_that_do_not_agree(
    loaded: str | None, module: str | None, library: str | None, code: str, remedy: str
) -> None:
    versions: dict[str, Any] = {"loaded_version": loaded, "module_version": module, "library_version": library}
    smi = WELL if loaded else NO_DRIVER
    first = judge(smi, **versions)[0]
    assert codes([first]) == [code]
    assert all(version in first.message for version in versions.values() if version)
    assert remedy in first.remedy


def test_a_mismatch_is_said_once() -> None:
    smi = CommandResult(18, "Failed to initialize NVML: Driver/library version mismatch\nNVML library: 580.178\n", "")
    assert codes(judge(smi, loaded_version=OLD)) == ["version_mismatch"]
    assert codes(judge(smi, library_version=None)) == ["smi_mismatch"]


def test_a_container_brought_a_library_of_its_own() -> None:
    (finding,) = judge(host=INSIDE, loaded_version=OLD, module_version=None)
    assert "image" in finding.remedy


@pytest.mark.parametrize(
    ("rc", "text", "code"),
    [
        (2, 'Field "index" is not a valid field to query.', "smi_refused"),
        (3, "", "smi_not_supported"),
        (4, "", "smi_no_permission"),
        (6, "No devices were found", "smi_no_device"),
        (0, "No devices were found", "smi_no_device"),
        (8, "", "smi_no_power"),
        (10, "", "smi_timeout"),
        (11, "", "smi_interrupt"),
        (12, "", "smi_no_library"),
        (13, "", "smi_old_library"),
        (14, "", "smi_inforom"),
        (15, "", "smi_lost"),
        (255, "Unable to determine the device handle for GPU1: GPU is lost.  Reboot the system", "smi_lost"),
        (255, "Unable to determine the device handle for GPU0000:25:00.0: Unknown Error", "smi_lost"),
        (0, "Unable to determine the device handle for GPU1: 0000:44:00.0: Unknown Error", "smi_lost"),
        (255, "Unable to determine the device handle for GPU0: Insufficient Permissions", "smi_no_permission"),
        (0, "1, [GPU is lost], [GPU is lost]", "smi_lost"),
        (0, "WARNING: infoROM is corrupted at gpu 0000:02:00.0", "smi_inforom"),
        (16, "", "smi_reset_required"),
        (255, "GPU requires reset", "smi_reset_required"),
        (17, "", "smi_system"),
        (19, "", "smi_in_use"),
        (20, "", "smi_memory"),
        (124, "", "smi_hangs"),
        (255, "Unknown Error", "smi_failed"),
        (-11, "", "smi_failed"),
    ],
)
def test_every_status_of_nvidia_smi(rc: int, text: str, code: str) -> None:
    (finding,) = judge(CommandResult(rc, text, ""))
    assert codes([finding]) == [code]
    assert finding.remedy
    assert text in finding.message


def test_fields_that_may_not_be_read_are_no_failure() -> None:
    assert judge(CommandResult(0, "index, uuid\n0, [Insufficient Permissions]\n", "")) == []


def test_a_missing_nvidia_smi_is_no_fault_of_the_driver() -> None:
    assert judge(CommandResult(127, "", "nvidia-smi cannot be run")) == []


@pytest.mark.parametrize(
    ("changes", "host", "words"),
    [
        ({"modules": ("nouveau",)}, {}, "nouveau has the GPU"),
        ({"module_version": None}, {}, f"linux-modules-nvidia-BRANCH-{KERNEL}"),
        ({}, {"bound_to": ("vfio-pci",)}, "bound to vfio-pci"),
        (
            {"dkms": (DkmsModule("nvidia", NEW, KERNEL, "installed"),)},
            {"secure_boot": True, "bound_to": ("",)},
            "Secure Boot lets only signed modules in",
        ),
        ({}, {"bound_to": ("",)}, "modprobe nvidia"),
        ({}, {"container": True}, "--gpus all"),
    ],
)
def test_why_a_driver_is_not_loaded(changes: dict[str, Any], host: dict[str, Any], words: str) -> None:
    (finding,) = judge(NO_DRIVER, replace(OUTSIDE, **host), (), **{**NOT_LOADED, **changes})
    assert codes([finding]) == ["not_loaded"]
    assert words in f"{finding.message} {finding.remedy}"


def test_a_driver_that_answers_is_loaded_whatever_the_kernel_shows() -> None:
    missing = CommandResult(127, "", "nvidia-smi cannot be run")
    assert judge(missing, INSIDE, loaded_version=None, module_version=None, modules=()) == []


def test_a_driver_on_a_machine_without_a_gpu_is_only_mentioned() -> None:
    (finding,) = judge(NO_DRIVER, replace(OUTSIDE, gpus=0, bound_to=()), (), **NOT_LOADED)
    assert (finding.level, codes([finding])) == ("info", ["no_gpu"])


def test_device_nodes() -> None:
    assert codes(judge(device_nodes=("/dev/nvidia0", "/dev/nvidiactl"))) == ["no_uvm"]
    (finding,) = judge(device_nodes=("/dev/nvidia-uvm", "/dev/nvidiactl"))
    assert "/dev/nvidia0 is not there" in finding.message
    two = (DriverGpu(0), DriverGpu(1))
    assert codes(judge(gpus=two)) == ["no_nodes"]


def test_device_nodes_of_a_container_keep_their_numbers() -> None:
    nodes = ("/dev/nvidia-uvm", "/dev/nvidia3", "/dev/nvidiactl")
    assert judge(host=INSIDE, module_version=None, device_nodes=nodes) == []
    (finding,) = judge(host=INSIDE, module_version=None, library_version=None, device_nodes=(), gpus=())
    assert codes([finding]) == ["no_nodes"]
    assert "--gpus all" in finding.remedy


def test_nouveau_beside_the_driver() -> None:
    assert codes(judge(modules=("nvidia", "nouveau"))) == ["nouveau"]


def test_dkms_that_did_not_build_for_this_kernel() -> None:
    old = DkmsModule("nvidia", NEW, "5.15.0-1-generic", "built")
    assert judge(dkms=(old,)) == []
    assert codes(judge(dkms=(replace(old, kernel=KERNEL),))) == ["dkms"]


def test_the_fabric_counts_only_with_switches() -> None:
    gpus = (DriverGpu(0, fabric=Fabric("Completed", "Success")), DriverGpu(1, fabric=Fabric("In Progress")))
    nodes = (*HEALTHY.device_nodes, "/dev/nvidia1")
    assert judge(gpus=gpus, device_nodes=nodes) == []
    (finding,) = judge(gpus=gpus, device_nodes=nodes, host=replace(OUTSIDE, nvswitches=4))
    assert codes([finding]) == ["fabric"]
    assert "GPU 1:" in finding.message

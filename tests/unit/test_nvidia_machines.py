"""What host_info makes of the driver's words on machines of many kinds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult, seconds_for
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding
from ansible_collections.llmhost.core.plugins.module_utils.host.gpu import read_gpus
from ansible_collections.llmhost.core.plugins.module_utils.host.host import read_host
from ansible_collections.llmhost.core.plugins.module_utils.host.nvidia import Nvidia, read_nvidia

from tests.unit.machine import Machine
from tests.unit.nvidia_machine import KERNEL, NAMES, NvidiaMachine, no_nvml
from tests.unit.test_host import compare, documented

GIB = 1 << 30
MIB = 1 << 20


class Seen(NamedTuple):
    """What is expected of a machine: its first GPU, and pairs as level, links, read, write and atomics."""

    driver: str
    flavour: str
    cuda: str | None
    names: tuple[str, ...]
    vram_mib: int | None = None
    capability: str | None = None
    width: int | None = None
    pairs: Mapping[tuple[int, int], tuple[str, int, str, str, str]] = MappingProxyType({})
    findings: tuple[str, ...] = ()


RTX_3090 = "NVIDIA GeForce RTX 3090"
HGX = ("NVIDIA H100 80GB HBM3",) * 8

MACHINES = {
    "1x3090": Seen("580.178.04", "open", "13.0", (RTX_3090,), 24576, "8.6", 16),
    "2x3090-bridge": Seen(
        "580.178.04", "open", "13.0", (RTX_3090,) * 2, 24576, "8.6", 16, {(0, 1): ("NV4", 4, "OK", "OK", "OK")}
    ),
    "2x3090-bridge-one-link-down": Seen(
        "570.211.01", "open", "12.8", (RTX_3090,) * 2, 24576, "8.6", 16, {(0, 1): ("NV3", 3, "OK", "OK", "NS")}
    ),
    "2x3090-phb-535": Seen(
        "535.309.01", "proprietary", "12.2", (RTX_3090,) * 2, 24576, "8.6", 8, {(0, 1): ("PHB", 0, "CNS", "CNS", "NS")}
    ),
    "2x4090-node-615": Seen(
        "615.71.09",
        "open",
        "13.4",
        ("NVIDIA GeForce RTX 4090",) * 2,
        24564,
        "8.9",
        16,
        {(0, 1): ("NODE", 0, "CNS", "CNS", "NS")},
    ),
    "2x5090-pix-595": Seen(
        "595.91.07",
        "open",
        "13.2",
        ("NVIDIA GeForce RTX 5090",) * 2,
        32607,
        "12.0",
        16,
        {(0, 1): ("PIX", 0, "OK", "OK", "NS")},
    ),
    "2xl4-cloud": Seen(
        "570.211.01", "open", "12.8", ("NVIDIA L4",) * 2, 23034, "8.9", 8, {(0, 1): ("PHB", 0, "CNS", "CNS", "NS")}
    ),
    "3090-and-1080": Seen(
        "580.159.03",
        "proprietary",
        "13.0",
        (RTX_3090, "NVIDIA GeForce GTX 1080"),
        24576,
        "8.6",
        4,
        {(0, 1): ("PHB", 0, "NS", "NS", "NS")},
    ),
    "4x3060-two-sockets": Seen(
        "550.163.01",
        "open",
        "12.4",
        ("NVIDIA GeForce RTX 3060",) * 4,
        12288,
        "8.6",
        16,
        {(0, 1): ("PHB", 0, "CNS", "CNS", "NS"), (1, 2): ("SYS", 0, "CNS", "CNS", "NS")},
    ),
    "4xa6000-two-bridges": Seen(
        "590.48.01",
        "open",
        "13.1",
        ("NVIDIA RTX A6000",) * 4,
        49140,
        "8.6",
        16,
        {(0, 1): ("NV4", 4, "OK", "OK", "OK"), (1, 2): ("SYS", 0, "CNS", "CNS", "CNS")},
    ),
    "4xh100-nv6": Seen(
        "575.57.08",
        "open",
        "12.9",
        ("NVIDIA H100 PCIe",) * 4,
        81559,
        "9.0",
        16,
        {(0, 3): ("NV6", 6, "OK", "OK", "OK")},
    ),
    "8xa100-nvswitch": Seen(
        "535.309.01",
        "open",
        "12.2",
        ("NVIDIA A100-SXM4-80GB",) * 8,
        81920,
        "8.0",
        16,
        {(0, 7): ("NV12", 12, "OK", "OK", "OK")},
    ),
    "8xb200-610": Seen(
        "610.57.04",
        "open",
        "13.3",
        ("NVIDIA B200",) * 8,
        183359,
        "10.0",
        16,
        {(0, 7): ("NV18", 18, "OK", "OK", "OK")},
    ),
    "8xh100-nvswitch-nics": Seen(
        "550.163.01", "open", "12.4", HGX, 81559, "9.0", 16, {(3, 4): ("NV18", 18, "OK", "OK", "OK")}
    ),
    "8xh100-one-without-links": Seen(
        "570.211.01",
        "open",
        "12.8",
        HGX,
        81559,
        "9.0",
        16,
        {
            (0, 1): ("NV18", 18, "OK", "OK", "OK"),
            (0, 4): ("SYS", 0, "TNS", "TNS", "TNS"),
            (4, 5): ("NODE", 0, "TNS", "TNS", "TNS"),
        },
        ("facts.nvidia_fabric",),
    ),
    "8xpro6000-switches": Seen(
        "580.178.04",
        "open",
        "13.0",
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition",) * 8,
        97887,
        "12.0",
        16,
        {
            (0, 1): ("PIX", 0, "OK", "OK", "NS"),
            (0, 3): ("NODE", 0, "OK", "OK", "NS"),
            (3, 4): ("SYS", 0, "OK", "OK", "NS"),
        },
    ),
    "8xv100-cube": Seen(
        "535.309.01",
        "proprietary",
        "12.2",
        ("Tesla V100-SXM2-32GB",) * 8,
        32768,
        "7.0",
        16,
        {
            (0, 1): ("NV1", 1, "OK", "OK", "OK"),
            (0, 3): ("NV2", 2, "OK", "OK", "OK"),
            (0, 5): ("SYS", 0, "NS", "NS", "NS"),
        },
    ),
    "a100-mig-container": Seen("575.64.03", "open", "12.9", ("NVIDIA A100-SXM4-80GB",), 81920, "8.0", 16),
    "h100-sandbox": Seen("550.163.01", "", "12.4", HGX[:1], 81559, "9.0", 16),
    "gb10": Seen("580.142", "open", "13.0", ("NVIDIA GB10",), None, "12.1", 1),
    "gpu-lost": Seen("580.178.04", "open", None, (RTX_3090,) * 2, 24576, "8.6", 16, {}, ("facts.nvidia_smi_lost",)),
    "library-missing": Seen("580.178.04", "open", None, (), findings=("facts.nvidia_smi_no_library",)),
    "no-devices": Seen("580.178.04", "open", None, (), findings=("facts.nvidia_smi_no_device",)),
    "no-driver-loaded": Seen("", "open", None, (), findings=("facts.nvidia_not_loaded",)),
    "no-module-for-kernel": Seen("", "", None, (), findings=("facts.nvidia_not_loaded",)),
    "version-mismatch": Seen("570.211.01", "open", None, (), findings=("facts.nvidia_version_mismatch",)),
}


def read(root: Path, name: str) -> tuple[dict[str, Any], list[Finding]]:
    machine = NvidiaMachine(root, name)
    facts, findings = read_nvidia(
        machine.run_command,
        str(root),
        read_gpus(machine.path("sys")),
        kernel=KERNEL,
        container=name.endswith(("container", "sandbox")),
        secure_boot=False,
        ask_nvml=no_nvml,
    )
    assert facts is not None
    return facts, findings


def test_every_transcript_is_expected() -> None:
    assert sorted(MACHINES) == NAMES


def of_driver() -> dict[str, Any]:
    """Return the description of the facts without that of the packages, which are another reader's."""
    described = documented()["host"]["contains"]["nvidia"]
    members = {name: member for name, member in described["contains"].items() if name != "packages"}
    return {**described, "contains": members}


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine(name: str, tmp_path: Path) -> None:
    seen = MACHINES[name]
    facts, findings = read(tmp_path, name)
    compare(facts, of_driver(), name)
    assert tuple(finding.code for finding in findings) == seen.findings
    assert all(finding.remedy for finding in findings)
    assert (facts["driver"]["loaded_version"] or "", facts["driver"]["flavour"] or "") == (seen.driver, seen.flavour)
    assert facts["driver"]["cuda_version"] == seen.cuda
    assert tuple(gpu["name"] for gpu in facts["gpus"]) == seen.names
    assert facts["source"] == ("nvidia-smi" if seen.names else "none")
    for gpu in facts["gpus"][:1]:
        assert gpu["vram_bytes"] == (None if seen.vram_mib is None else seen.vram_mib * MIB)
        assert (gpu["compute_capability"], gpu["pcie"]["width"]) == (seen.capability, seen.width)
        assert gpu["bar1_bytes"] == (None if name == "h100-sandbox" else 256 * MIB)
    pairs = {(pair["a"], pair["b"]): tuple(pair.values())[2:] for pair in facts["pairs"]}
    assert {pair: pairs[pair] for pair in seen.pairs} == seen.pairs
    count = len(seen.names)
    assert len(pairs) == (count * (count - 1) // 2 if seen.pairs else 0)


def test_links_have_the_far_ends_that_the_machine_names(tmp_path: Path) -> None:
    facts, _ = read(tmp_path, "2x3090-bridge-one-link-down")
    first = facts["gpus"][0]["nvlinks"]
    assert [(link["active"], link["gbs"], link["remote"]) for link in first] == [
        (True, 14.062, "0000:65:00.0"),
        (True, 14.062, "0000:65:00.0"),
        (False, None, None),
        (True, 14.062, "0000:65:00.0"),
    ]


def test_an_address_that_is_no_gpu_is_a_switch(tmp_path: Path) -> None:
    facts, _ = read(tmp_path, "8xb200-610")
    links = facts["gpus"][0]["nvlinks"]
    assert {link["remote"] for link in links} == {"switch"}
    assert all(link["active"] for link in links)
    assert [link["gbs"] for link in links[:2]] == [None, 53.125]


def test_a_gpu_that_lost_its_links_has_none(tmp_path: Path) -> None:
    facts, findings = read(tmp_path, "8xh100-one-without-links")
    assert [len(gpu["nvlinks"]) for gpu in facts["gpus"]] == [18] * 4 + [0] + [18] * 3
    assert facts["gpus"][4]["fabric"] == {"state": "In Progress", "status": None}
    assert facts["nvswitches"] == ["0000:05:00.0", "0000:06:00.0", "0000:07:00.0", "0000:08:00.0"]
    assert "GPU 4:" in findings[0].message


def test_what_a_card_of_data_centres_says(tmp_path: Path) -> None:
    facts, _ = read(tmp_path, "a100-mig-container")
    (gpu,) = facts["gpus"]
    assert (gpu["mig"], gpu["ecc"], gpu["uncorrected_errors"]) == (True, True, 2)
    assert gpu["remapped_rows"] == {"correctable": 0, "uncorrectable": 1, "pending": True, "failure": False}
    assert (gpu["power_limit_watts"], gpu["power_limit_max_watts"], gpu["temperature"]) == (400, 400, 35)


def test_gpus_that_only_the_driver_shows_are_gpus_of_the_host(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, "h100-sandbox")
    machine.programs["systemd-detect-virt"] = CommandResult(0, "docker\n", "")
    facts = read_host(machine.run_command, machine.path(""))
    assert facts["findings"]
    (gpu,) = facts["gpus"]
    compare(gpu, {"description": "a GPU", **documented()["host"]["contains"]["gpus"], "type": "dict"}, "gpus")
    assert (gpu["pci_address"], gpu["device_id"], gpu["name"]) == ("0000:04:00.0", "2330", HGX[0])
    assert (gpu["vram_bytes"], gpu["driver"], gpu["nvlink"]) == (80 * GIB, "nvidia", False)
    assert (gpu["pcie"]["current_width"], gpu["pcie"]["max_speed_gts"]) == (16, 32.0)


def test_gpus_of_the_bus_stay_those_of_the_host(tmp_path: Path) -> None:
    """The driver has one GPU less than the bus, which is for the plan to say."""
    machine = NvidiaMachine(tmp_path, "gpu-lost")
    facts = read_host(machine.run_command, machine.path(""))
    assert [gpu["pci_address"] for gpu in facts["gpus"]] == ["0000:01:00.0", "0000:41:00.0", "0000:81:00.0"]
    assert [gpu["index"] for gpu in facts["nvidia"]["gpus"]] == [0, 2]


def test_nothing_of_nvidias(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    host: dict[str, Any] = {"kernel": KERNEL, "container": False, "secure_boot": False, "ask_nvml": no_nvml}
    assert read_nvidia(machine.run_command, str(tmp_path), [], **host) == (None, [])
    assert machine.calls == []
    facts, findings = read_nvidia(machine.run_command, str(tmp_path), [], asked=True, **host)
    assert facts is not None
    compare(facts, of_driver(), "nvidia")
    assert (facts["gpus"], facts["driver"]["smi"]["rc"], facts["source"], findings) == ([], None, "none", [])


@pytest.mark.parametrize(
    "trace", ["sys/module/nvidia/version", "var/lib/dpkg/info/libnvidia-compute-580-server:amd64.list"]
)
def test_a_driver_without_a_gpu_is_looked_at(trace: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.write({trace: "580.178.04\n"})
    facts, _ = read_nvidia(
        machine.run_command, str(tmp_path), [], kernel=KERNEL, container=False, secure_boot=False, ask_nvml=no_nvml
    )
    assert facts is not None


def test_an_iommu_counts_where_it_translates(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, "1x3090")
    group = tmp_path / "sys/kernel/iommu_groups/13"
    group.mkdir(parents=True)
    machine.link("sys/bus/pci/devices/0000:01:00.0/iommu_group", "/sys/kernel/iommu_groups/13")
    seen = []
    for kind in ("identity", "DMA-FQ", "DMA"):
        (group / "type").write_text(f"{kind}\n")
        seen.append(Nvidia.from_host(machine.run_command, str(tmp_path), ["0000:01:00.0"], no_nvml).iommu)
    assert seen == [False, True, True]


def test_an_old_driver_is_asked_for_what_it_knows(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, "2x3090-phb-535")
    facts, _ = read_nvidia(
        machine.run_command,
        str(tmp_path),
        read_gpus(machine.path("sys")),
        kernel=KERNEL,
        container=False,
        secure_boot=False,
        ask_nvml=no_nvml,
    )
    assert facts is not None
    assert facts["gpus"][0]["remapped_rows"] is None
    asked = [call[1] for call in machine.calls if call[1].startswith("--query-gpu=")]
    assert len(asked) == 7
    assert "remapped_rows" not in asked[-1]
    assert "power.max_limit" in asked[-1]


def test_a_single_gpu_is_not_asked_for_pairs(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, "1x3090")
    read_nvidia(
        machine.run_command,
        str(tmp_path),
        read_gpus(machine.path("sys")),
        kernel=KERNEL,
        container=False,
        secure_boot=False,
        ask_nvml=no_nvml,
    )
    assert [call[1] for call in machine.calls if call[0] == "nvidia-smi"][1:] == ["--version"]


def test_nvidia_smi_may_take_longer_than_others() -> None:
    assert seconds_for(["/usr/bin/nvidia-smi", "topo"]) > seconds_for(["lsblk"])

"""Hardware in a person's words becomes the facts of a host, or an error that says how to write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.llmhost.core.plugins.filter.hardware import FilterModule, hardware
from ansible_collections.llmhost.core.plugins.module_utils.hardware.assumed_host import kernel_ram
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpu_table import GPUS
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpus import short_name
from ansible_collections.llmhost.core.plugins.module_utils.hardware.hardware import HardwareError, parse_hardware
from ansible_collections.llmhost.core.plugins.module_utils.host.host import read_host
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.requirements import check_platform
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit import hosts
from tests.unit.machine import Machine

GIB = 1 << 30
INVENTORIES = Path(__file__).parents[2] / "inventories"
GB, TB = 10**9, 10**12

RTX_3090, RTX_4090 = "NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 4090"


def names(facts: dict[str, Any]) -> list[str]:
    return [gpu["name"] for gpu in facts["gpus"]]


def spare_disks(facts: dict[str, Any]) -> list[int]:
    return [disk["size_bytes"] for disk in facts["disks"] if disk["blank"]]


@pytest.mark.parametrize(
    ("phrase", "gpus", "installed_gib", "disks"),
    [
        ("2x RTX 3090, 64 GiB RAM, 1 TB NVMe", [RTX_3090] * 2, 64, [TB]),
        ("1 TB NVMe + 64 GB + 2x RTX 3090", [RTX_3090] * 2, 64, [TB]),
        ("2 x rtx 3090, ram 64gb, nvme 1tb", [RTX_3090] * 2, 64, [TB]),
        ("2\u00d7 RTX 3090, 2x32 GB DDR4, 2x 500 GB SSD", [RTX_3090] * 2, 64, [500 * GB] * 2),
        ("RTX 3090 x2 NVLink, 128GB", [RTX_3090] * 2, 128, [TB]),
        ("dual RTX 3090 with NVLink, 128 GB of RAM and 2 TB NVMe SSD", [RTX_3090] * 2, 128, [2 * TB]),
        ("two RTX 3090s, 64 GB RAM", [RTX_3090] * 2, 64, [TB]),
        ("RTX 3090 24 GB VRAM, 32 GB RAM", [RTX_3090], 32, [TB]),
        ("RTX 3090 64 GB RAM 1 TB NVMe", [RTX_3090], 64, [TB]),
        ("1x A100 80GB + 1x RTX 4090, 24 cores, 128GB", ["NVIDIA A100 80GB PCIe", RTX_4090], 128, [TB]),
        ("4090, 3090, 64 GB", [RTX_4090, RTX_3090], 64, [TB]),
        ("4 4090, 256 GB", [RTX_4090] * 4, 256, [TB]),
        ("8xA100-SXM4-80GB, 1152 GiB", ["NVIDIA A100-SXM4-80GB"] * 8, 1152, [TB]),
        ("GPU: RTX 4090, CPU: 16 cores, RAM: 64 GB, disk: 2 TB", [RTX_4090], 64, [2 * TB]),
        ("CPU only, 32 GB", [], 32, [TB]),
        ("no GPU, 8 cores, 16 GB RAM", [], 16, [TB]),
        ("Ryzen 7950X, 96 GB, CPU only", [], 96, [TB]),
        ("intermediate", [RTX_3090], 64, [500 * GB]),
        ("Advanced", [RTX_3090] * 2, 128, [TB]),
    ],
)
def test_phrases(phrase: str, gpus: list[str], installed_gib: int, disks: list[int]) -> None:
    facts = parse_hardware(phrase)
    assert names(facts) == gpus
    assert facts["memory"]["total_bytes"] == kernel_ram(installed_gib * GIB)
    assert spare_disks(facts) == disks
    host = HostFacts.from_facts(facts)
    assert check_platform(host) == []
    assert host.vram_bytes == sum(gpu["vram_bytes"] for gpu in facts["gpus"])


# MemTotal of machines with this much memory, in GiB, from public logs.
@pytest.mark.parametrize(
    ("installed", "total"), [(8, 7.7), (16, 15.5), (32, 31.2), (64, 62.7), (128, 125.6), (256, 251.5)]
)
def test_what_the_kernel_leaves_of_ram(installed: int, total: float) -> None:
    assert kernel_ram(installed * GIB) / GIB == pytest.approx(total, rel=0.012)


def test_a_size_that_is_not_whole_is_what_the_kernel_reports() -> None:
    assert parse_hardware("RTX 3090, 62.7 GiB RAM")["memory"]["total_bytes"] == int(62.7 * GIB)


def test_the_rest_of_a_host_is_assumed_and_said() -> None:
    facts = parse_hardware("RTX 4090")
    assert facts["hardware"] == "RTX 4090"
    assert facts["memory"]["total_bytes"] == kernel_ram(32 * GIB)
    assert facts["memory"]["swap_total_bytes"] == 0
    assert facts["cpu"]["physical_cores"] == 8
    assert spare_disks(facts) == [TB]
    said = " ".join(facts["assumed"])
    assert all(word in said for word in ("32.0 GiB of RAM", "1 TB of NVMe", "8 cores", "AVX2"))
    everything = "RTX 4090, Ryzen 7950X, 62.5 GiB RAM, 1 TB NVMe"
    assert parse_hardware(everything)["assumed"] == [
        "The system lies on a disk of its own; those for models are blank."
    ]


def test_a_name_of_several_forms_is_the_slower_one_and_said() -> None:
    facts = parse_hardware("H100, 128 GB")
    assert names(facts) == ["NVIDIA H100 PCIe"]
    assert facts["assumed"][0] == "H100 is H100 PCIe, not H100 80GB SXM."
    assert not any("H100" in sentence for sentence in parse_hardware("H100 SXM, 128 GB")["assumed"])


@pytest.mark.parametrize(
    ("phrase", "linked"),
    [
        ("2x RTX 3090", False),
        ("2x RTX 3090 NVLink", True),
        ("NVLink, 2x RTX 3090", True),
        ("RTX 3090", False),
        ("8x H100 SXM", True),
        ("8x H100 SXM without NVLink", False),
        ("2x H100 PCIe", False),
        ("2x RTX 4090", False),
    ],
)
def test_nvlink(phrase: str, linked: bool) -> None:
    assert {gpu["nvlink"] for gpu in parse_hardware(phrase)["gpus"]} == {linked}


def test_pcie() -> None:
    (gpu,) = parse_hardware("RTX 4090, PCIe 3.0 x8")["gpus"]
    assert (gpu["pcie"]["current_width"], gpu["pcie"]["upstream_max_speed_gts"]) == (8, 8.0)
    (gpu,) = parse_hardware("RTX 4060")["gpus"]
    assert (gpu["pcie"]["current_width"], gpu["pcie"]["max_speed_gts"]) == (8, 16.0)
    (gpu,) = parse_hardware("RTX 3090 on PCIe x4")["gpus"]
    assert gpu["pcie"]["current_width"] == 4


@pytest.mark.parametrize(
    ("phrase", "gigabytes"),
    [
        ("CPU only, 64 GB, DDR5-6000 dual channel", 96.0),
        ("CPU only, 64 GB, 8-channel DDR4-3200", 204.8),
        ("CPU only, 64GB DDR4-3200", 51.2),
        ("RTX 3090, 80 GB/s RAM", 80.0),
        ("RTX 3090, 64 GB, 0.1 TB/s", 100.0),
        ("EPYC 9654, 384 GB, 8 channels", 307.2),
        ("EPYC 9654, 384 GB", None),
    ],
)
def test_bandwidth_of_ram(phrase: str, gigabytes: float | None) -> None:
    found = parse_hardware(phrase)["memory"]["bandwidth_bytes_per_second"]
    assert found == (None if gigabytes is None else int(gigabytes * GB))


@pytest.mark.parametrize(
    ("phrase", "cores", "threads"),
    [
        ("RTX 3090, 24 cores", 24, 48),
        ("L4, 16 vCPU", 8, 16),
        ("L4, 1 vCPU", 1, 1),
        ("Ryzen 7950X", 16, 32),
        ("2x EPYC 7763", 128, 256),
        ("H100 SXM x8, Xeon 8480C x2, 192 vCPU", 96, 192),
    ],
)
def test_cores(phrase: str, cores: int, threads: int) -> None:
    cpu = parse_hardware(phrase)["cpu"]
    assert (cpu["physical_cores"], cpu["usable_cpus"]) == (cores, threads)


def test_a_container_has_one_filesystem_and_may_do_little() -> None:
    facts = parse_hardware("RTX 4090, 16 vCPU, 62 GB RAM, 40 GB disk, container")
    assert facts["virtualization"]["container"] == "docker"
    assert facts["memory"]["cgroup_limit_bytes"] == 62 * GIB
    assert facts["disks"] == []
    assert facts["filesystems"][0]["size_bytes"] == 40 * GB
    able = {name for name, capability in facts["capabilities"].items() if capability["able"]}
    assert able == {"root"}


def test_disks_and_swap() -> None:
    facts = parse_hardware("CPU only, 8 GB swap, 64 GB, 4 TB HDD, 600 GB ephemeral NVMe, 2 TB network disk")
    turning, ephemeral, network = facts["disks"][1:]
    assert (turning["rotational"], ephemeral["ephemeral"], network["network"]) == (True, True, True)
    assert (ephemeral["rotational"], ephemeral["network"], network["ephemeral"]) == (False, False, False)
    assert facts["memory"]["swap_total_bytes"] == 8 * GB
    assert len({disk["path"] for disk in facts["disks"]}) == 4


def test_a_system_disk_alone_has_room_for_models() -> None:
    facts = parse_hardware("L4, 4 vCPU, 16 GB, 500 GB system disk, VM")
    assert spare_disks(facts) == []
    (root,) = facts["filesystems"]
    assert 440 * GB < root["available_bytes"] < root["size_bytes"] < 500 * GB
    assert facts["virtualization"] == {"machine": "kvm", "container": "none"}
    both = parse_hardware("L4, 16 GB, 500 GB system disk, 375 GB ephemeral NVMe")
    assert spare_disks(both) == [375 * GB]
    assert both["disks"][0]["size_bytes"] == 500 * GB


def test_memory_that_gpu_and_cpu_share_is_counted_once() -> None:
    facts = parse_hardware("DGX Spark, 4 TB NVMe")
    assert facts["gpus"][0]["vram_bytes"] + facts["memory"]["total_bytes"] == 128 * GIB
    assert facts["kernel"]["architecture"] == "aarch64"


def test_the_form_is_that_of_host_info(tmp_path: Path) -> None:
    real = read_host(Machine(tmp_path).run_command, str(tmp_path), affinity=lambda: 2)
    facts = parse_hardware("2x RTX 3090, 8 GB swap")
    assert set(facts) - set(real) == {"assumed", "hardware"}
    assert set(real) <= set(facts)
    for part in ("distribution", "kernel", "virtualization", "capabilities", "cpu", "state"):
        assert set(facts[part]) == set(real[part]), part
    assert set(facts["memory"]) - set(real["memory"]) == {"bandwidth_bytes_per_second"}
    workstation = hosts.workstation()
    for part in ("disks", "filesystems", "gpus"):
        assert set(workstation[part][0]) <= set(facts[part][0]), part


@pytest.mark.parametrize(
    ("phrase", "says"),
    [
        ("", "There is no hardware"),
        (" , + ", "There is no hardware"),
        ("RTX 3090, 64 GB; RTX 4090, 64 GB", "A semicolon stands between machines"),
        ("RTZ 3090, 64 GB", "Did you mean RTX 3090"),
        ("Ryzen 7951X, 64 GB", "Did you mean Ryzen 9 7950X"),
        ("RTX 3090 RTX 3090", "'RTX 3090 RTX 3090' is not understood"),
        ("RTX 3091", "'RTX 3091' is not understood. Did you mean RTX 3090"),
        ("intermediat", "Did you mean intermediate"),
        ("A100, 64 GB", "Write one of: A100-PCIE-40GB, A100 80GB PCIe, A100 SXM 40GB, A100 SXM 80GB"),
        ("RX 7900 XTX, 64 GB", "NVIDIA GPUs and on CPUs"),
        ("MI300X", "NVIDIA GPUs and on CPUs"),
        ("Apple M2 Ultra", "NVIDIA GPUs and on CPUs"),
        ("RTX 3090, 64 GB, 1 TB", "'1 TB' may be RAM or a disk. Write '1 TB RAM' or '1 TB NVMe'"),
        ("RTX 3090, 64 GB RAM, 128 GB RAM", "RAM is given twice"),
        ("RTX 3090, CPU only", "both NVIDIA GeForce RTX 3090 and CPU only"),
        ("500 GB NVMe", "neither GPU, CPU nor RAM"),
        ("0x RTX 3090", "from 1 to 64 GPUs"),
        ("40x RTX 3090, 40x RTX 4090", "from 1 to 64 GPUs"),
        ("2x RTX 4090 NVLink", "NVIDIA GeForce RTX 4090 has none"),
        ("RTX 3090 NVLink", "it joins two GPUs or more"),
        ("RTX 3090, 64 TB TB NVMe", "not understood"),
        ("RTX 3090, 99999 TB RAM", "check the unit"),
        ("RTX 3090, 1,5 TB NVMe", "Write decimals with a point"),
        ("RTX 3090, 5 GB/s", "is not the bandwidth of RAM"),
        ("Ryzen 7950X, EPYC 9654", "one kind of CPU"),
        ("RTX 3090, 0 cores", "a number from 1 to 1024"),
        ("RTX 3090, many channels", "a number from 1 to 24"),
        ("x" * 3000, "at most 2000 characters"),
        ("[1, 2]", "cpu and memory are missing"),
        ('{"a": 1}', "cpu and memory are missing"),
        ('{"cpu": {}, "memory": {"total_bytes": NaN}}', "NaN is not a number"),
        ('{"cpu": ', "begins as JSON but is none"),
        ("[" * 100_000, "begins as JSON but is none"),
        (None, "not by NoneType"),
        (17, "not by int"),
        ({"host": {}}, "cpu and memory are missing"),
    ],
)
def test_errors_name_the_thing_and_the_remedy(phrase: object, says: str) -> None:
    with pytest.raises(HardwareError) as refused:
        parse_hardware(phrase)
    assert says in str(refused.value)


def test_saved_facts_come_back_as_they_are() -> None:
    facts = hosts.workstation()
    assert parse_hardware(facts) == facts
    assert parse_hardware({"changed": False, "host": facts}) == facts
    assert parse_hardware(json.dumps(facts)) == facts
    assert parse_hardware(" " + json.dumps({"host": facts}, indent=1)) == facts


@pytest.mark.parametrize("spec", GPUS, ids=lambda spec: spec.name)
def test_every_gpu_can_be_named(spec: Any) -> None:
    assert parse_hardware(f"{spec.name}, 64 GB")["gpus"][0]["name"] == spec.name
    (gpu,) = parse_hardware(short_name(spec))["gpus"]
    assert gpu["vram_bytes"] > 0


_ITEMS = st.sampled_from(
    """2x RTX 3090, RTX 4090, A100 80GB, Ryzen 7950X, 16 vCPU, 1 TB NVMe, 2x 500 GB SSD, 8 GB swap, NVLink, DDR5-6000,
    dual channel, 90 GB/s, PCIe 4.0 x8, container, 64 GB RAM, CPU only, 24 cores, 32 GB, x2, 2x, GB, TB NVMe, RAM,
    99999999 GB, 0 cores, RTX, channels, /s, ddr5-1""".replace("\n    ", " ").split(", ")
)


def parse_or_refuse(text: object) -> dict[str, Any] | None:
    try:
        return parse_hardware(text)
    except HardwareError:
        return None


@settings(deadline=None, max_examples=300)
@given(st.lists(_ITEMS, max_size=8), st.sampled_from((", ", " + ", " ", "\n")))
def test_items_in_any_order_are_a_host_or_an_error(items: list[str], comma: str) -> None:
    facts = parse_or_refuse(comma.join(items))
    if facts is None:
        return
    host = HostFacts.from_facts(facts)
    assert host.memory_bytes > 0
    assert host.cpu.physical_cores <= facts["cpu"]["logical_cpus"]
    assert all(gpu.vram_bytes > 0 and gpu.lanes > 0 for gpu in host.gpus)
    # What was made of a phrase can be saved and read again, and other orders mean the same.
    assert parse_hardware(json.dumps(facts)) == facts
    if comma == ", ":
        turned = parse_or_refuse(comma.join(reversed(items)))
        assert turned is not None
        assert sorted(names(turned)) == sorted(names(facts))
        assert turned["memory"] == facts["memory"]


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=120))
def test_any_text_is_a_host_or_an_error(text: str) -> None:
    facts = parse_or_refuse(text)
    assert facts is None or facts["schema"] == 1 or text.strip().startswith("{")


_JSON: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("cpu", "memory", "host", "gpus")), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(_JSON)
def test_any_json_is_facts_or_an_error(value: object) -> None:
    for form in (value, json.dumps(value)):
        facts = parse_or_refuse(form)
        if facts is not None:
            HostFacts.from_facts(facts)


def test_filter(tmp_path: Path) -> None:
    assert FilterModule().filters() == {"hardware": hardware}
    assert hardware("RTX 3090, 64 GB")["gpus"][0]["name"] == RTX_3090
    saved = tmp_path / "host.json"
    saved.write_text(json.dumps({"host": hosts.laptop()}))
    assert hardware(str(saved)) == hosts.laptop()
    assert hardware(hosts.laptop()) == hosts.laptop()


@pytest.mark.parametrize("given_", ["RTZ 3090", "/nowhere/host.json", 5, ""])
def test_filter_fails_with_a_message(given_: object) -> None:
    with pytest.raises(AnsibleFilterError, match=r"llmhost\.core\.hardware: "):
        hardware(given_)

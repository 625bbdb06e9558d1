"""GPUs are found by sysfs alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.host.gpu import judge_memory, read_gpus
from ansible_collections.llmhost.core.plugins.module_utils.host.gpu_ids import GPU_MODELS
from ansible_collections.llmhost.core.plugins.module_utils.host.pci_path import bridges_above
from ansible_collections.llmhost.core.plugins.module_utils.host.pcie import PcieLink, parse_speed

from tests.unit.machine import Machine

BRIDGE = "sys/devices/pci0000:00/0000:00:03.1"


def add_function(machine: Machine, address: str, **files: str) -> str:
    """Add a PCI function below a bridge: a GeForce RTX 3090 that idles, but for what ``files`` says."""
    usual = {
        "vendor": "0x10de",
        "device": "0x2204",
        "class": "0x030000",
        "numa_node": "-1",
        "current_link_width": "16",
        "max_link_width": "16",
        "current_link_speed": "2.5 GT/s PCIe",
        "max_link_speed": "16.0 GT/s PCIe",
    }
    function = f"{BRIDGE}/{address}"
    machine.write({f"{function}/{name}": f"{text}\n" for name, text in {**usual, **files}.items()})
    machine.link(f"sys/bus/pci/devices/{address}", f"/{function}")
    return function


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.write({f"{BRIDGE}/max_link_width": "8\n", f"{BRIDGE}/max_link_speed": "8.0 GT/s PCIe\n"})
    machine.write({f"{BRIDGE}/vendor": "0x1022\n", f"{BRIDGE}/device": "0x1483\n"})
    return machine


def test_a_3090_without_a_driver(machine: Machine) -> None:
    add_function(machine, "0000:09:00.0")
    add_function(machine, "0000:09:00.1", **{"class": "0x040300", "device": "0x1aef"})
    add_function(machine, "0000:0a:00.0", vendor="0x1002", device="0x73bf")
    add_function(machine, "0000:0b:00.0", **{"class": "0x068000", "device": "0x22a3"})
    gpus = read_gpus(machine.path("sys"))
    assert judge_memory(gpu.as_dict() for gpu in gpus) == []
    assert [gpu.as_dict() for gpu in gpus] == [
        {
            "pci_address": "0000:09:00.0",
            "device_id": "2204",
            "name": "NVIDIA GeForce RTX 3090",
            "vram_bytes": 24 << 30,
            "driver": None,
            "class": "030000",
            "numa_node": None,
            "pcie": {
                "current_width": 16,
                "max_width": 16,
                "current_speed_gts": 2.5,
                "max_speed_gts": 16.0,
                "upstream_max_width": 8,
                "upstream_max_speed_gts": 8.0,
            },
            "bridges": [{"address": "0000:00:03.1", "vendor": "1022", "device": "1483"}],
        }
    ]


def test_the_bridges_above_a_card_behind_a_chipset(machine: Machine) -> None:
    ports = "sys/devices/pci0000:00/0000:00:01.2/0000:02:00.2/0000:03:04.0"
    ids = {"0000:00:01.2": "0x1483", "0000:02:00.2": "0x43E9", "0000:03:04.0": "0x43ea"}
    for address, device in ids.items():
        bridge = ports[: ports.index(address) + len(address)]
        machine.write({f"{bridge}/vendor": "0x1022\n", f"{bridge}/device": f"{device}\n"})
    machine.write({f"{ports}/0000:26:00.0/class": "0x030000\n"})
    machine.link("sys/bus/pci/devices/0000:26:00.0", f"/{ports}/0000:26:00.0")
    found = bridges_above(machine.path("sys/bus/pci/devices/0000:26:00.0"))
    assert [(bridge.address, bridge.vendor, bridge.device) for bridge in found] == [
        ("0000:03:04.0", "1022", "43ea"),
        ("0000:02:00.2", "1022", "43e9"),
        ("0000:00:01.2", "1022", "1483"),
    ]


def test_a_function_without_a_bridge(tmp_path: Path) -> None:
    assert bridges_above(str(tmp_path)) == ()


def test_two_cards_of_a_data_centre(machine: Machine) -> None:
    for address, node in (("0000:9a:00.0", "1"), ("0000:1a:00.0", "0")):
        function = add_function(machine, address, **{"class": "0x030200", "device": "0x2330", "numa_node": node})
        machine.link(f"{function}/driver", "/sys/bus/pci/drivers/nvidia")
    gpus = read_gpus(machine.path("sys"))
    assert [(gpu.pci_address, gpu.numa_node, gpu.driver, gpu.name) for gpu in gpus] == [
        ("0000:1a:00.0", 0, "nvidia", "NVIDIA H100 80GB HBM3"),
        ("0000:9a:00.0", 1, "nvidia", "NVIDIA H100 80GB HBM3"),
    ]


@pytest.mark.parametrize(("device", "name"), [("0xffff", "NVIDIA device FFFF"), ("odd", "NVIDIA device unknown")])
def test_an_unknown_card_is_a_gpu_with_a_finding(machine: Machine, device: str, name: str) -> None:
    add_function(machine, "0000:09:00.0", device=device)
    (gpu,) = read_gpus(machine.path("sys"))
    (finding,) = judge_memory([gpu.as_dict()])
    assert (gpu.name, gpu.vram_bytes) == (name, None)
    assert finding.code == "facts.gpu_memory_unknown"
    assert name in finding.message


def test_no_pci_at_all(tmp_path: Path) -> None:
    assert read_gpus(str(tmp_path)) == []


def test_a_virtual_function_has_no_link(machine: Machine) -> None:
    function = add_function(machine, "0000:09:00.0", current_link_width="0", max_link_width="255")
    assert PcieLink.from_sysfs(machine.path(function)) is None


@pytest.mark.parametrize(
    ("text", "speed"),
    [
        ("16.0 GT/s PCIe", 16.0),
        ("2.5 GT/s", 2.5),
        ("8 GT/s\n", 8.0),
        ("Unknown", None),
        ("", None),
        ("nan GT/s", None),
        ("inf GT/s", None),
        ("-1 GT/s", None),
    ],
)
def test_parse_speed(text: str, speed: float | None) -> None:
    assert parse_speed(text) == speed


def test_table_of_ids() -> None:
    assert all(len(key) == 4 and key == key.upper() and int(key, 16) for key in GPU_MODELS)
    assert all(model.name.startswith("NVIDIA ") for model in GPU_MODELS.values())
    assert all(model.vram_gib is None or 4 <= model.vram_gib <= 288 for model in GPU_MODELS.values())

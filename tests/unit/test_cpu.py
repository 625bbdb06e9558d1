"""Processors: names, counts and features."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.host.cpu import Cpu, count_usable

from tests.unit.machine import Machine

RYZEN_FLAGS = "fpu sse4_2 avx f16c fma avx2 bmi2 sha_ni hypervisor"


def cpuinfo(threads: int, cores: int, sockets: int = 1, **changes: str) -> str:
    """Return the text of an x86 machine whose ``threads`` spread over ``cores`` and ``sockets``."""
    text = ""
    for number in range(threads):
        core = number % cores
        fields = {
            "processor": str(number),
            "vendor_id": "AuthenticAMD",
            "cpu family": "25",
            "model": "33",
            "model name": "AMD Ryzen 9 5950X 16-Core Processor            ",
            "physical id": str(core * sockets // cores),
            "core id": str(core),
            "flags": RYZEN_FLAGS,
            **changes,
        }
        text += "".join(f"{key}\t: {value}\n" for key, value in fields.items()) + "\n"
    return text


def test_a_desktop(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.write({"proc/cpuinfo": cpuinfo(32, 16), "sys/devices/system/node/node0/cpulist": "0-31\n"})
    cpu, findings = Cpu.from_proc(machine.path("sys"), machine.path("proc"), 32)
    assert findings == []
    assert cpu.as_dict() == {
        "vendor": "AuthenticAMD",
        "family": 25,
        "model": 33,
        "name": "AMD Ryzen 9 5950X 16-Core Processor",
        "sockets": 1,
        "physical_cores": 16,
        "logical_cpus": 32,
        "usable_cpus": 32,
        "numa_nodes": 1,
        "features": ["avx", "avx2", "bmi2", "f16c", "fma", "sse4_2"],
    }


def test_two_sockets_and_a_node_without_processors(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.write({"proc/cpuinfo": cpuinfo(128, 64, 2)})
    machine.write({f"sys/devices/system/node/node{n}/cpulist": text for n, text in enumerate(("0-31", "32-63", ""))})
    cpu, _ = Cpu.from_proc(machine.path("sys"), machine.path("proc"))
    assert (cpu.sockets, cpu.physical_cores, cpu.logical_cpus, cpu.numa_nodes) == (2, 64, 128, 2)


def test_arm_asks_sysfs_for_its_cores(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    block = "processor\t: {}\nFeatures\t: fp asimd i8mm sve\nCPU implementer\t: 0x41\n\n"
    machine.write({"proc/cpuinfo": "".join(block.format(n) for n in range(4))})
    for number, siblings in enumerate(("0-1", "0-1", "2-3", "2-3")):
        topology = f"sys/devices/system/cpu/cpu{number}/topology"
        machine.write({f"{topology}/thread_siblings_list": siblings, f"{topology}/physical_package_id": "0"})
    cpu, findings = Cpu.from_proc(machine.path("sys"), machine.path("proc"))
    assert (cpu.vendor, cpu.family, cpu.physical_cores, cpu.logical_cpus) == ("0x41", None, 2, 4)
    assert cpu.features == ["asimd", "i8mm", "sve"]
    assert findings == []


def test_no_proc_is_one_core_and_a_finding(tmp_path: Path) -> None:
    cpu, (finding,) = Cpu.from_proc(str(tmp_path), str(tmp_path))
    assert (cpu.physical_cores, cpu.usable_cpus, cpu.features) == (1, 1, [])
    assert finding.code == "facts.cpuinfo_unreadable"


@pytest.mark.parametrize(
    ("logical", "affinity", "quota", "usable"),
    [(8, None, None, 8), (8, 4, None, 4), (8, 16, None, 8), (8, 8, 3.5, 3), (8, 2, 6.0, 2), (8, 8, 0.5, 1)],
)
def test_usable(logical: int, affinity: int | None, quota: float | None, usable: int) -> None:
    assert count_usable(logical, affinity, quota) == usable

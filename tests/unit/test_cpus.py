"""CPUs by name: what people and the kernel call them."""

from __future__ import annotations

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.hardware.cpus import CPUS, CpuSpec, find_cpu
from ansible_collections.llmhost.core.plugins.module_utils.hardware.hardware import parse_hardware

GB = 10**9


@pytest.mark.parametrize("spec", CPUS, ids=lambda spec: spec.name)
def test_every_cpu_can_be_named(spec: CpuSpec) -> None:
    cpu = parse_hardware(f"{spec.name}, 64 GB")["cpu"]
    assert (cpu["name"], cpu["physical_cores"]) == (spec.name, spec.cores)
    assert 30 * GB < spec.generation.bandwidth < 700 * GB


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("AMD Ryzen 9 5950X 16-Core Processor", "Ryzen 9 5950X"),
        ("13th Gen Intel(R) Core(TM) i9-13900K", "Core i9-13900K"),
        ("Intel(R) Core(TM) i9-14900KF", "Core i9-14900K"),
        ("Intel(R) Xeon(R) Platinum 8480+", "Xeon Platinum 8480"),
        ("Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz", "Xeon Platinum 8259CL"),
        ("Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz", "Xeon E5-2690 v4"),
        ("AMD EPYC 7R32", "EPYC 7R32"),
        ("AMD EPYC 7302P 16-Core Processor", "EPYC 7302"),
        ("AMD Ryzen Threadripper PRO 5975WX 32-Cores", "Threadripper PRO 5975WX"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", None),
        ("unknown CPU", None),
    ],
)
def test_cpus_as_the_kernel_writes_them(written: str, name: str | None) -> None:
    spec = find_cpu(written)
    assert (spec.name if spec else None) == name

"""The processors: what they are called, how many there are, and the instructions that a runtime is compiled for."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.files import list_names, parse_int, read_text, read_word
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, warning

# The flags that change how fast a runtime computes; a processor has some hundred others.
_FEATURES = """
    sse4_2 avx avx2 avx_vnni f16c fma bmi2
    avx512f avx512bw avx512cd avx512dq avx512vl avx512vbmi avx512_vnni avx512_bf16 avx512_fp16
    amx_tile amx_int8 amx_bf16
    asimd asimddp asimdhp bf16 fphp i8mm sve sve2
"""
FEATURES = frozenset(_FEATURES.split())


@dataclass(frozen=True)
class Cpu:
    """The processors of the host. ``usable_cpus`` is what affinity and control groups leave of ``logical_cpus``."""

    vendor: str
    family: int | None
    model: int | None
    name: str
    sockets: int
    physical_cores: int
    logical_cpus: int
    usable_cpus: int
    numa_nodes: int
    features: list[str]

    @classmethod
    def from_proc(
        cls, sysfs: str = "/sys", proc: str = "/proc", affinity: int | None = None, quota: float | None = None
    ) -> tuple[Cpu, list[Finding]]:
        """Read /proc/cpuinfo and the NUMA nodes; ``quota`` is the processor time that the control group leaves."""
        processors = parse_cpuinfo(read_text(proc, "cpuinfo") or "")
        findings = []
        if not processors:
            findings.append(
                warning(
                    "facts.cpuinfo_unreadable",
                    f"{proc}/cpuinfo names no processor, so the number of cores and their features are not known.",
                    "Mount /proc as usual; until then one core without any feature is assumed.",
                )
            )
        first = processors[0] if processors else {}
        logical = max(1, len(processors))
        cores, sockets = count_cores(processors, sysfs)
        return (
            cls(
                vendor=first.get("vendor_id") or first.get("CPU implementer", ""),
                family=parse_int(first.get("cpu family", "")),
                model=parse_int(first.get("model", "")),
                name=" ".join(first.get("model name", "").split()),
                sockets=sockets,
                physical_cores=cores,
                logical_cpus=logical,
                usable_cpus=count_usable(logical, affinity, quota),
                numa_nodes=count_numa_nodes(sysfs),
                features=sorted(FEATURES.intersection((first.get("flags") or first.get("Features", "")).split())),
            ),
            findings,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the plain dict that host_info returns."""
        return asdict(self)


def parse_cpuinfo(text: str) -> list[dict[str, str]]:
    """Return the fields of each processor in /proc/cpuinfo."""
    processors: list[dict[str, str]] = []
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        key, value = key.strip(), value.strip()
        if not colon or not key:
            continue
        if key == "processor" and parse_int(value) is not None:
            processors.append({})
        if processors:
            processors[-1].setdefault(key, value)
    return processors


def count_cores(processors: list[dict[str, str]], sysfs: str = "/sys") -> tuple[int, int]:
    """Return the physical cores and the sockets. cpuinfo of x86 tells them; elsewhere sysfs knows the siblings."""
    cores = {(cpu.get("physical id"), cpu["core id"]) for cpu in processors if "core id" in cpu}
    sockets = {cpu["physical id"] for cpu in processors if "physical id" in cpu}
    if not cores:
        root = os.path.join(sysfs, "devices/system/cpu")
        topologies = [
            os.path.join(root, name, "topology") for name in list_names(root) if re.fullmatch(r"cpu\d+", name)
        ]
        siblings = {read_word(topology, "thread_siblings_list") for topology in topologies} - {""}
        sockets = {read_word(topology, "physical_package_id") for topology in topologies} - {"", "-1"}
        return len(siblings) or max(1, len(processors)), max(1, len(sockets))
    return len(cores), max(1, len(sockets))


def count_usable(logical: int, affinity: int | None, quota: float | None) -> int:
    """Return how many processors may be kept busy: a share of one is not worth a thread."""
    usable = min(logical, affinity or logical)
    if quota is not None:
        usable = min(usable, int(quota))
    return max(1, usable)


def count_numa_nodes(sysfs: str = "/sys") -> int:
    """Return the NUMA nodes that have processors; memory and GPUs may be nodes of their own."""
    root = os.path.join(sysfs, "devices/system/node")
    nodes = [name for name in list_names(root) if re.fullmatch(r"node\d+", name)]
    return max(1, sum(1 for node in nodes if read_word(root, node, "cpulist")))

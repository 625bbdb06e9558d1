"""How fast a host's RAM can be read: what was said of it, else what its CPU is built for, else a cautious guess."""

from __future__ import annotations

from typing import NamedTuple

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.hardware.cpus import COMMON, find_cpu
from ansible_collections.llmhost.core.plugins.module_utils.record import Record

# A virtual machine reads in proportion to its cores: 86 GB/s on the 22 cores of a GCP c3-highcpu-44 (Llama 2 7B Q4_K_M
# at 21.6 tokens/s, llama.cpp issue 34, 2023-08), of 307 GB/s for the 56 cores of its CPU.
_PER_CORE = 4_000_000_000
_LEAST, _MOST_UNKNOWN = 20_000_000_000, 204_800_000_000


class RamSpeed(NamedTuple):
    """Bytes a second at most, and where the figure is from."""

    bandwidth: int
    source: str


def ram_speed(facts: Record) -> RamSpeed:
    """Return how fast the RAM of the host with these facts (``host_info``, ``parse_hardware``) can be read.

    One socket counts: an engine that reads across sockets is no faster. A host with fewer cores than its CPU has is a
    virtual machine, and gets that share of the memory's speed.
    """
    said = record.integer(record.section(facts, "memory"), "bandwidth_bytes_per_second")
    if said:
        return RamSpeed(said, "as described")
    cpu = record.section(facts, "cpu")
    cores = max(1, record.integer(cpu, "physical_cores", 1))
    spec = find_cpu(record.text(cpu, "name"))
    if spec:
        generation = spec.generation
        share = min(cores, spec.cores) / spec.cores
        source = f"{generation.channels} channels at {generation.mts} MT/s of {spec.name}"
        return RamSpeed(max(_LEAST, int(generation.bandwidth * share)), source)
    virtual = record.text(record.section(facts, "virtualization"), "machine", "none") != "none"
    least = _LEAST if virtual else COMMON.bandwidth
    return RamSpeed(min(_MOST_UNKNOWN, max(least, cores * _PER_CORE)), f"assumed for {cores} cores of an unknown CPU")

"""Main memory and swap."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.files import parse_int, read_int, read_text
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, warning


@dataclass(frozen=True)
class Swap:
    """One swap area in use."""

    path: str
    type: str
    size_bytes: int
    used_bytes: int
    priority: int


@dataclass(frozen=True)
class Memory:
    """The memory of the host, as the kernel counts it."""

    total_bytes: int
    available_bytes: int
    cgroup_limit_bytes: int | None
    overcommit: int
    swap_total_bytes: int
    swaps: list[Swap]

    @classmethod
    def from_proc(cls, proc: str = "/proc", cgroup_limit: int | None = None) -> tuple[Memory, list[Finding]]:
        """Read /proc; a ``cgroup_limit`` that the memory cannot reach is none."""
        sizes = parse_meminfo(read_text(proc, "meminfo") or "")
        total = sizes.get("MemTotal", 0)
        findings = []
        if not total:
            findings.append(
                warning(
                    "facts.meminfo_unreadable",
                    f"{proc}/meminfo does not tell MemTotal, so the size of the memory is not known.",
                    "Mount /proc as usual; until then no model fits.",
                )
            )
        overcommit = read_int(proc, "sys/vm/overcommit_memory")
        return (
            cls(
                total_bytes=total,
                available_bytes=min(total, sizes.get("MemAvailable", sizes.get("MemFree", 0))),
                cgroup_limit_bytes=cgroup_limit if cgroup_limit is not None and cgroup_limit < total else None,
                overcommit=overcommit if overcommit in (0, 1, 2) else 0,
                swap_total_bytes=sizes.get("SwapTotal", 0),
                swaps=parse_swaps(read_text(proc, "swaps") or ""),
            ),
            findings,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the plain dict that host_info returns."""
        return asdict(self)


def parse_meminfo(text: str) -> dict[str, int]:
    """Return the sizes in /proc/meminfo, in bytes. Its "kB" are KiB."""
    found = re.findall(r"^(\w+):\s*([0-9]{1,18}) kB\s*$", text, re.MULTILINE)
    return {key: int(number) * 1024 for key, number in found}


def parse_swaps(text: str) -> list[Swap]:
    """Return the areas in /proc/swaps, whose first line is a heading. A path has its spaces written as ``\\040``."""
    swaps = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        numbers = [parse_int(field) for field in fields[-3:]]
        if len(fields) != 5 or None in numbers:
            continue
        size, used, priority = (number or 0 for number in numbers)
        path = re.sub(r"\\([0-3][0-7]{2})", lambda octal: chr(int(octal[1], 8)), fields[0])
        swaps.append(Swap(path, fields[1], size * 1024, used * 1024, priority))
    return swaps

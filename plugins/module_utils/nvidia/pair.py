"""Two GPUs, how they are joined and what the driver lets them do to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.nvidia.matrix import (
    Cells,
    level_between,
    nvlink_count,
    pairs_of,
    status_between,
)


@dataclass(frozen=True)
class Pair:
    """Numbers of two GPUs, the lower first. A status of ``OK`` is a grant of the driver, and proves no transfer."""

    a: int
    b: int
    level: str | None
    nvlinks: int
    read: str | None = None
    write: str | None = None
    atomics: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the plain dict that host_info returns."""
        return asdict(self)


def pairs_from_matrices(levels: Cells, statuses: Mapping[str, Cells]) -> Sequence[Pair]:
    """Return the pairs of ``topo -m`` with the statuses of ``topo -p2p`` for read, write and atomics."""
    found = []
    for a, b in pairs_of(levels):
        level = level_between(levels, a, b)
        granted = {name: status_between(cells, a, b) for name, cells in statuses.items()}
        found.append(Pair(a, b, level, nvlink_count(level or ""), **granted))
    return found

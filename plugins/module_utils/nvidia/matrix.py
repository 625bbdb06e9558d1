"""The matrices of ``nvidia-smi topo``: how GPUs are joined, and what the driver lets them do to each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations

from ansible_collections.llmhost.core.plugins.module_utils.nvidia.smi_text import plain

Cells = Mapping[tuple[int, int], str]

_GPU = re.compile(r"\AGPU([0-9]{1,3})\Z", re.ASCII)
# Where the columns of devices end and those of affinities begin.
_AFTER_DEVICES = frozenset({"CPU", "NUMA", "GPU"})
_LEVEL = re.compile(r"\A(X|NV[0-9]{1,3}|C2C|PSB|PIX|PXB|PXN|PHB|NODE|SOC|SYS|P2C|N/A)\Z", re.ASCII)
_STATUS = re.compile(r"\A(X|OK|CNS|GNS|TNS|DR|NS|U)\Z", re.ASCII)
# From the nearest to the farthest, and from granted to unknown: of a pair, the worse direction counts.
LEVELS = ("C2C", "PSB", "PIX", "PXB", "PXN", "PHB", "NODE", "SOC", "SYS")
STATUSES = ("OK", "NS", "CNS", "GNS", "TNS", "DR", "U")


def parse_topology(text: str) -> dict[tuple[int, int], str]:
    """Return the level between GPUs by their numbers, from ``topo -m``; one direction each, as it is written."""
    return _parse(text, _LEVEL)


def parse_p2p(text: str) -> dict[tuple[int, int], str]:
    """Return the status of one capability between GPUs by their numbers, from ``topo -p2p``."""
    return _parse(text, _STATUS)


def nvlink_count(level: str) -> int:
    """Return how many NVLinks a level such as ``NV4`` stands for."""
    return int(level[2:]) if re.fullmatch(r"NV[0-9]+", level, re.ASCII) else 0


def level_between(levels: Cells, first: int, second: int) -> str | None:
    """Return the level of a pair. The two directions differ only where one has lost a link."""
    found = [levels[pair] for pair in ((first, second), (second, first)) if pair in levels]
    return max(found, key=_distance, default=None)


def status_between(statuses: Cells, first: int, second: int) -> str | None:
    """Return the status of a pair: OK where both directions are granted."""
    found = [statuses[pair] for pair in ((first, second), (second, first)) if pair in statuses]
    return max(found, key=lambda status: STATUSES.index(status) if status in STATUSES else len(STATUSES), default=None)


def pairs_of(cells: Cells) -> list[tuple[int, int]]:
    """Return each pair of GPUs that the matrix is about, the lower number first."""
    return list(combinations(sorted({gpu for pair in cells for gpu in pair}), 2))


def _distance(level: str) -> tuple[int, int]:
    links = nvlink_count(level)
    if links:
        return (0, -links)
    return (1, LEVELS.index(level) if level in LEVELS else len(LEVELS))


def _parse(text: str, cell: re.Pattern[str]) -> dict[tuple[int, int], str]:
    """Read the first matrix. No cell is empty up to the last device, so that spaces divide as well as tabs do."""
    columns: list[str] = []
    cells: dict[tuple[int, int], str] = {}
    for line in plain(text).splitlines():
        words = line.split()
        label = _GPU.match(words[0]) if words else None
        if label is None:
            continue
        if len(words) > 1 and cell.match(words[1]):
            _add_row(cells, int(label[1]), dict(zip(columns, words[1:], strict=False)), cell)
        elif not columns:
            columns = _columns(words)
    return cells


def _columns(words: list[str]) -> list[str]:
    end = next((at for at, word in enumerate(words) if word in _AFTER_DEVICES), len(words))
    return words[:end]


def _add_row(cells: dict[tuple[int, int], str], row: int, said: Mapping[str, str], cell: re.Pattern[str]) -> None:
    for name, value in said.items():
        column = _GPU.match(name)
        if column and int(column[1]) != row and cell.match(value) and value not in {"X", "N/A"}:
            cells[row, int(column[1])] = value

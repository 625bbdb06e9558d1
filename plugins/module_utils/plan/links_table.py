"""The rows of the plan's table that say how GPUs work together."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.record import Record

_WAYS = {"nvlink": "NVLink", "switch": "NVSwitch", "pcie": "PCI Express", "host": "through RAM"}
_PEERS = {
    "unknown": "not known before there is a driver",
    "none": "none, what is exchanged goes through RAM",
    "granted": "granted by the driver",
    "proved": "proved",
    "failed": "failed",
}
_MOST = 3


def link_rows(multi_gpu: Record) -> Iterator[tuple[str, str]]:
    """Yield label and text of each row; none for a single GPU, of which there is nothing to say."""
    pairs = record.sections(multi_gpu, "expected")
    if not pairs:
        return
    yield "split", f"{record.text(multi_gpu, 'split')}: {record.text(multi_gpu, 'why')}"
    for words, count in _ways(pairs):
        yield "between", f"{words}{f' ({count} pairs)' if count > 1 else ''}"
    peers = record.text(multi_gpu, "peers")
    yield "direct", _PEERS.get(peers, peers)
    environment = record.section(multi_gpu, "environment")
    settings = " ".join(f"{name}={environment[name]}" for name in sorted(environment) if "P2P" in name)
    if settings:
        yield "settings", settings


def _ways(pairs: list[Record]) -> list[tuple[str, int]]:
    """Return the ways in words and how many pairs have each: few by their addresses, many only by their kind."""
    if len(pairs) <= _MOST:
        return [(f"{record.text(pair, 'a')} and {record.text(pair, 'b')}: {_way(pair)}", 1) for pair in pairs]
    kinds = [_way(pair) for pair in pairs]
    return [(kind, kinds.count(kind)) for kind in dict.fromkeys(kinds)]


def _way(pair: Record) -> str:
    path, gbs = record.text(pair, "path"), pair.get("gbs")
    known = isinstance(gbs, (int, float)) and gbs > 0
    return f"{_WAYS.get(path, path)}{f', about {gbs:g} GB/s each way' if known else ''}"

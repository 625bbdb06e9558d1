"""What a proof found as tables for a person: the GPUs, the ways between them, and the sums over all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ansible_collections.llmhost.core.plugins.module_utils.proof.pair_verdict import Pair
from ansible_collections.llmhost.core.plugins.module_utils.proof.verdict import Verdict
from ansible_collections.llmhost.core.plugins.module_utils.record import Record, integer, section, sections, text, texts
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB

_LEGEND = (
    "GB/s, the slower direction. direct: straight to the other GPU; host: through RAM; host*: direct transfers are\n"
    "granted, and do not go right; slow: less than 0.7 of what such a link should give."
)


def as_text(verdict: Verdict) -> str:
    """Return all tables and findings."""
    result = verdict.result
    names = {text(gpu, "pci_address"): f"GPU{number}" for number, gpu in enumerate(sections(result, "gpus"))}
    findings = [f"{finding.level}: {finding.message} {finding.remedy}".rstrip() for finding in verdict.findings]
    parts = [_gpus(result, names), _matrix(verdict.pairs, names), _sums(result), "\n".join(findings)]
    return "\n\n".join(part for part in parts if part)


def aligned(rows: Iterable[Sequence[str]]) -> str:
    """Return rows of equal length as columns."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _gpus(result: Record, names: dict[str, str]) -> str:
    head = ("gpu", "address", "memory", "tested", "to GPU", "to host", "product", "TFLOPS", "hottest", "clock", "power")
    rows = [(names[text(gpu, "pci_address")], *_cells(gpu)) for gpu in sections(result, "gpus")]
    return aligned([head, *rows]) if rows else ""


def _cells(gpu: Record) -> Iterator[str]:
    memory, link, product, seen = (section(gpu, name) for name in ("memory", "host_link", "product", "sensors"))
    yield text(gpu, "pci_address")
    yield _outcome(gpu, memory)
    yield f"{integer(memory, 'tested_bytes') / GIB:.1f} GiB"
    yield from (_figure(link, name, "GB/s") for name in ("to_gpu_gbs", "to_host_gbs"))
    yield _outcome(gpu, product)
    yield _figure(product, "tflops")
    yield _figure(seen, "temperature_max", "C")
    yield _figure(seen, "clock_mhz", "MHz")
    yield ", ".join([_figure(seen, "power_watts", "W"), *texts(seen, "throttled")])


def _matrix(pairs: Sequence[Pair], names: dict[str, str]) -> str:
    if not pairs:
        return ""
    ways = {frozenset((pair.a, pair.b)): _way(pair) for pair in pairs}
    rows = [
        (name, *("-" if one == other else ways.get(frozenset((one, other)), "?") for other in names))
        for one, name in names.items()
    ]
    return f"{aligned([('', *names.values()), *rows])}\n{_LEGEND}"


def _way(pair: Pair) -> str:
    if pair.gbs is None:
        return "not tried"
    way = {True: "direct", False: "host*", None: "host"}[pair.direct]
    return f"{pair.gbs:g} {way}{' slow' if pair.fast_enough is False else ''}"


def _sums(result: Record) -> str:
    ways = section(result, "all_reduce")
    rows = []
    for way, words in (("with_peer", "direct"), ("without_peer", "through the host")):
        reduced = section(ways, way)
        if reduced:
            figures = _figure(reduced, "bus_gbs", "GB/s"), _figure(reduced, "latency_us", "us for 32 KiB")
            rows.append((f"NCCL all-reduce {words}", text(reduced, "outcome", "-"), *figures))
    return aligned(rows) if rows else ""


def _outcome(gpu: Record, step: Record) -> str:
    return text(step, "outcome") or text(section(gpu, "setup"), "outcome") or "-"


def _figure(data: Record, name: str, unit: str = "") -> str:
    value = data.get(name)
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{value:g} {unit}".rstrip() if known else "-"

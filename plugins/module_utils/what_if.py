"""Several machines and several models: the plan of each pair, and all of them in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import planner, record
from ansible_collections.llmhost.core.plugins.module_utils.plan_table import tokens_per_second
from ansible_collections.llmhost.core.plugins.module_utils.size import format_gib
from ansible_collections.llmhost.core.plugins.module_utils.variant_choice import choose_variant

Facts = Mapping[str, Any]

_HEADS = ("model", "machine", "verdict", "quantisation", "context", "needed", "usable", "tokens/s")
_RIGHT = frozenset(("context", "needed", "usable"))
_VERDICTS = {
    "fits": "fits",
    "fits_with_offload": "with RAM",
    "does_not_fit": "does not fit",
    "unknown": "unknown",
}


def wanted_variants(machines: Sequence[Facts], models: Sequence[Facts], variables: Facts) -> list[dict[str, str]]:
    """Return the quantisations to read beside those that were: for each model the best one for each machine."""
    wanted: dict[tuple[str, str], None] = {}
    for machine in machines:
        for model in models:
            label = choose_variant(record.section(machine, "host"), model, _asking(variables, model))
            if label:
                wanted[_request(model), label] = None
    return [{"model": model, "variant": label} for model, label in wanted]


def plan_all(
    machines: Sequence[Facts], models: Sequence[Facts], variables: Facts, others: Sequence[Facts] = ()
) -> list[dict[str, Any]]:
    """Return a row for each model on each machine: ``machine`` and ``model`` by their names, and the ``plan``.

    ``others`` are the quantisations that ``wanted_variants`` asked for.
    """
    read = {(_request(model), record.text(model, "quantization")): model for model in others}
    rows = []
    for model in models:
        for machine in machines:
            host, asking = record.section(machine, "host"), _asking(variables, model)
            label = choose_variant(host, model, asking)
            chosen = read.get((_request(model), label), model)
            made = planner.plan(host, chosen, asking, what_if=True)
            rows.append({"machine": record.text(machine, "name"), "model": _request(model), "plan": made})
    return rows


def comparison(rows: Sequence[Facts]) -> str:
    """Return all plans as one table for people, a line for each."""
    lines = [_HEADS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADS))]
    return "\n".join(_join(line, widths) for line in lines)


def _join(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = (
        cell.rjust(width) if head in _RIGHT else cell.ljust(width)
        for cell, width, head in zip(cells, widths, _HEADS, strict=True)
    )
    return "  ".join(aligned).rstrip()


def _cells(row: Facts) -> tuple[str, ...]:
    plan = record.section(row, "plan")
    speed = record.section(plan, "speed")
    need, usable = _bottleneck(plan)
    return (
        record.text(row, "model"),
        record.text(row, "machine"),
        _verdict(plan),
        record.text(record.section(plan, "model"), "quantization", "-"),
        str(record.integer(plan, "context")),
        format_gib(need),
        format_gib(usable),
        tokens_per_second(speed).removesuffix(" tokens/s") if speed else "-",
    )


def _verdict(plan: Facts) -> str:
    """Return the verdict in a few words: what stands in the way first, then what makes it slow."""
    verdict = record.text(plan, "verdict")
    others = [code for error in planner.errors(plan) if (code := record.text(error, "code")) != "memory.does_not_fit"]
    if verdict != "does_not_fit" and others:
        return f"error: {others[0]}"
    swaps = verdict != "does_not_fit" and record.integer(record.section(plan, "swap"), "size_bytes")
    return "with swap" if swaps else _VERDICTS.get(verdict, "unknown")


def _bottleneck(plan: Facts) -> tuple[int, int]:
    """Return need and usable memory of all GPUs in use, or of RAM where there are none."""
    devices = record.sections(record.section(plan, "memory"), "devices")
    gpus = [device for device in devices if record.text(device, "name") != "host"] or devices
    need, usable = (sum(record.integer(device, key) for device in gpus) for key in ("need_bytes", "usable_bytes"))
    return need, usable


def _request(model: Facts) -> str:
    return record.text(record.section(model, "request"), "model", "model")


def _asking(variables: Facts, model: Facts) -> dict[str, Any]:
    return {**variables, "llmhost_model": _request(model)}

"""Several machines and several models: the plan of each pair, and all of them in one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.plan import planner
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_table import tokens_per_second
from ansible_collections.llmhost.core.plugins.module_utils.plan.variant_choice import choose_variant
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB

Facts = Mapping[str, Any]

_HEADS = ("model", "machine", "verdict", "quantisation", "context", "VRAM", "RAM", "tokens/s")
_RIGHT = frozenset(("context", "VRAM", "RAM", "tokens/s"))
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
    machines: Sequence[Facts],
    models: Sequence[Facts],
    variables: Facts,
    others: Sequence[Facts] = (),
    failures: Sequence[Facts] = (),
) -> list[dict[str, Any]]:
    """Return a row for each model on each machine: ``machine`` and ``model`` by their names, and the ``plan``.

    ``others`` are the quantisations that ``wanted_variants`` asked for; ``failures`` the answers of ``model_info``
    about models that could not be read (``item``, ``code``, ``msg``): their rows have an ``error`` and no plan.
    """
    read = {(_request(model), record.text(model, "quantization")): model for model in others}
    rows = []
    for model in models:
        for machine in machines:
            host, asking = record.section(machine, "host"), _asking(variables, model)
            label = choose_variant(host, model, asking)
            chosen = read.get((_request(model), label), model)
            made = planner.plan(host, chosen, asking, what_if=True)
            rows.append(
                {"machine": record.text(machine, "name"), "model": _request(model), "plan": made, "error": None}
            )
    for failure in failures:
        error = {"code": record.text(failure, "code", "model.unreadable"), "message": record.text(failure, "msg")}
        name = record.text(failure, "item")
        rows += [
            {"machine": record.text(machine, "name"), "model": name, "plan": None, "error": error}
            for machine in machines
        ]
    return rows


def comparison(rows: Sequence[Facts]) -> str:
    """Return all plans as one table for people, a line for each, and below it what is wrong with some of them."""
    lines = [_HEADS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADS))]
    notes = dict.fromkeys(note for row in rows for note in _notes(row))
    return "\n".join([*(_join(line, widths) for line in lines), *notes])


def _notes(row: Facts) -> Iterator[str]:
    failed = record.section(row, "error")
    if failed:
        yield f"{record.text(row, 'model')}: {record.text(failed, 'message')}"
    for error in planner.errors(record.section(row, "plan")):
        if record.text(error, "code") != "memory.does_not_fit":
            where = f"{record.text(row, 'model')} on {record.text(row, 'machine')}"
            yield f"{where}: {record.text(error, 'message')} {record.text(error, 'remedy')}"


def _join(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = (
        cell.rjust(width) if head in _RIGHT else cell.ljust(width)
        for cell, width, head in zip(cells, widths, _HEADS, strict=True)
    )
    return "  ".join(aligned).rstrip()


def _cells(row: Facts) -> tuple[str, ...]:
    plan = record.section(row, "plan")
    speed = record.section(plan, "speed")
    names = record.text(row, "model"), record.text(row, "machine")
    if not plan:
        return (*names, f"error: {record.text(record.section(row, 'error'), 'code')}", *["-"] * (len(_HEADS) - 3))
    return (
        *names,
        _verdict(plan),
        record.text(record.section(plan, "model"), "quantization", "-"),
        str(record.integer(plan, "context")),
        _room(plan, on_gpus=True),
        _room(plan, on_gpus=False),
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


def _room(plan: Facts, on_gpus: bool) -> str:
    """Return what is needed of what is usable: on all GPUs in use, or in RAM."""
    devices = record.sections(record.section(plan, "memory"), "devices")
    chosen = [device for device in devices if (record.text(device, "name") != "host") == on_gpus]
    need, usable = (sum(record.integer(device, key) for device in chosen) for key in ("need_bytes", "usable_bytes"))
    return f"{need / GIB:.1f} of {usable / GIB:.1f} GiB" if chosen else "-"


def _request(model: Facts) -> str:
    return record.text(record.section(model, "request"), "model", "model")


def _asking(variables: Facts, model: Facts) -> dict[str, Any]:
    return {**variables, "llmhost_model": _request(model)}

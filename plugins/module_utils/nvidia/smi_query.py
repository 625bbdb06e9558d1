"""The table of ``nvidia-smi --query-gpu``: read by its header, whatever fields the driver knows."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import NamedTuple

from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult, RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.nvidia import smi_text
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.gpu import DriverGpu, Fabric, RemappedRows

FIELDS = (
    "index",
    "uuid",
    "name",
    "pci.bus_id",
    "pci.device_id",
    "driver_version",
    "memory.total",
    "compute_cap",
    "pcie.link.gen.current",
    "pcie.link.gen.max",
    "pcie.link.gen.gpumax",
    "pcie.link.gen.hostmax",
    "pcie.link.width.current",
    "pcie.link.width.max",
    "persistence_mode",
    "mig.mode.current",
    "ecc.mode.current",
    "ecc.errors.uncorrected.aggregate.total",
    "remapped_rows.correctable",
    "remapped_rows.uncorrectable",
    "remapped_rows.pending",
    "remapped_rows.failure",
    "power.limit",
    "power.max_limit",
    "temperature.gpu",
    "fabric.state",
    "fabric.status",
)

# Status 2: an argument that this nvidia-smi does not know. It names the first field of that kind, and prints no table.
_BAD_ARGUMENT = 2
_BAD_FIELD = re.compile(r'Field "([^"\n]+)" is not a valid field')
_UNIT = re.compile(r"\s*\[[^\]]*\]\Z")
_CAPABILITY = re.compile(r"\A[0-9]{1,2}\.[0-9]\Z", re.ASCII)
_DECIMALS = frozenset({"compute_cap", "power.limit", "power.max_limit"})
_FRACTION = re.compile(r"\A[0-9]{1,2}( W)?\Z", re.ASCII)
_OTHER_NAMES = {"gpu_name": "name", "gpu_uuid": "uuid", "gpu_bus_id": "pci.bus_id"}


class Answer(NamedTuple):
    """How nvidia-smi ended, and its table."""

    result: CommandResult
    gpus: tuple[DriverGpu, ...]
    driver_version: str | None


def query(run_command: RunCommand) -> Answer:
    """Ask for all fields, and without those that this driver does not know."""
    fields = list(FIELDS)
    while True:
        result = run_command(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv"])
        refused = _BAD_FIELD.search(result.stdout + result.stderr) if result.rc == _BAD_ARGUMENT else None
        if refused is None or refused[1] not in fields or len(fields) == 1:
            rows = parse_rows(result.stdout)
            versions = [smi_text.known(row.get("driver_version", "")) for row in rows]
            return Answer(result, _gpus(rows), versions[0] if versions else None)
        fields.remove(refused[1])


def parse_query(text: str, fields: Sequence[str] = ()) -> tuple[DriverGpu, ...]:
    """Return the GPUs of a table; ``fields`` names the columns of one without a header."""
    return _gpus(parse_rows(text, fields))


def parse_rows(text: str, fields: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the rows by the names of their columns. Lines that are no row, as errors between them, are left out."""
    names = list(fields)
    rows = []
    for line in smi_text.plain(text).splitlines():
        try:
            cells = next(csv.reader([line], skipinitialspace=True), [])
        except csv.Error:
            continue
        cells = [cell.strip() for cell in cells]
        if not names:
            names = _header(cells)
        elif _is_gpu(row := _row(names, cells)):
            rows.append(row)
    return rows


def _row(names: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """Return the cells by their names. A row may end early, or go on after the last name.

    Where somebody's language writes decimals with a comma there are cells too many: the halves are joined again.
    """
    row, rest = {}, list(cells)
    for left in range(len(names), 0, -1):
        if not rest:
            break
        cell, name = rest.pop(0), names[-left]
        if name in _DECIMALS and len(rest) >= left and cell.isdecimal() and _FRACTION.match(rest[0]):
            cell = f"{cell}.{rest.pop(0)}"
        row[name] = cell
    return row


def _is_gpu(row: dict[str, str]) -> bool:
    """Tell whether a line is about a GPU that answers."""
    if "[GPU is lost]" in row.values():
        return False
    if "index" in row and (len(row) < 2 or smi_text.whole(row["index"]) is None):
        return False
    if "pci.bus_id" in row and smi_text.pci_address(row["pci.bus_id"]) is None:
        return False
    return row.get("uuid", "GPU-").startswith(("GPU-", "MIG-", "["))


def _header(cells: Sequence[str]) -> list[str]:
    """Return the names of the columns, or nothing when the line is no header."""
    names = [_UNIT.sub("", cell) for cell in cells]
    names = [_OTHER_NAMES.get(name, name) for name in names]
    return names if "index" in names or "uuid" in names or "pci.bus_id" in names else []


def _gpus(rows: Sequence[dict[str, str]]) -> tuple[DriverGpu, ...]:
    return tuple(_gpu(number, row) for number, row in enumerate(rows))


def _gpu(number: int, row: dict[str, str]) -> DriverGpu:
    def said(name: str) -> str:
        return row.get(name, "")

    index = smi_text.whole(said("index"))
    capability = said("compute_cap")
    state = smi_text.known(said("fabric.state"))
    return DriverGpu(
        index=number if index is None or index < 0 else index,
        uuid=smi_text.known(said("uuid")),
        pci_address=smi_text.pci_address(said("pci.bus_id")),
        device_id=smi_text.device_id(said("pci.device_id")),
        name=smi_text.known(said("name")),
        vram_bytes=smi_text.size(said("memory.total")),
        compute_capability=capability if _CAPABILITY.match(capability) else None,
        generation=smi_text.whole(said("pcie.link.gen.current")),
        max_generation=smi_text.whole(said("pcie.link.gen.max")),
        gpu_max_generation=smi_text.whole(said("pcie.link.gen.gpumax")),
        host_max_generation=smi_text.whole(said("pcie.link.gen.hostmax")),
        width=smi_text.whole(said("pcie.link.width.current")),
        max_width=smi_text.whole(said("pcie.link.width.max")),
        persistence=smi_text.switch(said("persistence_mode")),
        ecc=smi_text.switch(said("ecc.mode.current")),
        uncorrected_errors=smi_text.whole(said("ecc.errors.uncorrected.aggregate.total")),
        remapped_rows=_remapped_rows(row),
        power_limit_watts=smi_text.whole(said("power.limit")),
        power_limit_max_watts=smi_text.whole(said("power.max_limit")),
        mig=smi_text.switch(said("mig.mode.current")),
        temperature=smi_text.whole(said("temperature.gpu")),
        fabric=Fabric(state, smi_text.known(said("fabric.status"))) if state else None,
    )


def _remapped_rows(row: dict[str, str]) -> RemappedRows | None:
    correctable = smi_text.whole(row.get("remapped_rows.correctable", ""))
    uncorrectable = smi_text.whole(row.get("remapped_rows.uncorrectable", ""))
    if correctable is None or uncorrectable is None:
        return None
    pending, failure = (smi_text.switch(row.get(f"remapped_rows.{name}", "")) for name in ("pending", "failure"))
    return RemappedRows(correctable, uncorrectable, bool(pending), bool(failure))

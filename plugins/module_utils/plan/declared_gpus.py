"""GPUs that the user declares: the plan takes them as there where the host shows none, to make images without one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.hardware.assumed_host import Hardware, assume_host
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpu_table import GpuSpec
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpus import (
    AmbiguousGpuError,
    find_gpu,
    gpu_of_facts,
    near_gpus,
)

_VARIABLE = "llmhost_gpus"
_COUNTED = re.compile(r"(\d{1,3})\s*[x\u00d7]\s*(?=\S)", re.IGNORECASE)
_MOST = 64


def with_declared(host: Mapping[str, Any], names: Sequence[str]) -> tuple[Mapping[str, Any], bool]:
    """Return the facts of the host with the declared GPUs where it shows none, and whether they were taken."""
    specs, _ = _read(names)
    if not specs or record.sections(host, "gpus"):
        return host, False
    assumed = assume_host(Hardware(gpus=specs), ", ".join(names))
    return {**host, "gpus": assumed["gpus"]}, True


def check_declared(host: Mapping[str, Any], names: Sequence[str], taken: bool) -> list[Finding]:
    """Return what is wrong with the declaration, and how it differs from what the host shows."""
    specs, findings = _read(names)
    if taken:
        message = f"This host shows no NVIDIA GPU; it is planned with {_list([spec.name for spec in specs])}."
        remedy = "What needs the device is left out: run again on the machine that has it."
        return [*findings, info("gpus.declared", message, remedy)]
    shown = [_known(gpu) for gpu in record.sections(host, "gpus")]
    if specs and sorted(shown) != sorted(spec.name for spec in specs):
        message = f"{_VARIABLE} names {_list([spec.name for spec in specs])}; this host shows {_list(shown)}."
        remedy = f"The plan takes what the host shows. Check slots and power of the GPUs, or correct {_VARIABLE}."
        findings.append(warning("gpus.differ", message, remedy))
    return findings


def _read(names: Sequence[str]) -> tuple[list[GpuSpec], list[Finding]]:
    """Return the GPUs that the names mean, and an error for each name that means none."""
    specs: list[GpuSpec] = []
    findings = []
    for name in names:
        counted = _COUNTED.match(name)
        number, bare = (int(counted[1]), name[counted.end() :]) if counted else (1, name)
        try:
            spec = find_gpu(bare)
        except AmbiguousGpuError as several:
            findings.append(_refusal(name, f"may mean several GPUs: {', '.join(several.choices)}"))
            continue
        if spec is None:
            near = near_gpus(bare)
            findings.append(_refusal(name, "is no GPU that llmhost knows", near))
        elif not 1 <= number <= _MOST - len(specs):
            findings.append(_refusal(name, f"is not from 1 to {_MOST} GPUs"))
        else:
            specs += [spec] * number
    return specs, findings


def _refusal(name: str, reason: str, near: Sequence[str] = ()) -> Finding:
    remedy = f"Did you mean {' or '.join(near)}?" if near else "Write it as nvidia-smi does, such as 2x RTX 3090."
    return error("variable.invalid", f"{_VARIABLE}: {name!r} {reason}.", remedy)


def _known(gpu: Mapping[str, Any]) -> str:
    name = record.text(gpu, "name", "an unknown GPU")
    spec = gpu_of_facts(name, record.integer(gpu, "vram_bytes"))
    return spec.name if spec else name


def _list(names: Sequence[str]) -> str:
    counts = {name: names.count(name) for name in names}
    return ", ".join(f"{count}x {name}" if count > 1 else name for name, count in counts.items())

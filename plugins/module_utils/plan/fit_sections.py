"""The sections of the plan that say where the model is, how fast it may be, and what else would do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.sized_model import SizedModel
from ansible_collections.llmhost.core.plugins.module_utils.sizing.advice import Way
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import DeviceBytes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import DOES_NOT_FIT, Fit
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit_speed import expected_speed
from ansible_collections.llmhost.core.plugins.module_utils.sizing.host_memory import HostMemory
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import Room
from ansible_collections.llmhost.core.plugins.module_utils.sizing.speed import SpeedRange

NAMES = ("memory", "placement", "context", "parallel", "largest", "speed", "host_memory", "alternatives", "doubts")

_PARTS = (
    "weights_bytes",
    "kv_cache_bytes",
    "recurrent_bytes",
    "compute_bytes",
    "output_bytes",
    "overhead_bytes",
    "droppable_bytes",
)


def sections(
    host: HostFacts,
    sized: SizedModel,
    room: Room,
    fit: Fit,
    loading: HostMemory,
    ways: Sequence[Way],
    build_bytes: int,
) -> dict[str, Any]:
    """Return the sections by their names."""
    return {
        "memory": _memory(host, fit),
        "placement": _placement(fit),
        "context": fit.context,
        "parallel": fit.parallel,
        "largest": {"context": fit.largest_context, "parallel": fit.largest_parallel},
        "speed": None if fit.verdict == DOES_NOT_FIT else _speed(expected_speed(sized.sizes, fit, room)),
        "host_memory": _host_memory(fit, loading, build_bytes),
        "alternatives": [_alternative(way) for way in ways],
        "doubts": list(dict.fromkeys((*sized.sizes.shape.doubts, *fit.allocation.doubts))),
    }


def _memory(host: HostFacts, fit: Fit) -> dict[str, Any]:
    rows = _rows(fit, [host.gpus[number].name for number in fit.gpus])
    sums = {part: sum(row[part] for row in rows) for part in _PARTS}
    return {
        **sums,
        "total_bytes": sum(row["need_bytes"] for row in rows),
        "ram_need_bytes": fit.ram_need_bytes,
        "vram_need_bytes": fit.allocation.vram_bytes,
        "devices": rows,
    }


def _rows(fit: Fit, names: Sequence[str]) -> list[dict[str, Any]]:
    gpus = zip(fit.gpus, names, fit.allocation.gpus, fit.usable_bytes, strict=True)
    rows = [_row(f"GPU{number}", name, device, usable) for number, name, device, usable in gpus]
    return [*rows, _row("host", "RAM", fit.host, fit.ram_usable_bytes)]


def _row(name: str, kind: str, device: DeviceBytes, usable: int) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        **{part: getattr(device, part) for part in _PARTS},
        "need_bytes": device.total_bytes,
        "usable_bytes": usable,
    }


def _placement(fit: Fit) -> dict[str, Any]:
    return {
        "gpus": list(fit.gpus),
        "layers": max(0, fit.places - 1),
        "gpu_layers": fit.gpu_layers,
        "cpu_expert_layers": fit.cpu_expert_layers,
        "split": list(fit.split),
        "tensor_parallel": fit.tensor_parallel,
        "pipeline_parallel": fit.pipeline_parallel,
        "cpu_offload_bytes": fit.cpu_offload_bytes,
        "kv_cache_type": fit.cache_type,
    }


def _host_memory(fit: Fit, loading: HostMemory, build_bytes: int) -> dict[str, Any]:
    return {
        "load_path": loading.load_path,
        "need_bytes": loading.need_bytes,
        "peak_bytes": loading.peak_bytes,
        "usable_bytes": fit.ram_usable_bytes,
        "page_cache_bytes": loading.page_cache_bytes,
        "largest_mapping_bytes": loading.largest_mapping_bytes,
        "overcommit_memory": loading.overcommit_memory,
        "shm_bytes": loading.shm_bytes,
        "read_ahead": loading.read_ahead,
        "build_bytes": build_bytes,
    }


def _alternative(way: Way) -> dict[str, Any]:
    fit = way.fit
    return {
        "kind": way.kind,
        "text": way.text,
        "verdict": fit.verdict,
        "quantization": way.sizes.quantization,
        "machine": way.machine,
        "context": fit.context,
        "parallel": fit.parallel,
        "kv_cache_type": fit.cache_type,
        "weights_bytes": way.sizes.weights_bytes,
        "devices": [
            {"name": row["name"], "need_bytes": row["need_bytes"], "usable_bytes": row["usable_bytes"]}
            for row in _rows(fit, [""] * len(fit.gpus))
        ],
        "speed": _speed(expected_speed(way.sizes, fit, way.room)),
    }


def _speed(found: SpeedRange | None) -> dict[str, Any] | None:
    """Return a speed with the digits that it is worth."""
    if found is None:
        return None
    return {
        "low": round(found.low, 1),
        "high": round(found.high, 1),
        "ceiling": round(found.ceiling, 1),
        "bytes_per_token": found.bytes_per_token,
        "devices": [
            {
                "name": device.name,
                "bytes_per_token": device.bytes_per_token,
                "bandwidth_gbs": round(float(device.bandwidth_gbs), 1),
                "fraction_low": round(float(device.fraction_low), 3),
                "fraction_high": round(float(device.fraction_high), 3),
            }
            for device in found.devices
        ],
        "text": found.text,
    }

"""Measured cases of llama.cpp: the settings they ran with, and their parts beside the plan's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpus import find_gpu
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_cpp import LlamaSettings, allocate
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import MAX_LAYERS, Shape
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import Allocation, DeviceBytes
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights

from tests.tools.sizing_cases import Case
from tests.tools.sizing_figures import (
    COMPUTE,
    HOST_COMPUTE,
    HOST_WEIGHTS,
    KV,
    OUTPUT,
    RECURRENT,
    TOTAL,
    VERDICT,
    WEIGHTS,
    Figure,
)
from tests.tools.sizing_models import shape_of, stand_in, weights_of

GPU = re.compile(r"^(CUDA|ROCm|Vulkan|Metal|MTL|SYCL|HIP)(\d*)$")
SPLIT = "CUDA_Split"  # rows of matrices on all GPUs
Sizes = Mapping[str, float]


def settings_of(case: Case) -> LlamaSettings:
    """Return the settings of a case; what the log does not say is the default of its build."""
    parallel = max(case.number("parallel", 1), 1)
    context = case.number("ctx_per_seq") or (case.number("ctx") or 512) // parallel
    batch = case.number("n_batch") or 2048
    type_k, type_v = cell_types(case)
    offloaded = str(case.facts.get("offloaded") or "").split("/")[0]
    return LlamaSettings(
        context=context,
        parallel=parallel,
        cell_type_k=type_k,
        cell_type_v=type_v,
        batch=batch,
        micro_batch=case.number("n_ubatch") or min(512, batch),
        flash_attention=str(case.facts.get("flash_attn", "0")).lower() in ("1", "true", "enabled", "auto"),
        kv_unified=bool(case.facts.get("kv_unified", False)),
        swa_full=bool(case.facts.get("swa_full", False)),
        gpu_layers=int(offloaded) if offloaded else None,
        cpu_expert_layers=expert_layers(case),
        tensor_split=tuple(case.facts.get("tensor_split", ())),
        build=case.month,
        draft=bool(case.facts.get("draft", False)),
        draft_tokens=case.number("draft_tokens", 3),
        outputs=case.number("outputs"),
    )


def expert_layers(case: Case) -> int:
    """Return how many layers keep their experts in RAM: all, where more lies there than on the GPUs of all layers."""
    if "cpu_expert_layers" in case.facts or case.facts.get("placement") == "own":
        return case.number("cpu_expert_layers")
    weights = _sizes(case, "weights_by_device_mib")
    on_gpus = sum(size for name, size in weights.items() if GPU.match(name))
    here, _, all_of_them = str(case.facts.get("offloaded") or "").partition("/")
    experts = int(case.arch.get("experts") or 0)
    return MAX_LAYERS if experts and here == all_of_them and 0 < on_gpus < sum(weights.values()) / 2 else 0


def cell_types(case: Case) -> tuple[str, str]:
    """Return the types of the keys and of the values in the cache."""
    found = case.facts.get("kv_dtype")
    if isinstance(found, Mapping):
        return str(found.get("k", "f16")), str(found.get("v", "f16"))
    text = str(found or "f16")
    named = dict(re.findall(r"\b(K|V|c\^KV) \((\w+)\)", text))
    if named:
        key = named.get("K") or named.get("c^KV") or "f16"
        return key, named.get("V") or key
    return text.split()[0], text.split()[0]


def figures(case: Case) -> Iterator[Figure]:
    """Yield every part that the log of a case reports."""
    shape = shape_of(case)
    weights = weights_of(case, shape)
    reported = case.reported
    names = gpu_names(case)
    count = len(names) or (0 if _on_cpu(case) else gpu_count(case))
    plan = allocate(shape, weights or stand_in(case, shape) or _no_weights(shape), settings_of(case), count)
    yield from _caches(case, plan, shape, names)
    if case.facts.get("placement") != "own":
        yield from _by_device(case, plan, names, weights is not None)
    if "total_vram_mib" in reported:
        yield from _old_total(case, plan, weights is not None)
    verdict = reported.get("verdict") or ("fits" if "total_vram_mib" in reported else "")
    usable = usable_bytes(case)
    if verdict and usable and weights is not None:
        yield Figure(case, VERDICT, "all", float(_fits(plan, usable)), float(verdict == "fits"))


def gpu_count(case: Case) -> int:
    """Return how many GPUs there were."""
    return case.number("gpu_count") or len(case.facts.get("gpus") or [1])


def usable_bytes(case: Case) -> int:
    """Return what each GPU of a case can use, 0 where its kind is not known."""
    gpus = case.facts.get("gpus") or [""]
    name = gpus[0][1] if isinstance(gpus[0], list) else str(gpus[0])
    spec = find_gpu(re.sub(r"^\d+x ", "", name.split(",")[0]))
    return spec.usable_bytes if spec else 0


def _fits(plan: Allocation, usable: int) -> bool:
    return all(gpu.total_bytes <= usable for gpu in plan.gpus)


def gpu_names(case: Case) -> list[str]:
    """Return the GPUs that the log names, in order."""
    found: set[str] = set()
    for key in ("weights_by_device_mib", "kv_by_device_mib", "compute_by_device_mib"):
        found.update(name for name in _sizes(case, key) if GPU.match(name))
    return sorted(found, key=lambda name: (len(name), name))


def _on_cpu(case: Case) -> bool:
    weights = _sizes(case, "weights_by_device_mib")
    return bool(weights) and not any(GPU.match(name) for name in weights)


def _caches(case: Case, plan: Allocation, shape: Shape, names: list[str]) -> Iterator[Figure]:
    reported, rows = case.reported, plan.devices
    whole = sum(row.kv_cache_bytes for row in rows) / MIB
    if "kv_mib" in reported:
        yield Figure(case, KV, "all", whole, float(reported["kv_mib"]))
    elif "kv_full_mib" in reported:
        yield Figure(case, KV, "all", whole, float(reported["kv_full_mib"]) + float(reported.get("kv_swa_mib", 0)))
    for name, size in _sizes(case, "kv_by_device_mib").items():
        if GPU.match(name) and len(names) > 1 and case.facts.get("placement") != "own":
            yield Figure(case, KV, name, plan.gpus[names.index(name)].kv_cache_bytes / MIB, size)
    if "context_mib" in reported and "total_vram_mib" not in reported:  # rounded to MiB, caches and states together
        state = sum(row.kv_cache_bytes + row.recurrent_bytes for row in rows) / MIB
        yield Figure(case, KV, "all", state, float(reported["context_mib"]))
    if "recurrent_mib" in reported:
        state = sum(row.recurrent_bytes for row in rows) / MIB
        yield Figure(case, RECURRENT, "all", state, float(reported["recurrent_mib"]))
    for name, size in _sizes(case, "recurrent_by_device_mib").items():
        row = plan.gpus[names.index(name)] if name in names else plan.host
        yield Figure(case, RECURRENT, name, row.recurrent_bytes / MIB, size)


def _by_device(case: Case, plan: Allocation, names: list[str], weighed: bool) -> Iterator[Figure]:
    weights, compute = _sizes(case, "weights_by_device_mib"), _sizes(case, "compute_by_device_mib")
    kv, output = _sizes(case, "kv_by_device_mib"), _sizes(case, "output_by_device_mib")
    for name, row in zip(names, plan.gpus, strict=False):
        if weighed and name in weights and SPLIT not in weights:
            yield Figure(case, WEIGHTS, name, row.weights_bytes / MIB, weights[name])
        if name in compute:
            yield Figure(case, COMPUTE, name, row.compute_bytes / MIB, compute[name])
    on_host = sum(size for name, size in weights.items() if not GPU.match(name))
    if weighed and on_host and SPLIT not in weights and not _is_range(case, weights):
        yield Figure(case, HOST_WEIGHTS, "host", plan.host.weights_bytes / MIB, on_host)
    host_compute = max((size for name, size in compute.items() if not GPU.match(name)), default=0.0)
    if host_compute:
        yield Figure(case, HOST_COMPUTE, "host", plan.host.compute_bytes / MIB, host_compute)
    if output:
        yield Figure(case, OUTPUT, "host", plan.host.output_bytes / MIB, max(output.values()))
    if names and compute and kv and weights:
        held = sum(size for name, size in weights.items() if name in (*names, SPLIT))
        measured = held + sum(size for sizes in (kv, compute) for name, size in sizes.items() if name in names)
        states = _sizes(case, "recurrent_by_device_mib") or {names[0]: float(case.reported.get("recurrent_mib", 0))}
        measured += sum(size for name, size in states.items() if name in names)
        yield Figure(case, TOTAL, "all", _planned(plan.gpus[: len(names)], weighed, held), measured)


def _old_total(case: Case, plan: Allocation, weighed: bool) -> Iterator[Figure]:
    """Builds of 2023 say one sum for all GPUs."""
    reported = case.reported
    held = float(reported["weights_vram_mib"])
    planned = _planned(plan.gpus, weighed, held)
    if weighed:
        weights = sum(row.weights_bytes for row in plan.gpus) / MIB
        yield Figure(case, WEIGHTS, "all", weights, held)
        if reported.get("weights_host_mib"):
            yield Figure(case, HOST_WEIGHTS, "host", plan.host.weights_bytes / MIB, float(reported["weights_host_mib"]))
    compute = sum(row.compute_bytes for row in plan.gpus) / MIB
    yield Figure(case, COMPUTE, "all", compute, float(reported["compute_mib"]))
    yield Figure(case, TOTAL, "all", planned, float(reported["total_vram_mib"]))


def _planned(rows: Sequence[DeviceBytes], weighed: bool, held: float) -> float:
    """Return what GPUs take, with the weights that the log says where those of the plan are a stand-in's."""
    planned = sum(row.logged_bytes - (0 if weighed else row.weights_bytes) for row in rows) / MIB
    return planned if weighed else planned + held


def _is_range(case: Case, weights: Sizes) -> bool:
    """A mapped file counts from its first to its last tensor in RAM, with those between them that a GPU holds."""
    here, _, all_of_them = str(case.facts.get("offloaded") or "").partition("/")
    return "CPU_Mapped" in weights and here not in ("0", all_of_them)


def _sizes(case: Case, key: str) -> Sizes:
    found: Any = case.reported.get(key)
    return {str(name): float(size) for name, size in found.items()} if isinstance(found, Mapping) else {}


def _no_weights(shape: Shape) -> Weights:
    none = LayerWeights()
    return Weights(0, 0, 0, 0, (none,) * len(shape.layers), (none,) * len(shape.draft_layers))

"""Measured cases of vLLM: the settings they ran with, and their parts beside the plan's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm import VllmAllocation, allocate_vllm
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import VllmGpu, VllmSettings

from tests.tools.sizing_cases import Case
from tests.tools.sizing_figures import (
    ACTIVATION,
    CONCURRENCY,
    CONTEXT,
    GRAPHS,
    KV,
    MIB_PER_GIB,
    NON_TORCH,
    POOL,
    TOKENS,
    TOTAL,
    VERDICT,
    WEIGHTS,
    Figure,
)
from tests.tools.sizing_models import shape_of, target_of, weights_of

ROUNDED = 0.005
"""Half of the last digit in which a log says its pool, in GiB: no less was there."""
DTYPE_BYTES = {"FP32": 4, "FLOAT32": 4}
PER_GIB = {"weights_gib": WEIGHTS, "activation_peak_gib": ACTIVATION, "non_torch_gib": NON_TORCH, "kv_gib": POOL}


def settings_of(case: Case) -> VllmSettings:
    """Return the settings of a case; what the log does not say is the default of its version."""
    kind = str(case.facts.get("kv_dtype") or "auto").lower()
    return VllmSettings(
        max_model_len=case.number("ctx", 1),
        max_num_seqs=case.number("max_num_seqs") or None,
        max_num_batched_tokens=case.number("max_num_batched_tokens") or None,
        tensor_parallel=max(case.number("tp", 1), 1),
        pipeline_parallel=max(case.number("pp", 1), 1),
        data_parallel=max(case.number("dp", 1), 1),
        expert_parallel=bool(case.facts.get("expert_parallel", case.number("dp", 1) > 1)),
        gpu_memory_utilization=float(case.facts.get("gpu_memory_utilization") or 0.9),
        kv_cache_dtype=kind if kind.startswith("fp8") else "auto",
        block_size=case.number("block_size") or None,
        dtype_bytes=DTYPE_BYTES.get(target_of(case), 2),
        draft_tokens=case.number("draft_tokens"),
        prefix_caching=case.facts.get("prefix_caching"),
        flashinfer_sampler=bool(case.facts.get("flashinfer_sampler", False)),
        version=case.version,
    )


def gpu_of(case: Case) -> VllmGpu:
    """Return the GPU: its memory as the log says it."""
    text = str(case.facts.get("gpus", ""))
    size = case.facts.get("gpu_memory_gib")
    if size is None:
        named = re.search(r"(\d+(?:\.\d+)?) ?GiB", text)
        size = named.group(1) if named else 95.0 if "H20" in text else 79.19
    return VllmGpu(int(float(size) * GIB), name=text)


def figures(case: Case) -> Iterator[Figure]:
    """Yield every part that the log of a case reports."""
    shape = shape_of(case)
    weights = weights_of(case, shape)
    if weights is None:
        return
    plan = allocate_vllm(shape, weights, settings_of(case), gpu_of(case))
    reported, rank = _reported(case), plan.ranks[0]
    predicted = {
        "weights_gib": rank.weights_bytes,
        "activation_peak_gib": rank.activation_bytes,
        "non_torch_gib": rank.non_torch_bytes,
        "kv_gib": rank.pool_bytes,
    }
    known = {"weights_gib"} if case.facts.get("pool_only") else set(PER_GIB)  # of the GPU and its use too
    for key, part in PER_GIB.items():
        if key in reported and key in known:
            yield Figure(case, part, "GPU", predicted[key] / MIB, float(reported[key]) * MIB_PER_GIB)
    if "weights_last_stage_gib" in reported:
        for key, at in (("weights_middle_stage_gib", 1), ("weights_last_stage_gib", -1)):
            size = plan.ranks[at].weights_bytes / MIB
            yield Figure(case, WEIGHTS, "GPU", size, float(reported[key]) * MIB_PER_GIB)
    if "cudagraph_gib" in reported:
        yield Figure(case, GRAPHS, "GPU", rank.graph_bytes / MIB, float(reported["cudagraph_gib"]) * MIB_PER_GIB)
    fixed = [key for key in ("weights_gib", "activation_peak_gib", "non_torch_gib") if key in reported]
    if len(fixed) == len(PER_GIB) - 1:
        measured = sum(float(reported[key]) for key in fixed) * MIB_PER_GIB
        planned = rank.weights_bytes + rank.activation_bytes + rank.non_torch_bytes
        yield Figure(case, TOTAL, "GPU", planned / MIB, measured)
    yield from _cache(case, plan)


def _cache(case: Case, plan: VllmAllocation) -> Iterator[Figure]:
    """The cache: as planned, and in the pool that was measured, so that its own rules are seen alone."""
    reported = case.reported
    if "kv_needed_gib" in reported:
        yield Figure(case, KV, "GPU", plan.needed_bytes / MIB, float(reported["kv_needed_gib"]) * MIB_PER_GIB)
    given = "kv_gib" if "kv_gib" in reported else "kv_available_gib" if "kv_available_gib" in reported else ""
    blocks = 0
    if given:
        blocks = _blocks(plan, float(reported[given]))
        if "kv_tokens" in reported and case.number("pp", 1) == 1:
            tokens = _tokens(case, plan, blocks)
            yield Figure(case, TOKENS, "GPU", float(tokens), float(reported["kv_tokens"]))
    if "max_concurrency" in reported:
        requests = _requests(case, plan, blocks) if case.facts.get("pool_only") else plan.max_concurrency
        yield Figure(case, CONCURRENCY, "GPU", requests, float(reported["max_concurrency"]))
    if "max_ctx_that_fits" in reported:
        context = _largest(plan, _blocks(plan, float(reported[given]) - ROUNDED)) if given else plan.max_context
        yield Figure(case, CONTEXT, "GPU", float(context), float(reported["max_ctx_that_fits"]))
    verdict = reported.get("verdict")
    if verdict or ("kv_gib" in reported and not case.facts.get("pool_only") and float(reported["kv_gib"]) > 0):
        fits = 0.0 if verdict == "does not fit" else 1.0
        yield Figure(case, VERDICT, "GPU", float(plan.starts), fits)


def _blocks(plan: VllmAllocation, pool_gib: float) -> int:
    return plan.layout.blocks([int(pool_gib * GIB)] * len(plan.layout.block_bytes))


def _requests(case: Case, plan: VllmAllocation, blocks: int) -> float:
    return blocks / plan.layout.blocks_needed(case.number("ctx", 1), plan.batch.tokens)


def _tokens(case: Case, plan: VllmAllocation, blocks: int) -> int:
    """Return the tokens that the log names: since 0.21 those of as many requests as the pool holds."""
    if settings_of(case).constants["tokens_by_concurrency"]:
        return int(_requests(case, plan, blocks) * case.number("ctx", 1))
    return plan.layout.cached_tokens(blocks)


def _largest(plan: VllmAllocation, blocks: int) -> int:
    """Return the largest context whose blocks are there."""
    low, high = 0, 1 << 24
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if plan.layout.blocks_needed(middle, plan.batch.tokens) <= blocks else (low, middle - 1)
        )
    return low


def _reported(case: Case) -> dict[str, Any]:
    """Return the figures by one set of names: the oldest logs say the peak with the weights in it."""
    found = dict(case.reported)
    if "weights_gib_label_GB" in found:
        found["weights_gib"] = found["weights_gib_label_GB"]
    if "peak_torch_memory_gib" in found and "weights_gib" in found:
        found["activation_peak_gib"] = float(found["peak_torch_memory_gib"]) - float(found["weights_gib"])
    return found

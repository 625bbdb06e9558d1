"""What vLLM allocates: weights, the peak of its profile run, what CUDA takes, and the cache in the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Shape
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import HOST, Allocation, DeviceBytes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.layer_classes import LayerClasses, classes_of
from ansible_collections.llmhost.core.plugins.module_utils.sizing.search import largest
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_activation import activation_bytes
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_cache import CacheLayout, cache_layout
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_graphs import graph_bytes
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_host import host_bytes
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_parallel import check_parallel, pipeline_stages
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import (
    CHUNKED_OVER,
    Batch,
    VllmGpu,
    VllmSettings,
    as_started,
    batch,
)
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_weights import rank_weights
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights

STARTS: Final = "starts"
REFUSED: Final = "refused"
NO_FREE_MEMORY: Final = "no_free_memory"
OUT_OF_MEMORY: Final = "out_of_memory"
NO_CACHE: Final = "no_cache"
CONTEXT_TOO_LONG: Final = "context_too_long"
"""Verdicts: what the engine does at start-up."""


_ODD_VOCABULARY: Final = 200 * MIB
"""Kernels loaded for rows of logits that are not aligned: Granite's 49,155 tokens took 0.46 GiB outside of PyTorch
where 49,156 took 0.25 (llm-d-planner, accuracy/results of vLLM 0.19.0)."""


_WITH_FAST_REDUCTION: Final = (0, 9, 10)
"""Major compute capabilities whose sums over ranks have workspaces of their own: Hopper, B200, and what is unknown."""


@dataclass(frozen=True)
class RankBytes:
    """Bytes on one GPU. ``requested_bytes`` is the engine's share; ``graph_bytes`` lie in it or on top of it, and
    ``context_bytes`` outside, by version. ``pool_bytes`` is what is left for the cache, negative where nothing is."""

    weights_bytes: int
    activation_bytes: int
    non_torch_bytes: int
    graph_bytes: int
    context_bytes: int
    requested_bytes: int
    pool_bytes: int

    @property
    def fixed_bytes(self) -> int:
        """Everything but the cache."""
        return self.weights_bytes + self.activation_bytes + self.non_torch_bytes + self.graph_bytes + self.context_bytes


@dataclass(frozen=True)
class VllmAllocation:
    """The ranks, stage after stage of the pipeline, and the cache that they share out.

    ``cache_tokens`` and ``max_concurrency`` are the figures of vLLM's log ("GPU KV cache size", "Maximum concurrency");
    ``max_context`` is the largest ``max_model_len`` that starts, at most the model's own (0: none).
    """

    ranks: tuple[RankBytes, ...]
    batch: Batch
    layout: CacheLayout
    block_tokens: int
    block_bytes: int  # on the rank where it is largest
    blocks: int
    cache_bytes: int  # of the pool that blocks fill, on that rank
    needed_bytes: int  # of the cache for one request of max_model_len, on that rank
    cache_tokens: int
    max_concurrency: float
    max_context: int
    verdict: str
    message: str
    host_bytes: int
    doubts: tuple[str, ...] = ()

    @property
    def starts(self) -> bool:
        """Whether the engine comes up."""
        return self.verdict == STARTS

    def blocks_hold(self, tokens: int) -> bool:
        """Whether the pool holds one request of so many tokens."""
        return self.layout.blocks_needed(max(tokens, 1), self.batch.in_flight) <= self.blocks

    @property
    def bytes_per_token(self) -> float:
        """Bytes of cache that one more token of a long request takes on the rank where it is largest."""
        growing = sum(
            group.number / group.spec.block_tokens for group in self.layout.groups if group.spec.kind == "whole"
        )
        return self.block_bytes * growing

    @property
    def allocation(self) -> Allocation:
        """The same by device. All of the pool is allocated at once, whatever the requests."""
        gpus = tuple(
            DeviceBytes(
                name=f"GPU{number}",
                weights_bytes=rank.weights_bytes,
                kv_cache_bytes=self.blocks * self._block_bytes(number),
                compute_bytes=rank.activation_bytes,
                overhead_bytes=rank.non_torch_bytes + rank.graph_bytes + rank.context_bytes,
            )
            for number, rank in enumerate(self.ranks)
        )
        return Allocation(gpus, DeviceBytes(HOST, overhead_bytes=self.host_bytes), self.doubts)

    def _block_bytes(self, rank: int) -> int:
        stages = len(self.layout.block_bytes)
        return self.layout.block_bytes[rank * stages // len(self.ranks)] if self.ranks and stages else 0


def allocate_vllm(shape: Shape, weights: Weights, settings: VllmSettings, gpu: VllmGpu | int) -> VllmAllocation:
    """Return what vLLM allocates on equal GPUs (an int is the memory of one in bytes), and what it says at start-up.

    The pool of the cache is share * memory - weights - peak - what lies outside of PyTorch, since 0.20 also less the
    CUDA graphs (``determine_available_memory`` in vllm/v1/worker/gpu_worker.py, 0.6.4 to 0.33.0).
    """
    gpu = (VllmGpu(gpu) if isinstance(gpu, int) else gpu).completed()
    settings = as_started(settings, gpu)
    found = _allocate(shape, weights, settings, gpu)
    if not settings.constants["engine_v1"] and settings.max_num_batched_tokens is None:
        found = replace(found, max_context=_max_context_of_old_engine(shape, weights, settings, gpu, found))
    verdict, message = _verdict(found, shape, settings, gpu)
    return replace(found, verdict=verdict, message=message)


def _allocate(shape: Shape, weights: Weights, settings: VllmSettings, gpu: VllmGpu) -> VllmAllocation:
    """All but the verdict."""
    stages = pipeline_stages(len(shape.layers), settings.pipeline_parallel)
    step = batch(settings, gpu)
    classes = classes_of(shape, weights)
    layout = cache_layout(shape, classes, settings, stages)
    ranks = _ranks(shape, weights, classes, settings, gpu, step, stages)
    blocks = layout.blocks([rank.pool_bytes for rank in ranks])
    block_bytes = max(layout.block_bytes, default=0)
    needed = layout.blocks_needed(max(settings.max_model_len, 1), step.in_flight)
    concurrency = blocks / needed if needed else 0.0
    by_concurrency = bool(settings.constants["tokens_by_concurrency"])
    return VllmAllocation(
        ranks=tuple(rank for rank in ranks for _ in range(max(settings.tensor_parallel, 1))),
        batch=step,
        layout=layout,
        block_tokens=layout.block_tokens,
        block_bytes=block_bytes,
        blocks=blocks,
        cache_bytes=blocks * block_bytes,
        needed_bytes=needed * block_bytes,
        cache_tokens=int(concurrency * settings.max_model_len) if by_concurrency else layout.cached_tokens(blocks),
        max_concurrency=concurrency,
        max_context=_max_context(shape.context_length, layout, blocks, step.in_flight),
        verdict=STARTS,
        message="",
        host_bytes=host_bytes(settings),
        doubts=shape.doubts,
    )


def _ranks(
    shape: Shape,
    weights: Weights,
    classes: LayerClasses,
    settings: VllmSettings,
    gpu: VllmGpu,
    step: Batch,
    stages: Sequence[Sequence[int]],
) -> list[RankBytes]:
    """One rank of each stage: those of a stage are alike."""
    constants = settings.constants
    outside, context = _outside(shape, settings, gpu)
    share = int(gpu.memory_bytes * settings.utilization)
    found = []
    for number, on_rank in enumerate(rank_weights(shape, weights, classes, settings, gpu, stages)):
        last = number == len(stages) - 1
        peak = activation_bytes(shape, weights, classes, settings, gpu, step, last_stage=last)
        graphs = graph_bytes(shape, classes, settings, step, stages[number])
        pool = share - on_rank - peak - outside - (graphs if constants["graphs_in_share"] else 0)
        found.append(RankBytes(on_rank, peak, outside, graphs, context, share, pool))
    return found


def _outside(shape: Shape, settings: VllmSettings, gpu: VllmGpu) -> tuple[int, int]:
    """Bytes that PyTorch does not know of: inside of the share, and outside of it."""
    constants, parallel = settings.constants, settings.tensor_parallel * settings.expert_replicas
    kind = "" if gpu.compute_capability[0] in _WITH_FAST_REDUCTION else "_other"
    if parallel > 1:
        return constants[f"non_torch_{2 if parallel < 4 else 4}{kind}"], constants[f"context_2{kind}"]
    if settings.pipeline_parallel > 1:
        return constants["non_torch_pipeline"], constants[f"context_2{kind}"]
    odd = _ODD_VOCABULARY if shape.vocab_size % 2 else 0
    return constants[f"non_torch_1{kind}"] + odd, constants[f"context_1{kind}"]


def _max_context(most: int, layout: CacheLayout, blocks: int, in_flight: int) -> int:
    """The largest context whose blocks fit, found as ``_estimate_max_model_len_from_groups`` does."""
    if not layout.groups:
        return max(most, 0)
    return largest(lambda length: layout.blocks_needed(length, in_flight) <= blocks, 1, most) or 0


def _max_context_of_old_engine(
    shape: Shape, weights: Weights, settings: VllmSettings, gpu: VllmGpu, found: VllmAllocation
) -> int:
    """Before V1, a step held a whole prompt up to 32,768 tokens, so a longer context left less for the cache."""
    most = shape.context_length

    def starts(length: int) -> bool:
        return _allocate(shape, weights, replace(settings, max_model_len=length), gpu).blocks_hold(length)

    if most > CHUNKED_OVER and starts(CHUNKED_OVER + 1):
        chunked = _allocate(shape, weights, replace(settings, max_model_len=most), gpu)
        return _max_context(most, found.layout, chunked.blocks, chunked.batch.in_flight)
    return largest(starts, 1, min(most, CHUNKED_OVER)) or 0


def _verdict(found: VllmAllocation, shape: Shape, settings: VllmSettings, gpu: VllmGpu) -> tuple[str, str]:
    reasons = check_parallel(shape, settings.tensor_parallel, settings.pipeline_parallel, settings.expert_parallel)
    if 0 < shape.context_length < settings.max_model_len:
        reasons += (f"the model was made for {shape.context_length} tokens, fewer than {settings.max_model_len}",)
    if reasons:
        return REFUSED, "; ".join(reasons)
    worst = max(found.ranks, key=lambda rank: rank.fixed_bytes, default=None)
    if worst is None or gpu.memory_bytes <= 0:
        return OUT_OF_MEMORY, "there is no GPU memory"
    free = gpu.memory_bytes - gpu.used_bytes - worst.context_bytes
    if free < worst.requested_bytes:
        return NO_FREE_MEMORY, (
            f"{free / GIB:.2f} GiB are free, less than the share of {worst.requested_bytes / GIB:.2f} GiB"
        )
    if worst.weights_bytes > free:
        return OUT_OF_MEMORY, f"weights of {worst.weights_bytes / GIB:.2f} GiB do not fit in {free / GIB:.2f} GiB"
    pool = min(rank.pool_bytes for rank in found.ranks)
    if pool <= 0:
        return NO_CACHE, f"the share is {-pool / GIB:.2f} GiB too small for weights and computing; no cache is left"
    if not found.blocks_hold(settings.max_model_len):
        return CONTEXT_TOO_LONG, (
            f"one request of {settings.max_model_len} tokens needs {found.needed_bytes / GIB:.2f} GiB of cache, "
            f"{pool / GIB:.2f} GiB are there: enough for {found.max_context} tokens"
        )
    return STARTS, ""

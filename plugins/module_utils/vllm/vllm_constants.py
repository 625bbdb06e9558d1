"""What depends on the version of vLLM: one table, dated, each entry with its source.

It stands beside ``engine_constants.py`` because vLLM is named by its version, not by a month.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ansible_collections.llmhost.core.plugins.module_utils.size import MIB

CURRENT: Final = "0.33.0"
"""The newest version that was read."""

Version = tuple[int, int, int]

_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?")


@dataclass(frozen=True)
class VllmConstant:
    """What held from the version ``since`` on, until the next entry of the same name."""

    name: str
    since: str
    date: str  # of that version: year and month
    value: int
    source: str


VLLM_CONSTANTS: Final[tuple[VllmConstant, ...]] = (
    VllmConstant("utilization_percent", "0.0", "2023-06", 90, "vllm/engine/arg_utils.py"),
    VllmConstant("utilization_percent", "0.20", "2026-04", 92, "vllm/config/cache.py"),
    # V1: chunked prefill always, the sampler is part of the profile run.
    VllmConstant("engine_v1", "0.0", "2023-06", 0, "vllm/worker/worker.py"),
    VllmConstant("engine_v1", "0.8", "2025-03", 1, "vllm/v1/worker/gpu_worker.py is the default"),
    VllmConstant("chunk_tokens", "0.0", "2023-06", 512, "vllm/config.py, SchedulerConfig"),
    VllmConstant("chunk_tokens", "0.7", "2025-01", 2048, "vllm/config.py, SchedulerConfig"),
    VllmConstant("sequences", "0.0", "2023-06", 256, "vllm/engine/arg_utils.py"),
    VllmConstant("sequences", "0.8", "2025-03", 1024, "vllm/engine/arg_utils.py, _set_default_args_v1"),
    VllmConstant("sequences_by_gpu", "0.0", "2023-06", 0, "vllm/engine/arg_utils.py"),
    VllmConstant("a100_is_large", "0.0", "2023-06", 1, "vllm/engine/arg_utils.py"),
    VllmConstant("a100_is_large", "0.9", "2025-05", 0, "vllm/engine/arg_utils.py, PR 17885"),
    VllmConstant("sequences_by_gpu", "0.8", "2025-03", 1, "vllm/engine/arg_utils.py, device_memory >= 70 GiB"),
    VllmConstant("tokens_by_largest_gpu", "0.0", "2023-06", 0, "vllm/engine/arg_utils.py"),
    VllmConstant("tokens_by_largest_gpu", "0.28", "2026-08", 1, "vllm/engine/arg_utils.py, get_batch_defaults"),
    VllmConstant("sequences_bound_by_tokens", "0.0", "2023-06", 0, "vllm/engine/arg_utils.py"),
    VllmConstant("sequences_bound_by_tokens", "0.10", "2025-07", 1, "vllm/engine/arg_utils.py"),
    VllmConstant("tokens_bound_by_length", "0.0", "2023-06", 0, "vllm/engine/arg_utils.py"),
    VllmConstant("tokens_bound_by_length", "0.10", "2025-07", 1, "vllm/engine/arg_utils.py"),
    # Bytes for each logit of the profile run while the sampler runs on PyTorch's sort: logits in bf16 2 and fp32 4,
    # sorted values 4 and indices 8, and 20 of the segmented sort: keys 4 and (segment, index) pairs 8 twice.
    VllmConstant("sampler_bytes", "0.0", "2023-06", 38, "vllm/v1/sample/ops/topk_topp_sampler.py, Tensor.sort"),
    # Logits 2 and 4, probabilities 4, exponential noise 4; and a buffer of one row for each multiprocessor.
    VllmConstant("sampler_bytes", "0.17", "2026-03", 14, "vllm/v1/sample/ops/topk_topp_triton.py"),
    VllmConstant("sampler_row_buffer", "0.0", "2023-06", 0, "none before the Triton kernel"),
    VllmConstant("sampler_row_buffer", "0.17", "2026-03", 1, "vllm/v1/sample/ops/topk_topp_triton.py"),
    # MXFP4 experts on Hopper: whether scales are padded, and the inner width to 64.
    VllmConstant("mxfp4_scales_padded", "0.0", "2023-06", 0, "gpt-oss-20b 13.47, 120b 64.38 GiB in llm-d-planner"),
    VllmConstant("mxfp4_scales_padded", "0.19", "2026-04", 1, "gpt-oss-20b 13.64, 7.01, 3.63 GiB in llm-d-planner"),
    # The workspace of fused experts stays allocated, so it adds to the sampler's peak.
    VllmConstant("expert_workspace_stays", "0.0", "2023-06", 0, "vllm/model_executor/layers/fused_moe"),
    VllmConstant("expert_workspace_stays", "0.13", "2025-12", 1, "vllm/v1/worker/workspace.py"),
    # Outside of PyTorch, by ranks of tensor parallel (1, 2, 4 and more) and with a pipeline; on Hopper, B200 and B300.
    VllmConstant("non_torch_1", "0.0", "2023-06", 370 * MIB, "vLLM issue 10517: the CUDA context is part of it"),
    VllmConstant("non_torch_1", "0.6.5", "2024-12", 180 * MIB, "vLLM PR 12126"),
    VllmConstant(
        "non_torch_1", "0.8", "2025-03", 560 * MIB, "vllm/v1/worker/gpu_worker.py: mem_get_info, with context"
    ),
    VllmConstant("non_torch_1", "0.9", "2025-05", 145 * MIB, "llm-d-planner, docs/empirical-vllm-memory-results.md"),
    VllmConstant("non_torch_1", "0.18", "2026-03", 275 * MIB, "llm-d-planner, accuracy/accuracy_report.md"),
    VllmConstant("non_torch_2", "0.0", "2023-06", 1800 * MIB, "as one rank, and NCCL"),
    VllmConstant("non_torch_2", "0.6.5", "2024-12", 450 * MIB, "vLLM issues 13061 and 16570, two and four GPUs"),
    VllmConstant("non_torch_2", "0.8", "2025-03", 1800 * MIB, "with the CUDA context and NCCL"),
    VllmConstant("non_torch_2", "0.9", "2025-05", 1600 * MIB, "1.38 GiB on two H200: the snapshot is older than NCCL"),
    VllmConstant("non_torch_2", "0.11", "2025-10", 570 * MIB, "llm-d-planner, docs/empirical-vllm-memory-results.md"),
    VllmConstant("non_torch_2", "0.18", "2026-03", 2160 * MIB, "llm-d-planner, accuracy/accuracy_report.md"),
    VllmConstant("non_torch_4", "0.0", "2023-06", 2000 * MIB, "as one rank, and NCCL"),
    VllmConstant("non_torch_4", "0.6.5", "2024-12", 500 * MIB, "vLLM issue 16570"),
    VllmConstant("non_torch_4", "0.8", "2025-03", 2000 * MIB, "with the CUDA context and NCCL"),
    VllmConstant("non_torch_4", "0.9", "2025-05", 1700 * MIB, "the snapshot is older than NCCL's buffers"),
    VllmConstant("non_torch_4", "0.11", "2025-10", 700 * MIB, "as two ranks, and more channels of NCCL"),
    VllmConstant("non_torch_4", "0.18", "2026-03", 2270 * MIB, "llm-d-planner, accuracy/accuracy_report.md"),
    VllmConstant("non_torch_pipeline", "0.0", "2023-06", 1024 * MIB, "as one rank, and NCCL"),
    VllmConstant("non_torch_pipeline", "0.11", "2025-10", 100 * MIB, "llm-d-planner, accuracy/accuracy_report.md"),
    # The same on other GPUs, which have neither FlashInfer's reduction nor symmetric memory.
    VllmConstant("non_torch_1_other", "0.0", "2023-06", 370 * MIB, "vLLM issue 10517: the CUDA context is part of it"),
    VllmConstant("non_torch_1_other", "0.6.5", "2024-12", 70 * MIB, "0.01 to 0.06 GiB on L4, T4, RTX 4060"),
    VllmConstant("non_torch_1_other", "0.8", "2025-03", 500 * MIB, "with the CUDA context"),
    VllmConstant("non_torch_1_other", "0.9", "2025-05", 40 * MIB, "0.02 GiB on RTX 4090, L40S and A100"),
    VllmConstant("non_torch_1_other", "0.18", "2026-03", 150 * MIB, "ovg-project/kvcached PR 448: 0.11 GiB on A100"),
    VllmConstant("non_torch_1_other", "0.25", "2026-07", 275 * MIB, "0.26 GiB on A100 with 0.31 and on RTX PRO 6000"),
    VllmConstant("non_torch_2_other", "0.0", "2023-06", 900 * MIB, "as one rank, and NCCL"),
    VllmConstant("non_torch_2_other", "0.6.5", "2024-12", 450 * MIB, "vLLM issues 13061 and 16570: 0.25 to 0.43 GiB"),
    VllmConstant("non_torch_2_other", "0.8", "2025-03", 900 * MIB, "with the CUDA context and NCCL"),
    VllmConstant("non_torch_2_other", "0.9", "2025-05", 450 * MIB, "the snapshot is older than NCCL's buffers"),
    VllmConstant("non_torch_2_other", "0.11", "2025-10", 150 * MIB, "0.09 GiB on four GPUs, vLLM 0.11.0"),
    VllmConstant("non_torch_2_other", "0.18", "2026-03", 250 * MIB, "noonghunna/club-3090 issues 91 and 104"),
    VllmConstant("non_torch_2_other", "0.25", "2026-07", 400 * MIB, "as one rank"),
    VllmConstant("non_torch_4_other", "0.0", "2023-06", 1000 * MIB, "as one rank, and NCCL"),
    VllmConstant("non_torch_4_other", "0.6.5", "2024-12", 450 * MIB, "vLLM issue 16570"),
    VllmConstant("non_torch_4_other", "0.8", "2025-03", 1000 * MIB, "with the CUDA context and NCCL"),
    VllmConstant("non_torch_4_other", "0.9", "2025-05", 500 * MIB, "the snapshot is older than NCCL's buffers"),
    VllmConstant("non_torch_4_other", "0.11", "2025-10", 150 * MIB, "0.09 GiB on four GPUs, vLLM 0.11.0"),
    VllmConstant("non_torch_4_other", "0.18", "2026-03", 300 * MIB, "as two ranks"),
    VllmConstant("non_torch_4_other", "0.25", "2026-07", 450 * MIB, "as two ranks"),
    # The context of CUDA and, with several GPUs, what NCCL allocates before the snapshot that the share starts from.
    VllmConstant("context_1", "0.0", "2023-06", 0, "part of non_torch"),
    VllmConstant(
        "context_1", "0.6.5", "2024-12", 530 * MIB, "llm-d-planner, accuracy/results: init_non_torch 0.51 GiB"
    ),
    VllmConstant("context_1", "0.8", "2025-03", 0, "part of non_torch"),
    VllmConstant("context_1", "0.9", "2025-05", 530 * MIB, "llm-d-planner, accuracy/results: init_non_torch 0.51 GiB"),
    VllmConstant("context_2", "0.0", "2023-06", 0, "part of non_torch"),
    VllmConstant("context_2", "0.6.5", "2024-12", 530 * MIB, "as one rank"),
    VllmConstant("context_2", "0.8", "2025-03", 0, "part of non_torch"),
    VllmConstant("context_2", "0.9", "2025-05", 530 * MIB, "as one rank"),
    VllmConstant(
        "context_2", "0.11", "2025-10", 1560 * MIB, "llm-d-planner, accuracy/results: init_non_torch 1.51 GiB"
    ),
    VllmConstant("context_1_other", "0.0", "2023-06", 0, "part of non_torch"),
    VllmConstant("context_1_other", "0.6.5", "2024-12", 450 * MIB, "as 0.9"),
    VllmConstant("context_1_other", "0.8", "2025-03", 0, "part of non_torch"),
    VllmConstant("context_1_other", "0.9", "2025-05", 450 * MIB, "0.45 GiB on RTX 4090, 0.41 on A100, 0.23 on L4"),
    VllmConstant("context_2_other", "0.0", "2023-06", 0, "part of non_torch"),
    VllmConstant("context_2_other", "0.6.5", "2024-12", 450 * MIB, "as one rank"),
    VllmConstant("context_2_other", "0.8", "2025-03", 0, "part of non_torch"),
    VllmConstant("context_2_other", "0.9", "2025-05", 450 * MIB, "as one rank"),
    VllmConstant(
        "context_2_other", "0.11", "2025-10", 650 * MIB, "0.63 GiB on eight RTX 3090, wtdcode/vllm-backport 34"
    ),
    # Graphs of whole steps, of sizes up to the sequences; V1 captured only parts of a step at first.
    VllmConstant("whole_graphs", "0.0", "2023-06", 1, "vllm/worker/model_runner.py"),
    VllmConstant("whole_graphs", "0.8", "2025-03", 0, "vllm/config.py, PIECEWISE"),
    VllmConstant("whole_graphs", "0.11", "2025-10", 1, "vllm/config, FULL_AND_PIECEWISE"),
    VllmConstant("graph_step_16", "0.0", "2023-06", 0, "vllm/config.py"),
    VllmConstant("graph_step_16", "0.11.1", "2025-11", 1, "vllm/config/vllm.py, _set_cudagraph_sizes"),
    # What CUDA graphs take: 0 after the cache was sized, on top of the share; 1 estimated and taken from the cache.
    VllmConstant("graphs_in_share", "0.0", "2023-06", 0, "vllm/worker/worker.py"),
    VllmConstant("graphs_in_share", "0.20", "2026-04", 1, "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS, vllm/envs.py"),
    # Layers of different kinds share pages of one size (hybrid allocator); before, sliding layers were stored whole.
    VllmConstant("hybrid_groups", "0.0", "2023-06", 0, "vllm/v1/core/kv_cache_utils.py, unify_hybrid_kv_cache_specs"),
    VllmConstant("hybrid_groups", "0.9.2", "2025-07", 1, "vllm/v1/core/kv_cache_utils.py"),
    # The log's figure of tokens: 0 blocks of one group, 1 the concurrency times the context.
    VllmConstant("tokens_by_concurrency", "0.0", "2023-06", 0, "vllm/v1/core/kv_cache_utils.py"),
    VllmConstant("tokens_by_concurrency", "0.21", "2026-05", 1, "vllm/v1/core/kv_cache_utils.py"),
    # Whether prefixes are cached by default for a model with recurrent layers.
    VllmConstant("hybrid_prefixes", "0.0", "2023-06", 0, "vllm/config/model.py, is_prefix_caching_supported"),
    VllmConstant("hybrid_prefixes", "0.25", "2026-07", 1, "vllm/config/model.py, is_prefix_caching_supported"),
    # Pages that a sequence holds of a recurrent state while prefixes are cached.
    VllmConstant("state_pages", "0.0", "2023-06", 1, "vllm/v1/kv_cache_interface.py, MambaSpec"),
    VllmConstant("state_pages", "0.15", "2026-01", 2, "vllm/v1/kv_cache_interface.py, mamba_cache_mode align"),
    # Whether layers of chunked attention (Llama 4) take part in that; else every layer stores every token.
    VllmConstant("chunked_groups", "0.0", "2023-06", 0, "VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE"),
    VllmConstant("chunked_groups", "0.14", "2026-01", 1, "VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE"),
    # A value narrower than its key: 0 takes the key's room, 1 its own in layers without a window, 2 in all.
    VllmConstant("value_width", "0.0", "2023-06", 0, "vllm/v1/kv_cache_interface.py, AttentionSpec"),
    VllmConstant("value_width", "0.14", "2026-01", 1, "vllm/v1/kv_cache_interface.py, FullAttentionSpec.head_size_v"),
    VllmConstant("value_width", "0.24", "2026-06", 2, "vllm/v1/kv_cache_interface.py, SlidingWindowSpec.head_size_v"),
    # Steps that may be under way at once, whose tokens a window keeps.
    VllmConstant("steps_in_flight", "0.0", "2023-06", 1, "vllm/v1/kv_cache_interface.py, SlidingWindowSpec"),
    VllmConstant("steps_in_flight", "0.26", "2026-07", 2, "vllm/config/vllm.py, max_in_flight_tokens"),
    # Latent attention: 0 keys and values of every head, padded to 256; 1 one latent row, aligned to so many bytes. With
    # absorption the products of its projections are kept too.
    VllmConstant("latent_rows", "0.0", "2023-06", 0, "vllm/model_executor/models/deepseek_v2.py"),
    VllmConstant("latent_rows", "0.7.1", "2025-02", 1, "vllm/config.py, use_mla"),
    VllmConstant(
        "latent_alignment", "0.0", "2023-06", 256, "VLLM_CUDA_MEM_ALIGN_KV_CACHE, vllm/worker/cache_engine.py"
    ),
    VllmConstant("latent_alignment", "0.8", "2025-03", 1, "vllm/v1/kv_cache_interface.py"),
    VllmConstant("latent_absorbed", "0.0", "2023-06", 0, "no latent rows"),
    VllmConstant("latent_absorbed", "0.7.1", "2025-02", 1, "VLLM_MLA_PERFORM_MATRIX_ABSORPTION, vllm/envs.py"),
    VllmConstant("latent_absorbed", "0.8", "2025-03", 0, "vllm/v1/attention/backends/mla"),
    # A group is as large as the larger kind of layer if that is less than this many percent of the smaller.
    VllmConstant("group_percent", "0.0", "2023-06", 100, "vllm/v1/core/kv_cache_utils.py, min_num_layers"),
    VllmConstant("group_percent", "0.11.1", "2025-11", 125, "vllm/v1/core/kv_cache_utils.py"),
    VllmConstant("group_percent", "0.19", "2026-04", 150, "vllm/v1/core/kv_cache_utils.py"),
)


def version(text: str) -> Version:
    """Return the numbers of a version (``v0.11.0rc2`` is 0.11.0); what is not one counts as the newest."""
    match = _VERSION.match(text.strip()) or _VERSION.match(CURRENT)
    if match is None:
        return (0, 0, 0)
    return int(match[1]), int(match[2]), int(match[3] or 0)


def book(text: str) -> dict[str, int]:
    """Return every constant as it held in a version."""
    found = _BOOKS.get(text)
    if found is None:
        number = version(text)
        found = {entry.name: entry.value for entry in VLLM_CONSTANTS if version(entry.since) <= number}
        if len(_BOOKS) < _MOST_BOOKS:
            _BOOKS[text] = found
    return found


_MOST_BOOKS = 256
_BOOKS: dict[str, dict[str, int]] = {}

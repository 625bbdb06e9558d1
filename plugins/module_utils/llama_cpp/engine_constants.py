"""Constants of engines that depend on their version: one table, dated, each with its source.

vLLM is named by its version, so its constants stand in ``vllm_constants.py``, in the same form.

A build is named by the month of its sources (``2024-04``), ``pinned`` for the one this collection installs, or
``ik-2025`` for the ik_llama.cpp fork. ``value`` finds what held in that build.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ansible_collections.llmhost.core.plugins.module_utils.size import MIB

PINNED: Final = "pinned"
FORK_PREFIX: Final = "ik-"
_NEWEST = "9999"


@dataclass(frozen=True)
class Constant:
    """What held for an engine from the month ``since`` on, until the next entry of the same name."""

    engine: str
    name: str
    since: str  # year and month; "" is the oldest build known
    value: int
    source: str


LLAMA_CPP = "llama.cpp"
IK_LLAMA = "ik_llama.cpp"

CONSTANTS: Final[tuple[Constant, ...]] = (
    # Cells of a KV cache are padded to this with and without flash attention.
    Constant(LLAMA_CPP, "cell_padding", "", 32, "llama.cpp: GGML_PAD(n_ctx, 32)"),
    Constant(LLAMA_CPP, "cell_padding", "2025-11", 256, "src/llama-context.cpp, PR 17046"),
    Constant(LLAMA_CPP, "cell_padding_flash", "", 256, "src/llama.cpp, llama_kv_cache_get_padding, PR 5021"),
    # A window of sliding attention bounds the cells of its layers; 0: full length on all layers.
    Constant(LLAMA_CPP, "window_bounds_cells", "", 0, "before PR 13194"),
    Constant(LLAMA_CPP, "window_bounds_cells", "2025-05", 1, "src/llama-kv-cache-iswa.cpp, PR 13194"),
    # What the window is enlarged by: 1 the batch, 0 the micro-batch.
    Constant(LLAMA_CPP, "window_adds_batch", "", 1, "PR 13194"),
    Constant(LLAMA_CPP, "window_adds_batch", "2025-06", 0, "src/llama-kv-cache-iswa.cpp, n_ubatch"),
    # Sliding cells are padded to 256 whatever the attention.
    Constant(LLAMA_CPP, "window_padding", "", 0, "as cell_padding"),
    Constant(LLAMA_CPP, "window_padding", "2025-11", 256, "issue 17037"),
    # Each sequence has cells of its own unless the cache is unified; before, always unified.
    Constant(LLAMA_CPP, "sequence_streams", "", 0, "before PR 14363"),
    Constant(LLAMA_CPP, "sequence_streams", "2025-07", 1, "src/llama-kv-cache.cpp, n_stream, PR 14363"),
    # Latent attention: 0 expanded keys and values, 1 latent keys and values, 2 one latent row.
    Constant(LLAMA_CPP, "latent_cache", "", 0, "before PR 12801"),
    Constant(LLAMA_CPP, "latent_cache", "2025-04", 1, "PR 12801: K of kv_lora_rank + rope, V of kv_lora_rank"),
    Constant(LLAMA_CPP, "latent_cache", "2026-01", 2, "src/llama-kv-cache.cpp, has_v = !is_mla, PR 19067"),
    # Rows of logits that the graph is reserved for: 0 a whole micro-batch, 1 one a sequence (the server).
    Constant(LLAMA_CPP, "logits_by_sequence", "", 0, "graph reserved for n_outputs = n_tokens"),
    Constant(LLAMA_CPP, "logits_by_sequence", "2026-06", 1, "src/llama-context.cpp, n_outputs_max, PR 23861"),
    # Whether the tokens to predict from are chosen before the logits even when these are all tokens.
    Constant(LLAMA_CPP, "picks_outputs", "", 0, "before inp_out_ids"),
    Constant(LLAMA_CPP, "picks_outputs", "2024-04", 1, "build_inp_out_ids, PR 6122"),
    # The activation of a gated network: 0 in place, 1 a tensor of its own.
    Constant(LLAMA_CPP, "fused_gate", "", 0, "ggml_silu and ggml_mul in place"),
    Constant(LLAMA_CPP, "fused_gate", "2025-07", 1, "ggml_swiglu_split, PR 14181"),
    # Bytes an element of the mask with flash attention: an f32 input, with its f16 copy on the device.
    Constant(LLAMA_CPP, "flash_mask_bytes", "", 4, "src/llama-graph.cpp, ggml_cast of self_kq_mask"),
    Constant(LLAMA_CPP, "flash_mask_bytes", "2026-06", 2, "src/llama-graph.cpp, build_attn_inp_kq_mask, PR 23764"),
    Constant(LLAMA_CPP, "flash_mask_gpu_bytes", "", 4, "src/llama-graph.cpp, an f32 input"),
    Constant(LLAMA_CPP, "flash_mask_gpu_bytes", "2026-06", 2, "src/llama-graph.cpp, build_attn_inp_kq_mask, PR 23764"),
    Constant(LLAMA_CPP, "flash_mask_cast_bytes", "", 2, "ggml_cast of self_kq_mask; log of GLM-Z1-32B, April 2025"),
    Constant(LLAMA_CPP, "flash_mask_cast_bytes", "2026-06", 0, "PR 23764"),
    # Inputs that say in which cells new tokens go.
    Constant(LLAMA_CPP, "cell_indexes", "", 0, "a view of the cache before ggml_set_rows"),
    Constant(LLAMA_CPP, "cell_indexes", "2025-07", 1, "ggml_set_rows, PR 14285"),
    # Embeddings as an input beside the tokens in every graph.
    Constant(LLAMA_CPP, "input_embeddings", "", 0, "tokens or embeddings"),
    Constant(LLAMA_CPP, "input_embeddings", "2026-01", 1, "src/llama-graph.cpp, build_inp_embd, PR 18550"),
    # Quantised caches hold rotated keys and values.
    Constant(LLAMA_CPP, "rotated_cache", "", 0, "before attn_rot_k"),
    Constant(LLAMA_CPP, "rotated_cache", "2026-04", 1, "src/llama-kv-cache.cpp, attn_rot_k"),
    # The f16 copies of a quantised cache: 0 in CUDA's own pool, 1 in the compute buffer.
    Constant(LLAMA_CPP, "flash_copies_logged", "", 0, "ggml_cuda_pool"),
    Constant(LLAMA_CPP, "flash_copies_logged", "2026-06", 1, "ggml-cuda/fattn.cu, flash_attn_ext_get_alloc_size"),
    # Several GPUs work on different micro-batches at once.
    Constant(LLAMA_CPP, "pipeline", "", 0, "before PR 6017"),
    Constant(LLAMA_CPP, "pipeline", "2024-03", 1, "src/llama-context.cpp, pipeline_parallel"),
    # Hidden states that a GPU takes over from the one before.
    Constant(LLAMA_CPP, "arriving", "", 1, "log of Meta-Llama-3 8B on two RTX 3090: 640.01 and 640.02 MiB"),
    Constant(LLAMA_CPP, "arriving", "2025-06", 2, "llama-fit-params over RPC: the sum at the end of a layer moves on"),
    # Only the first GPU has a compute buffer.
    Constant(LLAMA_CPP, "one_compute_buffer", "", 1, "llama.cpp b1619: compute buffer total size"),
    Constant(LLAMA_CPP, "one_compute_buffer", "2024-01", 0, "ggml_backend_sched, PR 4773"),
    # Hidden states that gated delta nets took beside what the pinned graph takes: in chunks of many operations first.
    Constant(LLAMA_CPP, "delta_net_extra", "", 3, "log of Qwen3.5-27B, b8586"),
    Constant(LLAMA_CPP, "delta_net_extra", "2026-05", 1, "log of Qwen3.5-9B, b9849"),
    Constant(LLAMA_CPP, "delta_net_extra", "2026-09", 0, "llama-fit-params of the pinned build"),
    # Latent attention with keys and values expanded for the whole context, at most so many bytes of them in f32.
    Constant(LLAMA_CPP, "expands_latent", "", 0, "attention on the latent rows themselves"),
    # The layers that a GPU gets end with the output, even if they are not all.
    Constant(LLAMA_CPP, "output_first", "", 0, "src/llama-model.cpp, i_gpu_start = n_layer - n_gpu_layers"),
    Constant(LLAMA_CPP, "output_first", "2026-01", 1, "src/llama-model.cpp, i_gpu_start = n_layer + 1 - n_gpu_layers"),
    # Split by rows: 1 each GPU keeps what cannot be split of its own layers, 0 the main GPU of all.
    Constant(LLAMA_CPP, "rows_spread_layers", "", 0, "llm_load_tensors, llama_default_buffer_type_offload(main_gpu)"),
    Constant(LLAMA_CPP, "rows_spread_layers", "2024-11", 1, "make_gpu_buft_list, PR 10026"),
    # Large batches are multiplied on the GPU with weights copied from RAM.
    Constant(LLAMA_CPP, "offloads_operations", "", 0, "before PR 6083"),
    Constant(LLAMA_CPP, "offloads_operations", "2024-03", 1, "ggml-backend.cpp, offload_op"),
    # Outside of every buffer that the log names: context, libraries and pools of CUDA, on each GPU and in RAM.
    Constant(LLAMA_CPP, "cuda_context", "", 450 * MIB, "nvidia-smi beside the log's sum on RTX 3090"),
    Constant(LLAMA_CPP, "cuda_host", "", 600 * MIB, "resident size of a process with a CUDA context"),
    Constant(LLAMA_CPP, "process", "", 64 * MIB, "resident size of llama-server without a model's buffers"),
    Constant(LLAMA_CPP, "vocabulary_entry", "", 400, "two maps of strings and the merge ranks"),
    Constant(IK_LLAMA, "cell_padding", "", 32, "ik_llama.cpp src/llama.cpp"),
    Constant(IK_LLAMA, "cell_padding_flash", "", 256, "ik_llama.cpp src/llama.cpp, llama_kv_cache_get_padding"),
    Constant(IK_LLAMA, "window_bounds_cells", "", 0, "ik_llama.cpp issue 539: full length on all layers"),
    Constant(IK_LLAMA, "window_adds_batch", "", 1, "not used"),
    Constant(IK_LLAMA, "window_padding", "", 0, "not used"),
    Constant(IK_LLAMA, "sequence_streams", "", 0, "one cache for all sequences"),
    Constant(IK_LLAMA, "latent_cache", "", 2, "-mla 3: c^KV alone, kv^T not used; discussion 258"),
    Constant(IK_LLAMA, "flash_mask_gpu_bytes", "", 4, "src/llama.cpp, an f32 input"),
    Constant(IK_LLAMA, "flash_mask_cast_bytes", "", 2, "src/llama.cpp, ggml_cast of KQ_mask"),
    Constant(IK_LLAMA, "rows_spread_layers", "", 0, "discussion 397: caches on CUDA0 alone"),
    Constant(IK_LLAMA, "expands_latent", "", 512 * MIB, "ik_llama.cpp discussion 258: -mla 3 -fa -amb 512"),
    Constant(IK_LLAMA, "logits_by_sequence", "", 0, "graph reserved for a micro-batch"),
)


def value(build: str, name: str) -> int:
    """Return a constant of llama.cpp as it held in a build; a fork's own where it has one.

    Raises KeyError for a name that is not in the table.
    """
    return _book(build)[name]


def _book(build: str) -> dict[str, int]:
    book = _BOOKS.get(build)
    if book is None:
        book = _BOOKS[build] = _read(build)
    return book


def _read(build: str) -> dict[str, int]:
    fork = build.startswith(FORK_PREFIX)
    month = _NEWEST if build == PINNED else build.removeprefix(FORK_PREFIX)
    engines = (LLAMA_CPP, IK_LLAMA) if fork else (LLAMA_CPP,)
    return {entry.name: entry.value for entry in CONSTANTS if entry.engine in engines and entry.since <= month}


_BOOKS: dict[str, dict[str, int]] = {}

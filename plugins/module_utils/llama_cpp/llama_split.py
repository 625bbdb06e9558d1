"""Models whose matrices are divided among all GPUs: llama.cpp's split modes ``row`` and ``tensor``.

* ``row``, ``src/llama-model.cpp`` (make_gpu_buft_list): rows of every matrix go to all GPUs by their shares; what no
  split buffer can hold (norms, routed experts), caches and computation stay with the GPU of the layer. Until late 2024
  that was the main GPU for all layers. How many rows a GPU gets is rounded to some tens, which is not followed here.
* ``tensor``, ``src/llama-model.cpp`` (split mode of a meta device): matrices, experts, heads and with them the caches
  go to all GPUs by their shares, the rest to each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import DeviceBytes

UPPER_BOUND = "compute buffers of the split mode tensor are those of one GPU that computes everything"


def by_rows(gpus: Sequence[DeviceBytes], matrices: Sequence[int], shares: Sequence[int]) -> tuple[DeviceBytes, ...]:
    """Return the GPUs with rows of every matrix on each; ``matrices`` are the bytes that each would hold whole."""
    rows = divided(sum(matrices), shares)
    return tuple(
        replace(gpu, weights_bytes=gpu.weights_bytes - whole + part)
        for gpu, whole, part in zip(gpus, matrices, rows, strict=True)
    )


def by_heads(gpus: Sequence[DeviceBytes], matrices: int, shares: Sequence[int]) -> tuple[DeviceBytes, ...]:
    """Return the GPUs with a part of every layer on each, where the first of ``gpus`` would hold and compute all."""
    whole = gpus[0]
    parts = [divided(size, shares) for size in (matrices, whole.kv_cache_bytes, whole.recurrent_bytes)]
    return tuple(
        replace(
            whole,
            name=gpu.name,
            weights_bytes=whole.weights_bytes - matrices + weights,
            kv_cache_bytes=cache,
            recurrent_bytes=state,
        )
        for gpu, weights, cache, state in zip(gpus, *parts, strict=True)
    )


def divided(size: int, shares: Sequence[int]) -> list[int]:
    """Return each share of some bytes, rounded up."""
    total = sum(shares) or 1
    return [-(-size * share // total) for share in shares]

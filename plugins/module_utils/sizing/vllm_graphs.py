"""What CUDA graphs take, which vLLM captures for steps of few tokens."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.size import KIB, MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.shape import Shape
from ansible_collections.llmhost.core.plugins.module_utils.sizing.vllm_settings import Batch, VllmSettings

_MOST_TOKENS = 512


def graph_bytes(shape: Shape, settings: VllmSettings, batch: Batch, layers: int) -> int:
    """Return what the captured graphs of one rank take; 0 with ``--enforce-eager``."""
    if settings.enforce_eager or not layers:
        return 0
    tokens = min(_MOST_TOKENS, 2 * batch.sequences)
    hidden = tokens * shape.embedding_length * settings.dtype_bytes
    return 256 * MIB + 12 * hidden + graph_count(tokens) * layers * 200 * KIB


def graph_count(tokens: int) -> int:
    """Return how many sizes of a step are captured: 1, 2, 4, then every 8 to 256 and every 16 to ``tokens``."""
    sizes = {1, 2, 4, *range(8, 256, 8), *range(256, _MOST_TOKENS + 1, 16)}
    return sum(size <= tokens for size in sizes)

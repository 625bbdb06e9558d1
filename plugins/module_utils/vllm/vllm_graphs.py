"""What CUDA graphs take, which vLLM captures for steps of few tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import LATENT, Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.size import KIB, MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.layer_classes import LayerClasses
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import Batch, VllmSettings
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_weights import is_mxfp4

_MOST_TOKENS: Final = 512
"""Twice as many for gpt-oss, however few the sequences (GptOssForCausalLMConfig in
vllm/model_executor/models/config.py, 0.10.2 to 0.28.0)."""

_POOL: Final = 64 * MIB
_POOL_OF_TOKEN: Final = 600 * KIB

_DENSE, _EXPERTS, _MXFP4, _LATENT = 185 * KIB, 255 * KIB, 330 * KIB, 460 * KIB
"""One layer in one graph, by how many kernels it launches: what is left of 45 boots of vLLM 0.19.0 on H100 after the
pool, 51 partial and 51 whole graphs each (llm-d-planner, accuracy/results, "CUDA graph pool memory")."""


def graph_bytes(shape: Shape, classes: LayerClasses, settings: VllmSettings, batch: Batch, stage: Sequence[int]) -> int:
    """Return what the captured graphs of one rank take; 0 with ``--enforce-eager``.

    Which graphs are captured follows ``_set_cudagraph_sizes`` in vllm/config/vllm.py; their size is measured.
    """
    if settings.enforce_eager:
        return 0
    constants = settings.constants
    if is_mxfp4(shape, settings) and constants["engine_v1"]:
        most = min(2 * _MOST_TOKENS, batch.tokens)
    else:
        most = min(_MOST_TOKENS if constants["engine_v1"] else 256, batch.tokens, 2 * batch.sequences)
    graphs = graph_count(most, fine=not constants["graph_step_16"]) if constants["engine_v1"] else 0
    if constants["whole_graphs"]:
        graphs += graph_count(min(most, batch.sequences), fine=not constants["graph_step_16"])
    experts = _MXFP4 if is_mxfp4(shape, settings) else _EXPERTS
    layers = sum(_layer_bytes(layer, experts) * count for layer, _, count in classes.counted(stage))
    total = _POOL + most * _POOL_OF_TOKEN + graphs * layers if layers else 0
    # What is estimated before the capture is a little more than what the capture takes.
    return total * 9 // 8 if constants["graphs_in_share"] else total


def graph_count(tokens: int, *, fine: bool = False) -> int:
    """Return how many sizes of a step are captured up to ``tokens``: 1, 2, 4, every 8 to 256, and every 16 (``fine``:
    8) from there."""
    sizes = (1, 2, 4, *range(8, 256, 8), *range(256, 2 * _MOST_TOKENS + 1, 8 if fine else 16))
    return sum(size <= tokens for size in sizes)


def _layer_bytes(layer: Layer, experts: int) -> int:
    if layer.attention is not None and layer.attention.kind == LATENT:
        return _LATENT
    return experts if layer.feed_forward is not None and layer.feed_forward.experts else _DENSE

"""The peak of what vLLM computes with: the profile run, a step of as many tokens and sequences as one may hold.

Three moments can be the peak, and the largest counts: the widest layer, the sampler (every sequence's logits), the
tower of a model that sees. Source: ``profile_run`` and ``_dummy_sampler_run`` in vllm/v1/worker/gpu_model_runner.py,
vllm/v1/sample/sampler.py, read in 0.8.5 to 0.33.0.
"""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import LATENT, Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.size import KIB, MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.layer_classes import LayerClasses
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_matrices import layer_matrices
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import (
    CHUNKED_OVER,
    Batch,
    VllmGpu,
    VllmSettings,
)
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_tower import Tower
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_weights import is_mxfp4
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights

_HIDDEN_COPIES = 4
"""Hidden states alive in a compiled layer: its input, the residual, the output of attention, the norm's output."""

_HOPPER = 9

_EXPERT_TOKENS = 32768
"""Tokens that experts compute at once (VLLM_FUSED_MOE_CHUNK_SIZE in vllm/envs.py)."""

_FLASHINFER_LOGIT = 14
"""Logits in bf16 and fp32, masked logits and probabilities (flashinfer/sampling.py, top_k_top_p_sampling_from_logits).
"""

_SMALL = 6 * MIB
"""Tensors of a few bytes for each token or sequence."""

_HIDDEN_COPIES_EAGER = 3
"""Before V1 compiled whole layers: one less."""


def activation_bytes(
    shape: Shape,
    weights: Weights,
    classes: LayerClasses,
    settings: VllmSettings,
    gpu: VllmGpu,
    batch: Batch,
    *,
    last_stage: bool = True,
) -> int:
    """Return the peak above the weights on one rank; only the last stage of a pipeline samples."""
    constants = settings.constants
    layer = max((_layer_bytes(kind, shape, settings, gpu, batch) for kind in classes.kinds), default=0)
    layer += _quantized_inputs(shape, weights, settings, batch)
    workspace = expert_workspace(shape, classes, settings, gpu, batch)
    if settings.pipeline_parallel > 1:
        # What one stage hands to the next, and its copy: hidden states and residual.
        layer += 3 * _hidden(shape, settings, batch)
    if settings.expert_replicas > 1:
        # The tokens of all replicas come together for the experts, and their results.
        layer += 2 * settings.expert_replicas * _hidden(shape, settings, batch)
    chunked = settings.max_model_len > CHUNKED_OVER and settings.max_num_batched_tokens is None
    samples = last_stage and (constants["engine_v1"] or not chunked)
    sampler = sampler_bytes(shape, settings, gpu, batch) if samples else 0
    stays = workspace if constants["expert_workspace_stays"] else 0
    peak = max(layer + workspace - stays, sampler)
    tower = Tower.of(shape, weights, settings, batch)
    return cublas_workspace(gpu) + _SMALL + max(stays + peak + tower.held_bytes, tower.peak_bytes)


def _hidden(shape: Shape, settings: VllmSettings, batch: Batch) -> int:
    return batch.tokens * shape.embedding_length * settings.dtype_bytes


def _layer_bytes(layer: Layer, shape: Shape, settings: VllmSettings, gpu: VllmGpu, batch: Batch) -> int:
    """The widest moment of one layer: hidden states, and the inner width of its network or of its attention."""
    ranks = max(settings.tensor_parallel, 1)
    inner = 0
    if layer.feed_forward is not None:
        network = layer.feed_forward
        width = max(network.length, network.shared_length) // ranks
        inner = width * (3 if network.gated else 2)
    attention = layer.attention
    if attention is not None and attention.heads:
        heads = -(-attention.heads // ranks)
        if attention.kind == LATENT:
            # Queries, the expanded keys and values of a prompt, keys with the rotary part, the output.
            width = heads * (3 * attention.head_dim_k + 2 * attention.head_dim_v)
        else:
            width = heads * (attention.head_dim_k * (2 + attention.gated) + attention.head_dim_v)
            width += -(-attention.kv_heads // ranks) * (attention.head_dim_k + attention.head_dim_v)
        inner = max(inner, width)
    if layer.recurrent is not None:
        inner = max(inner, 6 * layer.recurrent.inner // ranks)
    copies = _HIDDEN_COPIES if settings.constants["engine_v1"] else _HIDDEN_COPIES_EAGER
    copies += ranks > 1  # the sum over the ranks is a tensor of its own
    copies += (0, 0) < gpu.compute_capability < (8, 0)  # xformers
    return batch.tokens * settings.dtype_bytes * inner + copies * _hidden(shape, settings, batch)


def _quantized_inputs(shape: Shape, weights: Weights, settings: VllmSettings, batch: Batch) -> int:
    """What 8-bit matrices multiply: the inputs of the widest network in 8 bits, beside those in 16."""
    if not shape.layers or not weights.layers:
        return 0
    layer, stored = shape.layers[-1], weights.layers[-1]
    elements = layer_matrices(layer, shape.embedding_length, settings).dense_elements
    if not elements * 0.9 < stored.split_bytes < elements * 1.2:
        return 0
    width = layer.feed_forward.length // max(settings.tensor_parallel, 1) if layer.feed_forward is not None else 0
    return batch.tokens * (width + 3 * shape.embedding_length)


def sampler_bytes(shape: Shape, settings: VllmSettings, gpu: VllmGpu, batch: Batch) -> int:
    """Return what is alive while every sequence's next token is drawn with top-k and top-p.

    Logits in several forms, the hidden states of the step, and those of each sequence's last token twice.
    """
    constants = settings.constants
    each = _FLASHINFER_LOGIT if settings.flashinfer_sampler else constants["sampler_bytes"]
    each += 2 if settings.dtype_bytes > 2 else 0
    logits = each * batch.sequences * shape.vocab_size
    if constants["sampler_row_buffer"] and batch.sequences >= 8 and not settings.flashinfer_sampler:
        rows = min(gpu.processors, batch.sequences)
        logits += 4 * rows * shape.vocab_size
    rows = min(batch.sequences, batch.tokens)
    return logits + _hidden(shape, settings, batch) + 2 * rows * shape.embedding_length * settings.dtype_bytes


def expert_workspace(shape: Shape, classes: LayerClasses, settings: VllmSettings, gpu: VllmGpu, batch: Batch) -> int:
    """Return the two buffers of fused experts (``workspace_shapes`` of TritonExperts in
    vllm/model_executor/layers/fused_moe/fused_moe.py): for each choice of an expert, the wider of hidden and half the
    first matrix, and the wider of hidden and all of it."""
    if is_mxfp4(shape, settings) and gpu.compute_capability[0] == _HOPPER:
        return 0  # its kernels keep nothing
    ranks = 1 if settings.expert_parallel else max(settings.tensor_parallel, 1)
    most = 0
    for layer in classes.kinds:
        network = layer.feed_forward
        if network is None or not network.experts:
            continue
        width = -(-network.expert_length // ranks)
        hidden = shape.embedding_length
        first = 2 * width if network.gated else width
        most = max(most, network.experts_used * (max(hidden, width) + max(hidden, first)))
    return min(batch.tokens * settings.expert_replicas, _EXPERT_TOKENS) * most * settings.dtype_bytes


def cublas_workspace(gpu: VllmGpu) -> int:
    """Return what PyTorch gives cuBLAS (aten/src/ATen/cuda/CublasHandlePool.cpp): 32 MiB from Hopper on."""
    if gpu.compute_capability == (0, 0) or gpu.compute_capability >= (9, 0):
        return 32 * MIB
    return 8 * MIB + 128 * KIB

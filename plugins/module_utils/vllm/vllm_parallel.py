"""How vLLM divides a model among GPUs, and what it refuses to divide."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import LATENT, Attention, Layer, Shape

VOCABULARY_PADDING = 64
"""``DEFAULT_VOCAB_PADDING_SIZE`` in vllm/model_executor/layers/vocab_parallel_embedding.py."""


def padded_vocabulary(tokens: int) -> int:
    """Return the rows that the embedding and the output matrix have in memory."""
    return -(-tokens // VOCABULARY_PADDING) * VOCABULARY_PADDING


def pipeline_stages(layers: int, stages: int) -> list[range]:
    """Return the layers of each stage as ``get_pp_indices`` of vllm/distributed/utils.py cuts them: what does not
    divide goes to the stages before the last."""
    stages = max(stages, 1)
    sizes = [layers // stages] * stages
    for number in range(2, layers % stages + 2):
        sizes[-number] += 1
    found: list[range] = []
    first = 0
    for size in sizes:
        found.append(range(first, first + size))
        first += size
    return found


def check_parallel(
    shape: Shape, tensor_parallel: int, pipeline_parallel: int = 1, expert_parallel: bool = False
) -> tuple[str, ...]:
    """Return why vLLM refuses to divide the model so; empty when it does not.

    Sources: ``ModelConfig.verify_with_parallel_config`` in vllm/config (heads, pipeline), ``divide`` in
    vllm/distributed/utils.py (widths and the padded vocabulary), ``QKVParallelLinear`` (heads of keys: a divisor or a
    multiple of the ranks).
    """
    ranks, stages = tensor_parallel, pipeline_parallel
    if ranks < 1 or stages < 1:
        return (f"tensor parallel {ranks} and pipeline parallel {stages} must both be 1 or more",)
    reasons: list[str] = []
    if stages > len(shape.layers):
        reasons.append(f"{len(shape.layers)} layers cannot be cut into {stages} stages of a pipeline")
    if ranks > 1:
        if shape.vocab_size and padded_vocabulary(shape.vocab_size) % ranks:
            reasons.append(
                f"{shape.vocab_size} tokens of the vocabulary, padded to {padded_vocabulary(shape.vocab_size)}, "
                f"cannot be divided by tensor parallel {ranks}"
            )
        for layer in {id(layer): layer for layer in shape.layers}.values():
            reasons.extend(_layer_reasons(layer, ranks, expert_parallel))
    return tuple(dict.fromkeys(reasons))


def _layer_reasons(layer: Layer, ranks: int, expert_parallel: bool) -> list[str]:
    reasons = _attention_reasons(layer.attention, ranks) if layer.attention else []
    recurrent, network = layer.recurrent, layer.feed_forward
    if recurrent and recurrent.heads % ranks:
        reasons.append(f"{recurrent.heads} heads of the recurrent layers cannot be divided by tensor parallel {ranks}")
    if network:
        widths = {"feed-forward network": network.length, "shared experts": network.shared_length}
        if not expert_parallel:
            widths["experts"] = network.expert_length
        reasons.extend(
            f"the width {width} of the {name} cannot be divided by tensor parallel {ranks}"
            for name, width in widths.items()
            if width % ranks
        )
    return reasons


def _attention_reasons(attention: Attention, ranks: int) -> list[str]:
    reasons = []
    if attention.heads % ranks:
        reasons.append(f"{attention.heads} attention heads cannot be divided by tensor parallel {ranks}")
    heads = attention.kv_heads
    if attention.kind != LATENT and heads > 0 and (heads % ranks if heads >= ranks else ranks % heads):
        reasons.append(f"{heads} heads of keys can neither be divided among nor repeated on {ranks} ranks")
    return reasons

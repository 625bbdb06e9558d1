"""The matrices of one layer on one rank, which PyTorch's allocator rounds up one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import LATENT, Attention, Layer
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_cache import kv_heads_per_rank
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import VllmSettings
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights

_LARGE: Final = 10 * MIB
_ROUND: Final = 2 * MIB
_SPLIT_OVER: Final = MIB


def allocator_padding(size: int) -> int:
    """Return what a block of the allocator is larger than a tensor of this size.

    From 10 MiB on a block is a multiple of 2 MiB, and a rest of at most 1 MiB is not split off (kRoundLarge and
    should_split in c10/cuda/CUDACachingAllocator.cpp).
    """
    rest = -size % _ROUND if size >= _LARGE else 0
    return rest if rest <= _SPLIT_OVER else 0


@dataclass(frozen=True)
class Matrices:
    """Elements of a layer's matrices. ``dense`` and ``expert`` are single tensors on one rank; the sums are those of
    the whole model. ``repeated_elements`` are on a rank beyond its share."""

    dense: tuple[int, ...]
    expert: tuple[int, ...]
    dense_elements: int
    expert_elements: int
    repeated_elements: int

    def is_wide(self, stored: LayerWeights) -> bool:
        """Whether the matrices are stored in 16 bits or more."""
        return stored.split_bytes + stored.expert_bytes >= 2 * (self.dense_elements + self.expert_elements) * 0.95 > 0

    def padding_bytes(self, stored: LayerWeights) -> int:
        """Return what the allocator adds to the tensors of this layer."""
        total = 0
        for sizes, elements, held in (
            (self.dense, self.dense_elements, stored.split_bytes),
            (self.expert, self.expert_elements, stored.expert_bytes),
        ):
            if elements:
                total += sum(allocator_padding(size * held // elements) for size in sizes)
        return total


def layer_matrices(layer: Layer, hidden: int, settings: VllmSettings) -> Matrices:
    """Return the matrices as vLLM fuses them: queries, keys and values in one, gate and up in one, all experts of a
    layer in two (QKVParallelLinear, MergedColumnParallelLinear, FusedMoE)."""
    ranks = max(settings.tensor_parallel, 1)
    dense: list[int] = []
    whole = repeated = 0
    attention, network = layer.attention, layer.feed_forward
    if attention is not None and attention.heads:
        if attention.kind == LATENT:
            whole += _latent_elements(attention, hidden)
        else:
            columns, extra = _columns(attention, ranks)
            out = attention.heads * attention.head_dim_v
            dense += [columns * hidden, out * hidden // ranks]
            whole += (columns * ranks - extra * ranks + out) * hidden
            repeated = extra * hidden
    if layer.recurrent is not None:
        whole += 3 * layer.recurrent.inner * hidden
    expert: list[int] = []
    experts = 0
    if network is not None:
        rows = 2 if network.gated else 1
        for width in (network.length, network.shared_length):
            dense += [rows * width * hidden // ranks, width * hidden // ranks]
            whole += (rows + 1) * width * hidden
        size = network.experts * network.expert_length * hidden
        experts = (rows + 1) * size
        shared = ranks * settings.expert_replicas
        expert = [rows * size // shared, size // shared]
    return Matrices(tuple(dense), tuple(expert), whole, experts, repeated)


def _columns(attention: Attention, ranks: int) -> tuple[int, int]:
    """Columns of queries, keys and values on one rank, and how many of them are more than its share.

    Keys that are values too are loaded twice (``attention_k_eq_v`` in vllm/model_executor/models/gemma4.py).
    """
    width = attention.head_dim_k + attention.head_dim_v
    stored = attention.head_dim_k if attention.keys_are_values else width
    queries = attention.heads * attention.head_dim_k * (1 + attention.gated) // ranks
    keys = kv_heads_per_rank(attention.kv_heads, ranks) * width
    return queries + keys, max(keys - attention.kv_heads * stored // ranks, 0)


def _latent_elements(attention: Attention, hidden: int) -> int:
    """Elements of the matrices of latent attention that tensor parallel divides."""
    queries = attention.heads * attention.head_dim_k * (attention.q_lora_rank or hidden)
    width = max(attention.head_dim_k - attention.rope_dim, 0) + attention.head_dim_v
    return queries + attention.heads * (attention.kv_lora_rank * width + attention.head_dim_v * hidden)

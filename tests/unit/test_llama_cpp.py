"""What llama.cpp allocates, against what it said of the same models."""

from __future__ import annotations

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.llama_cpp import LlamaSettings, allocate
from ansible_collections.llmhost.core.plugins.module_utils.sizing.shape import Attention, FeedForward, Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.sizing.weights import LayerWeights, Weights


def dense(layers: int, heads: int, kv_heads: int, head_dim: int) -> Shape:
    """A dense model with grouped-query attention."""
    attention = Attention(heads=heads, kv_heads=kv_heads, head_dim_k=head_dim, head_dim_v=head_dim)
    layer = Layer(attention, feed_forward=FeedForward(14336))
    return Shape("llama", heads * head_dim, 128256, 8192, (layer,) * layers)


def weights(layers: int, layer_bytes: int = 100 * MIB) -> Weights:
    """Weights of that many equal layers."""
    return Weights(300 * MIB, 300 * MIB, 400 * MIB, 16384, (LayerWeights(layer_bytes),) * layers)


@pytest.mark.parametrize(
    ("shape", "context", "mib"),
    [
        # XiongjieDai/GPU-Benchmarks-on-LLM-Inference@aa72e0ec, logs of llama.cpp on RTX 3090:
        ((32, 32, 32, 128), 512, 256),  # LLaMA-2 7B
        ((32, 32, 8, 128), 8192, 1024),  # Llama-3 8B
        ((60, 52, 52, 128), 512, 780),  # LLaMA 30B
        # ikawrakow/ik_llama.cpp@8337e4cd, logs in github-data:
        ((64, 64, 8, 128), 8192, 2048),  # Qwen3-32B
        ((48, 32, 4, 128), 32768, 3072),  # Qwen3-30B-A3B
    ],
)
def test_the_kv_cache_is_what_public_logs_say(shape: tuple[int, int, int, int], context: int, mib: int) -> None:
    assert allocate(dense(*shape), weights(shape[0]), LlamaSettings(context), 1).gpus[0].kv_cache_bytes == mib * MIB


def test_layers_are_shared_out_as_llama_cpp_does() -> None:
    # Llama-3 8B on two RTX 3090, same source: 544 MiB of cache on the first GPU and 480 on the second.
    first, second = allocate(dense(32, 32, 8, 128), weights(32), LlamaSettings(8192), 2).gpus

    assert (first.kv_cache_bytes, second.kv_cache_bytes) == (544 * MIB, 480 * MIB)
    assert (first.weights_bytes, second.weights_bytes) == (1700 * MIB, 1900 * MIB + 16384)

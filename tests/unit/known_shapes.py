"""The shapes of models that everybody knows, from their published configurations."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import (
    FULL,
    LATENT,
    SLIDING,
    Attention,
    FeedForward,
    Layer,
    Recurrent,
    Shape,
)


def dense(
    architecture: str, layers: int, width: int, heads: int, kv_heads: int, length: int, vocab: int,
    head_dim: int = 0, tied: bool = False, gated: bool = True,
) -> Shape:  # fmt: skip
    """Return a model all of whose layers are alike."""
    size = head_dim or width // heads
    layer = Layer(Attention(FULL, heads, kv_heads, size, size), None, FeedForward(length, gated))
    return Shape(architecture, width, vocab, 4096, (layer,) * layers, tied_embeddings=tied)


def mixture(
    architecture: str, layers: int, width: int, heads: int, kv_heads: int, head_dim: int, vocab: int,
    experts: tuple[int, int, int], shared: int = 0,
) -> Shape:  # fmt: skip
    """Return a mixture of experts in every layer: how many, how many used, how wide."""
    count, used, length = experts
    layer = Layer(
        Attention(FULL, heads, kv_heads, head_dim, head_dim),
        None,
        FeedForward(0, True, count, used, length, shared),
    )
    return Shape(architecture, width, vocab, 4096, (layer,) * layers)


def deepseek_v3(drafts: int = 0) -> Shape:
    """DeepSeek-V3: latent attention, three dense layers, 256 experts in the others."""
    attention = Attention(LATENT, 128, 1, 192, 128, kv_lora_rank=512, q_lora_rank=1536, rope_dim=64)
    first = Layer(attention, None, FeedForward(18432))
    other = Layer(attention, None, FeedForward(0, True, 256, 8, 2048, 2048))
    layers = (first,) * 3 + (other,) * 58
    return Shape("deepseek_v3", 7168, 129280, 163840, layers, (other,) * drafts)


def deepseek_v2_lite() -> Shape:
    """DeepSeek-V2-Lite: latent attention without compressed queries."""
    attention = Attention(LATENT, 16, 1, 192, 128, kv_lora_rank=512, rope_dim=64)
    first = Layer(attention, None, FeedForward(10944))
    other = Layer(attention, None, FeedForward(0, True, 64, 6, 1408, 2816))
    return Shape("deepseek_v2", 2048, 102400, 163840, (first,) + (other,) * 26)


def gpt_oss(layers: int = 24, experts: int = 32) -> Shape:
    """gpt-oss-20b; 36 layers and 128 experts make gpt-oss-120b."""
    network = FeedForward(0, True, experts, 4, 2880)
    full = Layer(Attention(FULL, 64, 8, 64, 64), None, network)
    slides = Layer(Attention(SLIDING, 64, 8, 64, 64, 128), None, network)
    return Shape("gpt_oss", 2880, 201088, 131072, (slides, full) * (layers // 2))


def gemma3(layers: int, width: int, heads: int, kv_heads: int, length: int, head_dim: int = 128) -> Shape:
    """Gemma 3: five layers of six look at a window."""
    full = Layer(Attention(FULL, heads, kv_heads, head_dim, head_dim), None, FeedForward(length))
    slides = replace(full, attention=Attention(SLIDING, heads, kv_heads, head_dim, head_dim, 1024))
    pattern = tuple(full if number % 6 == 5 else slides for number in range(layers))
    return Shape("gemma3_text", width, 262208, 131072, pattern, tied_embeddings=True)


def qwen3_next(drafts: int = 0) -> Shape:
    """Qwen3-Next-80B-A3B: three layers of four have a gated delta net."""
    network = FeedForward(0, True, 512, 10, 512, 512)
    full = Layer(Attention(FULL, 16, 2, 256, 256, gated=True), None, network)
    state = Recurrent("gated_delta_net", 3 * 8192, 32 * 128 * 128, 4096, 32, 16, 128, 128, 4)
    linear = Layer(None, state, network)
    return Shape("qwen3_next", 2048, 151936, 262144, (linear, linear, linear, full) * 12, (full,) * drafts)


LLAMA_3_8B = dense("llama", 32, 4096, 32, 8, 14336, 128256)
LLAMA_2_7B = dense("llama", 32, 4096, 32, 32, 11008, 32000)
LLAMA_2_70B = dense("llama", 80, 8192, 64, 8, 28672, 32000)
LLAMA_30B = dense("llama", 60, 6656, 52, 52, 17920, 32000)
QWEN3_32B = dense("qwen3", 64, 5120, 64, 8, 25600, 151936, 128)
QWEN3_30B_A3B = mixture("qwen3_moe", 48, 2048, 32, 4, 128, 151936, (128, 8, 768))
MIXTRAL_8X7B = mixture("mixtral", 32, 4096, 32, 8, 128, 32000, (8, 2, 14336))


def glm_4_5_air() -> Shape:
    """GLM-4.5-Air, with its layer of multi-token prediction."""
    attention = Attention(FULL, 96, 8, 128, 128)
    other = Layer(attention, None, FeedForward(0, True, 128, 8, 1408, 1408))
    layers = (Layer(attention, None, FeedForward(10944)), *(other,) * 45)
    return Shape("glm4_moe", 4096, 151552, 131072, layers, (other,))


def kimi_linear() -> Shape:
    """Kimi-Linear-48B-A3B: three layers of four have Kimi's delta attention, the others a latent one."""
    linear = Recurrent("kda", 0, 0, 4096, 32, 32, 128, 128, 4)
    latent = Attention(LATENT, 32, 1, 192, 128, kv_lora_rank=512, rope_dim=64)
    network = FeedForward(0, True, 256, 8, 1024, 1024)
    pattern = [
        Layer(latent, None, network) if number % 4 == 3 else Layer(None, linear, network) for number in range(27)
    ]
    pattern[26] = Layer(latent, None, network)
    pattern[0] = Layer(None, linear, FeedForward(9216))
    return Shape("kimi_linear", 2304, 163840, 1048576, tuple(pattern))


def lfm2() -> Shape:
    """LFM2-1.2B: short convolutions, and attention in six layers."""
    network = FeedForward(8192)
    conv = Layer(None, Recurrent("short_conv", 4096, 0, 2048, conv_kernel=3), network)
    full = Layer(Attention(FULL, 32, 8, 64, 64), None, network)
    layers = tuple(full if number in (2, 5, 8, 10, 12, 14) else conv for number in range(16))
    return Shape("lfm2", 2048, 65536, 128000, layers, tied_embeddings=True)


def granite_4_tiny() -> Shape:
    """Granite-4.0-H-Tiny: Mamba-2 in nine layers of ten, and a mixture of experts."""
    network = FeedForward(0, True, 64, 6, 512, 1024)
    state = Layer(None, Recurrent("mamba2", 9984, 393216, 3072, 48, 1, 64, 128, 4), network)
    full = Layer(Attention(FULL, 12, 4, 128, 128), None, network)
    layers = tuple(full if number in (5, 15, 25, 35) else state for number in range(40))
    return Shape("granitemoehybrid", 1536, 100352, 131072, layers, tied_embeddings=True)


def nemotron_nano() -> Shape:
    """Nemotron-Nano-9B-v2: each layer is one thing: Mamba-2, attention or a feed-forward network."""
    state = Layer(None, Recurrent("mamba2", 0, 0, 10240, 128, 8, 80, 128, 4))
    full = Layer(Attention(FULL, 40, 8, 128, 128))
    network = Layer(None, None, FeedForward(15680, False))
    return Shape("nemotron_h", 4480, 131072, 131072, (state, network) * 25 + (state,) * 2 + (full,) * 4)


def jamba_mini() -> Shape:
    """Jamba-1.5-Mini: Mamba and one layer of attention in eight, experts in every second."""
    state = Recurrent("mamba", 24576, 131072, 8192, 0, 0, 0, 16, 4)
    dense_network, experts = FeedForward(14336), FeedForward(0, True, 16, 2, 14336)
    full = Attention(FULL, 32, 8, 128, 128)
    layers = tuple(
        Layer(
            full if number % 8 == 4 else None,
            None if number % 8 == 4 else state,
            experts if number % 2 else dense_network,
        )
        for number in range(32)
    )
    return Shape("jamba", 4096, 65536, 262144, layers)


def qwen3_5_27b() -> Shape:
    """Qwen3.5-27B: a gated delta net in three layers of four."""
    network = FeedForward(17408)
    linear = Layer(None, Recurrent("gated_delta_net", 30720, 786432, 6144, 48, 16, 128, 128, 4), network)
    full = Layer(Attention(FULL, 24, 4, 256, 256, gated=True), None, network)
    return Shape("qwen3_5_text", 5120, 248320, 262144, (linear, linear, linear, full) * 16)


def qwen3_5_9b() -> Shape:
    """Qwen3.5-9B: as the 27B, with 32 heads of values in 32 layers."""
    network = FeedForward(12288)
    linear = Layer(None, Recurrent("gated_delta_net", 24576, 524288, 4096, 32, 16, 128, 128, 4), network)
    full = Layer(Attention(FULL, 16, 4, 256, 256, gated=True), None, network)
    return Shape("qwen3_5_text", 4096, 248320, 262144, (linear, linear, linear, full) * 8)

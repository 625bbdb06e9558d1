"""Models of public configurations (config.json), by what vLLM sizes of them."""

from __future__ import annotations

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
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights

Model = tuple[Shape, Weights]


def model(
    architecture: str,
    layers: int,
    hidden: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    vocabulary: int,
    context: int,
    *,
    width: int = 0,
    experts: int = 0,
    used: int = 0,
    expert_width: int = 0,
    shared_width: int = 0,
    window: int = 0,
    full_every: int = 0,
    full_first: bool = False,
    gated: bool = True,
    tied: bool = False,
    matrix_bytes: float = 2,
    expert_bytes: float = 2,
    tower: int = 0,
) -> Model:
    """A model of attention layers. With a window, every ``full_every``-th layer is full, the last of them or the
    first; 16-bit embeddings; ``*_bytes`` are those of an element of a matrix."""
    kinds: list[Layer] = []
    stored: list[LayerWeights] = []
    rows = 3 if gated else 2
    network = FeedForward(
        length=width,
        gated=gated,
        experts=experts,
        experts_used=used,
        expert_length=expert_width,
        shared_length=shared_width,
    )
    for number in range(layers):
        full = not window or number % full_every == (0 if full_first else full_every - 1)
        kind = FULL if full else SLIDING
        kinds.append(Layer(Attention(kind, heads, kv_heads, head_dim, head_dim, 0 if full else window), None, network))
        matrices = hidden * ((2 * heads + 2 * kv_heads) * head_dim + rows * (width + shared_width))
        norms = 2 * (2 * hidden + hidden * experts)
        stored.append(
            LayerWeights(
                int(matrices * matrix_bytes), norms, int(rows * hidden * expert_width * experts * expert_bytes)
            )
        )
    table = vocabulary * hidden * 2
    shape = Shape(architecture, hidden, vocabulary, context, tuple(kinds), tied_embeddings=tied)
    return shape, Weights(table, table, 0 if tied else table, 2 * hidden, tuple(stored), projector_bytes=tower)


def llama_8b() -> Model:
    """meta-llama/Llama-3.1-8B-Instruct."""
    return model("llama", 32, 4096, 32, 8, 128, 128256, 131072, width=14336)


def deepseek_v2_lite() -> Model:
    """deepseek-ai/DeepSeek-V2-Lite-Chat: 27 layers of latent attention, the first of them dense."""
    hidden, heads, width = 2048, 16, 10944
    attention = Attention(LATENT, heads, 1, 192, 128, kv_lora_rank=512, rope_dim=64)
    experts = FeedForward(experts=64, experts_used=6, expert_length=1408, shared_length=2816)
    kinds = (Layer(attention, None, FeedForward(length=width)), *(Layer(attention, None, experts) for _ in range(26)))
    latent = hidden * heads * 192 + 512 * heads * 256 + heads * 128 * hidden
    shared, norms = 2 * (hidden * 576 + 3 * hidden), 2 * hidden * 64
    first = LayerWeights(2 * (latent + 3 * hidden * width), shared)
    other = LayerWeights(2 * (latent + 3 * hidden * 2816), shared + norms, 2 * 3 * hidden * 1408 * 64)
    table = 102400 * hidden * 2
    shape = Shape("deepseek_v2", hidden, 102400, 163840, kinds)
    return shape, Weights(table, table, table, 2 * hidden, (first, *(other,) * 26))


def hybrid(
    architecture: str, layers: int, full: Attention, recurrent: Recurrent, full_layers: set[int], vocabulary: int
) -> Model:
    """Recurrent layers, and full attention on those named; weights of no interest."""
    network = FeedForward(length=17408)
    kinds = tuple(
        Layer(full, None, network) if number in full_layers else Layer(None, recurrent, network)
        for number in range(layers)
    )
    shape = Shape(architecture, 5120, vocabulary, 1048576, kinds, draft_layers=(Layer(full, None, network),))
    return shape, Weights(1 << 20, 1 << 20, 1 << 20, 0, (LayerWeights(1 << 20),) * layers)


def qwen_27b() -> Model:
    """Qwen/Qwen3.6-27B: 16 full layers, 48 gated delta nets, one layer of multi-token prediction."""
    recurrent = Recurrent(
        "gated_delta_net",
        conv_elements=3 * 10240,
        state_elements=48 * 128 * 128,
        inner=6144,
        heads=48,
        groups=16,
        head_dim=128,
        state_dim=128,
        conv_kernel=4,
    )
    full = Attention(FULL, 24, 4, 256, 256, gated=True)
    return hybrid("qwen3_5", 64, full, recurrent, set(range(3, 64, 4)), 248320)


def kimi_linear() -> Model:
    """moonshotai/Kimi-Linear-48B-A3B-Instruct: 7 layers of latent attention, 20 of Kimi delta attention."""
    recurrent = Recurrent(
        "kda",
        conv_elements=3 * 3 * 4096,
        state_elements=32 * 128 * 128,
        inner=4096,
        heads=32,
        head_dim=128,
        state_dim=128,
        conv_kernel=4,
    )
    latent = Attention(LATENT, 32, 1, 192, 128, kv_lora_rank=512, rope_dim=64)
    return hybrid("kimi_linear", 27, latent, recurrent, {3, 7, 11, 15, 19, 23, 26}, 163840)

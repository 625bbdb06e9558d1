"""How much memory a dense model with grouped-query attention takes in llama.cpp.

Formulas, with where they were read (llama.cpp as carried by llama-cpp-python 0.3.36, 2026-11):

* KV cache, ``src/llama-kv-cache.cpp``: for each layer one K and one V tensor of ``heads_kv * head_dim`` by cells; the
  cells of a sequence are its context padded to 256 (``src/llama-context.cpp``, ``GGML_PAD``), and without a unified
  cache each of the parallel sequences has its own.
* Quantised cells, ``ggml/src/ggml-common.h``: a block of 32 elements and its scale.
* Compute buffer with flash attention: the activations of one micro-batch at the widest place of a layer (feed-forward
  or attention), the f16 mask, and one row of logits for each sequence, because the server asks for no more. Checked
  against the server's own log on five shapes: exact or up to 7 % high, never low.
* Layers on GPUs, ``src/llama-model.cpp``: the first split whose cumulative share exceeds ``layer / (layers + 1)``; the
  output counts as one layer more; the token embedding stays in RAM.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.model_facts import ModelFacts
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB, round_up

CELL_BYTES: dict[str, tuple[int, int]] = {
    "f32": (4, 1),
    "f16": (2, 1),
    "bf16": (2, 1),
    "q8_0": (34, 32),
    "q5_1": (24, 32),
    "q5_0": (22, 32),
    "q4_1": (20, 32),
    "q4_0": (18, 32),
    "iq4_nl": (18, 32),
}
"""Bytes and elements of one block of a KV cell type."""

CELL_PADDING = 256
MICRO_BATCH = 512
"""``--ubatch-size``: tokens computed at once."""

# The process itself: code, heap, HTTP threads. Measured on servers of 0.3.36 with small models; rounded up.
_PROCESS_BYTES = 64 * MIB
# The vocabulary as kept by the tokenizer: two maps of strings and the merge ranks.
_VOCABULARY_ENTRY_BYTES = 400
# A CUDA context and its libraries, per GPU and once in RAM.
_CUDA_DEVICE_BYTES = 450 * MIB
_CUDA_HOST_BYTES = 600 * MIB


@dataclass(frozen=True)
class Settings:
    """The settings of the runtime that decide how much memory it takes."""

    context: int
    parallel: int
    cell_type_k: str = "f16"
    cell_type_v: str = "f16"
    micro_batch: int = MICRO_BATCH


@dataclass(frozen=True)
class Need:
    """Bytes by what they are for."""

    weights_bytes: int
    kv_cache_bytes: int
    compute_bytes: int
    runtime_bytes: int

    @property
    def total_bytes(self) -> int:
        """Everything together."""
        return self.weights_bytes + self.kv_cache_bytes + self.compute_bytes + self.runtime_bytes


def cells(context: int) -> int:
    """Return the cells that one sequence takes."""
    return round_up(max(context, 1), CELL_PADDING)


def row_bytes(elements: int, cell_type: str) -> int:
    """Return the bytes of one row of a K or V tensor; rows are whole blocks."""
    size, block = CELL_BYTES[cell_type]
    return round_up(elements, block) // block * size


def layer_kv_bytes(model: ModelFacts, heads: int, settings: Settings) -> int:
    """Return the KV cache of one layer with that many KV heads."""
    row_k = row_bytes(heads * model.head_dim_k, settings.cell_type_k)
    row_v = row_bytes(heads * model.head_dim_v, settings.cell_type_v)
    return (row_k + row_v) * cells(settings.context) * settings.parallel


def kv_cache_bytes(model: ModelFacts, settings: Settings) -> int:
    """Return the KV cache of all layers.

    Full length on every layer: exact for dense attention, and an upper bound for models with a sliding window.
    """
    return sum(layer_kv_bytes(model, heads, settings) for heads in model.kv_heads)


def compute_bytes(model: ModelFacts, settings: Settings) -> int:
    """Return the compute buffer of a micro-batch and the buffer of logits."""
    batch = min(settings.micro_batch, cells(settings.context))
    heads_k = model.head_count * model.head_dim_k
    heads_v = max(model.kv_heads, default=0) * (model.head_dim_k + model.head_dim_v)
    embedding = model.embedding_length
    feed_forward = 3 * model.feed_forward_length + 3 * embedding + max(heads_k, embedding)
    attention = 4 * embedding + 3 * heads_k + heads_v
    activations = batch * 4 * max(feed_forward, attention)
    # Quantised copies of the activations, which the CPU's matrix products work on.
    work = batch * 2 * max(model.feed_forward_length, embedding)
    mask = batch * cells(settings.context) * 2
    logits = 2 * model.vocab_size * settings.parallel * 4
    return activations + work + mask + logits


def runtime_bytes(model: ModelFacts) -> int:
    """Return what the process takes before it has loaded anything, and its vocabulary."""
    return _PROCESS_BYTES + model.vocab_size * _VOCABULARY_ENTRY_BYTES


def resident_weights_bytes(model: ModelFacts) -> int:
    """Return the weights held in RAM on a CPU.

    A model with tied embeddings has one tensor for both ends; llama.cpp may keep a second, repacked copy for the
    output.
    """
    return model.weights_bytes + (model.token_embedding_bytes if model.tied_embeddings else 0)


def cpu_need(model: ModelFacts, settings: Settings) -> Need:
    """Return what a host without a GPU needs, all of it in RAM."""
    return Need(
        weights_bytes=resident_weights_bytes(model),
        kv_cache_bytes=kv_cache_bytes(model, settings),
        compute_bytes=compute_bytes(model, settings),
        runtime_bytes=runtime_bytes(model),
    )


def layers_by_device(layers: int, shares: list[int]) -> list[int]:
    """Return how many of ``layers + 1`` places (the output is the last) each GPU gets, in proportion to its share."""
    total = sum(shares) or 1
    counts, upto, device = [0] * len(shares), shares[0], 0
    for place in range(layers + 1):
        # llama.cpp: the first device whose cumulative share exceeds place / (layers + 1)
        while device < len(shares) - 1 and place * total >= upto * (layers + 1):
            device += 1
            upto += shares[device]
        counts[device] += 1
    return counts


def gpu_needs(model: ModelFacts, settings: Settings, usable: list[int]) -> list[int]:
    """Return what each GPU needs when every layer is on a GPU, split by usable memory."""
    needs, first = [], 0
    compute = compute_bytes(model, settings) + _CUDA_DEVICE_BYTES
    output = max(model.output_bytes, model.token_embedding_bytes if model.tied_embeddings else 0)
    for count in layers_by_device(model.layers, usable):
        last = first + count == model.layers + 1
        layers = count - 1 if last and count else count
        kv = sum(layer_kv_bytes(model, heads, settings) for heads in model.kv_heads[first : first + layers])
        needs.append(layers * model.layer_bytes + kv + (output if last else 0) + compute)
        first += count
    return needs


def gpu_host_bytes(model: ModelFacts, settings: Settings) -> int:
    """Return the RAM beside the GPUs: token embedding, mask and staging, the process with its CUDA context.

    The mapped model file itself is page cache, which the kernel drops when it needs to.
    """
    mask = settings.micro_batch * cells(settings.context) * settings.parallel * 4
    staging = settings.micro_batch * model.embedding_length * 4
    return model.token_embedding_bytes + mask + staging + runtime_bytes(model) + _CUDA_HOST_BYTES

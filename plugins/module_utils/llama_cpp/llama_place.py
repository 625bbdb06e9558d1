"""What a device computes, and the inputs that it reads for that: masks, and where new tokens go in the caches.

``src/llama-graph.cpp`` makes the inputs; see ``llama_compute.py`` for what is done with them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.engine_constants import value
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_graph import Graph
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_settings import LlamaSettings
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Layer


@dataclass(frozen=True)
class Run:
    """Layers that a device computes, with what of their weights is copied from RAM for each operation."""

    layers: Sequence[Layer]
    name: Hashable  # which layers of the model they are; runs of one model with the same name are equal
    matrix_copy: int = 0
    expert_copy: int = 0
    cache_copy: int = 0

    @property
    def key(self) -> Hashable:
        """What tells it from other runs of the same model."""
        return self.name, self.matrix_copy, self.expert_copy, self.cache_copy


@dataclass(frozen=True)
class Place:
    """What a device computes: its layers in order, and whether it ends with the logits."""

    runs: tuple[Run, ...]
    output: bool
    on_gpu: bool
    pipelined: bool = False
    arriving: int = 1  # hidden states that come from another device: of its last layer, and their norm
    takes_work: bool = False  # it does part of the last recurrent layer before it
    gives_work: bool = False  # the next device does part of its last recurrent layer
    first: bool = True  # of the GPUs
    slices: int = 0  # bytes of the second embedding's slices for all layers, where this device multiplies them
    cache_elsewhere: int = 0  # bytes of caches that its layers share with layers of another device
    output_copy: int = 0  # bytes of an output matrix that is copied from RAM

    @property
    def key(self) -> Hashable:
        """What its layers take depends on this, beside the settings."""
        return self.on_gpu, self.first, self.pipelined, self.arriving, tuple(run.key for run in self.runs)


@dataclass(frozen=True)
class Reads:
    """What the layers of a device read beside the hidden state."""

    windows: bool  # some look back a window of tokens
    everything: bool  # some look back at every token
    indexed: int  # layers with an index
    exchanged: int  # elements a token that state space layers exchange with the next device

    @classmethod
    def of(cls, place: Place) -> Reads:
        """Look at the layers of a device."""
        layers = [layer for run in place.runs for layer in run.layers]
        attentions = [layer.attention for layer in layers if layer.attention is not None]
        return cls(
            any(attention.window for attention in attentions),
            any(not attention.window for attention in attentions),
            sum(1 for attention in attentions if attention.index_heads),
            _exchanged(layers, place),
        )


def input_bytes(graph: Graph, settings: LlamaSettings, window: int, reads: Reads, value_row: int, place: Place) -> int:
    """Return the inputs that a device reads: masks, and where new tokens go in the caches."""
    element = 4
    if settings.flash_attention:
        element = value(settings.build, "flash_mask_gpu_bytes" if place.on_gpu else "flash_mask_bytes")
        element = element if place.first or not place.on_gpu else 2  # the first casts it for all
    places = graph.tokens * 8 * (1 if settings.flash_attention else 1 + value_row)
    if not value(settings.build, "cell_indexes"):
        places = 0
    total = graph.tokens * 64 + 4096
    if reads.windows:
        total += graph.tokens * window * element + places
    if reads.everything:
        total += graph.tokens * graph.cells * element + places
    if reads.indexed:
        total += graph.tokens * graph.cells * element
    rotations = (reads.windows + reads.everything) * 2**18 if graph.rotate_k or graph.rotate_v else 0
    return total + rotations


def cast_bytes(graph: Graph, settings: LlamaSettings, window: int, reads: Reads, place: Place) -> int:
    """Return the f16 copies of the masks, which the first GPU makes for itself and hands to the others."""
    if not (settings.flash_attention and place.first):
        return 0
    cells = window * (reads.windows > 0) + graph.cells * (reads.everything > 0)
    return graph.tokens * cells * value(settings.build, "flash_mask_cast_bytes")


def _exchanged(layers: Sequence[Layer], place: Place) -> int:
    """Return what recurrent layers exchange with other devices: each begins with its state, before others end."""
    part = next((layer.recurrent for layer in layers if layer.recurrent is not None), None)
    if part is None:
        return 0
    if part.kind == "short_conv":
        return (place.arriving - 1) * part.inner
    if part.kind == "rwkv":
        return (2 * place.takes_work + 1) * part.inner
    if part.kind not in ("mamba", "mamba2"):
        return 0
    product = 2 * part.inner + (2 * part.groups * part.state_dim + part.heads if part.kind == "mamba2" else 0)
    return place.gives_work * part.inner + place.takes_work * product

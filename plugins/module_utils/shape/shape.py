"""The shape of a model: what each of its layers is made of. Every size in memory follows from it.

Lengths are elements, never bytes: how many bytes an element takes is the engine's choice (a cache) or the file's (a
weight). The readers are ``gguf_shape.py`` and ``config_shape.py``; they meet here, so that an engine knows one form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from ansible_collections.llmhost.core.plugins.module_utils import record

FULL, SLIDING, CHUNKED, LATENT = "full", "sliding", "chunked", "latent"
"""Kinds of attention: every token, the last ``window`` tokens, the chunk of ``window`` tokens, MLA."""

MAX_LAYERS = 1024
"""No published model has more than a few hundred layers, and llama.cpp loads 512 (LLAMA_MAX_LAYERS in
src/llama-hparams.h); the bound keeps a lying header from costing memory and seconds."""

T = TypeVar("T")


@dataclass(frozen=True)
class Attention:
    """The attention of one layer. ``head_dim_k`` and ``head_dim_v`` are those of a head before any compression.

    A ``window`` that is not 0 bounds what the layer keeps, of latent rows too. A LATENT layer has one row, so its
    ``kv_heads`` are 1; a layer with a ``kv_lora_rank`` that is not LATENT keeps the keys and values of every head.
    """

    kind: str = FULL
    heads: int = 0
    kv_heads: int = 0
    head_dim_k: int = 0
    head_dim_v: int = 0
    window: int = 0  # tokens; 0 for all of them
    stores_cache: bool = True  # False: it reads the keys and values of an earlier layer
    gated: bool = False  # the query projection also makes a gate of the same width
    keys_are_values: bool = False  # one projection makes both
    # Latent attention (MLA): one compressed row a token, and a part with rotary positions beside it.
    kv_lora_rank: int = 0
    q_lora_rank: int = 0
    rope_dim: int = 0
    # The index of sparse attention (DeepSeek's): keys of its own, one row a token.
    index_heads: int = 0
    index_head_dim: int = 0
    index_row: int = 0  # elements of one row of the index's cache; 0 where the layer keeps none
    compress_ratio: int = 0  # tokens a row of the second, compressed cache beside the window (DeepSeek V4); 0: none


@dataclass(frozen=True)
class Recurrent:
    """The part of a layer that keeps a state of fixed size for each sequence, whatever its length."""

    kind: str  # gated_delta_net, kda, mamba, mamba2, short_conv, rwkv, lightning
    conv_elements: int = 0  # of the last inputs of the convolution, or of RWKV's token shift
    state_elements: int = 0
    inner: int = 0  # width of the inner stream
    heads: int = 0
    groups: int = 0  # heads of keys
    head_dim: int = 0  # of values
    state_dim: int = 0  # of keys
    conv_kernel: int = 0


@dataclass(frozen=True)
class FeedForward:
    """The feed-forward network of one layer: dense, or a mixture of experts, or both."""

    length: int = 0  # width of the dense network
    gated: bool = True  # gate and up, else up alone
    experts: int = 0
    experts_used: int = 0
    expert_length: int = 0
    shared_length: int = 0  # width of all experts that every token takes


@dataclass(frozen=True)
class Layer:
    """One layer. A part that is not there is None; a few models have attention and a recurrent part side by side."""

    attention: Attention | None = None
    recurrent: Recurrent | None = None
    feed_forward: FeedForward | None = None


@dataclass(frozen=True)
class Shape:
    """A model: its layers from the first to the last, and what stands around them.

    ``draft_layers`` are those of multi-token prediction, which only speculative decoding runs; ``draft_in_cache`` says
    that llama.cpp keeps a cache for them in the main context too. Layers that are run several times (Nanbeige) are
    listed as often, so there may be more layers than weights of layers. ``doubts`` names what the reader did not know
    how to size: then every figure is an upper bound, not an exact one.
    """

    architecture: str
    embedding_length: int
    vocab_size: int
    context_length: int
    layers: tuple[Layer, ...]
    draft_layers: tuple[Layer, ...] = ()
    tied_embeddings: bool = False
    draft_in_cache: bool = False
    per_layer_embedding_length: int = 0  # of the second embedding, of which each layer has a slice (Gemma 3n and 4)
    doubts: tuple[str, ...] = ()

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Shape:
        """Read what ``as_dict`` wrote; what is missing or of another type counts as zero or absent."""
        kinds = [_layer(kind) for kind in record.sections(facts, "layer_kinds")]

        def layers(key: str) -> tuple[Layer, ...]:
            pattern = facts.get(key)
            numbers = pattern[:MAX_LAYERS] if isinstance(pattern, (list, tuple)) else []
            return tuple(kinds[number] for number in numbers if type(number) is int and 0 <= number < len(kinds))

        return cls(
            architecture=record.text(facts, "architecture", "unknown"),
            embedding_length=record.integer(facts, "embedding_length"),
            vocab_size=record.integer(facts, "vocab_size"),
            context_length=record.integer(facts, "context_length"),
            layers=layers("layers"),
            draft_layers=layers("draft_layers"),
            tied_embeddings=record.flag(facts, "tied_embeddings"),
            draft_in_cache=record.flag(facts, "draft_in_cache"),
            per_layer_embedding_length=record.integer(facts, "per_layer_embedding_length"),
            doubts=record.texts(facts, "doubts"),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain data: each kind of layer once, and for each layer the number of its kind."""
        kinds = dict.fromkeys((*self.layers, *self.draft_layers), 0)
        for number, layer in enumerate(kinds):
            kinds[layer] = number
        return {
            "architecture": self.architecture,
            "embedding_length": self.embedding_length,
            "vocab_size": self.vocab_size,
            "context_length": self.context_length,
            "layer_kinds": [asdict(kind) for kind in kinds],
            "layers": [kinds[layer] for layer in self.layers],
            "draft_layers": [kinds[layer] for layer in self.draft_layers],
            "tied_embeddings": self.tied_embeddings,
            "draft_in_cache": self.draft_in_cache,
            "per_layer_embedding_length": self.per_layer_embedding_length,
            "doubts": list(self.doubts),
        }


def _layer(facts: Mapping[str, Any]) -> Layer:
    return Layer(
        _part(Attention, facts.get("attention")),
        _part(Recurrent, facts.get("recurrent")),
        _part(FeedForward, facts.get("feed_forward")),
    )


def _part(kind: type[T], facts: Any) -> T | None:
    """Read one part; a value of another type than its field's keeps the field's default."""
    if not isinstance(facts, Mapping):
        return None
    values: dict[str, Any] = {"kind": "unknown"} if kind is Recurrent else {}
    for entry in fields(kind):  # type: ignore[arg-type]
        value = facts.get(entry.name)
        if type(value).__name__ == entry.type and not (isinstance(value, int) and value < 0):
            values[entry.name] = value
    return kind(**values)

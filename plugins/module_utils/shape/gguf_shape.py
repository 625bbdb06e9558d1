"""The shape of a model from the metadata and the tensors of its GGUF files, as llama.cpp reads them.

Follows ``load_hparams`` and ``create_memory`` of llama.cpp's ``src/llama-model.cpp`` and the ``load_arch_hparams`` of
``src/models`` (as in llama-cpp-python 0.3.36).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.model.gguf import SkippedArray
from ansible_collections.llmhost.core.plugins.module_utils.shape.fields import MAX_NAMED, Fields
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_attention import Attentions
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_feed_forward import FeedForwards, Named
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_names import (
    ARCHITECTURES,
    DRAFT_IN_CACHE,
    unknown_keys,
)
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_recurrent import (
    HYBRID,
    PURE,
    SIDE_BY_SIDE,
    recurrent_layers,
    recurrent_part,
    with_n_gram,
)
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import MAX_LAYERS, Attention, Layer, Shape

RECURRENT_KEYS = ("ssm.", "wkv.", "kda.", "shortconv.")


def shape_from_gguf(
    metadata: Mapping[str, Any], tensors: Sequence[Named] = (), where: str = "the GGUF header"
) -> Shape:
    """Return the shape of a model. ``tensors`` are those of all its files; without them widths come from metadata.

    Raises ModelError (``model.invalid``) for metadata that cannot be true or that describe no language model.
    """
    name = metadata.get("general.architecture")
    if not isinstance(name, str) or not name:
        raise Fields(where, {}).invalid("it names no architecture")
    fields = Fields(where, _own(metadata, f"{name}."))
    all_layers = fields.required("block_count", limit=MAX_LAYERS)
    drafts = _drafts(name, fields, tensors, all_layers)
    layers = _Layers(name, fields, tensors, all_layers, all_layers - drafts).all()
    tokens = metadata.get("tokenizer.ggml.tokens")
    by_name = {tensor.name: tensor for tensor in tensors}
    return Shape(
        architecture=name,
        embedding_length=fields.required("embedding_length"),
        vocab_size=_count(tokens) or fields.number("vocab_size") or _columns(by_name.get("token_embd.weight")),
        context_length=fields.number("context_length"),
        layers=_looped(name, fields, layers[: all_layers - drafts]),
        draft_layers=layers[all_layers - drafts :],
        tied_embeddings=bool(tensors) and "output.weight" not in by_name,
        draft_in_cache=bool(drafts) and name in DRAFT_IN_CACHE,
        per_layer_embedding_length=fields.number("embedding_length_per_layer_input"),
        doubts=(*_doubts(name, fields), *dict.fromkeys(fields.doubts)),
    )


class _Layers:
    """All layers of a model."""

    def __init__(self, name: str, fields: Fields, tensors: Sequence[Named], all_layers: int, layers: int) -> None:
        self._name = name
        self._fields = fields
        self._embedding = fields.required("embedding_length")
        self._networks = FeedForwards(name, fields, tensors, all_layers)
        self._attentions = Attentions(name, fields, tensors, all_layers, layers)
        self._part = recurrent_part(name, fields, self._embedding, self._attentions.heads[0])
        self._recurrent = self._which(layers)
        n_gram = fields.raw("ple.layers")
        self._n_gram = n_gram if isinstance(n_gram, tuple) else ()

    def all(self) -> tuple[Layer, ...]:
        """Return them from the first to the last."""
        return tuple(self._layer(number) for number in range(len(self._recurrent)))

    def _which(self, layers: int) -> tuple[bool, ...]:
        kv_heads, widths = self._attentions.kv_heads, self._networks.widths
        if self._name not in ARCHITECTURES:
            there = any(key.startswith(RECURRENT_KEYS) for key in self._fields.names())
            return (there,) * len(kv_heads)
        return recurrent_layers(self._name, self._fields, kv_heads, widths, layers)

    def _layer(self, number: int) -> Layer:
        recurrent = self._recurrent[number]
        both = self._name in SIDE_BY_SIDE or self._name not in ARCHITECTURES
        attention = self._attentions.layer(number) if self._has_attention(number, recurrent, both) else None
        part = self._part if recurrent else None
        if part and number in self._n_gram:
            part = with_n_gram(part, self._fields, self._embedding)
        return Layer(attention, part, self._networks.layer(number))

    def _has_attention(self, number: int, recurrent: bool, both: bool) -> bool:
        if self._name in PURE or (recurrent and not both):
            return False
        if self._name in HYBRID and not self._attentions.kv_heads[number]:
            return False
        return self._attentions.kv_heads[number] > 0


def _own(metadata: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the architecture's own keys; a list that is too long to belong to layers is not kept."""
    return {
        key.removeprefix(prefix): value
        for key, value in metadata.items()
        if key.startswith(prefix) and not isinstance(value, SkippedArray)
    }


def _drafts(name: str, fields: Fields, tensors: Sequence[Named], all_layers: int) -> int:
    """Return how many layers at the end are for multi-token prediction."""
    drafts = fields.number("nextn_predict_layers")
    if drafts >= all_layers:
        raise fields.invalid(f"nextn_predict_layers is {drafts} of {all_layers} layers")
    missing = f"blk.{all_layers - drafts}.nextn.eh_proj.weight"
    if name == "deepseek4" and tensors and missing not in {tensor.name for tensor in tensors}:
        return 0
    return drafts


def _looped(name: str, fields: Fields, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Repeat layers that are run several times, each time with a cache of their own; add Granite's router layer."""
    if name == "nanbeige":
        loops = fields.number("num_loops", 1)
        if len(layers) * loops > MAX_LAYERS:
            raise fields.invalid(f"num_loops is {loops}")
        return layers * loops
    first = layers[0].attention
    if name == "graniteswitch" and first:
        router = Attention(first.kind, 1, 1, first.head_dim_k, first.head_dim_v)
        return (*layers, Layer(attention=router))
    return layers


def _doubts(name: str, fields: Fields) -> list[str]:
    """Return the reasons why the shape may not be all that costs memory."""
    if name not in ARCHITECTURES:
        return [f"the architecture {name} is not known: sized as if every layer kept all tokens"]
    unknown = unknown_keys(fields.names())
    if not unknown:
        return []
    more = f" and {len(unknown) - MAX_NAMED} more" if len(unknown) > MAX_NAMED else ""
    return [f"the header has keys that are not known: {', '.join(unknown[:MAX_NAMED])}{more}"]


def _count(tokens: Any) -> int:
    return tokens.count if isinstance(tokens, SkippedArray) else len(tokens) if isinstance(tokens, tuple) else 0


def _columns(tensor: Named | None) -> int:
    return tensor.shape[1] if tensor and len(tensor.shape) > 1 else 0

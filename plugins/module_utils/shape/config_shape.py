"""The shape of a model from its ``config.json``, for vLLM as it is, or for llama.cpp after a conversion to GGUF."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.shape.config_attention import ConfigAttentions
from ansible_collections.llmhost.core.plugins.module_utils.shape.config_blocks import block_layers
from ansible_collections.llmhost.core.plugins.module_utils.shape.config_families import (
    BOTH,
    DRAFTS_IN_GGUF,
    FAMILIES,
    RECURRENT,
    Family,
    family_name,
)
from ansible_collections.llmhost.core.plugins.module_utils.shape.config_feed_forward import ConfigFeedForwards
from ansible_collections.llmhost.core.plugins.module_utils.shape.config_layers import layer_kinds
from ansible_collections.llmhost.core.plugins.module_utils.shape.config_names import unknown_keys
from ansible_collections.llmhost.core.plugins.module_utils.shape.config_recurrent import largest_part, recurrent_part
from ansible_collections.llmhost.core.plugins.module_utils.shape.config_text import language_part
from ansible_collections.llmhost.core.plugins.module_utils.shape.fields import MAX_NAMED, Fields
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_names import DRAFT_IN_CACHE
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_window import WINDOWED
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import (
    FULL,
    MAX_LAYERS,
    SLIDING,
    Layer,
    Recurrent,
    Shape,
)

MAX_DRAFTS = 64


def shape_from_config(config: Mapping[str, Any], where: str = "config.json", gguf: bool = False) -> Shape:
    """Return the shape of the language model in a ``config.json`` (or a ``params.json`` of Mistral's).

    ``gguf``: as llama.cpp sees the model once it is converted; it knows no window for some families that have one.
    Raises ModelError (``model.invalid``) for fields that cannot be true or that describe no language model.
    """
    values, _ = language_part(config)
    fields = Fields(where, values)
    name = fields.text("model_type")
    if not name:
        raise Fields(where, {}).invalid("it does not say which model_type it is of")
    classes = fields.raw("architectures")
    name = family_name(name, classes if isinstance(classes, list) else ())
    fields = Fields(where, {**values, "model_type": name})
    family = FAMILIES.get(name)
    layers, drafts = _layers(family, fields, gguf)
    return Shape(
        architecture=name,
        embedding_length=fields.required("hidden_size"),
        vocab_size=fields.number("vocab_size"),
        context_length=fields.number("max_position_embeddings"),
        layers=layers,
        draft_layers=drafts,
        # Transformers ties them unless a family says otherwise, and leaves out what is as usual.
        tied_embeddings=fields.flag("tie_word_embeddings", family is not None),
        draft_in_cache=bool(drafts) and family is not None and family.gguf in DRAFT_IN_CACHE,
        per_layer_embedding_length=fields.number("hidden_size_per_layer_input"),
        doubts=(*_doubts(name, family, fields, gguf), *dict.fromkeys(fields.doubts)),
    )


def _layers(family: Family | None, fields: Fields, gguf: bool) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    count = _layer_count(fields)
    known = family or Family()
    blocks = fields.raw("block_configs")
    if isinstance(blocks, list):
        return block_layers(blocks, fields, count), ()
    kinds = layer_kinds(known, fields, count) if family else (FULL,) * count
    if gguf and not _keeps_windows(known, count):
        kinds = tuple(FULL if kind == SLIDING else kind for kind in kinds)
    part = _part(known, fields, kinds) if family else largest_part(fields)
    if any(kind not in (RECURRENT,) for kind in kinds):
        fields.required("num_attention_heads")
    attentions = ConfigAttentions(known, fields, kinds)
    networks = ConfigFeedForwards(known, fields, count)
    layers = tuple(
        Layer(
            attentions.layer(number),
            part if family is None or kinds[number] in (RECURRENT, BOTH) else None,
            networks.layer(number),
        )
        for number in range(count)
    )
    drafts = fields.number("drafts", limit=MAX_DRAFTS)
    if gguf and known.gguf not in DRAFTS_IN_GGUF and fields.text("model_type") != "glm4_moe_lite":
        drafts = 0
    draft = Layer(attentions.draft(layers[-1].attention), None, networks.layer(count - 1))
    return layers, (draft,) * drafts


def _keeps_windows(family: Family, count: int) -> bool:
    """Say whether llama.cpp knows of the family's windows."""
    rule = WINDOWED.get(family.gguf)
    return rule is not None and rule.layers in (0, count)


def _layer_count(fields: Fields) -> int:
    pattern = fields.text("hybrid_override_pattern").replace("|", "")
    if pattern:
        if len(pattern) > MAX_LAYERS:
            raise fields.invalid(f"hybrid_override_pattern names {len(pattern)} layers")
        return len(pattern)
    listed = fields.raw("layers_block_type")
    if "num_hidden_layers" not in fields and isinstance(listed, list) and 0 < len(listed) <= MAX_LAYERS:
        return len(listed)
    return fields.required("num_hidden_layers", limit=MAX_LAYERS)


def _part(family: Family, fields: Fields, kinds: tuple[str, ...]) -> Recurrent | None:
    if not any(kind in (RECURRENT, BOTH) for kind in kinds):
        return None
    if not family.linear:
        fields.doubts.append("layers with a state of unknown size")
        return largest_part(fields)
    # Ling's hybrids changed from lightning attention to delta attention with a convolution.
    kda = family.linear == "lightning" and (
        "short_conv_kernel_size" in fields or fields.text("linear_attention") == "kda"
    )
    return recurrent_part("kda" if kda else family.linear, fields)


def _doubts(name: str, family: Family | None, fields: Fields, gguf: bool) -> list[str]:
    """Return the reasons why the shape may not be all that costs memory."""
    if family is None:
        return [f"the architecture {name} is not known: sized as if every layer kept all tokens"]
    doubts = []
    if gguf and not family.gguf:
        doubts.append(f"llama.cpp does not load the architecture {name}")
    if fields.raw("cross_attention_layers"):
        doubts.append("layers of attention to pictures are sized as if they kept every token")
    unknown = unknown_keys(fields.names())
    if unknown:
        more = f" and {len(unknown) - MAX_NAMED} more" if len(unknown) > MAX_NAMED else ""
        doubts.append(f"the config has fields that are not known: {', '.join(unknown[:MAX_NAMED])}{more}")
    return doubts

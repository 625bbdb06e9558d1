"""A model ready to be planned for many hosts: its facts read once, and what was computed from them kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.model.model_facts import ModelFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.facts_cache import FactsCache
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Shape
from ansible_collections.llmhost.core.plugins.module_utils.sizing.shape_bound import bounded, bounded_weights
from ansible_collections.llmhost.core.plugins.module_utils.sizing.sizes import ModelSizes, Variant
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights


@dataclass(frozen=True)
class SizedModel:
    """A model's facts, and the model in all its sizes; ``complete``: its header told what memory depends on.
    ``chosen``: the planner picked its quantisation, not the user."""

    facts: ModelFacts
    sizes: ModelSizes
    complete: bool
    chosen: bool

    @classmethod
    def from_facts(cls, model: Mapping[str, Any]) -> SizedModel:
        """Read the result of ``model_info``."""
        facts = ModelFacts.from_facts(model)
        sizes = ModelSizes(
            shape=bounded(Shape.from_facts(record.section(model, "shape"))),
            weights=bounded_weights(Weights.from_facts(record.section(model, "weights"))),
            model_format=facts.format,
            quantization=facts.quantization,
            variants=_variants(model),
            files_bytes=facts.total_bytes,
            largest_file_bytes=record.integer(model, "largest_file_bytes"),
        )
        chosen = not facts.pinned or bool(record.text(record.section(model, "request"), "variant"))
        return cls(facts, sizes, _is_complete(sizes), chosen)


def _is_complete(sizes: ModelSizes) -> bool:
    shape = sizes.shape
    attention = [layer.attention for layer in shape.layers if layer.attention is not None]
    known = all(one.head_dim_k or one.kv_lora_rank for one in attention)
    return bool(shape.layers and sizes.weights_bytes and shape.context_length and known)


def _variants(model: Mapping[str, Any]) -> tuple[Variant, ...]:
    """Return the quantisations of the repository that have a name and a size."""
    found = (
        Variant(record.text(entry, "label"), record.integer(entry, "size_bytes"))
        for entry in record.sections(model, "variants")
    )
    return tuple(variant for variant in found if variant.label and variant.size_bytes)


# A comparison holds some tens of models; each takes up to a few MiB with what was computed from it.
_known: FactsCache[SizedModel] = FactsCache(SizedModel.from_facts, kept=128)


def sized_model(model: Mapping[str, Any]) -> SizedModel:
    """Return the model of these facts: the same object for equal facts, so that its searches are done once."""
    return _known(model)

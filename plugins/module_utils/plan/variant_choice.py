"""Which quantisation of a repository a host should have, when the user named none.

The best that fits wholly with the context wanted. Better means more bits for a parameter, with two corrections: the
older types (Q4_0, Q4_1, Q5_0, Q5_1) are worse than the K-quants of their size, and the IQ types, made with an
importance matrix, are better (perplexities of Llama 3 8B in ``tools/perplexity/README.md`` of llama.cpp). Sixteen
bits and more are taken only where there is nothing of eight: hardly worse, and a token takes half the time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_fit import DEFAULT_CELLS
from ansible_collections.llmhost.core.plugins.module_utils.plan import storage_plan, swap_plan
from ansible_collections.llmhost.core.plugins.module_utils.plan.declared_gpus import with_declared
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_room import choose_accelerator, room_of_host
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent, read_intent
from ansible_collections.llmhost.core.plugins.module_utils.plan.sized_model import SizedModel, sized_model
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import (
    DOES_NOT_FIT,
    FITS,
    GOOD_CONTEXT,
    OFFLOAD,
    Fit,
    Want,
)
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import Room
from ansible_collections.llmhost.core.plugins.module_utils.sizing.sizes import ModelSizes, Variant
from ansible_collections.llmhost.core.plugins.module_utils.sizing.solve import choose_engine, solve

_LEGACY = re.compile(r"Q[45]_[01](?!\d)")
_IMPORTANCE = re.compile(r"IQ\d")
_LEGACY_WORTH, _IMPORTANCE_WORTH = 0.88, 1.07
_WIDE = re.compile(r"(?:B?F16|F32|FP16|FP32)")
_EIGHT = re.compile(r"Q8_")
# A layer of a quantisation whose header was not read may be a little larger than its share of the file.
_MARGIN_PERCENT = 1
# About Q4_K_M: what is worth having when a part of the model has to be in RAM anyway.
_USUAL_BITS = 5.0
LOW_BITS = 3.0
"""Below that a model loses more than smaller ones lack: taken only when nothing better fits."""


def choose_variant(host: Mapping[str, Any], model: Mapping[str, Any], variables: Mapping[str, Any]) -> str:
    """Return the label of the quantisation to read, or nothing when the one that was read is right.

    That is so when the user pinned it, when there is no other, and when it is what this host already serves: a choice
    once made stays as long as it fits.
    """
    sized = sized_model(model)
    if record.flag(model, "pinned", default=True) or len(sized.sizes.variants) < 2 or not sized.complete:
        return ""
    intent, _ = read_intent(variables)
    facts = HostFacts.from_facts(with_declared(host, intent.gpus)[0])
    want, room, engine = _question(facts, intent, sized)
    if _is_published(facts, sized) and solve(sized.sizes, engine, room, want).verdict != DOES_NOT_FIT:
        return ""
    best = best_variant(sized.sizes, engine, room, want)
    return "" if best is None or best.label == sized.facts.quantization else best.label


def best_variant(sizes: ModelSizes, engine: str, room: Room, want: Want) -> Variant | None:
    """Return the best quantisation that fits wholly; failing that, the best usual one that fits with a part in RAM.

    Without a wanted context it should have ``GOOD_CONTEXT`` tokens with f16 cells; then one with smaller cells or a
    shorter context will do; and fewer than ``LOW_BITS`` bits come last.
    """
    ranked = sorted(sizes.variants, key=lambda variant: (-worth(variant), variant.label))
    if any(_EIGHT.search(variant.label) for variant in ranked):
        ranked = [variant for variant in ranked if not _WIDE.search(variant.label)]
    want = want._replace(reach=False, offload=False)
    good = min(GOOD_CONTEXT, sizes.shape.context_length or GOOD_CONTEXT)
    whole: dict[Variant, Fit] = {}
    for variant in ranked:
        fit = _fit(sizes, variant, engine, room, want)
        if fit.verdict == FITS and not fit.ram_missing_bytes:
            whole[variant] = fit
            if _is_good(sizes, variant) and fit.context >= good and fit.cache_type == DEFAULT_CELLS:
                return variant
    better = [variant for variant in whole if _is_good(sizes, variant)]
    if whole:
        return next((variant for variant in better if whole[variant].context >= good), next(iter([*better, *whole])))
    anyhow = want._replace(offload=True)
    usual = [variant for variant in ranked if _bits(sizes, variant) <= _USUAL_BITS]
    return next((one for one in usual if _fit(sizes, one, engine, room, anyhow).verdict == OFFLOAD), None)


def _is_good(sizes: ModelSizes, variant: Variant) -> bool:
    return _bits(sizes, variant) >= LOW_BITS


def worth(variant: Variant) -> float:
    """Return the size of the files, corrected by how well the type uses its bits."""
    factor = _LEGACY_WORTH if _LEGACY.search(variant.label) else 1.0
    return variant.size_bytes * (_IMPORTANCE_WORTH if _IMPORTANCE.search(variant.label) else factor)


def _fit(sizes: ModelSizes, variant: Variant, engine: str, room: Room, want: Want) -> Fit:
    padded = Variant(variant.label, variant.size_bytes * (100 + _MARGIN_PERCENT) // 100)
    return solve(sizes.other(padded), engine, room, want)


def _bits(sizes: ModelSizes, variant: Variant) -> float:
    parameters = sizes.weights.parameters
    return variant.size_bytes * 8 / parameters if parameters else _USUAL_BITS


def _question(host: HostFacts, intent: Intent, sized: SizedModel) -> tuple[Want, Room, str]:
    """Return what the planner would ask of the engine, for the largest quantisation."""
    accelerator = choose_accelerator(host, intent)
    storage = storage_plan.plan_storage(host, intent, storage_plan.need_bytes(sized.facts.total_bytes, 0))
    budget = swap_plan.budget(host, intent, storage.filesystem, f"{storage.path}/swapfile")
    engine = choose_engine(intent.engine, sized.facts.format, accelerator == "nvidia")
    want = Want(intent.context, intent.parallel, intent.kv_cache_type, accelerator)
    return want, room_of_host(host, budget), engine


def _is_published(host: HostFacts, sized: SizedModel) -> bool:
    """Whether the host's own record has this very quantisation for this request."""
    for entry in record.sections(host.models_state, "models"):
        model = record.section(entry, "model")
        request = record.text(record.section(model, "request"), "model")
        same = record.text(model, "quantization") == sized.facts.quantization
        if request == sized.facts.request and same and record.text(model, "commit") == sized.facts.commit:
            return True
    return False

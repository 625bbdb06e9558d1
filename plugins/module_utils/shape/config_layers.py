"""What kind each layer of a ``config.json`` is: from the lists that it has, else from the pattern of its family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.shape.config_families import (
    BOTH,
    NETWORK,
    RECURRENT,
    Family,
)
from ansible_collections.llmhost.core.plugins.module_utils.shape.fields import Fields
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import CHUNKED, FULL, SLIDING

NAMES = {
    "attention": FULL,
    "full_attention": FULL,
    "full": FULL,
    "global": FULL,
    "global_attention": FULL,
    "indexed_attention": FULL,
    "sparse_attention": FULL,
    "minimax_m3_sparse": FULL,
    "compressed_sparse_attention": SLIDING,
    "heavily_compressed_attention": SLIDING,
    "sliding": SLIDING,
    "sliding_attention": SLIDING,
    "sliding_window_attention": SLIDING,
    "window_attention": SLIDING,
    "local": SLIDING,
    "local_attention": SLIDING,
    "chunked_attention": CHUNKED,
    "linear_attention": RECURRENT,
    "recurrent": RECURRENT,
    "conv": RECURRENT,
    "mamba": RECURRENT,
    "mamba2": RECURRENT,
    "kda": RECURRENT,
    "m": RECURRENT,
    "hybrid": BOTH,
    "mlp": NETWORK,
    "moe": NETWORK,
}
"""The words of ``layer_types`` and ``layers_block_type``."""

LETTERS = {"M": RECURRENT, "*": FULL, "-": NETWORK, "E": NETWORK}
"""Those of ``hybrid_override_pattern``."""

WINDOW_LETTERS = {"L": SLIDING, "G": FULL}
"""Those of Exaone's ``sliding_window_pattern``."""


def layer_kinds(family: Family, fields: Fields, count: int) -> tuple[str, ...]:
    """Return the kind of each layer: FULL, SLIDING, CHUNKED, RECURRENT, BOTH or NETWORK."""
    for source in (_listed, _by_letters, _by_numbers, _by_period):
        kinds = source(family, fields, count)
        if kinds is not None:
            return _fitted(kinds, fields, count)
    return (family.everywhere or _uniform(fields),) * count


def _fitted(kinds: list[str], fields: Fields, count: int) -> tuple[str, ...]:
    """Return as many kinds as there are layers; a longer list also has those for drafts."""
    if len(kinds) < count:
        fields.doubts.append(f"the list of layers names {len(kinds)} of {count}: the rest is sized as full attention")
    return (*kinds[:count], *(FULL,) * (count - len(kinds)))


def _uniform(fields: Fields) -> str:
    window = fields.flag("use_sliding_window", True) and _window(fields)
    return SLIDING if window else FULL


def _window(fields: Fields) -> int:
    window = fields.raw("sliding_window")
    return 0 if window == -1 else fields.number("sliding_window")


def _listed(family: Family, fields: Fields, count: int) -> list[str] | None:
    listed = fields.raw("layer_types")
    if not isinstance(listed, list) or not listed or not all(isinstance(word, str) for word in listed):
        return None
    kinds = list(listed[: 2 * count])
    if fields.text("model_type") == "recurrent_gemma":  # the pattern is repeated
        kinds = (kinds * count)[:count]
    unknown = sorted({word for word in kinds if word not in NAMES})
    if unknown:
        fields.doubts.append(f"kinds of layers that are not known, sized as full attention: {', '.join(unknown)[:80]}")
    return [NAMES.get(word, FULL) for word in kinds]


def _by_letters(family: Family, fields: Fields, count: int) -> list[str] | None:
    pattern = fields.text("hybrid_override_pattern")
    if pattern:
        return [LETTERS.get(letter, FULL) for letter in pattern[: 2 * count].replace("|", "")]
    pattern = fields.text("sliding_window_pattern")
    if pattern:
        letters = (pattern[:count] * count)[:count]
        # The last layer sees everything, whatever the pattern (Exaone 4's own code).
        return [
            FULL if place == count - 1 else WINDOW_LETTERS.get(letter, FULL) for place, letter in enumerate(letters)
        ]
    return None


def _by_numbers(family: Family, fields: Fields, count: int) -> list[str] | None:
    """Read lists of layers by number, or of one number for each layer."""
    kind = fields.text("model_type")
    if isinstance(fields.raw("attn_layer_indices"), list):
        return _chosen(fields.raw("attn_layer_indices"), count, FULL, RECURRENT)
    if isinstance(fields.raw("full_attn_idxs"), list):
        return _chosen(fields.raw("full_attn_idxs"), count, FULL, RECURRENT)
    full = fields.raw("linear_attn_config.full_attn_layers")
    if isinstance(full, list):
        return _chosen([number - 1 for number in full if isinstance(number, int)], count, FULL, RECURRENT)
    if isinstance(fields.raw("attn_type_list"), list):
        return [FULL if number else RECURRENT for number in fields.raw("attn_type_list")]
    if isinstance(fields.raw("hybrid_layer_pattern"), list):
        return [SLIDING if number else FULL for number in fields.raw("hybrid_layer_pattern")]
    if kind.startswith("llama4") and fields.number("attention_chunk_size"):
        ropes = fields.raw("no_rope_layers")
        if isinstance(ropes, list) and ropes:
            return [CHUNKED if number else FULL for number in ropes]
    if isinstance(fields.raw("sliding_window_layout"), list):
        return [SLIDING if number else FULL for number in fields.raw("sliding_window_layout")]
    if (
        "max_window_layers" in fields
        and fields.flag("use_sliding_window", kind.startswith("dots1"))
        and _window(fields)
    ):
        first = fields.number("max_window_layers")
        return [SLIDING if number >= first else FULL for number in range(count)]
    return None


def _chosen(numbers: list[Any], count: int, chosen: str, others: str) -> list[str]:
    wanted = {number for number in numbers if isinstance(number, int)}
    return [chosen if number in wanted else others for number in range(count)]


def _by_period(family: Family, fields: Fields, count: int) -> list[str] | None:
    kind = fields.text("model_type").removesuffix("_text")
    special = SPECIAL.get(kind)
    if special is not None:
        return special(fields, count)
    if "attn_layer_period" in fields:
        period, offset = max(fields.number("attn_layer_period"), 1), fields.number("attn_layer_offset")
        return [FULL if number % period == offset else RECURRENT for number in range(count)]
    if not family.period or (family.others == SLIDING and not _window(fields)):
        return None
    if family.others == CHUNKED and not fields.number("attention_chunk_size"):
        return [FULL] * count
    names = ("full_attention_interval", "layer_group_size", "global_attn_every_n_layers", "sliding_window_pattern")
    period = fields.first(*names, default=family.period) or family.period
    place = 0 if family.full_first else period - 1
    return [FULL if number % period == place else family.others for number in range(count)]


def _cohere2_moe(fields: Fields, count: int) -> list[str]:
    """The dense layers at the beginning have a pattern of their own, which begins anew after them."""
    dense = min(fields.number("dense_layers"), count)
    first = fields.number("prefix_dense_sliding_window_pattern", 1) or 1
    period = fields.number("sliding_window_pattern", 4) or 1
    kinds = [SLIDING if (number + 1) % first else FULL for number in range(dense)]
    return kinds + [SLIDING if (number + 1) % period else FULL for number in range(count - dense)]


def _mimo(fields: Fields, count: int) -> list[str]:
    return [FULL if number == 0 or (number + 1) % 6 == 0 else SLIDING for number in range(count)]


def _muse(fields: Fields, count: int) -> list[str]:
    return [FULL if (count - 1 - number) % 4 == 0 else SLIDING for number in range(count)]


def _gemma4(fields: Fields, count: int) -> list[str]:
    kinds = [FULL if (number + 1) % 6 == 0 else SLIDING for number in range(count)]
    return [*kinds[:-1], FULL]


def _plamo2(fields: Fields, count: int) -> list[str]:
    """Every ``mamba_step``-th layer has attention; of few layers the last one (the model's own code)."""
    step = fields.number("mamba_step", 2) or 1
    if not fields.flag("mamba_enabled", True):
        return [FULL] * count
    if count <= step // 2:
        return [*[RECURRENT] * (count - 1), FULL]
    return [FULL if number % step == step // 2 else RECURRENT for number in range(count)]


def _bailing(fields: Fields, count: int) -> list[str]:
    """The last layer of each group has full attention, and so do the layers that make up no whole group."""
    size = fields.number("layer_group_size", 8) or 1
    whole = count // size * size
    return [FULL if (number + 1) % size == 0 or number >= whole else RECURRENT for number in range(count)]


def _minimax(fields: Fields, count: int) -> list[str]:
    return [RECURRENT if number % 2 else FULL for number in range(count)]


SPECIAL: dict[str, Callable[[Fields, int], list[str]]] = {
    "bailing_hybrid": _bailing,
    "bailing_moe_linear": _bailing,
    "cohere2_moe": _cohere2_moe,
    "gemma4": _gemma4,
    "gemma4_unified": _gemma4,
    "mimo_v2": _mimo,
    "mimo_v2_flash": _mimo,
    "minimax": _minimax,
    "muse_glimmer": _muse,
    "plamo2": _plamo2,
}

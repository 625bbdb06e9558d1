"""Which layers of a GGUF model look back only a window of tokens, and how far.

The table follows ``load_arch_hparams`` of each architecture in llama.cpp's ``src/models`` (as in llama-cpp-python
0.3.36). An architecture that is not in it has no window, whatever its file says: llama.cpp does not read the key.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.shape.fields import Fields


@dataclass(frozen=True)
class Windowed:
    """A pattern of layers. Of ``period`` layers one is full: the last one, or the first if ``full_first``."""

    period: int  # LISTED: only the file tells; 0: no layer is full
    full_first: bool = False
    default: int = 0  # window in tokens if the file names none
    fixed: int = 0  # window in tokens whatever the file says, if it says any at all
    layers: int = 0  # the pattern holds for models of that many layers only


LISTED = -1

WINDOWED = {
    "afmoe": Windowed(4),
    "cohere2": Windowed(4),
    "cohere2moe": Windowed(4, full_first=True),
    "deepseek4": Windowed(0),
    "dflash": Windowed(LISTED),
    "dots3note": Windowed(LISTED),
    "exaone-moe": Windowed(4, default=128),
    "exaone4": Windowed(4, default=4096, layers=64),
    "gemma-embedding": Windowed(6),
    "gemma2": Windowed(2, default=4096),
    "gemma3": Windowed(6),
    "gemma3n": Windowed(5),
    "gemma4": Windowed(LISTED),
    "gemma4-assistant": Windowed(LISTED),
    "gpt-oss": Windowed(2),
    "granite_swa": Windowed(LISTED),
    "laguna": Windowed(4, full_first=True),
    "lfm2": Windowed(0),
    "llama4": Windowed(4, default=8192, fixed=8192),
    "maple": Windowed(LISTED),
    "mellum": Windowed(4),
    "mimo2": Windowed(LISTED),
    "modern-bert": Windowed(3, full_first=True),
    "muse-glimmer": Windowed(4),
    "olmo2": Windowed(4),
    "plamo3": Windowed(8),
    "smallthinker": Windowed(4, full_first=True, fixed=4096),
    "spark2_5": Windowed(LISTED),
    "step35": Windowed(LISTED),
}
CHUNKED_MODELS = {"llama4"}

WINDOW, PATTERN = "attention.sliding_window", "attention.sliding_window_pattern"


def windows(architecture: str, fields: Fields, layers: int, all_layers: int) -> tuple[int, ...]:
    """Return the window of each of ``all_layers`` in tokens, 0 for a layer that sees everything.

    Only the first ``layers`` follow a pattern; those of multi-token prediction after them are full unless listed.
    """
    rule = WINDOWED.get(architecture)
    if rule is None or (rule.layers and rule.layers != layers):
        return (0,) * all_layers
    window = fields.number(WINDOW, rule.default)
    if window and rule.fixed:
        window = rule.fixed
    if isinstance(fields.raw(PATTERN), (list, tuple)):
        listed = fields.raw(PATTERN)
        return tuple(window if number < len(listed) and listed[number] else 0 for number in range(all_layers))
    if rule.period == LISTED:
        if window:
            fields.doubts.append(f"{PATTERN} does not say which layers have a window: all are sized as full")
        return (0,) * all_layers
    drafts = window if architecture == "deepseek4" else 0
    period = fields.number(PATTERN, rule.period)
    return tuple(
        drafts if number >= layers else 0 if is_full(number, period, rule.full_first) else window
        for number in range(all_layers)
    )


def is_full(number: int, period: int, full_first: bool = False) -> bool:
    """Say whether a layer is the full one of its period; with a period of 0 none is, with 1 all are."""
    return period > 0 and number % period == (0 if full_first else period - 1)

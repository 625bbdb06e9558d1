"""The tower that turns sound into tokens: a bound on its parameters, from a model's ``config.json``.

Sources: ``modeling_{whisper,qwen2_audio,gemma3n,gemma4}.py`` of transformers. No buffer of it is sized.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record

_MOST = 2**16
_WHISPER_POSITIONS = 1500
# Squares of the width in one layer of a conformer: two networks of 8, attention of 5 with its positions, convolution
# of 3. Gemma's twelve layers of 1024 then have 302 of the 305 million parameters that its card says.
_CONFORMER = 24


def sound_parameters(config: Mapping[str, Any]) -> int:
    """Return how many parameters the tower for sound has at most; 0 if there is none.

    Gemma 3n's is part of what ``vision_tower.py`` counts, since only their sum is known.
    """
    part = record.section(config, "audio_config")
    kind = record.text(part, "model_type")
    if not part or record.text(config, "model_type") == "gemma3n":
        return 0
    width = _number(part, "hidden_size", "d_model")
    layers = _number(part, "num_hidden_layers", "encoder_layers", "conf_num_hidden_layers", "num_layers")
    length = _number(part, "intermediate_size", "encoder_ffn_dim") or 4 * width
    out = _number(record.section(config, "text_config"), "hidden_size") or _number(config, "hidden_size")
    mel = _number(part, "num_mel_bins", "input_feat_size") or 128
    if kind.startswith("gemma") or "conformer" in kind:
        layer = _CONFORMER * width * width
    else:
        layer = 4 * width * width + 2 * width * length + 9 * width + length
    ends = 3 * mel * width + 3 * width * width + _WHISPER_POSITIONS * width + 4 * width
    return layers * layer + ends + max(width, out) * max(width, out)


def _number(part: Mapping[str, Any], *names: str) -> int:
    for name in names:
        number = record.integer(part, name)
        if number:
            return min(number, _MOST)
    return 0

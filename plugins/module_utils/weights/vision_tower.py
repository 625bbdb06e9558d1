"""The tower that turns an image into tokens: its parameters, from a model's ``config.json``.

Sources: ``modeling_{siglip,clip,pixtral,qwen2_vl,qwen2_5_vl,qwen3_vl,llama4,internvl}.py`` of transformers. A tower of
another kind counts as one with every matrix that a transformer of its lengths may have, and carries a doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record

MAX_LENGTH = 2**20
MAX_BLOCKS = 4096
_GEMMA_4_POSITIONS = 10240
# MobileNet v5 and the tower for sound of Gemma 3n E4B: its checkpoint has 7,849,978,192 parameters, the text model
# 6,868,990,448. The configuration has none of its lengths.
_GEMMA_3N = 980_987_744


@dataclass(frozen=True)
class Tower:
    """One tower, with the projector that makes its output as wide as the text model."""

    kind: str
    layers: int
    width: int
    length: int  # of the feed-forward network
    heads: int
    patch: int  # pixels of a side
    image: int  # pixels of a side of the image for which it was made; 0 where there is no such size
    merge: int = 1  # patches of a side that become one token
    out: int = 0  # width of the text model
    gated: bool = False
    output_width: int = 0  # of the tower itself, where a block between it and the text model has its own
    depth_taps: int = 0  # layers whose output goes into the text model on its own (Qwen3-VL)
    temporal: int = 1  # images that make one patch
    features: int = 1  # layers whose outputs stand beside each other before the projector (LLaVA, Granite)
    positions: int = 0  # learned ones, where the configuration counts them itself

    @property
    def doubt(self) -> str:
        """Return what is not known about this tower; "" if nothing."""
        known = self.kind in _KINDS
        return "" if known else f"the size of its tower for images ({self.kind}) is an upper bound"

    @property
    def parameters(self) -> int:
        """Return how many numbers tower and projector hold."""
        return _KINDS.get(self.kind, _unknown)(self)


def tower_from_config(config: Mapping[str, Any]) -> Tower | None:
    """Return the tower for images that a ``config.json`` describes, or None; odd values count as zero."""
    part = record.section(config, "vision_config")
    if not part:
        return None
    kind = _kind(config, part)
    width = _number(part, "hidden_size", "embed_dim", "width")
    if kind == "qwen2_vl":  # hidden_size is there the width of the text model
        width = _number(part, "embed_dim", "hidden_size")
    patch = _number(part, "patch_size", "spatial_patch_size")
    length = _number(part, "intermediate_size", "mlp_dim") or int(width * _ratio(part))
    return Tower(
        kind=kind,
        layers=min(_number(part, "num_hidden_layers", "depth", "vt_num_hidden_layers"), MAX_BLOCKS),
        width=width,
        length=length,
        heads=_number(part, "num_attention_heads", "num_heads"),
        patch=patch,
        image=_number(part, "image_size") or patch * _number(part, "init_pos_emb_height"),
        merge=_number(part, "spatial_merge_size")
        or _number(config, "spatial_merge_size")
        or _merge(config, part, kind),
        out=_text_width(config),
        gated=kind in GATED,
        output_width=_number(part, "projector_output_dim", "vision_output_dim"),
        depth_taps=len(part.get("deepstack_visual_indexes") or ()) if _is_list(part, "deepstack_visual_indexes") else 0,
        temporal=_number(part, "temporal_patch_size") or 1,
        positions=_number(part, "num_position_embeddings", "position_embedding_size"),
    )


GATED = {"gemma4", "mistral3", "pixtral", "qwen2_5_vl"}
# Where the model's own type decides, since towers of one type have several projectors.
_BY_MODEL = {
    "gemma3": "gemma3", "paligemma": "paligemma", "qwen2_vl": "qwen2_vl", "qwen2_5_vl": "qwen2_5_vl",
    "qwen3_vl": "qwen3_vl", "qwen3_vl_moe": "qwen3_vl", "qwen3_5": "qwen3_vl", "qwen3_5_moe": "qwen3_vl",
    "mistral3": "mistral3", "llama4": "llama4", "internvl": "internvl", "internvl_chat": "internvl",
    "idefics3": "idefics3", "smolvlm": "idefics3", "kimi_vl": "moonvit", "gemma3n": "gemma3n",
    "gemma4": "gemma4",
}  # fmt: skip
_BY_TOWER = {"clip_vision_model": "clip", "siglip_vision_model": "siglip", "pixtral": "pixtral"}


def _kind(config: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    model, tower = record.text(config, "model_type"), record.text(part, "model_type")
    return _BY_MODEL.get(model) or _BY_TOWER.get(tower) or tower or model or "unknown"


def _number(part: Mapping[str, Any], *names: str) -> int:
    for name in names:
        number = record.integer(part, name)
        if number:
            return min(number, MAX_LENGTH)
    return 0


def _ratio(part: Mapping[str, Any]) -> float:
    ratio = part.get("mlp_ratio")
    return float(ratio) if isinstance(ratio, (int, float)) and 0 < ratio < 100 else 4.0


def _is_list(part: Mapping[str, Any], name: str) -> bool:
    return isinstance(part.get(name), (list, tuple))


def _merge(config: Mapping[str, Any], part: Mapping[str, Any], kind: str) -> int:
    if kind == "gemma3":
        tokens, patches = _number(config, "mm_tokens_per_image") or 256, _patches_of_a_side(part)
        return max(1, int(patches / max(1.0, tokens**0.5)))
    if kind in ("llama4", "internvl"):
        return 2
    if kind == "idefics3":
        return _number(config, "scale_factor") or 2
    if kind == "gemma4":
        return _number(part, "pooling_kernel_size") or 3
    return 2 if kind in ("moonvit", "qwen2_vl", "qwen2_5_vl", "qwen3_vl") else 1


def _patches_of_a_side(part: Mapping[str, Any]) -> int:
    patch = _number(part, "patch_size")
    return _number(part, "image_size") // patch if patch else 0


def _text_width(config: Mapping[str, Any]) -> int:
    for name in ("text_config", "llm_config", "language_config"):
        width = _number(record.section(config, name), "hidden_size")
        if width:
            return width
    return _number(config, "hidden_size")


def _matrix(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _layers(tower: Tower, *, norm: int, bias: bool = True) -> int:
    """Return the parameters of all layers; ``norm`` is 2 where a norm has a bias, else 1."""
    width, length = tower.width, tower.length
    ways_in = 2 if tower.gated else 1
    weights = 4 * width * width + (ways_in + 1) * width * length
    biases = 4 * width + ways_in * length + width if bias else 0
    return tower.layers * (weights + biases + 2 * norm * width)


def _patches(tower: Tower) -> int:
    return 3 * tower.temporal * tower.patch * tower.patch * tower.width


def _positions(tower: Tower) -> int:
    side = tower.image // tower.patch if tower.patch else 0
    return side * side


def _siglip_tower(tower: Tower) -> int:
    width = tower.width
    return _patches(tower) + width + _positions(tower) * width + _layers(tower, norm=2) + 2 * width


def _clip_tower(tower: Tower) -> int:
    width = tower.width
    return _patches(tower) + width + (_positions(tower) + 1) * width + _layers(tower, norm=2) + 4 * width


def _two_layers(inputs: int, out: int) -> int:
    return _matrix(inputs, out) + _matrix(out, out)


def _gemma3(tower: Tower) -> int:
    return _siglip_tower(tower) + tower.width * tower.out + tower.width


def _paligemma(tower: Tower) -> int:
    return _siglip_tower(tower) + _matrix(tower.width, tower.out)


def _siglip(tower: Tower) -> int:
    return _siglip_tower(tower) + _two_layers(tower.features * tower.width, tower.out)


def _clip(tower: Tower) -> int:
    return _clip_tower(tower) + _two_layers(tower.features * tower.width, tower.out)


def _pixtral_tower(tower: Tower) -> int:
    return _patches(tower) + tower.width + _layers(tower, norm=1, bias=False)


def _pixtral(tower: Tower) -> int:
    return _pixtral_tower(tower) + _two_layers(tower.width, tower.out)


def _mistral3(tower: Tower) -> int:
    width, out = tower.width, tower.out
    merger = tower.merge**2 * width * width
    return _pixtral_tower(tower) + width + merger + width * out + out * out


def _gemma3n(tower: Tower) -> int:
    return _GEMMA_3N


def _gemma4(tower: Tower) -> int:
    width, heads = tower.width, max(1, tower.heads)
    plain = tower.layers * (4 * width * width + 3 * width * tower.length + 4 * width + 2 * (width // heads))
    tables = 2 * (tower.positions or _GEMMA_4_POSITIONS) * width  # one for rows, one for columns
    return _patches(tower) + tables + plain + width * tower.out


def _qwen_merger(tower: Tower, norm: int) -> int:
    merged = tower.merge**2 * tower.width
    return norm + _matrix(merged, merged) + _matrix(merged, tower.out)


def _moonvit(tower: Tower) -> int:
    return _siglip_tower(tower) + _qwen_merger(tower, 2 * tower.width)


def _qwen2_vl(tower: Tower) -> int:
    return _patches(tower) + _layers(tower, norm=2) + _qwen_merger(tower, 2 * tower.width)


def _qwen2_5_vl(tower: Tower) -> int:
    return _patches(tower) + _layers(tower, norm=1) + _qwen_merger(tower, tower.width)


def _qwen3_vl(tower: Tower) -> int:
    width = tower.width
    taps = tower.depth_taps * _qwen_merger(tower, 2 * tower.merge**2 * width)
    plain = _patches(tower) + width + tower.positions * width + _layers(tower, norm=2)
    return plain + _qwen_merger(tower, 2 * width) + taps


def _llama4(tower: Tower) -> int:
    width, between = tower.width, tower.output_width
    plain = _patches(tower) + width + (_positions(tower) + 1) * width + _layers(tower, norm=2) + 4 * width
    return plain + tower.merge**2 * width * between + between * between + between * tower.out


def _internvl(tower: Tower) -> int:
    width, merged = tower.width, tower.merge**2 * tower.width
    scales = 2 * tower.layers * width
    plain = _patches(tower) + 2 * width + (_positions(tower) + 1) * width + _layers(tower, norm=2) + scales
    return plain + 2 * merged + _two_layers(merged, tower.out)


def _idefics3(tower: Tower) -> int:
    return _siglip_tower(tower) + tower.merge**2 * tower.width * tower.out


def _unknown(tower: Tower) -> int:
    """Return an upper bound: gates, biases, learned positions, and a projector of two layers."""
    width, length = tower.width, tower.length
    layers = tower.layers * (4 * _matrix(width, width) + 3 * width * length + 2 * length + 8 * width)
    positions = max(_positions(tower), tower.positions) + 2
    return _patches(tower) + positions * width + layers + _two_layers(tower.merge**2 * width, max(width, tower.out))


_KINDS: dict[str, Callable[[Tower], int]] = {
    "clip": _clip,
    "gemma3": _gemma3,
    "gemma3n": _gemma3n,
    "gemma4": _gemma4,
    "idefics3": _idefics3,
    "internvl": _internvl,
    "llama4": _llama4,
    "mistral3": _mistral3,
    "moonvit": _moonvit,
    "paligemma": _paligemma,
    "pixtral": _pixtral,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen2_vl": _qwen2_vl,
    "qwen3_vl": _qwen3_vl,
    "siglip": _siglip,
}

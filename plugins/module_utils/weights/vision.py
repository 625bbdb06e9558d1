"""What a tower for images takes beside the text model: its weights, and memory while it looks at an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.llmhost.core.plugins.module_utils.model.gguf import Value
from ansible_collections.llmhost.core.plugins.module_utils.weights.vision_tower import (
    GATED,
    MAX_BLOCKS,
    MAX_LENGTH,
    Tower,
    tower_from_config,
)
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights

__all__ = ["Tower", "tower_from_config", "tower_from_projector"]

HALF, FLOAT = 2, 4
_DEFAULT_IMAGE = 896

# Tokens along a side of the image with which llama.cpp's mtmd reserves its compute buffer (``set_warmup_n_tokens`` in
# tools/mtmd/clip.cpp, as in llama-cpp-python 0.3.36); the others take the size that they were made for.
WARM_UP_SIDE = {
    "gemma4": 16, "moonvit": 16, "mistral3": 16, "pixtral": 16, "qwen2_vl": 46, "qwen2_5_vl": 46, "qwen3_vl": 46,
    "glm4v": 46, "lfm2": 16,
}  # fmt: skip
# Most tokens of one image: the limits of mtmd (``set_limit_image_tokens``) and of the models' own processors.
LARGEST_IMAGE = {
    "gemma4": (1120, 1120), "moonvit": (1024, 1024), "mistral3": (1024, 3025), "pixtral": (1024, 4096),
    "qwen2_vl": (4096, 16384), "qwen2_5_vl": (4096, 16384), "qwen3_vl": (4096, 16384), "glm4v": (4096, 6144),
}  # fmt: skip
_PROJECTORS = {
    "mlp": "clip", "gemma3": "gemma3", "gemma4v": "gemma4", "idefics3": "idefics3", "internvl": "internvl",
    "kimivl": "moonvit", "llama4": "llama4", "pixtral": "mistral3", "qwen2vl_merger": "qwen2_vl",
    "qwen2.5vl_merger": "qwen2_5_vl", "qwen3vl_merger": "qwen3_vl",
}  # fmt: skip
_MERGES = {"gemma3": 4, "qwen2_vl": 2, "qwen2_5_vl": 2, "qwen3_vl": 2, "gemma4": 3, "glm4v": 2}
_FUSED = {"qwen3_vl"}


def tower_from_projector(metadata: Mapping[str, Value]) -> Tower | None:
    """Return the tower in a projector file of GGUF (``mmproj``), or None if it has none for images.

    Its weights are the tensors of the file; here is what its compute buffer follows from.
    """
    width = _number(metadata, "vision.embedding_length")
    if not width:
        return None
    name = metadata.get("clip.vision.projector_type") or metadata.get("clip.projector_type")
    kind = _PROJECTORS.get(str(name), str(name))
    patch = _number(metadata, "vision.patch_size")
    merge = _number(metadata, "vision.projector.scale_factor") or _number(metadata, "vision.spatial_merge_size")
    taps = metadata.get("clip.vision.is_deepstack_layers")
    return Tower(
        kind=kind,
        layers=min(_number(metadata, "vision.block_count"), MAX_BLOCKS),
        width=width,
        length=_number(metadata, "vision.feed_forward_length"),
        heads=_number(metadata, "vision.attention.head_count"),
        patch=patch,
        image=_number(metadata, "vision.image_size"),
        merge=merge or _MERGES.get(kind, 1),
        out=_number(metadata, "vision.projection_dim"),
        gated=kind in GATED,
        depth_taps=sum(bool(tap) for tap in taps) if isinstance(taps, tuple) else 0,
        temporal=2 if kind in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl") else 1,
    )


def with_tower(weights: Weights, tower: Tower | None, bytes_per_parameter: int = HALF) -> Weights:
    """Return the weights with those of the tower, which stays in 16 bits whatever the text model is quantised to."""
    if tower is None:
        return weights
    size = weights.projector_bytes + tower.parameters * bytes_per_parameter
    return replace(weights, projector_bytes=size, parameters=weights.parameters + tower.parameters)


def load_compute_bytes(tower: Tower, flash_attention: bool = True) -> int:
    """Return the compute buffer that llama.cpp reserves for the tower when it loads.

    An upper bound of what its graph has live at once, 0 to 12 % over on twelve towers (``llama-server --mmproj``, the
    line "compute buffer size" of ``reserve_compute_meta``). Builds before November 2025 had no flash attention here.
    """
    side = tower.merge * WARM_UP_SIDE.get(tower.kind, 0) * tower.patch or tower.image or _DEFAULT_IMAGE
    return _graph_bytes(tower, side, flash_attention)


def largest_compute_bytes(tower: Tower, flash_attention: bool = True) -> int:
    """Return what the buffer grows to when llama.cpp meets the largest image that it does not shrink."""
    tokens = LARGEST_IMAGE.get(tower.kind, (0, 0))[0]
    side = int(tokens**0.5) * tower.merge * tower.patch
    return max(_graph_bytes(tower, side, flash_attention), load_compute_bytes(tower, flash_attention))


def largest_image_tokens(tower: Tower) -> int:
    """Return the most tokens that the model's own processor makes of one image, as vLLM profiles it."""
    known = LARGEST_IMAGE.get(tower.kind)
    patches = tower.image // tower.patch if tower.patch else 0
    return known[1] if known else -(-(patches**2) // max(1, tower.merge**2))


def encoder_cache_bytes(tower: Tower, budget_tokens: int) -> int:
    """Return what vLLM keeps for the outputs of the tower, in 16 bits, while it profiles and serves.

    ``budget_tokens`` is max_num_batched_tokens; one image always fits. By reading ``compute_mm_encoder_budget`` of
    vllm/v1/core/encoder_cache_manager.py; not measured.
    """
    tokens = max(budget_tokens, largest_image_tokens(tower))
    return tokens * tower.out * (1 + tower.depth_taps) * HALF


def encoder_peak_bytes(tower: Tower, budget_tokens: int) -> int:
    """Return an upper bound of the tower's own activations in vLLM's profile run, which end before the text's begin.

    As many images as fill the budget at once, in 16 bits, with an attention that keeps no scores. By reading
    vllm/v1/worker/gpu_model_runner.py; not measured.
    """
    patches = max(budget_tokens, largest_image_tokens(tower)) * tower.merge**2
    widest = max(tower.length * (3 if tower.gated else 2), 4 * tower.width)
    pixels = patches * 3 * tower.temporal * tower.patch**2
    return HALF * (patches * (widest + 3 * tower.width) + pixels)


def _graph_bytes(tower: Tower, side: int, flash_attention: bool) -> int:
    """Return the bytes that the graph of an image of ``side`` pixels has live at once, in 32 bits."""
    patches = (side // tower.patch) ** 2 + 1 if tower.patch else 0
    stream, image = patches * tower.width * FLOAT, 3 * side * side * FLOAT
    network = patches * tower.length * FLOAT
    tokens = -(-patches // max(1, tower.merge**2))
    taps = tokens * tower.out * FLOAT * tower.depth_taps
    mask = patches * patches * FLOAT if tower.kind == "qwen2_5_vl" else 0  # of its windows
    plain, gated = network + max(3 * stream, 2 * stream + image), 3 * network + 4 * stream + image
    layer = gated if tower.gated else plain
    if tower.kind in _FUSED:
        layer = max(layer, 6 * stream + image)
    if tower.kind == "moonvit":  # its table of positions is turned and made to fit the image
        layer = max(layer, (tower.image // max(1, tower.patch)) ** 2 * tower.width * FLOAT + 4 * stream)
    if not flash_attention:
        scores = patches * patches * tower.heads * FLOAT
        layer = max(layer, scores + (8 if tower.kind in _FUSED else 6) * stream)
    projector = tokens * (2 * tower.out + tower.merge**2 * tower.width) * FLOAT + image
    return max(layer + taps + (image if taps and flash_attention else 0), projector) + mask


def _number(metadata: Mapping[str, Value], key: str) -> int:
    value = metadata.get(f"clip.{key}")
    return min(value, MAX_LENGTH) if type(value) is int and value > 0 else 0

"""Towers for images: their parameters against published totals, their compute against what llama.cpp reserves."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.gguf import Value
from ansible_collections.llmhost.core.plugins.module_utils.weights.sound_tower import sound_parameters
from ansible_collections.llmhost.core.plugins.module_utils.weights.vision import (
    encoder_cache_bytes,
    encoder_peak_bytes,
    largest_compute_bytes,
    largest_image_tokens,
    load_compute_bytes,
    tower_from_projector,
    with_tower,
)
from ansible_collections.llmhost.core.plugins.module_utils.weights.vision_tower import tower_from_config
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights
from hypothesis import given, settings
from hypothesis import strategies as st

MIB = 2**20


def vision(kind: str, sizes: tuple[int, int, int, int, int, int], **more: Any) -> dict[str, Any]:
    """Return a vision_config: layers, width, network, heads, patch, image."""
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "patch_size", "image_size")
    return {"model_type": kind, **dict(zip(names, sizes, strict=True)), **more}


SIGLIP = vision("siglip_vision_model", (27, 1152, 4304, 16, 14, 896))
QWEN3 = {
    "model_type": "qwen3_vl", "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16,
    "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 2304,
}  # fmt: skip
TOWERS: dict[str, tuple[dict[str, Any], int]] = {
    # Parameters: the total of the checkpoint less those of the text model.
    "gemma 3 27b": (
        {"model_type": "gemma3", "vision_config": SIGLIP, "text_config": {"hidden_size": 5376}},
        27_432_406_640 - 27_009_346_304,
    ),
    "llava 1.5": (
        {
            "model_type": "llava", "text_config": {"hidden_size": 4096},
            "vision_config": vision("clip_vision_model", (24, 1024, 4096, 16, 14, 336)),
        },
        7_063_427_072 - 6_738_415_616 - 2 * 64 * 4096,  # whose vocabulary has 64 more tokens
    ),
    "mistral small 3.1": (
        {
            "model_type": "mistral3", "text_config": {"hidden_size": 5120}, "spatial_merge_size": 2,
            "vision_config": vision("pixtral", (24, 1024, 4096, 16, 14, 1540)),
        },
        24_011_361_280 - 23_572_403_200,
    ),
    "qwen2 vl 7b": (
        {
            "model_type": "qwen2_vl", "hidden_size": 3584,
            "vision_config": {
                "depth": 32, "embed_dim": 1280, "hidden_size": 3584, "mlp_ratio": 4, "num_heads": 16, "patch_size": 14,
                "spatial_merge_size": 2, "temporal_patch_size": 2,
            },
        },
        8_291_375_616 - 7_615_616_512,
    ),
    "qwen2.5 vl 7b": (
        {
            "model_type": "qwen2_5_vl", "hidden_size": 3584,
            "vision_config": {
                "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14,
                "spatial_merge_size": 2, "temporal_patch_size": 2,
            },
        },
        8_292_166_656 - 7_615_616_512,
    ),
    "qwen3 vl 8b": (
        {
            "model_type": "qwen3_vl", "text_config": {"hidden_size": 4096},
            "vision_config": {**QWEN3, "deepstack_visual_indexes": [8, 16, 24]},
        },
        8_767_123_696 - 8_190_735_360,
    ),
    "qwen3.5 27b": (
        {
            "model_type": "qwen3_5", "text_config": {"hidden_size": 5120},
            "vision_config": {**QWEN3, "deepstack_visual_indexes": []},
        },
        27_781_427_952 - 26_895_998_464 - 424_699_392,  # with a layer of multi-token prediction
    ),
    "llama 4 scout": (
        {
            "model_type": "llama4", "text_config": {"hidden_size": 5120},
            "vision_config": vision(
                "llama4_vision_model", (34, 1408, 5632, 16, 14, 336), projector_output_dim=4096, vision_output_dim=4096
            ),
        },
        108_641_793_536 - 107_769_861_120,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOWERS)
def test_a_tower_has_the_parameters_that_its_checkpoint_has_over_the_text_model(name: str) -> None:
    config, parameters = TOWERS[name]
    tower = tower_from_config(config)
    assert tower is not None
    assert (tower.parameters, tower.doubt) == (parameters, "")
    weights = with_tower(Weights(0, 0, 0, 0, (), parameters=5), tower)
    assert (weights.projector_bytes, weights.parameters) == (2 * parameters, parameters + 5)


def test_the_towers_of_gemma_are_what_its_card_says() -> None:
    sizes = vision("gemma4_vision", (27, 1152, 4304, 16, 16, 0), position_embedding_size=10240)
    large = {"model_type": "gemma4", "vision_config": sizes, "text_config": {"hidden_size": 5376}}
    sizes = vision("gemma4_vision", (16, 768, 3072, 12, 16, 0), position_embedding_size=10240)
    sound = {"model_type": "gemma4_audio", "hidden_size": 1024, "num_hidden_layers": 12}
    small = {
        "model_type": "gemma4",
        "vision_config": sizes,
        "audio_config": sound,
        "text_config": {"hidden_size": 1536},
    }
    towers = [tower_from_config(config) for config in (large, small)]
    assert [round(tower.parameters / 10**6) for tower in towers if tower] == [576, 169]  # "about 550M" and "150M"
    assert sound_parameters(small) / 10**6 == pytest.approx(305, rel=0.03)
    assert sound_parameters(large) == 0
    both = tower_from_config({"model_type": "gemma3n", "vision_config": {"hidden_size": 2048}, "audio_config": sound})
    assert both is not None
    assert both.parameters == 7_849_978_192 - 6_868_990_448
    assert sound_parameters({"model_type": "gemma3n", "audio_config": sound}) == 0


def test_the_tower_of_whisper_is_bounded() -> None:
    sound = {"model_type": "qwen2_audio_encoder", "d_model": 1280, "encoder_layers": 32, "encoder_ffn_dim": 5120}
    # Whisper large v3 has an encoder of 637 million.
    assert 637e6 < sound_parameters({"audio_config": sound, "text_config": {"hidden_size": 4096}}) < 670e6


def test_a_text_model_has_no_tower() -> None:
    weights = Weights(1, 2, 3, 4, ())
    assert tower_from_config({"model_type": "llama", "hidden_size": 4096}) is None
    assert tower_from_projector({"general.architecture": "clip", "clip.has_audio_encoder": True}) is None
    assert with_tower(weights, None) is weights


def test_a_tower_of_a_new_kind_is_an_upper_bound_with_a_doubt() -> None:
    new = tower_from_config({"model_type": "gemma3", "vision_config": SIGLIP, "text_config": {"hidden_size": 5376}})
    bound = tower_from_config(
        {"model_type": "new", "vision_config": {**SIGLIP, "model_type": "newer"}, "hidden_size": 5376}
    )
    assert new is not None
    assert bound is not None
    assert "newer" in bound.doubt
    assert 1.2 < bound.parameters / new.parameters < 1.8


def projector(kind: str, sizes: tuple[int, ...], **more: Value) -> dict[str, Value]:
    """Return the metadata of a projector file: width, network, layers, heads, patch, image, width of the text."""
    names = (
        "embedding_length", "feed_forward_length", "block_count", "attention.head_count", "patch_size", "image_size",
        "projection_dim",
    )  # fmt: skip
    keys = {f"clip.vision.{name}": size for name, size in zip(names, sizes, strict=True)}
    return {"clip.projector_type": kind, **keys, **{f"clip.vision.{key}": value for key, value in more.items()}}


# MiB with and without flash attention: the buffer that llama-server (llama-cpp-python 0.3.36) reserved on files of the
# same tensors; 1132.00 and 32.88 stand in many users' logs too.
QWEN3_TAPS = tuple(number in (8, 16, 24) for number in range(27))
RESERVED: list[tuple[dict[str, Value], float, float]] = [
    (projector("gemma3", (1152, 4304, 27, 16, 14, 896, 2560)), 121.25, 1132.00),
    (projector("mlp", (1024, 4096, 23, 16, 14, 336, 4096)), 21.55, 32.88),
    (projector("pixtral", (1024, 4096, 24, 16, 14, 1540, 5120), spatial_merge_size=2), 64.62, 86.62),
    (projector("qwen2vl_merger", (1280, 5120, 32, 16, 14, 560, 3584)), 267.08, 4598.27),
    (projector("qwen2.5vl_merger", (1280, 3420, 32, 16, 14, 560, 3584)), 704.79, 4871.57),
    (projector("qwen3vl_merger", (1152, 4304, 27, 16, 16, 768, 4096), is_deepstack_layers=QWEN3_TAPS), 372.08, 4769.39),
    (projector("qwen3vl_merger", (1152, 4304, 27, 16, 16, 768, 5120), spatial_merge_size=2), 248.10, 4657.81),
    (projector("llama4", (1408, 5632, 34, 16, 14, 336, 5120), **{"projector.scale_factor": 2}), 19.89, 37.11),
    (projector("internvl", (1024, 4096, 24, 16, 14, 448, 3584), **{"projector.scale_factor": 2}), 28.03, 80.14),
    (projector("gemma4v", (1152, 4304, 27, 16, 16, 224, 5376)), 150.63, 381.39),
    (projector("kimivl", (1152, 4304, 27, 16, 14, 896, 2048), **{"projector.scale_factor": 2}), 34.87, 88.80),
    (projector("idefics3", (768, 3072, 12, 12, 16, 512, 960), **{"projector.scale_factor": 4}), 21.00, 60.00),
]


@pytest.mark.parametrize(("metadata", "flash", "plain"), RESERVED, ids=lambda value: str(value)[:45])
def test_the_compute_of_a_tower_is_never_under_what_llama_cpp_reserves(
    metadata: dict[str, Value], flash: float, plain: float
) -> None:
    tower = tower_from_projector(metadata)
    assert tower is not None
    for attention, seen in ((True, flash), (False, plain)):
        planned = load_compute_bytes(tower, attention) / MIB
        assert seen - 0.01 <= planned <= 1.13 * seen
        assert largest_compute_bytes(tower, attention) / MIB >= planned
    # An image of 4096 tokens has twice the patches of the one it warms up with.
    if tower.kind == "qwen2_vl":
        assert 1.8 < largest_compute_bytes(tower) / load_compute_bytes(tower) < 2.2


def test_vllm_keeps_room_for_the_largest_image() -> None:
    tower = tower_from_config(TOWERS["gemma 3 27b"][0])
    assert tower is not None
    assert largest_image_tokens(tower) == 256
    assert encoder_cache_bytes(tower, 8192) == 8192 * 5376 * 2
    assert encoder_cache_bytes(tower, 1) == 256 * 5376 * 2
    assert encoder_peak_bytes(tower, 1) < encoder_peak_bytes(tower, 8192)


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=3), st.lists(st.integers())
)
KEYS = [
    "hidden_size", "embed_dim", "num_hidden_layers", "depth", "patch_size", "image_size", "intermediate_size",
    "spatial_merge_size", "num_heads", "mlp_ratio", "deepstack_visual_indexes", "temporal_patch_size",
]  # fmt: skip
KINDS = sorted({str(config["model_type"]) for config, _ in TOWERS.values()} | {"internvl", "idefics3", "kimi_vl", "x"})


@settings(deadline=None)
@given(
    st.sampled_from(KINDS) | ODD,
    st.dictionaries(st.sampled_from(KEYS), ODD | st.integers(0, 2000)) | ODD,
    st.dictionaries(st.sampled_from(["hidden_size", "mm_tokens_per_image", "vision_feature_layer"]), ODD),
)
def test_an_odd_configuration_has_a_size_all_the_same(kind: object, part: object, more: dict[str, object]) -> None:
    tower = tower_from_config({"model_type": kind, "vision_config": part, **more})
    if tower is not None:
        assert tower.parameters >= 0
        assert sound_parameters({"audio_config": part, **more}) >= 0
        assert load_compute_bytes(tower) >= 0
        assert encoder_peak_bytes(tower, 2048) >= 0


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [f"clip.vision.{key}" for key in ("embedding_length", "patch_size", "image_size", "projection_dim")]
        ),
        ODD.filter(lambda value: not isinstance(value, list) and value is not None),
    )
)
def test_an_odd_projector_has_a_size_all_the_same(metadata: dict[str, Any]) -> None:
    tower = tower_from_projector(metadata)
    if tower is not None:
        assert largest_compute_bytes(tower, False) >= 0

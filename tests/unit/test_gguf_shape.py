"""Shapes read from the headers of GGUF files, for architectures of every kind."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import gguf
import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.byte_source import LocalFile
from ansible_collections.llmhost.core.plugins.module_utils.model.gguf import GgufHeader, SkippedArray
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_names import unknown_keys
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_shape import shape_from_gguf
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import MAX_LAYERS, Shape
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.architectures import SMALL, write_sparse
from tests.unit.shape_text import kept

# What a layer keeps: of each token, and of each sequence.
PATTERNS = {
    "llama": ["full 256+256"] * 6,
    "qwen3": ["full 256+256"] * 6,
    "gemma2": ["sliding:1024 512+512", "full 512+512"] * 3,
    "gemma3": [*["sliding:512 512+512"] * 5, "full 512+512", "sliding:512 512+512"],
    "gemma4": [*["sliding:512 256+256"] * 4, "full 512+512", *["nothing"] * 5],
    "gpt-oss": ["sliding:128 128+128", "full 128+128"] * 3,
    "qwen3moe": ["full 512+512"] * 6,
    "deepseek2": ["latent 576"] * 6,
    "phi3": ["full 512+512"] * 6,
    "cohere2": [*["sliding:2048 128+128"] * 3, "full 128+128", *["sliding:2048 128+128"] * 2],
    "deci": ["full 256+256", "nothing", "nothing", "full 256+256"] * 2 + ["full 256+256"],
    "qwen35": [*["gated_delta_net 6144+65536"] * 3, "full 256+256"] * 2,
    "qwen3next": [*["gated_delta_net 6144+65536"] * 3, "full 256+256"] * 2,
    "granitehybrid": [*["mamba2 3840+131072"] * 3, "full 256+256"] * 2,
    "jamba": ["mamba 3072+16384", "mamba 3072+16384", "full 256+256", "mamba 3072+16384"] * 2,
    "mamba2": ["mamba2 3840+131072"] * 8,
    "lfm2": [*["short_conv 1024+0"] * 2, "full 256+256"] * 2 + ["short_conv 1024+0"] * 2,
    "lfm2moe": [*["short_conv 1024+0"] * 2, "full 256+256"] * 2 + ["short_conv 1024+0"] * 2,
    "nemotron_h": ["mamba2 6144+131072", "nothing", "mamba2 6144+131072", "full 256+256"] * 2 + ["mamba2 6144+131072"],
    "falcon-h1": ["full 256+256 mamba2 3072+98304"] * 6,
}


def header_of(path: Path) -> GgufHeader:
    return GgufHeader.from_source(LocalFile(str(path)))


@pytest.mark.parametrize("name", SMALL)
def test_what_each_layer_keeps(tmp_path: Path, name: str) -> None:
    write_sparse(tmp_path / "model.gguf", SMALL[name](), "Q8_0")
    header = header_of(tmp_path / "model.gguf")
    shape = shape_from_gguf(header.metadata, header.tensors)
    assert kept(shape) == PATTERNS[name]
    assert shape.doubts == ()
    assert kept(shape_from_gguf(header.metadata)) == PATTERNS[name], "the tensors only tell widths"
    assert Shape.from_facts(shape.as_dict()) == shape


BASIS = {"block_count": 4, "embedding_length": 64, "context_length": 128, "attention.head_count": 4}


def shape_with(architecture: str, **own: Any) -> Shape:
    """Return the shape for keys of an architecture, given with two underscores for a dot."""
    keys = {key.replace("__", "."): value for key, value in own.items()}
    metadata = {f"{architecture}.{key}": value for key, value in {**BASIS, **keys}.items()}
    return shape_from_gguf({"general.architecture": architecture, **metadata})


@pytest.mark.parametrize(
    ("own", "layers"),
    [
        ({}, ["full 64+64"] * 4),
        ({"attention__head_count_kv": 2}, ["full 32+32"] * 4),
        ({"attention__head_count_kv": (2, 0, 2, 1)}, ["full 32+32", "nothing", "full 32+32", "full 16+16"]),
        ({"attention__key_length": 128, "attention__value_length": 64}, ["full 512+256"] * 4),
        ({"attention__sliding_window": 1024}, ["full 64+64"] * 4),
    ],
)
def test_heads_of_llama(own: dict[str, Any], layers: list[str]) -> None:
    assert kept(shape_with("llama", **own)) == layers


def test_a_list_that_is_too_short_is_sized_too_high_and_a_doubt() -> None:
    shape = shape_with("llama", attention__head_count_kv=(2, 1))
    assert kept(shape) == ["full 32+32", "full 16+16", "full 32+32", "full 32+32"]
    assert shape.doubts == ("attention.head_count_kv has 2 values for 4 layers",)


@pytest.mark.parametrize(
    ("architecture", "own", "layers"),
    [
        ("gemma3n", {"block_count": 22, "attention__sliding_window": 8}, [
            *["sliding:8 64+64"] * 4, "full 64+64"] * 4 + ["nothing"] * 2),
        ("llama4", {"attention__sliding_window": 0}, ["full 64+64"] * 4),
        ("llama4", {}, [*["chunked:8192 64+64"] * 3, "full 64+64"]),
        ("exaone4", {"attention__sliding_window": 4096}, ["full 64+64"] * 4),
        ("phi3", {"attention__sliding_window": 2047}, ["full 64+64"] * 4),
        ("laguna", {"attention__sliding_window": 8}, ["full 64+64", *["sliding:8 64+64"] * 3]),
        ("mimo2", {"attention__sliding_window": 8, "attention__sliding_window_pattern": (True, False, True, True),
                   "attention__key_length_swa": 8, "attention__value_length_swa": 4},
         ["sliding:8 32+16", "full 64+64", *["sliding:8 32+16"] * 2]),
        ("rwkv7", {"wkv__head_size": 16, "attention__head_count": 0}, ["rwkv 128+1024"] * 4),
        ("minimax-01", {"block_count": 8}, [*["lightning 0+1024"] * 7, "full 64+64"]),
        ("kimi-linear", {
            "attention__head_count_kv": (0, 0, 0, 1), "attention__key_length": 48, "attention__kv_lora_rank": 32,
            "attention__key_length_mla": 24, "attention__value_length_mla": 16, "kda__head_dim": 16,
            "ssm__conv_kernel": 4}, [*["kda 576+1024"] * 3, "latent 48"]),
        ("deepseek2", {"attention__kv_lora_rank": 32, "attention__key_length": 24, "attention__value_length": 16},
         ["full 96+64"] * 4),
        ("deepseek32", {
            "attention__head_count_kv": 1, "attention__key_length": 48, "attention__kv_lora_rank": 32,
            "attention__key_length_mla": 24, "attention__value_length_mla": 16, "attention__indexer__key_length": 8,
            "nextn_predict_layers": 1}, ["latent 48 index 8"] * 3),
        ("deepseek4", {
            "attention__head_count_kv": 1, "attention__sliding_window": 8, "attention__indexer__key_length": 8,
            "attention__compress_ratios": (0, 4, 128, 4)}, [
                "sliding:8 16+16", "sliding:8 16+16 index 8 1/4", "sliding:8 16+16 1/128",
                "sliding:8 16+16 index 8 1/4"]),
        ("minimax-m3", {"leading_dense_block_count": 3, "attention__indexer__key_length": 8},
         [*["full 64+64"] * 3, "full 64+64 index 24"]),
        ("bert", {}, ["nothing"] * 4),
        ("nanbeige", {"num_loops": 2}, ["full 64+64"] * 8),
    ],
)  # fmt: skip
def test_rules_of_single_architectures(architecture: str, own: dict[str, Any], layers: list[str]) -> None:
    shape = shape_with(architecture, **own)
    assert kept(shape) == layers
    assert shape.doubts == ()


def test_an_unknown_architecture_is_sized_as_if_it_kept_everything() -> None:
    shape = shape_with("brand-new", attention__head_count_kv=(2, 0, 0, 1), attention__sliding_window=8,
                       ssm__inner_size=64, ssm__state_size=16, ssm__conv_kernel=4)  # fmt: skip
    assert kept(shape) == ["full 32+32 mamba 192+1024"] * 4
    assert len(shape.doubts) == 1
    assert "brand-new" in shape.doubts[0]


def test_a_key_that_may_stand_for_a_cache_is_a_doubt() -> None:
    [doubt] = shape_with("llama", attention__kv_memory_slots=4).doubts
    assert "attention.kv_memory_slots" in doubt


@pytest.mark.parametrize(
    "own",
    [
        {"block_count": 0},
        {"block_count": 10_001},
        {"block_count": -1},
        {"block_count": 1.5},
        {"embedding_length": "64"},
        {"embedding_length": float("nan")},
        {"attention__head_count": -4},
        {"attention__key_length": 2**40},
        {"nextn_predict_layers": 4},
        {"attention__head_count_kv": ("a", 1, 1, 1)},
    ],
    ids=str,
)
def test_what_cannot_be_true_is_refused(own: dict[str, Any]) -> None:
    with pytest.raises(ModelError) as caught:
        shape_with("llama", **own)
    assert caught.value.code == "model.invalid"


MODELS = {name: make() for name, make in SMALL.items()}
KEYS = st.sampled_from(sorted({key for model in MODELS.values() for key in model.metadata}))
NUMBER = st.integers(-(2**63), 2**64 - 1) | st.integers(0, 300) | st.floats() | st.booleans()
VALUE = NUMBER | st.text(max_size=4) | st.lists(NUMBER, max_size=12).map(tuple) | st.just(SkippedArray(10**6))


def read(architecture: str, metadata: dict[str, Any]) -> tuple[Shape | None, str]:
    """Return the shape, or the code of the error."""
    own = {f"{architecture}.{key}": value for key, value in metadata.items()}
    try:
        return shape_from_gguf({"general.architecture": architecture, **own}), ""
    except ModelError as error:
        return None, error.code


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(MODELS)), st.dictionaries(KEYS, VALUE, max_size=3))
def test_any_change_ends_in_a_shape_or_a_clear_error(name: str, change: dict[str, Any]) -> None:
    shape, code = read(MODELS[name].architecture, {**MODELS[name].metadata, **change})
    if shape is None:
        assert code == "model.invalid"
        return
    assert 0 < len(shape.layers) <= MAX_LAYERS
    assert Shape.from_facts(shape.as_dict()) == shape
    assert all(
        number >= 0
        for layer in (*shape.layers, *shape.draft_layers)
        for part in (layer.attention, layer.recurrent, layer.feed_forward)
        if part
        for number in vars(part).values()
        if isinstance(number, int)
    )


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=12), VALUE, max_size=5), st.text(max_size=6) | st.none() | st.integers())
def test_no_metadata_raises_anything_but_the_typed_error(metadata: dict[str, Any], architecture: Any) -> None:
    with contextlib.suppress(ModelError):
        shape_from_gguf({**metadata, "general.architecture": architecture})


def gguf_keys(group: type) -> set[str]:
    """Return the keys of an architecture that the gguf package knows."""
    values = vars(group).values()
    own = {value.removeprefix("{arch}.") for value in values if isinstance(value, str) and value.startswith("{arch}.")}
    return own.union(*(gguf_keys(value) for value in values if isinstance(value, type)))


def test_no_key_of_the_gguf_package_is_unknown() -> None:
    keys = gguf_keys(gguf.constants.Keys)
    assert len(keys) > 100
    assert unknown_keys(keys) == []

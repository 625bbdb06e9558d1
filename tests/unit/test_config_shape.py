"""Shapes read from config.json: published models, what may be left out, and what cannot be true."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.shape.config_families import DRAFTS_IN_GGUF, FAMILIES
from ansible_collections.llmhost.core.plugins.module_utils.shape.config_shape import shape_from_config
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_names import (
    ARCHITECTURES,
    DRAFT_IN_CACHE,
    WITHOUT_CACHE,
)
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_recurrent import HYBRID, PURE
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_window import WINDOWED
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import MAX_LAYERS, Shape
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.config_samples import SAMPLES, Sample, base
from tests.unit.shape_text import counted, kept, network_text

LLAMA = base("llama", (4096, 32, 32, 8, 14336, 128256))


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample[0] for sample in SAMPLES])
def test_published_models(sample: Sample) -> None:
    _, config, layers, network = sample
    shape = shape_from_config(config)
    assert counted(shape) == layers
    assert network_text(shape.layers[-1].feed_forward) == network
    assert shape.doubts == ()
    assert Shape.from_facts(shape.as_dict()) == shape


@pytest.mark.parametrize(
    ("parent", "child"),
    [("llava", "llama"), ("mistral3", "mistral"), ("qwen3_vl", "qwen3_vl"), ("kimi_vl", "deepseek_v3")],
)
def test_a_nested_part_may_not_say_what_it_is(parent: str, child: str) -> None:
    plain = {key: value for key, value in LLAMA.items() if key != "model_type"}
    shape = shape_from_config({"model_type": parent, "text_config": plain, "vision_config": {}})
    assert (shape.architecture, shape.embedding_length, shape.doubts) == (child, 4096, ())


@pytest.mark.parametrize(
    ("kind", "classes", "architecture", "doubts"),
    [
        ("my_own", ["LlamaForCausalLM"], "llama", 0),
        ("my_own", ["Qwen3MoeForCausalLM"], "qwen3_moe", 0),
        ("my_own", ["MyOwnForCausalLM"], "my_own", 1),
        ("my_own", [None, 3], "my_own", 1),
        ("llama", ["MyOwnForCausalLM"], "llama", 0),
    ],
)
def test_a_model_of_a_known_class_may_call_itself_anything(
    kind: str, classes: list[Any], architecture: str, doubts: int
) -> None:
    shape = shape_from_config({**LLAMA, "model_type": kind, "architectures": classes})
    assert (shape.architecture, len(shape.doubts)) == (architecture, doubts)


def test_the_last_layer_of_a_period_is_full() -> None:
    config = base("gemma2", (2304, 4, 8, 4, 9216, 256000), head_dim=256, sliding_window=4096)
    assert kept(shape_from_config(config)) == ["sliding:4096 1024+1024", "full 1024+1024"] * 2


def test_drafts_have_attention_and_network_of_the_last_layer() -> None:
    sample = next(config for name, config, _, _ in SAMPLES if name == "DeepSeek V3")
    shape = shape_from_config(sample)
    assert len(shape.layers) == 61
    assert shape.draft_layers == (shape.layers[-1],)
    assert shape_from_config(sample, gguf=True).draft_layers == (), "llama.cpp's conversion drops them"
    sample = next(config for name, config, _, _ in SAMPLES if name == "GLM-4.5 Air")
    assert len(shape_from_config(sample, gguf=True).draft_layers) == 1


@pytest.mark.parametrize(
    ("kind", "more", "tied"),
    [
        ("llama", {}, False),
        ("llama", {"tie_word_embeddings": True}, True),
        ("gemma2", {}, True),
        ("gpt2", {}, True),
        ("gpt_neox", {}, False),
        ("never_heard_of", {}, False),
    ],
)
def test_tied_embeddings_as_the_family_has_them(kind: str, more: dict[str, Any], tied: bool) -> None:
    assert shape_from_config({**LLAMA, "model_type": kind, **more}).tied_embeddings is tied


@pytest.mark.parametrize("name", ["Mistral 7B v0.1", "Phi-3 mini 4k"])
def test_llama_cpp_knows_no_window_of_some_families(name: str) -> None:
    config = next(config for sample, config, _, _ in SAMPLES if sample == name)
    assert all(layer.attention and not layer.attention.window for layer in shape_from_config(config, gguf=True).layers)


def test_an_unknown_architecture_is_sized_as_if_it_kept_everything() -> None:
    shape = shape_from_config({**LLAMA, "model_type": "never_heard_of", "sliding_window": 128, "mamba_d_state": 16})
    assert len(shape.doubts) == 1
    assert "never_heard_of" in shape.doubts[0]
    assert all(layer.attention and not layer.attention.window and layer.recurrent for layer in shape.layers)


@pytest.mark.parametrize("key", ["dual_chunk_attention_config", "compression_ratio", "use_cache", "kv_cache_dtype"])
def test_fields_that_only_sound_like_a_cache_are_none(key: str) -> None:
    assert shape_from_config({**LLAMA, key: 1}).doubts == ()


@pytest.mark.parametrize("key", ["memory_tokens", "kv_compress_dim", "num_state_heads"])
def test_an_unknown_field_that_sounds_like_a_cache_is_a_doubt(key: str) -> None:
    [doubt] = shape_from_config({**LLAMA, key: 8}).doubts
    assert key in doubt


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": None},
        {"hidden_size": 0},
        {"num_hidden_layers": None},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": -1},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": "32"},
        {"num_attention_heads": 0},
        {"num_attention_heads": None},
        {"num_key_value_heads": -8},
        {"num_key_value_heads": "8"},
        {"head_dim": 1.5},
        {"head_dim": float("nan")},
        {"head_dim": float("inf")},
        {"vocab_size": -1},
        {"vocab_size": "many"},
        {"intermediate_size": [1, "a"]},
        {"model_type": None},
        {"model_type": 7},
        {"sliding_window": "wide"},
        {"num_nextn_predict_layers": 10**6},
        {"block_configs": [None]},
        {"model_type": "nemotron_h", "hybrid_override_pattern": "M" * 10**5},
    ],
    ids=str,
)
def test_what_cannot_be_true_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError) as caught:
        shape_from_config({**LLAMA, **change})
    assert caught.value.code == "model.invalid"
    assert caught.value.remedy


def read(config: dict[str, Any]) -> tuple[Shape | None, str]:
    """Return the shape, or the code of the error."""
    try:
        return shape_from_config(config), ""
    except ModelError as error:
        return None, error.code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted({key for _, config, _, _ in SAMPLES for key in config} | {"text_config"}))


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(SAMPLES), st.dictionaries(KEYS, JSON, max_size=3))
def test_any_change_ends_in_a_shape_or_a_clear_error(sample: Sample, change: dict[str, Any]) -> None:
    shape, code = read({**sample[1], **change})
    if shape is None:
        assert code == "model.invalid"
        return
    assert 0 < len(shape.layers) <= MAX_LAYERS
    assert Shape.from_facts(shape.as_dict()) == shape


def test_every_name_of_gguf_is_one_that_llama_cpp_has() -> None:
    assert {family.gguf for family in FAMILIES.values()} - {""} <= ARCHITECTURES
    assert DRAFTS_IN_GGUF | DRAFT_IN_CACHE | WITHOUT_CACHE | set(WINDOWED) | HYBRID | PURE <= ARCHITECTURES

"""Models of which there is only a config.json: computed as if they were quantised so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.hub import Hub
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.model.model_query import ModelQuery

from tests.tools import make_model

TINY = make_model.PRESETS["tiny"]


def no_network() -> Hub:
    raise AssertionError("a local model needs no hub")


CONFIG = {
    "model_type": "qwen3",
    "num_hidden_layers": 36,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 12288,
    "vocab_size": 151936,
    "torch_dtype": "bfloat16",
}


def planned(path: Path, target: str = "") -> dict[str, Any]:
    return ModelQuery(f"{path}{target}", "main", "https://hub.invalid").read(no_network)


@pytest.mark.parametrize(
    ("target", "form", "quantization", "gib"),
    [("", "safetensors", "BF16", 15.26), (":Q4_K_M", "gguf", "Q4_K_M", 4.68), (":q8_0", "gguf", "Q8_0", 8.11)],
)
def test_a_config_alone_is_planned_for(tmp_path: Path, target: str, form: str, quantization: str, gib: float) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    model = planned(tmp_path / "config.json", target)
    assert (model["format"], model["quantization"]) == (form, quantization)
    assert (model["planned_only"], model["pinned"], model["weights"]["exact"]) == (True, bool(target), False)
    assert model["weights_bytes"] / 2**30 == pytest.approx(gib, rel=0.01)
    assert model["total_bytes"] == model["largest_file_bytes"] == model["weights_bytes"]
    assert planned(tmp_path, target) == {
        **model,
        "path": str(tmp_path),
        "request": planned(tmp_path, target)["request"],
    }


SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
    "num_attention_heads": 16, "image_size": 896, "patch_size": 14,
}  # fmt: skip


def test_a_tower_for_pictures_is_part_of_a_checkpoint_and_beside_a_gguf(tmp_path: Path) -> None:
    text = {**CONFIG, "model_type": "gemma3_text", "sliding_window": 1024}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "gemma3", "text_config": text, "vision_config": SIGLIP}))
    checkpoint, quantised = planned(path), planned(path, ":Q4_K_M")
    tower = checkpoint["weights"]["projector_bytes"]
    assert tower / 2e6 == pytest.approx(420, rel=0.05), "millions of parameters"
    assert (checkpoint["projectors"], quantised["weights"]["projector_bytes"]) == ([], 0)
    assert quantised["projectors"] == [{"name": "mmproj-gemma3-F16.gguf", "size_bytes": tower}]


def test_a_config_that_says_how_it_is_quantised(tmp_path: Path) -> None:
    settings = {"quant_method": "awq", "bits": 4, "group_size": 128}
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "quantization_config": settings}))
    model = planned(tmp_path / "config.json")
    assert (model["format"], model["quantization"]) == ("safetensors", "AWQ")


def test_a_target_that_nobody_knows(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(ModelError) as caught:
        planned(tmp_path / "config.json", ":Q9_Z")
    assert caught.value.code == "model.quantization_not_found"


def test_a_checkpoint_is_not_served_in_another_quantisation_but_planned_for(tmp_path: Path) -> None:
    make_model.write_safetensors(tmp_path, TINY)
    with pytest.raises(ModelError, match=r"plan for config.json:Q4_K_M") as caught:
        planned(tmp_path, ":Q4_K_M")
    assert caught.value.code == "model.quantization_not_found"
    assert planned(tmp_path / "config.json", ":Q8_0")["planned_only"] is True


def test_a_file_whose_name_has_a_colon_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    make_model.write_gguf(tmp_path / "a:b" / "m.gguf", TINY)
    assert planned(tmp_path / "a:b")["format"] == "gguf"
    with pytest.raises(ModelError) as caught:
        planned(tmp_path / "a:b" / "m.gguf", ":Q8_0")
    assert caught.value.code == "model.not_found"

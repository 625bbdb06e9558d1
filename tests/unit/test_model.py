"""What a model is said to be: sizes, shape, features, and the errors for what is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.http_range import HttpClient
from ansible_collections.llmhost.core.plugins.module_utils.model.hub import Hub
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.model.model_query import ModelQuery
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Shape
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights
from huggingface_hub import HfApi, parse_local_safetensors_file_metadata

from tests.tools import make_model
from tests.tools.loopback_hub import LoopbackHub
from tests.unit.shape_text import counted, network_text

TINY = make_model.PRESETS["tiny"]
SHAPE = {
    "architecture": "llama",
    "layers": {"full 32+32": 2},
    "network": "128",
    "embedding_length": 64,
    "context_length": 4096,
    "vocab_size": len(TINY.tokenizer().tokens),
    "doubts": (),
    "chat_template": True,
    "findings": [],
}


def no_network() -> Hub:
    raise AssertionError("a local model needs no hub")


def local(path: Path) -> dict[str, Any]:
    return ModelQuery(str(path), "main", "https://hub.invalid").read(no_network)


def code_of(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        local(path)
    assert caught.value.remedy
    return caught.value.code


def shape_of(model: dict[str, Any]) -> dict[str, Any]:
    shape = Shape.from_facts(model["shape"])
    read = {key: getattr(shape, key, model.get(key)) for key in SHAPE}
    return {**read, "layers": counted(shape), "network": network_text(shape.layers[-1].feed_forward)}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    root = tmp_path_factory.mktemp("hub")
    make_model.write_repo(root, "acme/Toy-GGUF", TINY, ["Q8_0", "Q4_0"])
    make_model.write_repo(root, "acme/Toy-split", TINY, ["Q8_0"], split=3)
    make_model.write_repo(root, "acme/Toy", TINY, ["safetensors"], split=2)
    (root / "acme" / "pickle").mkdir()
    (root / "acme" / "pickle" / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    with LoopbackHub(root, cdn=("127.0.0.1", 0)) as running:
        yield running


def remote(hub: LoopbackHub, model: str) -> dict[str, Any]:
    client = HttpClient(sleep=lambda seconds: None)
    return ModelQuery(model, "main", hub.url).read(lambda: Hub(client, hub.url))


@pytest.mark.parametrize("quantization", ["F16", "Q8_0", "Q4_0"])
@pytest.mark.parametrize("tied", [False, True])
def test_local_gguf(tmp_path: Path, quantization: str, tied: bool) -> None:
    spec = replace(TINY, tied=tied)
    [path] = make_model.write_gguf(tmp_path / "mine.gguf", spec, quantization)
    model = local(path)
    reader = gguf.GGUFReader(path)
    sizes = {tensor.name: int(tensor.n_bytes) for tensor in reader.tensors}
    assert shape_of(model) == SHAPE
    assert model["weights_bytes"] == sum(sizes.values()) == sum(model["tensor_types"].values())
    assert model["parameters"] == sum(int(tensor.n_elements) for tensor in reader.tensors)
    weights = Weights.from_facts(model["weights"])
    assert (weights.total_bytes, weights.exact) == (model["weights_bytes"], True)
    assert weights.token_embedding_bytes == sizes["token_embd.weight"]
    assert (weights.output_bytes, model["shape"]["tied_embeddings"]) == (sizes.get("output.weight", 0), tied)
    assert (model["pinned"], model["planned_only"], model["variants"]) == (True, False, [])
    assert 0 < model["header_bytes"] < path.stat().st_size
    assert (model["source"], model["path"], model["repo"]) == ("local", str(path), None)
    assert (model["quantization"], model["format"], model["license"]) == (quantization, "gguf", "apache-2.0")
    assert model["files"] == [{"name": "mine.gguf", "size_bytes": path.stat().st_size, "sha256": None, "git_oid": None}]
    assert model["total_bytes"] == model["largest_file_bytes"] == path.stat().st_size
    assert local(path) == model
    assert json.loads(json.dumps(model)) == model


def test_commit_of_a_local_model_tells_models_apart(tmp_path: Path) -> None:
    [one] = make_model.write_gguf(tmp_path / "one.gguf", TINY)
    [two] = make_model.write_gguf(tmp_path / "two.gguf", replace(TINY, name="Other"))
    commits = {local(path)["commit"] for path in (one, two)}
    assert [len(commit) for commit in commits] == [40, 40]


def test_split_gguf_is_the_same_model_whichever_part_is_named(tmp_path: Path) -> None:
    [whole] = make_model.write_gguf(tmp_path / "whole.gguf", TINY)
    parts = make_model.write_gguf(tmp_path / "s.gguf", TINY, split=3)
    models = [local(part) for part in parts]
    assert [file["name"] for file in models[0]["files"]] == [part.name for part in parts]
    assert {model["path"] for model in models} == {str(parts[0])}
    same = ("weights_bytes", "parameters", "tensor_types", "weights", "shape")
    assert [[model[key] for key in same] for model in models] == [[local(whole)[key] for key in same]] * 3
    assert models[0]["largest_file_bytes"] == max(part.stat().st_size for part in parts)


def test_split_gguf_with_a_part_missing_or_renamed(tmp_path: Path) -> None:
    first, second, _ = make_model.write_gguf(tmp_path / "s.gguf", TINY, split=3)
    second.unlink()
    assert code_of(first) == "model.incomplete"
    assert code_of(first.rename(tmp_path / "alone.gguf")) == "model.incomplete"


def test_parts_of_different_models_do_not_belong_together(tmp_path: Path) -> None:
    first, second = make_model.write_gguf(tmp_path / "s.gguf", TINY, split=2)
    other = make_model.write_gguf(tmp_path / "o.gguf", replace(TINY, layers=3), split=2)
    shutil.copy(other[1], second)
    assert code_of(first) == "model.invalid"


def test_local_checkpoint(tmp_path: Path) -> None:
    files = make_model.write_safetensors(tmp_path, TINY, split=2)
    model = local(tmp_path)
    assert shape_of(model) == SHAPE
    assert (model["format"], model["quantization"], model["path"]) == ("safetensors", "F16", str(tmp_path))
    assert model["weights_bytes"] == TINY.weights_bytes("F16") - 2 * 64 * 5
    assert model["parameters"] * 2 == model["weights_bytes"]
    names = [file["name"] for file in model["files"]]
    assert names[:2] == [path.name for path in files]
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} < set(names)
    assert local(files[0]) == {**model, "pinned": True, "request": {**model["request"], "model": str(files[0])}}
    oracle = [parse_local_safetensors_file_metadata(path) for path in files]
    assert model["parameters"] == sum(sum(part.parameter_count.values()) for part in oracle)


def test_checkpoint_that_is_not_whole(tmp_path: Path) -> None:
    files = make_model.write_safetensors(tmp_path, TINY, split=2)
    index = tmp_path / "model.safetensors.index.json"
    files[1].unlink()
    assert code_of(tmp_path) == "model.incomplete"
    make_model.write_safetensors(tmp_path, TINY, split=2)
    index.unlink()
    assert code_of(tmp_path) == "model.incomplete"
    (tmp_path / "config.json").unlink()
    assert code_of(tmp_path) == "model.no_config"


def test_what_is_no_model(tmp_path: Path) -> None:
    assert code_of(tmp_path) == "model.no_weights"
    assert code_of(tmp_path / "none.gguf") == "model.not_found"
    assert code_of(tmp_path / "no" / "folder.gguf") == "model.not_found"
    (tmp_path / "weights.bin").write_bytes(b"PK\x03\x04")
    assert code_of(tmp_path / "weights.bin") == code_of(tmp_path) == "model.pickle_only"
    (tmp_path / "text.gguf").write_text("<!DOCTYPE html>")
    assert code_of(tmp_path / "text.gguf") == "model.not_gguf"


@pytest.mark.parametrize(("architecture", "kind"), [("clip", "model"), ("llama", "adapter"), ("llama", "imatrix")])
def test_other_things_in_the_gguf_format(tmp_path: Path, architecture: str, kind: str) -> None:
    assert code_of(gguf_with(tmp_path, architecture, {"general.type": kind})) == "model.not_a_model"


def test_hub_gguf(hub: LoopbackHub) -> None:
    model = remote(hub, "acme/Toy-GGUF:q4_0")
    api = HfApi(endpoint=hub.url).model_info("acme/Toy-GGUF", files_metadata=True)
    [sibling] = [file for file in api.siblings or [] if file.rfilename.endswith("Q4_0.gguf")]
    assert shape_of(model) == SHAPE
    assert (model["commit"], model["source"], model["license"]) == (api.sha, "hub", "apache-2.0")
    assert sibling.lfs is not None
    assert model["files"] == [
        {
            "name": sibling.rfilename,
            "size_bytes": sibling.size,
            "sha256": sibling.lfs.sha256,
            "git_oid": sibling.blob_id,
        }
    ]
    asked = {"model": "acme/Toy-GGUF:q4_0", "revision": "main", "endpoint": hub.url, "variant": ""}
    assert (model["request"], model["pinned"]) == (asked, True)


def test_hub_checkpoint(hub: LoopbackHub) -> None:
    model = remote(hub, "acme/Toy")
    oracle = HfApi(endpoint=hub.url).get_safetensors_metadata("acme/Toy")
    assert shape_of(model) == SHAPE
    assert model["parameters"] == sum(oracle.parameter_count.values())
    assert [file["name"] for file in model["files"][:2]] == sorted(oracle.files_metadata)


def test_hub_split_gguf(hub: LoopbackHub) -> None:
    model = remote(hub, "acme/Toy-split")
    assert len(model["files"]) == 3
    assert model["weights_bytes"] == TINY.weights_bytes("Q8_0")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("acme/pickle", "model.pickle_only"),
        ("acme/none", "model.not_found"),
        ("acme/Toy-GGUF:Q6_K", "model.quantization_not_found"),
        ("acme/Toy:Q4_K_M", "model.quantization_not_found"),
    ],
)
def test_hub_errors(hub: LoopbackHub, name: str, code: str) -> None:
    with pytest.raises(ModelError) as caught:
        remote(hub, name)
    assert caught.value.code == code


def test_a_repository_alone_lists_what_there_is_to_choose_from(hub: LoopbackHub) -> None:
    hub.log.clear()
    model = remote(hub, "acme/Toy-GGUF")
    api = HfApi(endpoint=hub.url).model_info("acme/Toy-GGUF", files_metadata=True)
    sizes = {file.rfilename: file.size for file in api.siblings or [] if file.rfilename.endswith(".gguf")}
    assert {variant["files"][0]: variant["size_bytes"] for variant in model["variants"]} == sizes
    assert [variant["label"] for variant in model["variants"]] == ["Q4_0", "Q8_0"], "the smallest first"
    assert (model["pinned"], model["quantization"]) == (False, "Q4_0"), "of two without the usual one, the smaller"
    asked = [request["path"] for request in hub.log.as_dict()["requests"]]
    assert not [path for path in asked if "Q8_0" in path], "the others are known by their sizes only"


@pytest.mark.parametrize("variant", ["Q8_0", "q8_0", f"{TINY.name}-Q8_0.gguf"])
def test_what_a_plan_chose_is_read(hub: LoopbackHub, variant: str) -> None:
    client = HttpClient(sleep=lambda seconds: None)
    query = ModelQuery("acme/Toy-GGUF", "main", hub.url, variant)
    model = query.read(lambda: Hub(client, hub.url))
    assert (model["quantization"], model["pinned"], len(model["variants"])) == ("Q8_0", True, 2)


def test_another_model_in_the_same_folder_is_no_variant(tmp_path: Path) -> None:
    make_model.write_gguf(tmp_path / "m-Q8_0.gguf", TINY, "Q8_0")
    make_model.write_gguf(tmp_path / "m-Q4_0.gguf", TINY, "Q4_0")
    make_model.write_gguf(tmp_path / "draft-Q5_0.gguf", replace(TINY, layers=40), "Q5_0")
    model = ModelQuery(f"{tmp_path}:Q8_0", "main", "https://hub.invalid").read(no_network)
    assert [variant["label"] for variant in model["variants"]] == ["Q4_0", "Q8_0"]


def test_projectors_are_listed_and_no_variants(tmp_path: Path) -> None:
    make_model.write_gguf(tmp_path / "m-Q8_0.gguf", TINY)
    (tmp_path / "mmproj-m-F16.gguf").write_bytes(b"GGUF" * 5)
    model = local(tmp_path)
    assert model["projectors"] == [{"name": "mmproj-m-F16.gguf", "size_bytes": 20}]
    assert [variant["label"] for variant in model["variants"]] == ["Q8_0"]


def gguf_with(folder: Path, architecture: str, metadata: dict[str, Any], file: str = "m.gguf") -> Path:
    """Write a GGUF file with this metadata and one tensor; keys without a dot belong to the architecture."""
    writer = gguf.GGUFWriter(folder / file, architecture)
    basis = {"block_count": 4, "embedding_length": 64, "context_length": 128, "attention.head_count": 4}
    for key, value in ({f"{architecture}.{name}": number for name, number in basis.items()} | metadata).items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_int32(key, value)
    writer.add_tensor("token_embd.weight", np.zeros((8, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / file


@pytest.mark.parametrize(
    "metadata",
    [
        {"llama.block_count": 0},
        {"llama.block_count": 10_001},
        {"llama.block_count": -1},
        {"llama.embedding_length": "64"},
    ],
)
def test_shapes_that_cannot_be(tmp_path: Path, metadata: dict[str, Any]) -> None:
    assert code_of(gguf_with(tmp_path, "llama", metadata)) == "model.invalid"


@pytest.mark.parametrize(
    ("file", "file_type", "quantization", "codes"),
    [
        ("m-Q4_K_M.gguf", 15, "Q4_K_M", []),
        ("m-UD-Q4_K_XL.gguf", 15, "UD-Q4_K_XL", []),
        ("m-Q4_K_M.gguf", 7, "Q8_0", ["model.quantization"]),
        ("m-Q4_K_M.gguf", 1024, "Q4_K_M", []),
        ("m.gguf", 18, "Q6_K", []),
        ("m.gguf", 1024, "F32", []),
        ("m-MXFP4_MOE.gguf", 38, "MXFP4", []),
    ],
)
def test_quantization_by_name_checked_by_header(
    tmp_path: Path, file: str, file_type: int, quantization: str, codes: list[str]
) -> None:
    model = local(gguf_with(tmp_path, "llama", {"general.file_type": file_type}, file))
    assert model["quantization"] == quantization
    assert [finding["code"] for finding in model["findings"]] == codes


def test_a_config_on_a_hub_is_planned_for_whatever_lies_beside_it(hub: LoopbackHub) -> None:
    served, quantised = remote(hub, "acme/Toy"), remote(hub, "acme/Toy:config.json:Q8_0")
    assert (quantised["source"], quantised["repo"], quantised["commit"]) == ("hub", "acme/Toy", served["commit"])
    assert (quantised["format"], quantised["planned_only"], quantised["license"]) == ("gguf", True, "apache-2.0")
    assert quantised["parameters"] == served["parameters"]
    assert remote(hub, "acme/Toy:config.json")["weights_bytes"] == served["weights_bytes"]
    with pytest.raises(ModelError) as caught:
        remote(hub, "acme/Toy-GGUF:config.json:Q8_0")
    assert caught.value.code == "model.no_config"

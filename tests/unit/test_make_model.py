"""The model generator: same seed same bytes, valid files, a tokenizer in which every token is reachable."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.tools import make_model
from tests.tools.nonsense_tokenizer import SPECIAL_TOKENS, NonsenseTokenizer

TINY = make_model.PRESETS["tiny"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def encode(tokenizer: NonsenseTokenizer, symbols: str) -> list[str]:
    """Byte-pair encoding of one word, the slow and plain way."""
    ranks = {pair: rank for rank, pair in enumerate(tokenizer.merges)}
    pieces = list(symbols)
    while pairs := [(ranks[pair], at) for at, pair in enumerate(itertools.pairwise(pieces)) if pair in ranks]:
        _, at = min(pairs)
        pieces[at : at + 2] = ["".join(pieces[at : at + 2])]
    return pieces


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (
        make_model.write_gguf(tmp_path / f"{name}.gguf", replace(TINY, seed=seed))[0]
        for name, seed in (("first", 5), ("again", 5), ("other", 6))
    )
    assert digest(first) == digest(again) != digest(other)


@pytest.mark.parametrize("quantization", make_model.FILE_TYPES)
@pytest.mark.parametrize("tied", [False, True])
def test_gguf_holds_the_bytes_that_the_spec_foretells(tmp_path: Path, quantization: str, tied: bool) -> None:
    spec = replace(TINY, tied=tied)
    [path] = make_model.write_gguf(tmp_path / "m.gguf", spec, quantization)
    reader = gguf.GGUFReader(path)
    assert sum(int(tensor.n_bytes) for tensor in reader.tensors) == spec.weights_bytes(quantization)
    assert ("output.weight" in {tensor.name for tensor in reader.tensors}) is not tied


def test_split_files_hold_the_tensors_of_the_whole(tmp_path: Path) -> None:
    [whole] = make_model.write_gguf(tmp_path / "m.gguf", TINY)
    parts = make_model.write_gguf(tmp_path / "s.gguf", TINY, split=3)
    assert [part.name for part in parts] == [f"s-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    names = [tensor.name for part in parts for tensor in gguf.GGUFReader(part).tensors]
    assert names == [tensor.name for tensor in gguf.GGUFReader(whole).tensors]


@pytest.mark.parametrize("split", [1, 2])
def test_checkpoint_is_read_by_the_safetensors_library(tmp_path: Path, split: int) -> None:
    files = make_model.write_safetensors(tmp_path, TINY, split=split)
    tensors = {name: tensor for path in files for name, tensor in load_file(path).items()}
    config = json.loads((tmp_path / "config.json").read_text())
    assert tensors["lm_head.weight"].shape == (config["vocab_size"], config["hidden_size"])
    assert len(tensors) == 9 * config["num_hidden_layers"] + 3
    assert tensors["model.layers.0.self_attn.k_proj.weight"].dtype == np.float16


def test_size_is_reached_by_the_number_of_layers() -> None:
    spec = make_model.PRESETS["demo"].sized("Q8_0", 50_000_000)
    assert spec.weights_bytes("Q8_0") == pytest.approx(50_000_000, rel=0.05)


def test_every_token_is_reachable_and_bytes_are_themselves() -> None:
    tokenizer = NonsenseTokenizer.build(200, seed=3)
    assert len(set(tokenizer.tokens)) == len(tokenizer.tokens)
    unreachable = [token for token in tokenizer.tokens[: -len(SPECIAL_TOKENS)] if encode(tokenizer, token) != [token]]
    assert unreachable == []
    assert [tokenizer.tokens[index] for index in tokenizer.punctuation] == [",", "."]


def test_repository_layout_has_a_card_with_the_licence(tmp_path: Path) -> None:
    files = make_model.write_repo(tmp_path, "acme/Toy-GGUF", TINY, ["Q8_0", "Q4_0", "safetensors"])
    folder = tmp_path / "acme" / "Toy-GGUF"
    assert {path.name for path in files} == {
        "Nonsense-Tiny-Q8_0.gguf",
        "Nonsense-Tiny-Q4_0.gguf",
        "model.safetensors",
    }
    assert "license: apache-2.0" in (folder / "README.md").read_text()
    assert {"config.json", "tokenizer.json"} < {path.name for path in folder.iterdir()}


def test_command_line_names_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_model.main([str(tmp_path / "m.gguf"), "--preset", "tiny", "--quant", "Q4_0", "--layers", "1", "--tied"])
    assert capsys.readouterr().out == f"{tmp_path / 'm.gguf'}\n"
    assert len(gguf.GGUFReader(tmp_path / "m.gguf").tensors) == 11

"""Quantisation labels in file names, and the choice among the models of a repository."""

from __future__ import annotations

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.model.quantization import (
    bits_range,
    choose_group,
    complete_groups,
    gguf_groups,
    label_of,
    projector_files,
)


@pytest.mark.parametrize(
    ("file", "label"),
    [
        ("Qwen3-32B-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf", "Q4_K_M"),
        ("tinyllama-1.1b-chat-v1.0.Q2_K.gguf", "Q2_K"),
        ("gemma-3-27b-it-q4_0.gguf", "Q4_0"),
        ("Llama-3.2-1B-Instruct-IQ3_M.gguf", "IQ3_M"),
        ("DeepSeek-R1-UD-IQ1_S.gguf", "UD-IQ1_S"),
        ("Qwen3-30B-A3B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("model-Q6_K_L.gguf", "Q6_K_L"),
        ("model.IQ4_NL.gguf", "IQ4_NL"),
        ("model-IQ2_XXS.gguf", "IQ2_XXS"),
        ("bitnet-TQ2_0.gguf", "TQ2_0"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("gpt-oss-20b-MXFP4_MOE.gguf", "MXFP4"),
        ("model-fp16.gguf", "F16"),
        ("model-BF16.gguf", "BF16"),
        ("Q4_K_M/DeepSeek-V3-00001-of-00009.gguf", "Q4_K_M"),
        ("BF16/model-Q8_0.gguf", "Q8_0"),
        ("Qwen3-8B-Q4_K_M-imat.gguf", "Q4_K_M"),
        ("IQ-test-model.gguf", ""),
        ("Q4-model.gguf", ""),
        ("FAQ4_0.gguf", ""),
    ],
)
def test_label_is_found_in_the_name_or_its_folder(file: str, label: str) -> None:
    assert label_of(file) == label


REPO = [
    "README.md",
    "Toy-Q4_K_M.gguf",
    "Toy-Q8_0.gguf",
    "Toy-UD-Q2_K_XL.gguf",
    "mmproj-Toy-F16.gguf",
    "Toy.imatrix.gguf",
    "imatrix_unsloth.gguf",
    "BF16/Toy-BF16-00002-of-00002.gguf",
    "BF16/Toy-BF16-00001-of-00002.gguf",
]


def chosen(wanted: str | None, files: list[str] = REPO) -> tuple[str, ...]:
    return choose_group(gguf_groups(files), wanted, "acme/toy").files


@pytest.mark.parametrize(
    ("wanted", "files"),
    [
        (None, ("Toy-Q4_K_M.gguf",)),
        ("Q8_0", ("Toy-Q8_0.gguf",)),
        ("q8_0", ("Toy-Q8_0.gguf",)),
        ("UD-Q2_K_XL", ("Toy-UD-Q2_K_XL.gguf",)),
        ("q2_k_xl", ("Toy-UD-Q2_K_XL.gguf",)),
        ("bf16", ("BF16/Toy-BF16-00001-of-00002.gguf", "BF16/Toy-BF16-00002-of-00002.gguf")),
        (
            "BF16/Toy-BF16-00002-of-00002.gguf",
            ("BF16/Toy-BF16-00001-of-00002.gguf", "BF16/Toy-BF16-00002-of-00002.gguf"),
        ),
        ("Toy-Q8_0.gguf", ("Toy-Q8_0.gguf",)),
    ],
)
def test_the_wanted_model_is_found(wanted: str | None, files: tuple[str, ...]) -> None:
    assert chosen(wanted) == files


def test_plain_label_is_preferred_to_one_of_the_publishers_own() -> None:
    assert chosen("Q4_K_M", ["a-UD-Q4_K_M.gguf", "a-Q4_K_M.gguf"]) == ("a-Q4_K_M.gguf",)


def test_the_only_model_needs_no_name() -> None:
    assert chosen(None, ["whatever.gguf", "mmproj.gguf"]) == ("whatever.gguf",)


@pytest.mark.parametrize(
    ("wanted", "files", "code", "text"),
    [
        ("Q5_K_M", REPO, "model.quantization_not_found", "has no Q5_K_M; it has BF16, Q4_K_M, Q8_0, UD-Q2_K_XL"),
        ("Toy-Q9.gguf", REPO, "model.quantization_not_found", "has no Toy-Q9.gguf"),
        ("mmproj-Toy-F16.gguf", REPO, "model.quantization_not_found", "has no mmproj"),
        (None, ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"], "model.ambiguous", "a-Q4_K_M.gguf, b-Q4_K_M.gguf"),
        (None, ["README.md", "mmproj-F16.gguf"], "model.no_gguf", "no GGUF"),
        ("Q8_0", ["a-Q8_0.gguf", "b-Q8_0.gguf"], "model.ambiguous", "a-Q8_0.gguf, b-Q8_0.gguf"),
        ("Q8_0", ["a-Q8_0-00001-of-00003.gguf", "a-Q8_0-00003-of-00003.gguf"], "model.incomplete", "2 of the 3"),
    ],
)
def test_what_cannot_be_chosen_is_explained(wanted: str | None, files: list[str], code: str, text: str) -> None:
    with pytest.raises(ModelError, match=text) as caught:
        chosen(wanted, files)
    assert caught.value.code == code


def test_without_the_usual_one_the_middle_one_stands_for_all() -> None:
    files = {"a-Q8_0.gguf": 8, "a-Q2_K.gguf": 2, "a-Q5_0.gguf": 5, "a-Q6_K-00001-of-00002.gguf": 6}
    assert choose_group(gguf_groups(files), None, "acme/toy", files).files == ("a-Q5_0.gguf",)


def test_projectors_are_no_models() -> None:
    assert projector_files(REPO) == ["mmproj-Toy-F16.gguf"]
    assert [group.label for group in complete_groups(gguf_groups([*REPO, "x-Q2_K-00001-of-00009.gguf"]))] == [
        "BF16", "Q4_K_M", "Q8_0", "UD-Q2_K_XL",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "bits"),
    [("Q4_K_M", 4.9), ("UD-Q2_K_XL", 3.2), ("IQ1_S", 1.6), ("Q8_0", 8.5), ("BF16", 16.0), ("F32", 32.0), ("MXFP4", 4.4),
     ("", 4.9), ("Q2_K", 5.2)],
)  # fmt: skip
def test_what_a_quantisation_takes_is_within_its_bounds(label: str, bits: float) -> None:
    least, most = bits_range(label)
    assert least <= bits <= most
    assert not least <= bits * 4 <= most or not label
    assert not least <= bits / 10 <= most

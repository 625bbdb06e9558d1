"""The forms in which a user may name a model."""

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.model.model_reference import ModelReference
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "repo", "selector", "path"),
    [
        ("Qwen/Qwen3-32B-GGUF:Q4_K_M", "Qwen/Qwen3-32B-GGUF", "Q4_K_M", None),
        ("Qwen/Qwen3-32B-GGUF", "Qwen/Qwen3-32B-GGUF", None, None),
        ("acme/toy:BF16/toy-00001-of-00002.gguf", "acme/toy", "BF16/toy-00001-of-00002.gguf", None),
        (" acme/toy ", "acme/toy", None, None),
        ("/srv/models/m.gguf", None, None, "/srv/models/m.gguf"),
        ("file:///srv/my%20models/m.gguf", None, None, "/srv/my models/m.gguf"),
        ("file://localhost/m.gguf", None, None, "/m.gguf"),
    ],
)
def test_forms_that_are_understood(text: str, repo: str | None, selector: str | None, path: str | None) -> None:
    reference = ModelReference.from_text(text)
    assert (reference.repo, reference.selector, reference.path) == (repo, selector, path)


@pytest.mark.parametrize(
    ("text", "selector", "path", "target"),
    [
        ("acme/toy:config.json", "config.json", None, ""),
        ("acme/toy:config.json:Q4_K_M", "config.json", None, "Q4_K_M"),
        ("acme/toy:params.json:fp8", "params.json", None, "fp8"),
        ("/srv/toy/config.json:Q4_K_M", None, "/srv/toy/config.json", "Q4_K_M"),
        ("/srv/toy:AWQ", None, "/srv/toy", "AWQ"),
        ("file:///srv/toy:AWQ", None, "/srv/toy", "AWQ"),
        ("/srv/a:b/m.gguf", None, "/srv/a:b/m.gguf", ""),
    ],
)
def test_quantisations_to_plan_with(text: str, selector: str | None, path: str | None, target: str) -> None:
    reference = ModelReference.from_text(text)
    assert (reference.selector, reference.path, reference.target) == (selector, path, target)
    if path:
        assert reference.whole_path == text.removeprefix("file://")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "acme/toy:config.json:../x",
        "acme/toy:Q4_K_M:Q8_0",
        "qwen3",
        "models/m.gguf/x",
        "models/m.gguf",
        "./m.gguf",
        "~/m.gguf",
        "acme/toy:",
        "acme/../toy",
        "acme/toy:../x.gguf",
        "acme/toy:/x",
        "acme/to y",
        "acme/toy:Q4\nK",
        "https://huggingface.co/acme/toy",
        "file://other.example/m.gguf",
        "file:m.gguf",
        "file:///a%00b",
    ],
)
def test_other_forms_are_refused_with_the_ones_that_exist(text: str) -> None:
    with pytest.raises(ModelError, match="org/repo:Q4_K_M") as caught:
        ModelReference.from_text(text)
    assert caught.value.code == "model.reference"


@given(st.text(max_size=60))
def test_no_text_raises_anything_but_the_typed_error(text: str) -> None:
    for candidate in (text, f"file:{text}", f"file://{text}", f"a/b:{text}"):
        with contextlib.suppress(ModelError):
            ModelReference.from_text(candidate)

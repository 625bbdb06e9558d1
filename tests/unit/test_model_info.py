"""The module: its answer, its errors, and the short cut for a model that is published already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.llmhost.core.plugins.module_utils.model.hub import Hub
from ansible_collections.llmhost.core.plugins.module_utils.model.model_query import ModelQuery
from ansible_collections.llmhost.core.plugins.modules import model_info

from tests.tools import make_model
from tests.tools.loopback_hub import LoopbackHub
from tests.unit.module_args import module_args

TINY = make_model.PRESETS["tiny"]


def run(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    with module_args(arguments), pytest.raises(SystemExit):
        model_info.main()
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def publish(state: Path, *models: dict[str, Any]) -> None:
    record = {"schema": 1, "models": [{"model": model, "files": {}, "published": "2024-01-01"} for model in models]}
    (state / "models.json").write_text(json.dumps(record, sort_keys=True))


def unreachable() -> Hub:
    raise AssertionError("no network is needed")


def test_published_model_is_described_without_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_model.write_repo(tmp_path / "hub", "acme/toy", TINY, ["Q8_0", "Q4_0"])
    state = tmp_path / "state"
    state.mkdir()
    with LoopbackHub(tmp_path / "hub") as hub:
        arguments = {"model": "acme/toy:Q4_0", "endpoint": hub.url, "state_dir": str(state)}
        first = run(capsys, **arguments)
        publish(state, {**first["model"], "request": {}}, first["model"])
        hub.log.clear()
        assert run(capsys, **arguments) == first
        assert hub.log.as_dict()["requests"] == []
        other = run(capsys, **{**arguments, "model": "acme/toy:Q8_0"})
        assert other["model"]["quantization"] == "Q8_0"
    assert first["changed"] is False


def test_local_model_is_looked_at_again_while_it_is_there(tmp_path: Path) -> None:
    [path] = make_model.write_gguf(tmp_path / "m.gguf", TINY)
    query = ModelQuery(str(path), "main", "https://hub.invalid")
    model = query.read(unreachable)
    publish(tmp_path, model)
    assert query.published(str(tmp_path)) is None
    path.unlink()
    assert query.published(str(tmp_path)) == model


def test_a_published_variant_answers_the_question_that_left_the_choice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_model.write_repo(tmp_path / "hub", "acme/toy", TINY, ["Q8_0", "Q4_0"])
    state = tmp_path / "state"
    state.mkdir()
    with LoopbackHub(tmp_path / "hub") as hub:
        arguments = {"model": "acme/toy", "endpoint": hub.url, "state_dir": str(state)}
        chosen = run(capsys, variant="Q8_0", **arguments)["model"]
        publish(state, chosen)
        hub.log.clear()
        for variant in ("", "Q8_0", "q8_0", chosen["files"][0]["name"]):
            assert run(capsys, variant=variant, **arguments)["model"] == chosen
        assert hub.log.as_dict()["requests"] == []
        assert run(capsys, variant="Q4_0", **arguments)["model"]["quantization"] == "Q4_0"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"models": 3}', '{"models": [3, {"model": 4}]}', '{"models": [{"model": {"schema": 1}}]}'],
)
def test_record_that_is_broken_is_no_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "models.json").write_text(content)
    assert ModelQuery("acme/toy", "main", "https://hub.invalid").published(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"model": "/none.gguf"}, "model.not_found"),
        ({"model": "nonsense"}, "model.reference"),
        ({"model": "acme/toy", "endpoint": "nowhere"}, "hub.address"),
        ({"model": "acme/toy", "proxy": {"http": "no address"}}, "hub.proxy"),
        ({"model": "acme/toy", "ca_certificates": ["no PEM"]}, "hub.certificate"),
    ],
)
def test_errors_have_a_code_and_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: dict[str, Any], code: str
) -> None:
    answer = run(capsys, state_dir=str(tmp_path), **arguments)
    assert (answer["failed"], answer["code"]) == (True, code)
    assert answer["msg"].endswith(".")


def test_documentation_is_that_of_the_arguments_and_the_answer(tmp_path: Path) -> None:
    text = (Path(model_info.__file__).parent / "model_info.yml").read_text()
    documented = yaml.safe_load(text)
    options = documented["DOCUMENTATION"]["options"]
    kept = ("type", "default", "required", "elements")
    assert {name: {key: option[key] for key in kept if key in option} for name, option in options.items()} == {
        name: {key: argument[key] for key in kept if key in argument} for name, argument in model_info.ARGUMENTS.items()
    }
    assert set(options["proxy"]["suboptions"]) == set(model_info.ARGUMENTS["proxy"]["options"])
    [path] = make_model.write_gguf(tmp_path / "m.gguf", TINY)
    model = ModelQuery(str(path), "main", "https://hub.invalid").read(unreachable)
    contents = documented["RETURN"]["model"]["contains"]
    assert set(contents) == set(model)
    assert set(contents["files"]["contains"]) == set(model["files"][0])
    [variant] = ModelQuery(str(tmp_path), "main", "https://hub.invalid").read(unreachable)["variants"]
    assert set(contents["variants"]["contains"]) == set(variant)


def test_token_is_never_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with LoopbackHub(tmp_path) as hub:
        answer = run(capsys, model="acme/toy", endpoint=hub.url, token="hf_secret_word", state_dir=str(tmp_path))
    assert answer["code"] == "hub.token_refused"
    assert "hf_secret_word" not in json.dumps(answer)

"""Bringing a model into the page cache beside the server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.boot import main, read_ahead


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/m/a.gguf", ["/m/a.gguf"]),
        ("/m/a-00001-of-00002.gguf", ["/m/a-00001-of-00002.gguf", "/m/a-00002-of-00002.gguf"]),
        ("/m/a-1-of-2.gguf", ["/m/a-1-of-2.gguf"]),
        ("/m/a-00001-of-00001.gguf", ["/m/a-00001-of-00001.gguf"]),
    ],
)
def test_a_model_may_have_several_files(path: str, parts: list[str]) -> None:
    assert read_ahead.parts_of(path) == parts


def test_every_byte_is_asked_for_once_and_in_order(tmp_path: Path) -> None:
    asked: list[tuple[int, int, int]] = []
    model = tmp_path / "m.gguf"
    with model.open("wb") as file:
        file.truncate(3 * read_ahead.STEP_BYTES + 1)
    read_ahead.ask_for(str(model), lambda _, *advice: asked.append(advice))

    assert [offset for offset, _, _ in asked] == [step * read_ahead.STEP_BYTES for step in range(4)]
    assert {(length, advice) for _, length, advice in asked} == {(read_ahead.STEP_BYTES, os.POSIX_FADV_WILLNEED)}


def test_a_file_that_is_gone_is_left_to_the_server(tmp_path: Path) -> None:
    assert read_ahead.read_beside(str(tmp_path / "m-00001-of-00002.gguf"), fork=lambda: 0) == 0


def test_the_caller_goes_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_is_read(path: str) -> None:
        raise AssertionError(path)

    monkeypatch.setattr(read_ahead, "ask_for", nothing_is_read)
    assert read_ahead.read_beside("/m.gguf", fork=lambda: 4711) == 0


def test_the_program_of_the_units_has_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def read_beside(path: str) -> int:
        asked.append(path)
        return 0

    monkeypatch.setattr(main, "read_beside", read_beside)
    assert main.main(["read", "/m.gguf"]) == 0
    assert asked == ["/m.gguf"]

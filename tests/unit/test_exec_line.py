"""Command lines of unit files, judged by a reader that follows systemd's own rules."""

from __future__ import annotations

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.service.exec_line import systemd_exec, systemd_word
from hypothesis import example, given
from hypothesis import strategies as st


def read_as_systemd(line: str) -> list[str]:
    """Split, unescape, expand specifiers and variables, in the order in which systemd does."""
    assert "\n" not in line
    assert "\r" not in line
    words, word, quoted, at = [], "", False, 0
    open_word = False
    while at < len(line):
        char = line[at]
        if char == '"':
            quoted, open_word = not quoted, True
        elif char == "\\":
            at += 1
            kind = line[at]
            if kind == "x":
                word += chr(int(line[at + 1 : at + 3], 16))
                at += 2
            else:
                word += {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"'}[kind]
            open_word = True
        elif char == " " and not quoted:
            if open_word:
                words.append(word)
            word, open_word = "", False
        else:
            assert quoted or char not in "';", "a quote or a separator outside of quotes"
            word, open_word = word + char, True
        at += 1
    assert not quoted
    if open_word:
        words.append(word)
    return [_expand(_expand(word, "%"), "$") for word in words]


def _expand(word: str, sign: str) -> str:
    """Undo the doubling of a sign; a single one would be a specifier or a variable."""
    parts = word.split(sign * 2)
    assert all(sign not in part for part in parts)
    return sign.join(parts)


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=6))
@example(["", " ", ";", "'", "\\", '"', "%h", "$HOME", "${X}", "a\\", "\n", "\x1b[31m", "-", "%%", "$$"])
def test_the_process_gets_the_arguments_that_were_meant(arguments: list[str]) -> None:
    assert read_as_systemd(systemd_exec(arguments)) == arguments


@pytest.mark.parametrize("word", ["--model", "/srv/llmhost/models--a--b/x.gguf", "8080", "127.0.0.1", "a@b:c,d=e+f"])
def test_ordinary_words_stay_readable(word: str) -> None:
    assert systemd_word(word) == word


def test_numbers_are_written_as_text() -> None:
    assert systemd_exec(["--port", 8080]) == "--port 8080"


def test_an_argument_cannot_hold_nul() -> None:
    with pytest.raises(ValueError, match="NUL"):
        systemd_word("a\0b")

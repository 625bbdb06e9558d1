"""Paragraphs of the plan that hang from a title."""

from __future__ import annotations

import textwrap

WIDTH = 110


def hang(head: str, text: str, width: int = WIDTH) -> list[str]:
    """Return the text after its head as lines that go on below its beginning; words stay whole."""
    return textwrap.fill(
        text,
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    ).splitlines()

"""Read the small text files of /proc, /sys and /etc; one that cannot be read is ``None``."""

from __future__ import annotations

import os


def read_text(*parts: str) -> str | None:
    """Return the text of the file at the joined ``parts``, or None when it cannot be read.

    Bytes that are no UTF-8 are replaced: the vendor strings of disks and firmware may hold anything.
    """
    try:
        with open(os.path.join(*parts), encoding="utf-8", errors="replace") as file:
            return file.read()
    except (OSError, ValueError):
        return None


def read_word(*parts: str) -> str:
    """Return the text of a one-line file without the space around it, or "" when it cannot be read."""
    return (read_text(*parts) or "").strip()


def parse_int(text: str, base: int = 10) -> int | None:
    """Return the number that ``text`` spells in ASCII digits, or None.

    ``int`` alone is too kind for a parser of kernel files: it takes underscores and the digits of every script.
    """
    text = text.strip()
    if not text.isascii() or "_" in text:
        return None
    try:
        return int(text, base)
    except ValueError:
        return None


def read_int(*parts: str) -> int | None:
    """Return the number in a one-line file, or None when there is none."""
    return parse_int(read_word(*parts))


def list_names(*parts: str) -> list[str]:
    """Return the sorted names in a directory; none when it cannot be read."""
    try:
        return sorted(os.listdir(os.path.join(*parts)))
    except (OSError, ValueError):
        return []


def link_name(*parts: str) -> str | None:
    """Return the last component of what a symbolic link points to, or None when it is no link."""
    try:
        return os.path.basename(os.readlink(os.path.join(*parts))) or None
    except (OSError, ValueError):
        return None

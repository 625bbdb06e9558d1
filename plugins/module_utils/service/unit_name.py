"""Names of the units that systemd makes for paths, as ``systemd-escape --path`` writes them."""

from __future__ import annotations

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")


def unit_name(path: str, suffix: str) -> str:
    """Return the name of the unit of a path, such as ``srv-llmhost.mount``."""
    words = "/".join(word for word in path.split("/") if word and word != ".")
    if not words:
        return f"-.{suffix}"
    raw = words.encode("utf-8", "surrogateescape")
    return "".join(_escaped(byte, first=at == 0) for at, byte in enumerate(raw)) + f".{suffix}"


def _escaped(byte: int, first: bool) -> str:
    char = chr(byte)
    if char == "/":
        return "-"
    return char if char in _PLAIN and not (first and char == ".") else f"\\x{byte:02x}"

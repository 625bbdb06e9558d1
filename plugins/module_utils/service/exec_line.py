"""Write a command for a systemd unit so that the process gets exactly the arguments that were meant."""

from __future__ import annotations

from collections.abc import Iterable

# What a double-quoted word of a unit file needs escaped. '%' begins a specifier and '$' a variable, quoted or not.
_ESCAPES = {"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@")


def systemd_exec(arguments: Iterable[object]) -> str:
    """Return the words of a command line for ``ExecStart=``; the first one is the program's absolute path."""
    return " ".join(systemd_word(str(argument)) for argument in arguments)


def systemd_word(word: str) -> str:
    """Return one word, quoted where systemd would read it differently."""
    if "\0" in word:
        raise ValueError("an argument of a program cannot hold a NUL character")
    if word and _PLAIN.issuperset(word):
        return word
    return '"' + "".join(_escaped(char) for char in word) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    return f"\\x{ord(char):02x}" if char < " " or char == "\x7f" else char

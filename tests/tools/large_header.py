"""GGUF headers as long as those of published models, and headers of any content; the texts in them are invented."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

ALIGNMENT = 32
LETTERS = "abcdefghijklmnopqrstuvwxyzĠ"


def string(text: str | bytes) -> bytes:
    """Return a string as GGUF stores it."""
    encoded = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(encoded)) + encoded


def text(key: str, value: str | bytes) -> bytes:
    """Return a metadata entry that is a text."""
    return string(key) + struct.pack("<I", 8) + string(value)


def number(key: str, value: int) -> bytes:
    """Return a metadata entry that is a number."""
    return string(key) + struct.pack("<II", 4, value)


def strings(key: str, texts: Sequence[str | bytes]) -> bytes:
    """Return a metadata entry that is a list of strings."""
    return string(key) + struct.pack("<IIQ", 9, 8, len(texts)) + b"".join(map(string, texts))


def numbers(key: str, count: int, kind: int = 5) -> bytes:
    """Return a metadata entry that is a list of numbers of 4 bytes."""
    return string(key) + struct.pack("<IIQ", 9, kind, count) + bytes(4 * count)


def header(metadata: Sequence[bytes], tensors: int = 0) -> tuple[bytes, int]:
    """Return a header with so many tensors of 32 numbers of 32 bits each, and the size of its file."""
    infos = b"".join(
        string(f"blk.{index // 11}.part_{index % 11}.weight") + struct.pack("<IQIQ", 1, 32, 0, 128 * index)
        for index in range(tensors)
    )
    data = b"GGUF" + struct.pack("<IQQ", 3, tensors, len(metadata)) + b"".join(metadata) + infos
    return data, -(-len(data) // ALIGNMENT) * ALIGNMENT + 128 * tensors


def words(count: int, mean: float, seed: int = 1) -> list[str]:
    """Return texts that grow from short ones to long ones, as a vocabulary does, with so many bytes on average."""
    chance = random.Random(seed)
    return [
        "".join(chance.choices(LETTERS, k=max(1, round(mean * (0.5 + index / count) * chance.uniform(0.5, 1.4)))))
        for index in range(count)
    ]


def vocabulary(tokens: int, merges: int, lists: int, layers: int, architecture: str) -> tuple[bytes, int]:
    """Return the header of a model: its tokens, merges, ``lists`` of scores or types, a template, tensors."""
    keys = ("tokenizer.ggml.scores", "tokenizer.ggml.token_type")
    metadata = [
        text("general.architecture", architecture),
        number(f"{architecture}.block_count", layers),
        number(f"{architecture}.embedding_length", 4096),
        strings("tokenizer.ggml.tokens", words(tokens, 6.6)),
        *(numbers(key, tokens) for key in keys[2 - lists :]),
        *([strings("tokenizer.ggml.merges", words(merges, 8.4))] if merges else []),
        number("tokenizer.ggml.eos_token_id", 0),
        text("tokenizer.chat_template", "{{ messages }}" * 800),
        number("general.quantization_version", 2),
    ]
    return header(metadata, tensors=11 * layers)


HEADERS: dict[str, Callable[[], tuple[bytes, int]]] = {
    "Llama 3": lambda: vocabulary(128_256, 280_147, 1, 80, "llama"),
    "Qwen3": lambda: vocabulary(151_936, 151_387, 1, 64, "qwen3"),
    "Gemma 3": lambda: vocabulary(262_208, 0, 2, 62, "gemma3"),
    "Gemma 4": lambda: vocabulary(262_144, 514_906, 2, 60, "gemma4"),
}
"""Headers by the model that has one of this length."""

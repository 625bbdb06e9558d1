"""Measure what reading the header of a large model costs: CPU seconds and bytes fetched.

The header has the shape of a model with 152 thousand tokens, as many merges and 64 layers; the vocabulary is invented.
Run from the root of the repository: ``PYTHONPATH=collections python -m tests.bench.header_parse``.
"""

from __future__ import annotations

import random
import struct
import time
from statistics import median

from ansible_collections.llmhost.core.plugins.module_utils.gguf import GgufHeader

from tests.tools.memory_source import MemorySource

TOKENS = 151_936
LAYERS = 64
EMBEDDING = 5120
FILE_BYTES = 20 * 10**9
RUNS = 5


def string(text: str) -> bytes:
    """Return a string as GGUF stores it."""
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def strings(key: str, texts: list[str]) -> bytes:
    """Return a metadata entry that is a list of strings."""
    return string(key) + struct.pack("<IIQ", 9, 8, len(texts)) + b"".join(string(text) for text in texts)


def number(key: str, value: int) -> bytes:
    """Return a metadata entry that is a number."""
    return string(key) + struct.pack("<II", 4, value)


def large_header() -> bytes:
    """Return a header as long and as rich in strings as that of a real model."""
    rng = random.Random(1)
    tokens = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyzĠ", k=rng.randint(2, 12))) for _ in range(TOKENS)]
    merges = [f"{token[: len(token) // 2]} {token[len(token) // 2 :]}" for token in tokens]
    metadata = [
        string("general.architecture") + struct.pack("<I", 8) + string("qwen3"),
        number("qwen3.block_count", LAYERS),
        number("qwen3.embedding_length", EMBEDDING),
        strings("tokenizer.ggml.tokens", tokens),
        string("tokenizer.ggml.token_type") + struct.pack("<IIQ", 9, 5, TOKENS) + bytes(4 * TOKENS),
        strings("tokenizer.ggml.merges", merges),
    ]
    row = EMBEDDING // 256 * 144
    names = [f"blk.{layer}.{part}.weight" for layer in range(LAYERS) for part in "abcdefghijk"]
    tensors = [
        string(name) + struct.pack("<IQQIQ", 2, EMBEDDING, EMBEDDING, 12, position * EMBEDDING * row)
        for position, name in enumerate(names)
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + b"".join(metadata) + b"".join(tensors)


def main() -> None:
    """Print the figures."""
    header = large_header()
    seconds = []
    for _ in range(RUNS):
        source = MemorySource(header, size=FILE_BYTES)
        begin = time.process_time()
        parsed = GgufHeader.from_source(source)
        seconds.append(time.process_time() - begin)
    print(f"header of {len(header) / 1e6:.1f} MB, {TOKENS} tokens, {len(parsed.tensors)} tensors")
    print(f"CPU: {median(seconds):.3f} s (median of {RUNS}; {min(seconds):.3f} to {max(seconds):.3f})")
    print(f"fetched: {source.fetched / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

"""The memory that the worst headers cost, each read by a process of its own."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.large_header import numbers, string, text

ROOT = Path(__file__).parents[2]
MIB = 2**20
MOST = 160 * MIB
WIDE = "\U0001f600"  # makes Python store each character of a text in 4 bytes

READER = """
import sys
from ansible_collections.llmhost.core.plugins.module_utils.model.byte_source import LocalFile
from ansible_collections.llmhost.core.plugins.module_utils.model.gguf import GgufHeader
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.model.safetensors import SafetensorsHeader

def highest():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

before = highest()
try:
    (GgufHeader if sys.argv[2] == "gguf" else SafetensorsHeader).from_source(LocalFile(sys.argv[1]))
    result = "read"
except ModelError as error:
    result = error.code
print(result, highest() - before)
"""


def gguf(tensors: int, entries: int, data: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, entries) + data


def tensors() -> bytes:
    name = WIDE + "x" * 140
    infos = (
        string(f"{name}{index}") + struct.pack("<I4QIQ", 4, 32, 1, 1, 1, 0, 128 * index) for index in range(50_000)
    )
    return gguf(50_000, 0, b"".join(infos)) + bytes(128 * 50_001)


def safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def described_tensors() -> bytes:
    entry = b'"%d%s":{"dtype":"F16","shape":[2,1],"data_offsets":[%d,%d]}'
    entries = (entry % (index, b"x" * 60, 4 * index, 4 * index + 4) for index in range(79_000))
    return safetensors(b"{" + b",".join(entries) + b"}") + bytes(4 * 79_000)


def mapped(count: int) -> bytes:
    return safetensors(b"{" + b",".join(b'"%d":"\\u20ac%d"' % (index, index) for index in range(count)) + b"}")


HEADERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a list as long as can be": (lambda: gguf(0, 1, numbers("a.b", 63 * MIB // 4)), "read"),
    "texts as long as can be": (
        lambda: gguf(0, 4, b"".join(text(f"k{index}", WIDE + "x" * (15 * MIB)) for index in range(4))),
        "read",
    ),
    "many long texts": (
        lambda: gguf(0, 60, b"".join(text(f"k{index}", WIDE + "x" * (MIB - 8)) for index in range(60))),
        "read",
    ),
    "many long keys": (
        lambda: gguf(0, 999, b"".join(text(f"{index}{WIDE}" + "x" * 60_000, "") for index in range(999))),
        "model.invalid",
    ),
    "many tensors": (tensors, "read"),
    "many described tensors": (described_tensors, "read"),
    "one wide text": (lambda: safetensors(b'{"a":"' + WIDE.encode() + b"x" * 24_900_000 + b'"}'), "model.invalid"),
    "one escaped text": (lambda: safetensors(b'{"a":"\\ud83d\\ude00' + b"x" * 24_900_000 + b'"}'), "model.invalid"),
    "one plain text": (lambda: safetensors(b'{"a":"' + b"x" * 24_900_000 + b'"}'), "model.invalid"),
    "many short texts": (lambda: mapped(260_000), "model.invalid"),
    "more short texts": (lambda: mapped(490_000), "model.invalid"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_takes_little_memory_whatever_it_says(tmp_path: Path, name: str) -> None:
    make, expected = HEADERS[name]
    path = tmp_path / "header"
    data = make()
    path.write_bytes(data)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
    command = [sys.executable, "-c", READER, str(path), "gguf" if data[:4] == b"GGUF" else "safetensors"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    assert answer[0] == expected
    assert int(answer[1]) < MOST

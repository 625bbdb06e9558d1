"""Read the header of a safetensors file, and the index of a checkpoint that has several.

Sizes come from the offsets in the header, never from a table of types: a new packed type is sized right as well.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.model.byte_source import MIB, ByteSource
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError

MAX_HEADER = 25 * 10**6  # as the hub's own client (SAFETENSORS_MAX_HEADER_LENGTH)
MAX_JSON = 32 * MIB
# What JSON may hold before it is parsed: some small texts take up many times their size in memory.
MAX_MARKS = {b"{": 80_000, b"[": 200_000, b":": 500_000, b",": 1_000_000, b'"': 1_400_000}
MAX_WIDE = 8 * MIB  # of a text with other than ASCII characters, each of which Python may store in 4 bytes
MAX_DIMENSIONS = 16


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a checkpoint."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int

    @property
    def elements(self) -> int:
        """Return how many elements are stored, which for packed types is less than the parameters."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class SafetensorsHeader:
    """The tensors of one safetensors file."""

    name: str
    tensors: tuple[StoredTensor, ...]
    file_size: int
    data: bytes = field(repr=False)  # the header itself

    @classmethod
    def from_source(cls, source: ByteSource, first_step: int = 128 * 1024) -> SafetensorsHeader:
        """Read the header of a file; raise ModelError if it is no sound safetensors file."""
        head = source.read(0, min(first_step, source.size))
        if len(head) < 8:
            raise _invalid(source.name, f"it has {source.size} bytes")
        length = int.from_bytes(head[:8], "little")
        if not 2 <= length <= MAX_HEADER:
            raise _invalid(source.name, f"it claims a header of {length} bytes")
        begin = 8 + length
        if begin > source.size:
            raise _truncated(source.name, f"its header ends at {begin}, the file at {source.size}")
        data = head[:begin] if len(head) >= begin else head + source.read(len(head), begin)
        entries = read_json_object(data[8:], source.name)
        entries.pop("__metadata__", None)
        tensors = _tensors(entries, source.size - begin, source.name)
        return cls(source.name, tensors, source.size, data)


def weight_files(index: bytes, name: str) -> list[str]:
    """Return the files that a ``model.safetensors.index.json`` names, in order."""
    weight_map = read_json_object(index, name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise _invalid(name, "it has no weight_map")
    files = list(weight_map.values())
    if not all(isinstance(file, str) and file.endswith(".safetensors") and "/" not in file for file in files):
        raise _invalid(name, "its weight_map names other things than safetensors files beside it")
    return sorted(set(files))


def read_json_object(text: bytes, name: str) -> dict[str, Any]:
    """Return the JSON object in ``text``; raise ModelError for anything else, however strange."""
    too_many = next((mark for mark, most in MAX_MARKS.items() if text.count(mark) > most), None)
    if len(text) > max(MAX_HEADER, MAX_JSON) or too_many:
        raise _invalid(
            name, f"it has {len(text)} bytes of JSON" + (f" full of {too_many.decode()}" if too_many else "")
        )
    if len(text) > MAX_WIDE and (not text.isascii() or b"\\u" in text):
        raise _invalid(name, f"it has {len(text)} bytes of JSON with other than ASCII characters")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(name, f"its JSON cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise _invalid(name, "it holds no JSON object")
    return content


def _tensors(entries: dict[str, Any], data_size: int, name: str) -> tuple[StoredTensor, ...]:
    tensors: list[tuple[int, StoredTensor]] = []
    for key, entry in entries.items():
        if not isinstance(entry, dict):
            raise _invalid(name, f"tensor {key!r} is not described")
        dtype, shape, offsets = entry.get("dtype"), _counts(entry.get("shape")), _counts(entry.get("data_offsets"))
        if not isinstance(dtype, str) or shape is None or offsets is None or len(shape) > MAX_DIMENSIONS:
            raise _invalid(name, f"tensor {key!r} is described wrongly")
        if len(offsets) != 2 or offsets[0] > offsets[1]:
            raise _invalid(name, f"tensor {key!r} has no sound place")
        if offsets[1] > data_size:
            raise _truncated(name, f"tensor {key!r} lies beyond its end")
        tensors.append((offsets[0], StoredTensor(key, dtype, shape, offsets[1] - offsets[0])))
    position = 0
    for begin, tensor in sorted(tensors, key=lambda item: (item[0], item[1].size_bytes)):
        if begin < position:
            raise _invalid(name, f"tensor {tensor.name!r} overlaps another one")
        position = begin + tensor.size_bytes
    return tuple(tensor for _, tensor in tensors)


def _counts(values: Any) -> tuple[int, ...] | None:
    """Return a list of whole numbers from 0 on, else None."""
    if isinstance(values, list) and set(map(type, values)) <= {int} and min(values, default=0) >= 0:
        return tuple(values)
    return None


def _invalid(name: str, reason: str) -> ModelError:
    return ModelError("model.invalid", f"{name} is not sound: {reason}", "Choose or fetch another file.")


def _truncated(name: str, reason: str) -> ModelError:
    return ModelError("model.truncated", f"{name} is truncated: {reason}", "Fetch the file again.")

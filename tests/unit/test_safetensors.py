"""The safetensors header parser, with the ``safetensors`` package as the oracle."""

from __future__ import annotations

import contextlib
import json
import struct
from typing import Any

import numpy as np
import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.model.safetensors import SafetensorsHeader, weight_files
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.tools.memory_source import MemorySource

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I32": np.int32, "U8": np.uint8, "BOOL": np.bool_}


def parse(data: bytes, size: int | None = None) -> SafetensorsHeader:
    return SafetensorsHeader.from_source(MemorySource(data, "m.safetensors", size))


def code_of(data: bytes, size: int | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        parse(data, size)
    return caught.value.code


def file(header: Any, data: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=9).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(1, 4), max_size=3).map(tuple)),
        min_size=1,
        max_size=6,
    )
)
def test_it_reads_what_the_safetensors_package_wrote(shapes: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    arrays: dict[str, Any] = {name: np.zeros(shape, DTYPES[dtype]) for name, (dtype, shape) in shapes.items()}
    data = save(arrays, {"format": "np"})
    header = parse(data)
    assert {t.name: (t.dtype, t.shape, t.size_bytes) for t in header.tensors} == {
        name: (dtype, shape, arrays[name].nbytes) for name, (dtype, shape) in shapes.items()
    }
    assert [code_of(data[:cut]) for cut in (8, len(header.data) - 1, len(data) - 1)] == ["model.truncated"] * 3


def test_a_header_longer_than_the_first_step_is_fetched_whole() -> None:
    arrays = {f"a.tensor.with.a.long.name.{number:05d}": np.zeros(1, np.float32) for number in range(2000)}
    source = MemorySource(save(arrays), size=10**9)
    header = SafetensorsHeader.from_source(source)
    assert len(header.tensors) == 2000
    assert source.fetched == len(header.data)


@pytest.mark.parametrize(
    "header",
    [
        b"[1, 2]",
        b"{no json",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"t": [' + b"[]," * 200_001 + b"1]}",
        b'{"t": [' + b"{}," * 100_001 + b"1]}",
        b'{"t": [' + b"1," * 1_000_001 + b"1]}",
        {"t": 1},
        {"t": {"dtype": "F32", "shape": [1]}},
        {"t": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"t": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}},
        {"t": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
        {"t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}},
        {"t": {"dtype": 7, "shape": [1], "data_offsets": [0, 4]}},
        {"t": {"dtype": "F32", "shape": [1] * 99, "data_offsets": [0, 4]}},
        {n: {"dtype": "F32", "shape": [1], "data_offsets": [b, b + 4]} for n, b in (("a", 0), ("b", 2))},
    ],
    ids=lambda header: str(header)[:40],
)
def test_headers_that_make_no_sense_are_refused(header: Any) -> None:
    assert code_of(file(header, bytes(8))) == "model.invalid"


@pytest.mark.parametrize("length", [0, 1, 25 * 10**6 + 1, 2**63])
def test_absurd_lengths_are_refused(length: int) -> None:
    assert code_of(struct.pack("<Q", length), size=2**40) == "model.invalid"


def test_a_file_of_a_few_bytes_is_refused() -> None:
    assert code_of(b"") == code_of(b"1234567") == "model.invalid"


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_the_typed_error(data: bytes) -> None:
    for candidate in (data, file(data)):
        with contextlib.suppress(ModelError):
            parse(candidate)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "t", "weight_map"]), inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_no_json_raises_anything_but_the_typed_error(content: Any) -> None:
    with contextlib.suppress(ModelError):
        parse(file(content, bytes(64)))
    with contextlib.suppress(ModelError):
        weight_files(json.dumps(content).encode(), "index")


def test_the_index_names_the_weight_files_once() -> None:
    index = {"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-1.safetensors"}}
    assert weight_files(json.dumps(index).encode(), "index") == ["model-1.safetensors", "model-2.safetensors"]


@pytest.mark.parametrize(
    "index",
    [
        {},
        {"weight_map": {}},
        {"weight_map": {"a": "../x.safetensors"}},
        {"weight_map": {"a": "x.bin"}},
        {"weight_map": {"a": []}},
    ],
)
def test_an_index_that_names_other_things_is_refused(index: Any) -> None:
    with pytest.raises(ModelError):
        weight_files(json.dumps(index).encode(), "index")

"""The GGUF header parser, with the ``gguf`` package as the oracle and everything hostile that a file may hold."""

from __future__ import annotations

import contextlib
import math
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.gguf import GgufHeader, SkippedArray
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.model.tensor_type import TENSOR_TYPES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tools import make_model
from tests.tools.memory_source import MemorySource

INTEGERS = {"uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64, "int8": -8, "int16": -16, "int32": -32, "int64": -64}


def parse(data: bytes, size: int | None = None) -> GgufHeader:
    return GgufHeader.from_source(MemorySource(data, size=size))


def code_of(data: bytes, size: int | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        parse(data, size)
    return caught.value.code


def integers(kind: str) -> st.SearchStrategy[tuple[str, Any]]:
    bits = INTEGERS[kind]
    low, high = (0, 2**bits - 1) if bits > 0 else (-(2 ** (-bits - 1)), 2 ** (-bits - 1) - 1)
    return st.tuples(st.just(kind), st.integers(low, high))


def values() -> st.SearchStrategy[tuple[str, Any]]:
    numbers = st.one_of(
        st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=9),
        st.lists(st.text(max_size=9), min_size=1, max_size=9),
        st.lists(st.booleans(), min_size=1, max_size=9),
        st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=3),
    )
    return st.one_of(
        *(integers(kind) for kind in INTEGERS),
        st.tuples(st.just("float32"), st.floats(width=32, allow_nan=False)),
        st.tuples(st.just("float64"), st.floats(allow_nan=False)),
        st.tuples(st.just("bool"), st.booleans()),
        st.tuples(st.just("string"), st.text(min_size=1, max_size=40)),
        st.tuples(st.just("array"), numbers),
    )


def tensors() -> st.SearchStrategy[tuple[int, tuple[int, ...]]]:
    known = sorted(kind.value for kind in gguf.GGML_QUANT_SIZES)
    blocks = st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple)
    return st.tuples(st.sampled_from(known), blocks)


NAMES = st.text("abcdefghij._", min_size=1, max_size=12)
METADATA = st.dictionaries(NAMES.map("x.{}".format), values(), max_size=8)
TENSORS = st.dictionaries(NAMES, tensors(), max_size=6)


def write(path: Path, metadata: dict[str, Any], shapes: dict[str, tuple[int, tuple[int, ...]]], alignment: int) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    if alignment != 32:
        writer.add_custom_alignment(alignment)
    for key, (kind, value) in metadata.items():
        getattr(writer, f"add_{kind}")(key, value)
    for name, (kind, blocks) in shapes.items():
        data = np.zeros(
            (*blocks[:-1], blocks[-1] * gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)][1]), np.uint8
        )
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(metadata=METADATA, shapes=TENSORS, alignment=st.sampled_from([8, 32, 256]))
def test_it_reads_what_the_gguf_package_wrote(
    tmp_path: Path, metadata: dict[str, Any], shapes: dict[str, tuple[int, tuple[int, ...]]], alignment: int
) -> None:
    path = tmp_path / "m.gguf"
    write(path, metadata, shapes, alignment)
    header = parse(path.read_bytes())
    for key, (kind, value) in metadata.items():
        if kind != "array":
            assert header.metadata[key] == value
        elif isinstance(value[0], (str, list)):
            assert header.metadata[key] == SkippedArray(len(value))
        else:
            assert header.metadata[key] == tuple(value)
    if shapes:
        reader = gguf.GGUFReader(path)
        expected = [(t.name, int(t.n_bytes), tuple(int(n) for n in t.shape)) for t in reader.tensors]
        assert [(t.name, t.size_bytes, t.shape) for t in header.tensors] == expected
        assert [len(header.data) <= int(t.data_offset) for t in reader.tensors] == [True] * len(shapes)
        assert [t.elements for t in header.tensors] == [int(t.n_elements) for t in reader.tensors]


def test_the_type_table_is_that_of_the_gguf_package_and_what_it_does_not_know_yet() -> None:
    theirs = {kind.value: (kind.name, *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    ours = {number: (kind.name, kind.block, kind.size) for number, kind in TENSOR_TYPES.items()}
    assert {number: ours.get(number) for number in theirs} == theirs
    assert {number: kind for number, kind in ours.items() if number not in theirs} == {42: ("Q2_0", 64, 18)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    [path] = make_model.write_gguf(tmp_path_factory.mktemp("m") / "tiny.gguf", make_model.PRESETS["tiny"], "Q4_0")
    return path.read_bytes()


def test_a_file_cut_anywhere_is_said_to_be_truncated(tiny: bytes) -> None:
    header = parse(tiny)
    edge = len(header.data)
    cuts = [4, 5, 8, 15, 16, 23, 24, 31, 40, edge // 3, edge // 2, edge - 1, edge, edge + 100, len(tiny) - 33]
    assert {cut: code_of(tiny[:cut]) for cut in cuts} == dict.fromkeys(cuts, "model.truncated")


def test_the_end_of_the_last_tensor_decides_not_its_padding(tiny: bytes) -> None:
    header = parse(tiny)
    last = max(header.tensors, key=lambda tensor: tensor.offset)
    needed = -(-len(header.data) // 32) * 32 + last.offset + last.size_bytes
    assert parse(tiny[:needed]).tensors == header.tensors
    assert code_of(tiny[: needed - 1]) == "model.truncated"


def head(version: int = 3, tensor_count: int = 0, metadata_count: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensor_count, metadata_count)


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def array(kind: int, count: int) -> bytes:
    return head(metadata_count=1) + string("a") + struct.pack("<IIQ", 9, kind, count)


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


ABSURD = {
    "tensors": head(tensor_count=50_001),
    "metadata": head(metadata_count=10_001),
    "key length": head(metadata_count=1) + struct.pack("<Q", 2**63),
    "string length": head(metadata_count=1) + string("k") + struct.pack("<IQ", 8, 2**27),
    "string in an array": array(8, 2) + struct.pack("<Q", 2**62),
    "array of numbers": array(4, 2**60),
    "array of strings": array(8, 2**61),
    "array of an unknown type": array(77, 1),
    "an array of many arrays": array(9, 4097),
    "more strings than anyone has": array(8, 3_000_001),
    "arrays in arrays": head(metadata_count=200)
    + b"".join(string(f"k{n}") + struct.pack("<IIQ", 9, 9, 4096) + struct.pack("<IQ", 0, 0) * 4096 for n in range(65)),
    "nested arrays": array(9, 1) + struct.pack("<IQ", 9, 1) * 50,
    "value of an unknown type": head(metadata_count=1) + string("k") + struct.pack("<I", 13),
    "dimensions": head(tensor_count=1) + string("t") + struct.pack("<I", 2**31),
    "rows no multiple of a block": head(tensor_count=1) + tensor("t", (33,), 8, 0),
    "not aligned": head(tensor_count=1) + tensor("t", (32,), 8, 8),
    "overlap": head(tensor_count=2) + tensor("a", (32,), 0, 0) + tensor("b", (32,), 0, 32),
    "same name": head(tensor_count=2) + tensor("a", (32,), 8, 0) + tensor("a", (32,), 8, 64),
    "same key": head(metadata_count=2) + (string("k") + struct.pack("<IB", 0, 1)) * 2,
    "alignment of zero": head(metadata_count=1) + string("general.alignment") + struct.pack("<II", 4, 0),
    "odd alignment": head(metadata_count=1) + string("general.alignment") + struct.pack("<II", 4, 48),
    "alignment in words": head(metadata_count=1) + string("general.alignment") + struct.pack("<I", 8) + string("32"),
}


@pytest.mark.parametrize("case", ABSURD)
def test_absurd_numbers_are_refused_without_being_believed(case: str) -> None:
    source = MemorySource(ABSURD[case], size=2**40)
    with pytest.raises(ModelError) as caught:
        GgufHeader.from_source(source)
    assert caught.value.code == "model.invalid"
    assert source.fetched <= 2**23


def test_a_header_without_end_is_given_up_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    # Zeros without end are a list of empty strings.
    from ansible_collections.llmhost.core.plugins.module_utils.model import byte_source

    monkeypatch.setattr(byte_source.Prefix, "LIMIT", 2**23)
    assert code_of(array(8, 2**21), size=2**41) == "model.invalid"


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        (b"", "model.not_gguf", "empty"),
        (b"GG", "model.not_gguf", "begins with"),
        (b"PK\x03\x04 and so on", "model.not_gguf", "ZIP"),
        (b"version https://git-lfs.github.com/spec/v1", "model.not_gguf", "LFS"),
        (b"<!DOCTYPE html>", "model.not_gguf", "web page"),
        (b"\x80\x04\x95 pickle", "model.not_gguf", "begins with"),
        (head(1), "model.gguf_version", "version 1"),
        (head(4), "model.gguf_version", "version 4"),
        (head(0), "model.gguf_version", "version 0"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "model.big_endian", "big-endian"),
    ],
)
def test_other_files_are_named_for_what_they_are(data: bytes, code: str, text: str) -> None:
    with pytest.raises(ModelError, match=text) as caught:
        parse(data)
    assert caught.value.code == code
    assert caught.value.remedy


def test_version_2_is_read_like_version_3(tiny: bytes) -> None:
    assert parse(tiny[:4] + struct.pack("<I", 2) + tiny[8:]).tensors == parse(tiny).tensors


def test_a_type_that_nobody_knows_is_sized_by_the_offsets() -> None:
    shape = (32,)
    infos = tensor("a", shape, 8, 0) + tensor("b", shape, 200, 64) + tensor("c", shape, 8, 192)
    data = head(tensor_count=3) + infos
    data += bytes(-len(data) % 32)
    header = parse(data, size=len(data) + 192 + 34)
    assert [(t.type_name, t.size_bytes, t.known_type) for t in header.tensors] == [
        ("Q8_0", 34, True),
        ("TYPE_200", 128, False),
        ("Q8_0", 34, True),
    ]
    last = head(tensor_count=1) + tensor("a", shape, 200, 0)
    last += bytes(-len(last) % 32)
    assert parse(last, size=len(last) + 99).tensors[0].size_bytes == 99


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_the_typed_error(data: bytes) -> None:
    for candidate in (data, head(tensor_count=2, metadata_count=2) + data):
        with contextlib.suppress(ModelError):
            parse(candidate)


@settings(deadline=None)
@given(position=st.integers(0, 6000), value=st.integers(0, 255))
def test_one_wrong_byte_raises_nothing_but_the_typed_error(tiny: bytes, position: int, value: int) -> None:
    edge = len(parse(tiny).data)
    spoiled = bytearray(tiny)
    spoiled[position % edge] = value
    try:
        header = parse(bytes(spoiled))
    except ModelError:
        return
    assert sum(t.size_bytes for t in header.tensors) <= len(tiny)
    assert all(math.prod(t.shape) >= 0 for t in header.tensors)


def test_little_is_fetched_and_none_of_the_weights() -> None:
    vocabulary = b"".join(string(f"token{number:06d}") for number in range(150_000))
    data = head(metadata_count=1) + string("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 150_000) + vocabulary
    source = MemorySource(data, size=2**35)
    header = GgufHeader.from_source(source)
    assert header.metadata == {"tokenizer.ggml.tokens": SkippedArray(150_000)}
    assert source.fetched == 4 * 2**20


def test_a_large_vocabulary_is_fetched_in_few_requests_and_little_more_than_it_is() -> None:
    tokens = b"".join(string(f"token{number:06d}") for number in range(200_000))
    merges = b"".join(string(f"{number:0{4 + number // 40_000}d} x") for number in range(400_000))
    lists = ((b"tokens", 200_000, tokens), (b"merges", 400_000, merges))
    data = head(metadata_count=2)
    for key, count, texts in lists:
        data += string(f"tokenizer.ggml.{key.decode()}") + struct.pack("<IIQ", 9, 8, count) + texts
    assert 10 * 10**6 < len(data) < 12 * 10**6
    source = MemorySource(data, size=2**35)
    assert len(GgufHeader.from_source(source).metadata) == 2
    assert source.fetched < len(data) + 2**20
    assert source.reads <= 5

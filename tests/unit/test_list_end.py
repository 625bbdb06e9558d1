"""Headers of files that are far: what is not fetched changes nothing in what is read."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model import gguf, list_end
from ansible_collections.llmhost.core.plugins.module_utils.model.byte_source import MIB, Prefix
from ansible_collections.llmhost.core.plugins.module_utils.model.gguf import GgufHeader
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools import large_header
from tests.tools.large_header import header, number, numbers, string, strings, text, words
from tests.tools.memory_source import MemorySource

FIRST_STEP = 2048


@contextmanager
def small_limits() -> Iterator[None]:
    """Make what is done to headers of many megabytes happen to those of some kilobytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prefix, "NEXT_STEP", 256)
        patch.setattr(gguf, "MAX_LISTS", FIRST_STEP)
        patch.setattr(gguf, "MIN_GAP", 2048)
        patch.setattr(list_end, "SEARCHED", 256)
        patch.setattr(list_end, "FOLLOWED", 1600)
        yield


def read(data: bytes, size: int, far: bool) -> tuple[object, MemorySource]:
    """Return what is read, or the code of the error."""
    source = MemorySource(data, size=size, far=far)
    try:
        with small_limits():
            found = GgufHeader.from_source(source, FIRST_STEP)
    except ModelError as error:
        return error.code, source
    return (found.version, found.metadata, found.tensors, found.file_size, found.header_bytes), source


def key_like(chance: random.Random, index: int) -> str:
    """Return a token that may be taken for a key, before one whose length may be taken for a type."""
    return chance.choice(["general.name", "a.b", f"tokenizer.ggml.{index}", "x"])


def entry(chance: random.Random, index: int) -> bytes:
    """Return a token that holds what may be the rest of a header, up to a tensor."""
    tail = number(f"general.{index}", 0) + text("a.b", "c") + string("blk.0.w") + struct.pack("<IQIQ", 1, 32, 0, 0)
    return tail[chance.randrange(9) :] * chance.randrange(1, 4)


def chained(chance: random.Random, _: int) -> bytes:
    """Return a token that holds a list of its own, and what may follow it."""
    inner = b"".join(string("x" * chance.randrange(9)) for _ in range(chance.randrange(300)))
    return inner + number("a.b", 4) + string("blk.0.w") + struct.pack("<IQIQ", 1, 32, 0, 0)


KINDS: dict[str, Callable[[random.Random, int], str | bytes]] = {
    "words": lambda chance, _: "".join(chance.choices("abc Ġé", k=chance.randrange(1, 24))),
    "empty": lambda _, __: "",
    "mostly empty": lambda chance, index: "word" if chance.random() < 0.3 else "",
    "long": lambda chance, _: "x" * (chance.randrange(5000) if chance.random() < 0.02 else chance.randrange(12)),
    "keys": key_like,
    "entries": entry,
    "chained": lambda chance, index: chained(chance, index) if chance.random() < 0.02 else "word",
    "zeros": lambda chance, _: bytes(chance.randrange(20)),
    "lengths": lambda chance, _: struct.pack("<Q", chance.randrange(16)) * chance.randrange(4),
    "bytes": lambda chance, _: chance.randbytes(chance.randrange(24)),
}


def list_of(kind: str, count: int, seed: int, key: str) -> bytes:
    chance = random.Random(seed)
    return strings(key, [KINDS[kind](chance, index) for index in range(count)])


LISTS = st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 1500), st.integers(0, 10**6))
ENTRIES = st.lists(
    st.one_of(
        LISTS.map(lambda found: lambda key: list_of(*found, key)),
        st.integers(0, 3000).map(lambda count: lambda key: numbers(key, count)),
        st.integers(0, 20).map(lambda value: lambda key: number(key, value)),
        st.binary(max_size=600).map(lambda value: lambda key: text(key, value)),
    ),
    max_size=6,
)


def joined(entries: Sequence[Callable[[str], bytes]], names: Sequence[str]) -> list[bytes]:
    return [make(name) for make, name in zip(entries, names, strict=False)]


NAMES = ["tokenizer.ggml.tokens", "a.b", "tokenizer.ggml.merges", "general.license.name", "llama.block_count", "key"]


@settings(deadline=None, max_examples=300)
@given(ENTRIES, st.permutations(NAMES), st.integers(0, 30), st.sampled_from([0, 0, 0, -1, 31, 64, 10**6]))
def test_a_header_that_is_far_reads_like_one_that_is_near(
    entries: list[Callable[[str], bytes]], names: list[str], tensors: int, more: int
) -> None:
    data, size = header(joined(entries, names), tensors)
    near, _ = read(data, size + more, far=False)
    far, _ = read(data, size + more, far=True)
    assert far == near


@pytest.mark.parametrize("kind", ["words", "keys", "long", "mostly empty"])
def test_the_middle_of_a_list_is_not_fetched(kind: str) -> None:
    data, size = header([number("general.first", 1), list_of(kind, 4000, 5, "a.b"), number("general.last_one", 0)], 4)
    near, _ = read(data, size, far=False)
    far, source = read(data, size, far=True)
    assert far == near
    assert isinstance(far, tuple)
    if kind in ("words", "mostly empty"):
        assert source.fetched < 0.8 * len(data)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.replace(string("general.last_one"), string("a.b")),  # a key twice
        lambda data: data[:-100],
        lambda data: data.replace(b"blk.0.part_1", b"blk.0.part_2"),
        lambda data: data.replace(string("general.last_one") + b"\4", string("general.last_one") + b"\77"),
    ],
)
def test_a_wrong_header_is_refused_as_one_that_is_near(spoil: Callable[[bytes], bytes]) -> None:
    data, size = header([list_of("words", 4000, 5, "a.b"), number("general.last_one", 7)], 4)
    spoiled = spoil(data)
    assert spoiled != data
    near, _ = read(spoiled, min(size, len(spoiled) + 512), far=False)
    far, _ = read(spoiled, min(size, len(spoiled) + 512), far=True)
    assert isinstance(near, str)
    assert far == near


def test_lists_of_numbers_are_not_fetched() -> None:
    data, size = header([numbers(f"list.{index}", 2_000_000) for index in range(3)], 2)
    source = MemorySource(data, size=size, far=True)
    found = GgufHeader.from_source(source)
    assert found.tensors == GgufHeader.from_source(MemorySource(data, size=size)).tensors
    assert found.header_bytes == len(data)
    assert found.data == b""
    assert source.fetched < 6 * MIB


def test_a_header_with_few_strings_is_fetched_whole() -> None:
    data, size = header([strings("a.b", words(9000, 8))], 1)
    source = MemorySource(data, size=size, far=True)
    assert GgufHeader.from_source(source).data == data


@pytest.mark.parametrize("name", large_header.HEADERS)
def test_of_no_published_header_more_than_12_mb_are_fetched(name: str) -> None:
    data, size = large_header.HEADERS[name]()
    source = MemorySource(data, size=size, far=True)
    far = GgufHeader.from_source(source)
    near = GgufHeader.from_source(MemorySource(data, size=size))
    assert (far.metadata, far.tensors, far.header_bytes) == (near.metadata, near.tensors, near.header_bytes)
    assert near.data == data
    assert source.fetched < min(12 * 10**6, len(data) + MIB)
    assert source.reads <= 8


@pytest.mark.parametrize(("count", "code"), [(100_000, "model.invalid"), (1_200_000, "model.truncated")])
def test_a_list_that_cannot_have_so_many_strings_is_refused(count: int, code: str) -> None:
    data, size = large_header.HEADERS["Gemma 4"]()
    place = data.index(b"tokenizer.ggml.merges") + 21 + 8
    wrong = data[:place] + struct.pack("<Q", count) + data[place + 8 :]
    for far in (False, True):
        with pytest.raises(ModelError) as caught:
            GgufHeader.from_source(MemorySource(wrong, size=size, far=far))
        assert caught.value.code == code

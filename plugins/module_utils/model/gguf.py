"""Read the header of a GGUF file without reading its vocabulary: what it says is kept, what it lists is skipped.

No number in the file is trusted: each length and count has a limit, and nothing is allocated by a number from the file.
Of a file that is far, lists of numbers are not fetched. Lists of strings are, up to ``MAX_LISTS`` bytes: of a longer
one only the beginning and the end, and then the file is read again as a whole where anything speaks against the end
that was found (see ``list_end``).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from ansible_collections.llmhost.core.plugins.module_utils.model.byte_source import MIB, ByteSource, Prefix
from ansible_collections.llmhost.core.plugins.module_utils.model.list_end import find_end, find_string
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.model.tensor_type import TENSOR_TYPES

# Many times what any published file has; each bounds seconds and memory that a lying header can cost.
MAX_TENSORS = 50_000
MAX_METADATA = 10_000
MAX_STRINGS = 3_000_000  # in lists: tokens and merges
MAX_STRING = 16 * MIB
MAX_NAME = 2**16  # of a key; tensors have shorter ones
MAX_NAMES = 8 * MIB  # together
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 2**20
MAX_NESTING = 2
KEPT_ARRAY = 4096  # longer arrays describe the vocabulary, never the layers
MAX_KEPT = 2**18  # numbers of all kept arrays together, and arrays in arrays
KEPT_TEXT = MIB  # longer strings are whole files, such as a tokenizer.json
MAX_TEXT = 8 * MIB  # of all kept strings together
MAX_LISTS = 8 * MIB  # fetched of a file that is far, before the middle of a list of strings is passed over
MIN_GAP = MIB // 2  # less is not worth a request

STRING, ARRAY = 8, 9
SCALARS = {
    number: struct.Struct("<" + code)
    for number, code in {
        0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
    }.items()
}  # fmt: skip
U32, U64 = struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True)
class SkippedArray:
    """An array, or a very long string, of which only the length was read."""

    count: int


Scalar = int | float | bool | str
Value = Scalar | tuple[int | float | bool, ...] | SkippedArray


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a GGUF file says about a tensor, and the bytes that it takes."""

    name: str
    shape: tuple[int, ...]  # the row length first
    type_name: str
    known_type: bool
    offset: int
    size_bytes: int

    @property
    def elements(self) -> int:
        """Return how many numbers the tensor holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    """The metadata and the tensors of one GGUF file."""

    name: str
    version: int
    metadata: dict[str, Value]
    tensors: tuple[Tensor, ...]
    file_size: int
    header_bytes: int
    data: bytes | bytearray = field(repr=False)  # the header itself; empty where parts of it were passed over

    @classmethod
    def from_source(cls, source: ByteSource, first_step: int = 4 * MIB) -> GgufHeader:
        """Read the header of a file; raise ModelError if it is no sound GGUF file."""
        reader = _Reader(Prefix(source, first_step), may_guess=source.far)
        try:
            return cls._read(reader, source)
        except ModelError as error:
            if not reader.guessed or not error.code.startswith("model."):
                raise
        return cls._read(_Reader(Prefix(source, first_step), may_guess=False), source)

    @classmethod
    def _read(cls, reader: _Reader, source: ByteSource) -> GgufHeader:
        version, tensor_count, metadata_count = reader.preamble()
        metadata = dict(reader.metadata(metadata_count))
        if len(metadata) < metadata_count:
            raise reader.invalid("it sets a key twice")
        infos = [reader.tensor_info() for _ in range(tensor_count)]
        alignment = _alignment(metadata, reader)
        begin = -(-reader.position // alignment) * alignment
        tensors = _with_sizes(infos, source.size - begin, alignment, reader)
        if reader.guessed and not _fill(tensors, source.size - begin, alignment):
            raise reader.invalid("its tensors do not fill it")
        return cls(source.name, version, metadata, tensors, source.size, reader.position, reader.consumed())


@dataclass(frozen=True, slots=True)
class _TensorInfo:
    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int


class _Reader:
    """A cursor over the beginning of a file, which fetches more of it when it has to."""

    def __init__(self, prefix: Prefix, may_guess: bool) -> None:
        self._prefix = prefix
        self._may_guess = may_guess
        self._strings_left = MAX_STRINGS
        self._kept_left = MAX_KEPT
        self._text_left = MAX_TEXT
        self._names_left = MAX_NAMES
        self.guessed = False  # whether the end of a list was found without reading all of it
        self.position = 0

    def invalid(self, reason: str) -> ModelError:
        """Return the error for a header that cannot be true."""
        name = self._prefix.source.name
        return ModelError(
            "model.invalid", f"{name} is not a sound GGUF file: {reason}", "Choose or fetch another file."
        )

    def truncated(self, reason: str) -> ModelError:
        """Return the error for a file of which the end is missing."""
        name = self._prefix.source.name
        return ModelError("model.truncated", f"{name} is truncated: {reason}", "Fetch the file again.")

    def consumed(self) -> bytearray:
        """Return all bytes read, if they were; nothing can be read any more."""
        data, self._prefix.data = self._prefix.data, bytearray()
        if self._prefix.begin:
            return bytearray()
        del data[self.position :]
        return data

    def preamble(self) -> tuple[int, int, int]:
        """Return version, number of tensors, number of metadata entries."""
        name = self._prefix.source.name
        magic = self._take(min(4, self._prefix.source.size))
        if magic != b"GGUF":
            hint = _what_it_is(magic)
            raise ModelError("model.not_gguf", f"{name} is no GGUF file: {hint}", "Name a file in the GGUF format.")
        version = self._unpack(U32)
        if version and version & 0xFFFF == 0:
            raise ModelError("model.big_endian", f"{name} is a big-endian GGUF file", "Choose a little-endian one.")
        if version not in (2, 3):
            raise ModelError(
                "model.gguf_version",
                f"{name} is GGUF version {version}; versions 2 and 3 can be read",
                "Convert the model again, or choose another file.",
            )
        return version, self._count(MAX_TENSORS, "tensors"), self._count(MAX_METADATA, "metadata entries")

    def metadata(self, count: int) -> Iterator[tuple[str, Value]]:
        """Yield each key with its value."""
        for _ in range(count):
            key = self._name()
            yield key, self._value(self._unpack(U32))

    def tensor_info(self) -> _TensorInfo:
        """Read one tensor's name, shape, type and place."""
        name = self._name()
        dimensions = self._unpack(U32)
        if dimensions > MAX_DIMENSIONS:
            raise self.invalid(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self._unpack(U64) for _ in range(dimensions))
        return _TensorInfo(name, shape, self._unpack(U32), self._unpack(U64))

    def _value(self, kind: int) -> Value:
        if kind in SCALARS:
            scalar: Scalar = self._unpack(SCALARS[kind])
            return scalar
        if kind == STRING:
            return self._text()
        if kind == ARRAY:
            return self._array(MAX_NESTING)
        raise self.invalid(f"metadata of the unknown type {kind}")

    def _array(self, nesting: int) -> Value:
        kind, count = self._unpack(U32), self._unpack(U64)
        smallest = SCALARS[kind].size if kind in SCALARS else {STRING: 8, ARRAY: 12}.get(kind, 0)
        if not smallest or not nesting:
            raise self.invalid(f"an array of the unknown type {kind}" if nesting else "arrays nested too deep")
        if count * smallest > Prefix.LIMIT:
            raise self.invalid(f"an array of {count} elements")
        if count * smallest > self._prefix.source.size - self.position:
            raise self.truncated(f"it ends within an array of {count} elements")
        if kind == STRING:
            self._skip_strings(count)
        elif kind == ARRAY:
            self._kept_left -= count
            if count > KEPT_ARRAY or self._kept_left < 0:
                raise self.invalid(f"an array of {count} arrays")
            for _ in range(count):
                self._array(nesting - 1)
        elif count <= min(KEPT_ARRAY, self._kept_left):
            self._kept_left -= count
            scalar = SCALARS[kind]
            return struct.unpack(f"<{count}{scalar.format[-1]}", self._take(count * scalar.size))
        else:
            self._pass(count * smallest)
        return SkippedArray(count)

    def _skip_strings(self, count: int) -> None:
        # The one loop that runs a hundred thousand times: it only adds lengths, and asks for more when it runs out.
        self._strings_left -= count
        if self._strings_left < 0:
            raise self.invalid(f"it lists more than {MAX_STRINGS} strings")
        unpack, prefix, position = U64.unpack_from, self._prefix, self.position
        data, shift = prefix.data, prefix.begin
        left = count
        while left:
            last = prefix.end - 8
            while left and position <= last:
                (length,) = unpack(data, position - shift)
                if length > MAX_STRING:
                    raise self.invalid(f"a string of {length} bytes")
                position += 8 + length
                left -= 1
            likely_end = position + left * (position - self.position) // max(count - left, 1)
            if self._may_guess and prefix.fetched + likely_end - prefix.end > MAX_LISTS:
                # Each string takes 8 bytes or more, so the list cannot end before this.
                earliest_end = position + 8 * left
                if likely_end - earliest_end > MIN_GAP and earliest_end - prefix.end > MIN_GAP:
                    self.position = self._end_of_list(position, left, earliest_end, likely_end)
                    return
            prefix.extend_to(position + 8 * bool(left), likely_end)
        self.position = position

    def _end_of_list(self, begin: int, count: int, earliest_end: int, likely_end: int) -> int:
        """Return where the list of strings ends whose last ``count`` ones begin at ``begin``."""
        self.guessed = True
        self._prefix.pass_to(earliest_end)
        self._prefix.extend_to(earliest_end + MIN_GAP, likely_end)
        found = find_string(self._prefix.data)
        if found is None:
            raise self.invalid("a list that cannot be followed")
        first = self._prefix.begin + found
        end, strings = find_end(self._prefix, first)
        passed = count - strings
        if passed < 1 or first - begin < 8 * passed:
            raise self.invalid(f"a list of {count} strings that has another number of them")
        return end

    def _name(self) -> str:
        length = self._unpack(U64)
        self._names_left -= length
        if length > MAX_NAME or self._names_left < 0:
            raise self.invalid(f"a name of {length} bytes")
        return self._take(length).decode(errors="replace")

    def _text(self) -> str | SkippedArray:
        length = self._unpack(U64)
        if length > MAX_STRING:
            raise self.invalid(f"a string of {length} bytes")
        if length > min(KEPT_TEXT, self._text_left):
            self._pass(length)
            return SkippedArray(length)
        self._text_left -= length
        return self._take(length).decode(errors="replace")

    def _count(self, limit: int, what: str) -> int:
        count = self._unpack(U64)
        if count > limit:
            raise self.invalid(f"it claims {count} {what}")
        return count

    def _unpack(self, scalar: struct.Struct) -> int:
        value: int = scalar.unpack(self._take(scalar.size))[0]
        return value

    def _take(self, length: int) -> bytes:
        begin, self.position = self.position, self.position + length
        self._prefix.extend_to(self.position)
        shift = self._prefix.begin
        return bytes(memoryview(self._prefix.data)[begin - shift : self.position - shift])

    def _pass(self, length: int) -> None:
        self.position += length
        self._prefix.pass_to(self.position)


def _alignment(metadata: dict[str, Value], reader: _Reader) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        raise reader.invalid(f"an alignment of {alignment}")
    return alignment


def _with_sizes(infos: list[_TensorInfo], data_size: int, alignment: int, reader: _Reader) -> tuple[Tensor, ...]:
    """Return the tensors with their bytes: by type and shape, else by where the next one begins."""
    if len({info.name for info in infos}) < len(infos):
        raise reader.invalid("two tensors have the same name")
    ordered = sorted(infos, key=lambda info: info.offset)
    ends = [*(info.offset for info in ordered), data_size][1:]
    sizes: dict[str, int] = {}
    for info, end in zip(ordered, ends, strict=True):
        size = _size_by_type(info, reader)
        size = end - info.offset if size is None else size
        if info.offset % alignment:
            raise reader.invalid(f"tensor {info.name!r} is not aligned")
        if max(info.offset, info.offset + size) > data_size:
            raise reader.truncated(f"tensor {info.name!r} lies beyond its end")
        if info.offset + size > end:
            raise reader.invalid(f"tensor {info.name!r} overlaps the next one")
        sizes[info.name] = size
    return tuple(
        Tensor(
            info.name,
            info.shape,
            TENSOR_TYPES[info.type_id].name if info.type_id in TENSOR_TYPES else f"TYPE_{info.type_id}",
            info.type_id in TENSOR_TYPES,
            info.offset,
            sizes[info.name],
        )
        for info in infos
    )


def _fill(tensors: tuple[Tensor, ...], data_size: int, alignment: int) -> bool:
    """Say whether the tensors, each of a known type, lie without gaps from the first byte of the data to the last."""
    end = padded_end = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.size_bytes)):
        if tensor.offset != padded_end or not tensor.known_type:
            return False
        end = tensor.offset + tensor.size_bytes
        padded_end = -(-end // alignment) * alignment
    if not tensors:  # the first file of a split model may end before the padding
        return -alignment < data_size <= 0
    return end <= data_size <= padded_end


def _size_by_type(info: _TensorInfo, reader: _Reader) -> int | None:
    if info.type_id not in TENSOR_TYPES:
        return None
    tensor_type = TENSOR_TYPES[info.type_id]
    row = info.shape[0] if info.shape else 1
    if row % tensor_type.block:
        raise reader.invalid(f"tensor {info.name!r} has rows of {row}, no multiple of {tensor_type.block}")
    return tensor_type.size_bytes(math.prod(info.shape))


def _what_it_is(magic: bytes) -> str:
    known = {
        b"PK\x03\x04": "it is a ZIP archive, as PyTorch writes its pickled weights",
        b"vers": "it is a Git LFS pointer, so the real file was never fetched",
        b"<!DO": "it is a web page",
        b"<htm": "it is a web page",
        b"ggml": "it is of the older GGML format",
        b"": "it is empty",
    }
    return known.get(magic, f"it begins with {magic!r}")

"""Find the end of a list of strings in a GGUF header without reading the list from its beginning.

A string is 8 bytes of length and so many bytes of text. Behind the list stands a name (of the next entry, or of a
tensor) and a small number, which no string of the list begins with. That is enough to find the end where it is what it
seems, and never proof of it: who calls this has to see that everything behind it fits, to the last byte of the file.
What lies in the part that is not read stays unknown: a wrong length there, or a list of somewhat fewer strings than it
says, is not found, and a file made to deceive can show another end than its true one.
"""

from __future__ import annotations

import re
import struct
from collections import deque

from ansible_collections.llmhost.core.plugins.module_utils.model.byte_source import MIB, Prefix
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError

LONGEST = 2**16 - 1  # of a string that is believed
SEARCHED = 8192  # bytes in which a string has to begin
FOLLOWED = 65_536  # bytes through which the strings have to follow each other, none longer than a part of it
LONGEST_NAME = 255
LARGEST_KIND = 12  # of values; tensors have fewer dimensions
LENGTH = re.compile(rb"(?=..\0{6})", re.DOTALL)
NAME = re.compile(rb"[!-~]+")
U64, KIND = struct.Struct("<Q"), struct.Struct("<I")


def find_string(data: bytes | bytearray) -> int | None:
    """Return where a string begins in the middle of a list, if all that may be strings lead there."""
    ends: set[int] = set()
    seen: set[int] = set()
    for match in LENGTH.finditer(data, 0, min(SEARCHED, len(data))):
        position = match.start()
        while position < FOLLOWED and position not in seen:
            seen.add(position)
            if position + 8 > len(data):
                return None
            (length,) = U64.unpack_from(data, position)
            if length > FOLLOWED // 16:
                break
            position += 8 + length
        else:
            if position >= FOLLOWED:
                ends.add(position)
    return ends.pop() if len(ends) == 1 else None


def find_end(prefix: Prefix, first: int) -> tuple[int, int]:
    """Return where the list ends that has a string at ``first``, and how many strings lie between.

    Raise ModelError where that is not plain.
    """
    data, shift, unpack = prefix.data, prefix.begin, U64.unpack_from
    position, strings = first, 0
    recent: deque[int] = deque(maxlen=3)
    length = 0
    while length <= LONGEST:
        if position + 8 > prefix.end:
            prefix.extend_to(position + 8, position + MIB)
        edge = prefix.end - 8
        while position <= edge:
            (length,) = unpack(data, position - shift)
            if length > LONGEST:
                break
            recent.append(position)
            position += 8 + length
            strings += 1
    # The name behind the list looks like a string, and what follows it may do so once more by chance.
    ends = [(end, strings - len(recent) + index) for index, end in enumerate(recent) if _is_name(prefix, end)]
    if len(ends) != 1:
        raise ModelError(
            "model.invalid", f"{prefix.source.name} has a list of strings with an unclear end", "Read it as a whole."
        )
    return ends[0]


def _is_name(prefix: Prefix, position: int) -> bool:
    """Say whether a name and a small number stand here."""
    begin = position - prefix.begin
    (length,) = U64.unpack_from(prefix.data, begin)
    if not 0 < length <= LONGEST_NAME:
        return False
    end = begin + 8 + length
    prefix.extend_to(prefix.begin + end + KIND.size)
    (kind,) = KIND.unpack_from(prefix.data, end)
    return kind <= LARGEST_KIND and NAME.fullmatch(prefix.data, begin + 8, end) is not None

"""One GPU by itself: its comparison is put to the test, then its memory, then its way to the host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.proof.cuda import (
    OUT_OF_MEMORY,
    Cuda,
    CudaError,
    Gpu,
    Mistakes,
)
from ansible_collections.llmhost.core.plugins.module_utils.proof.measure import rate, rounded
from ansible_collections.llmhost.core.plugins.module_utils.proof.pattern import word
from ansible_collections.llmhost.core.plugins.module_utils.proof.work import OK, WRONG, Step

_SEED = 0x5EED
_INVERTED = 0xFFFFFFFF
_CHECKER_WORDS = 1 << 18
# Every place that is looked at in Python, and the two that are spoilt on purpose.
_LOOKED_AT = (0, 1, 4095, 65537, _CHECKER_WORDS - 1)
_SPOILT = (77, _CHECKER_WORDS - 2)
_WORD = 4


def steps(cuda: Cuda, request: Mapping[str, Any]) -> Iterator[Step]:
    """Name the steps of one GPU."""
    gpu = Gpu(cuda, request["gpu"])
    yield "checker", lambda: _checker(gpu)
    yield "memory", lambda: _memory(gpu, request["reserve_bytes"], request["chunk_bytes"])
    yield "host_link", lambda: _host_link(gpu, request["transfer_bytes"], request["measure_seconds"])


def _checker(gpu: Gpu) -> dict[str, Any]:
    """Prove that the kernels do what they should: right words pass, and wrong ones are found."""
    address = gpu.allocate(_CHECKER_WORDS * _WORD)
    gpu.fill(address, _CHECKER_WORDS, _SEED)
    clean = gpu.check(address, _CHECKER_WORDS, _SEED)
    seen = [gpu.read(address + place * _WORD, _WORD) for place in _LOOKED_AT]
    right = [word(place, _SEED).to_bytes(_WORD, "little") for place in _LOOKED_AT]
    for place in _SPOILT:
        gpu.write(address + place * _WORD, (word(place, _SEED) ^ 1).to_bytes(_WORD, "little"))
    spoilt = gpu.check(address, _CHECKER_WORDS, _SEED)
    sound = clean == Mistakes() and seen == right and spoilt == Mistakes(len(_SPOILT), _SPOILT[0], 1)
    return {"outcome": OK if sound else WRONG}


def _memory(gpu: Gpu, reserve_bytes: int, chunk_bytes: int) -> dict[str, Any]:
    """Write all the memory that is free and read it again, then with every bit the other way round."""
    chunks = _chunks(gpu, max(0, gpu.free_bytes() - reserve_bytes) // chunk_bytes, chunk_bytes)
    words = chunk_bytes // _WORD
    wrong, bits = 0, 0
    for flip in (0, _INVERTED):
        for number, chunk in enumerate(chunks):
            gpu.fill(chunk, words, _SEED + number, flip)
        for number, chunk in enumerate(chunks):
            found = gpu.check(chunk, words, _SEED + number, flip)
            wrong, bits = wrong + found.count, bits | found.bits
    outcome = {"outcome": WRONG if wrong else OK, "wrong_words": wrong, "wrong_bits": bits}
    return outcome | {"tested_bytes": len(chunks) * chunk_bytes}


def _chunks(gpu: Gpu, count: int, size: int) -> list[int]:
    """Allocate so many chunks, or as many as there are: what is free is not always free in one piece."""
    chunks: list[int] = []
    try:
        while len(chunks) < count:
            chunks.append(gpu.allocate(size))
    except CudaError as problem:
        if problem.status != OUT_OF_MEMORY:
            raise
    return chunks


def _host_link(gpu: Gpu, size: int, seconds: float) -> dict[str, Any]:
    """Send words to the host and back, and measure both ways."""
    host, source, target = gpu.pinned(size), gpu.allocate(size), gpu.allocate(size)
    words = size // _WORD
    gpu.fill(source, words, _SEED)
    gpu.fill(target, words, _SEED, _INVERTED)
    gpu.to_host(host, source, size)
    gpu.from_host(target, host, size)
    found = gpu.check(target, words, _SEED)
    up = rate(lambda: gpu.from_host(target, host, size), gpu.finish, size, seconds)
    down = rate(lambda: gpu.to_host(host, source, size), gpu.finish, size, seconds)
    speeds = {"to_gpu_gbs": rounded(up), "to_host_gbs": rounded(down)}
    return {"outcome": WRONG if found.count else OK, **found.as_dict(), **speeds}

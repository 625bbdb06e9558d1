"""Two GPUs: data sent between them by every way that engines use, and looked at where it arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.proof.cuda import Cuda, Gpu, Mistakes
from ansible_collections.llmhost.core.plugins.module_utils.proof.measure import rate, rounded
from ansible_collections.llmhost.core.plugins.module_utils.proof.work import NOT_GRANTED, OK, WRONG, Step

STAGED = "staged"  # through the memory of the host
COPY = "copy"  # by the copy engine, straight to the other GPU
READ = "read"  # a kernel of the one that gets it reads the other's memory, as an all-reduce does
WRITE = "write"  # a kernel of the one that has it writes into the other's memory
DIRECT = (COPY, READ, WRITE)

_SEED = 0xDA7A
_INVERTED = 0xFFFFFFFF
_WORD = 4


def steps(cuda: Cuda, request: Mapping[str, Any]) -> Iterator[Step]:
    """Name the steps: first the way through the host, since a way that was opened stays open."""
    a, b = (Gpu(cuda, address) for address in request["pair"])
    ways = ((a, b), (b, a))
    for direction in ways:
        yield _name(STAGED, *direction), partial(_staged, *direction, request)
    for direction in ways:
        yield _name(COPY, *direction), partial(_direct, _copy, *direction, request)
        yield _name(READ, *direction), partial(_direct, _read, *direction, request)
        yield _name(WRITE, *direction), partial(_direct, _write, *direction, request)


def _name(way: str, source: Gpu, target: Gpu) -> str:
    return f"{way} {source.pci_address} {target.pci_address}"


def _staged(source: Gpu, target: Gpu, request: Mapping[str, Any]) -> dict[str, Any]:
    return _copy(source, target, request["transfer_bytes"], request["measure_seconds"])


def _direct(
    way: Callable[[Gpu, Gpu, int, float], dict[str, Any]], source: Gpu, target: Gpu, request: Mapping[str, Any]
) -> dict[str, Any]:
    """Open the way in both directions, as engines do, and go it."""
    if not (source.reaches(target) and target.reaches(source)):
        return {"outcome": NOT_GRANTED}
    source.open_to(target)
    target.open_to(source)
    return way(source, target, request["transfer_bytes"], request["measure_seconds"])


def _copy(source: Gpu, target: Gpu, size: int, seconds: float) -> dict[str, Any]:
    here, there = _written(source, size), _spoilt(target, size)

    def send() -> None:
        source.send(here, target, there, size)

    send()
    source.finish()
    found = target.check(there, size // _WORD, _SEED)
    speed = rate(send, source.finish, size, seconds)
    return _result([found, target.check(there, size // _WORD, _SEED)], speed)


def _read(source: Gpu, target: Gpu, size: int, seconds: float) -> dict[str, Any]:
    here = _written(source, size)
    found: list[Mistakes] = []
    # A comparison waits for its own end: here beginning is all.
    speed = rate(lambda: found.append(target.check(here, size // _WORD, _SEED)), target.finish, size, seconds)
    return _result(found, speed)


def _write(source: Gpu, target: Gpu, size: int, seconds: float) -> dict[str, Any]:
    there = _spoilt(target, size)

    def write() -> None:
        source.fill(there, size // _WORD, _SEED)

    write()
    source.finish()
    found = target.check(there, size // _WORD, _SEED)
    speed = rate(write, source.finish, size, seconds)
    return _result([found, target.check(there, size // _WORD, _SEED)], speed)


def _written(gpu: Gpu, size: int) -> int:
    """Return memory with the words that are to be sent."""
    address = gpu.allocate(size)
    gpu.fill(address, size // _WORD, _SEED)
    gpu.finish()
    return address


def _spoilt(gpu: Gpu, size: int) -> int:
    """Return memory in which every word is wrong until another one arrives."""
    address = gpu.allocate(size)
    gpu.fill(address, size // _WORD, _SEED, _INVERTED)
    gpu.finish()
    return address


def _result(found: Sequence[Mistakes], speed: float) -> dict[str, Any]:
    worst = max(found, key=lambda mistakes: mistakes.count)
    return {"outcome": WRONG if worst.count else OK, "gbs": rounded(speed), **worst.as_dict()}

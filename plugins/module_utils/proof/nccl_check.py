"""An all-reduce by NCCL, with a process for each GPU as engines have it, in the environment that engines will get."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.proof.cuda import Cuda, CudaError, Gpu
from ansible_collections.llmhost.core.plugins.module_utils.proof.measure import rounded
from ansible_collections.llmhost.core.plugins.module_utils.proof.work import OK, WRONG, Step

_ID_BYTES = 128
_UINT32, _SUM = 3, 0
_SEED = 0xACC
_INVERTED = 0xFFFFFFFF
_WORD = 4
# Small enough for the time alone to count, as in the all-reduce of one token.
_SMALL_BYTES = 32 << 10
_WARM_UP, _SMALL_TIMES, _LARGE_TIMES = 5, 200, 20


class _Id(ctypes.Structure):
    _fields_ = (("internal", ctypes.c_char * _ID_BYTES),)


class Nccl:
    """The library."""

    def __init__(self, library: str) -> None:
        try:
            self._library = ctypes.CDLL(library)
        except OSError as problem:
            raise CudaError(f"{library} cannot be loaded: {problem}") from problem
        self._library.ncclGetErrorString.restype = ctypes.c_char_p

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function."""
        status = getattr(self._library, name)(*arguments)
        if status:
            text = self._library.ncclGetErrorString(status)
            raise CudaError(f"{name} failed with {status} ({(text or b'unknown').decode(errors='replace')})")

    @property
    def version(self) -> str:
        """Return the version, such as 2.31.2."""
        number = ctypes.c_int()
        self.call("ncclGetVersion", ctypes.byref(number))
        return f"{number.value // 10000}.{number.value // 100 % 100}.{number.value % 100}"


class _Rank:
    """One GPU among all, and what it has to say in the all-reduce."""

    def __init__(self, cuda: Cuda, request: Mapping[str, Any]) -> None:
        self._gpu, self._nccl = Gpu(cuda, request["gpu"]), Nccl(request["library"])
        self._rank, self._ranks = request["rank"], len(request["gpus"])
        self._id_file, self._size = Path(request["id_file"]), request["transfer_bytes"]
        self._communicator = ctypes.c_void_p()

    def join(self) -> dict[str, Any]:
        """Meet the other ranks."""
        self._gpu.finish()  # makes the context of this GPU the one in use, which NCCL goes by
        identity = self._make_id() if self._rank == 0 else self._wait_for_id()
        self._nccl.call("ncclCommInitRank", ctypes.byref(self._communicator), self._ranks, identity, self._rank)
        return {"outcome": OK, "version": self._nccl.version}

    def _make_id(self) -> _Id:
        identity = _Id()
        self._nccl.call("ncclGetUniqueId", ctypes.byref(identity))
        partial = self._id_file.with_suffix(".part")
        partial.write_bytes(bytes(identity))
        os.replace(partial, self._id_file)
        return identity

    def _wait_for_id(self) -> _Id:
        # Whoever waits for this process has a clock.
        while not self._id_file.exists():
            time.sleep(0.05)
        return _Id.from_buffer_copy(self._id_file.read_bytes())

    def reduce(self) -> dict[str, Any]:
        """Add up what all ranks have, look at the sum, and measure."""
        words = self._size // _WORD
        source, target = self._gpu.allocate(self._size), self._gpu.allocate(self._size)
        self._gpu.fill(source, words, _SEED + self._rank)
        self._gpu.fill(target, words, _SEED, _INVERTED)
        self._add_up(source, target, words, _WARM_UP)
        found = self._gpu.check(target, words, _SEED, ranks=self._ranks)
        # Short ones first: they show the latency before the GPUs are hot.
        latency = self._add_up(source, target, _SMALL_BYTES // _WORD, _SMALL_TIMES)
        seconds = self._add_up(source, target, words, _LARGE_TIMES)
        late = self._gpu.check(target, words, _SEED, ranks=self._ranks)
        worst = max(found, late, key=lambda mistakes: mistakes.count)
        # What each link carries: NCCL's own measure, which does not depend on how many GPUs there are.
        bus = self._size / max(seconds, 1e-9) * 2 * (self._ranks - 1) / self._ranks / 1e9
        return {
            "outcome": WRONG if worst.count else OK,
            "bus_gbs": rounded(bus),
            "latency_us": rounded(latency * 1e6),
            **worst.as_dict(),
        }

    def _add_up(self, source: int, target: int, words: int, times: int) -> float:
        """Return how long one all-reduce took; all ranks do the same number of them."""
        started = time.perf_counter()
        for _ in range(times):
            addresses = (ctypes.c_void_p(source), ctypes.c_void_p(target), ctypes.c_size_t(words))
            self._nccl.call("ncclAllReduce", *addresses, _UINT32, _SUM, self._communicator, self._gpu.stream)
        self._gpu.finish()
        return (time.perf_counter() - started) / times


def steps(cuda: Cuda, request: Mapping[str, Any]) -> Iterator[Step]:
    """Name the steps of one rank."""
    rank = _Rank(cuda, request)
    yield "join", rank.join
    yield "all_reduce", rank.reduce

"""A sustained product of matrices: the load that shows a weak power supply, bad cooling, and arithmetic gone wrong."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.proof.cuda import Cuda, Gpu
from ansible_collections.llmhost.core.plugins.module_utils.proof.measure import rounded
from ansible_collections.llmhost.core.plugins.module_utils.proof.pattern import product_element
from ansible_collections.llmhost.core.plugins.module_utils.proof.work import OK, WRONG, Step

_LEFT, _RIGHT = 11, 12
_LOOKED_AT = 16
_FLOAT = 4


def steps(cuda: Cuda, request: Mapping[str, Any]) -> Iterator[Step]:
    """Name the one step."""
    gpu = Gpu(cuda, request["gpu"])
    yield "product", lambda: _product(gpu, request["matrix_size"], request["burn_in_seconds"])


def _product(gpu: Gpu, size: int, seconds: float) -> dict[str, Any]:
    """Multiply for a while. A few numbers of the first product are made in Python too; all others must repeat it."""
    count = size * size
    left, right, first, result = (gpu.allocate(count * _FLOAT) for _ in range(4))
    gpu.numbers(left, count, _LEFT)
    gpu.numbers(right, count, _RIGHT)
    gpu.multiply(left, right, first, size)
    gpu.finish()
    wrong = _sampled(gpu, first, size)
    started, times, passed = time.perf_counter(), 0, 0.0
    while passed < seconds:
        gpu.multiply(left, right, result, size)
        wrong += gpu.compare(first, result, count).count
        times += 1
        passed = time.perf_counter() - started
    speed = times * 2 * size**3 / max(passed, 1e-9) / 1e12
    return {
        "outcome": WRONG if wrong else OK,
        "wrong_words": wrong,
        "products": times,
        "seconds": rounded(passed),
        "tflops": rounded(speed),
    }


def _sampled(gpu: Gpu, result: int, size: int) -> int:
    """Return how many of a few numbers, spread over the product, are not what Python makes of them."""
    draw = random.Random(size)
    wrong = 0
    for _ in range(_LOOKED_AT):
        row, column = draw.randrange(size), draw.randrange(size)
        (found,) = struct.unpack("<f", gpu.read(result + (row * size + column) * _FLOAT, _FLOAT))
        wrong += found != product_element(row, column, size, _LEFT, _RIGHT)
    return wrong

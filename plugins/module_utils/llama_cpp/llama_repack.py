"""Which weights llama.cpp keeps a second time in RAM, reordered for the CPU's vector units.

``ggml/src/ggml-cpu/repack.cpp`` (ggml_repack_get_optimal_repack_type) on x86 with AVX2. Only without a GPU: with one,
weights in RAM lie in its host buffer instead. The mapped file holds them too, so the engine's log counts them twice.
"""

from __future__ import annotations

from typing import Protocol

REPACKED_TYPES = frozenset(("Q4_0", "Q4_K", "IQ4_NL", "MXFP4"))
ROWS_TOGETHER = 8


class StoredTensor(Protocol):
    """What a file says about a tensor."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The row length first."""

    @property
    def type_name(self) -> str:
        """The type of its blocks."""

    @property
    def size_bytes(self) -> int:
        """The bytes that it takes."""


def repacked_bytes(tensor: StoredTensor, *, looked_up: bool = True) -> int:
    """Return the bytes of a tensor's second copy; 0 for one that is used as it is.

    A table that rows are only looked up in is; the token embedding is multiplied, too, where it serves as the output
    (not ``looked_up``).
    """
    matrix = len(tensor.shape) > 1 and tensor.shape[1] % ROWS_TOGETHER == 0
    table = tensor.name.startswith("per_layer_token_embd.") or (looked_up and tensor.name.startswith("token_embd."))
    return tensor.size_bytes if matrix and tensor.type_name in REPACKED_TYPES and not table else 0

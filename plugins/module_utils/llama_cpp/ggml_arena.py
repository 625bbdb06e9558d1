"""The allocator of ggml's compute buffers: where a tensor goes, and how far the buffer grows.

``ggml/src/ggml-alloc.c`` (ggml_dyn_tallocr) takes the free block that fits best, and the open end only when none does.
What is left between tensors of different size is why a buffer is larger than what is alive at any time.
"""

from __future__ import annotations

Block = tuple[int, int]
"""The first byte of an allocation and its bytes."""

ALIGNMENT = 128
"""Of CUDA's buffers; the CPU's is 32, which changes nothing at the sizes of activations."""


class Arena:
    """One compute buffer. ``peak`` is the bytes it needed so far."""

    def __init__(self) -> None:
        """Start empty."""
        self._offsets: list[int] = []
        self._sizes: list[int] = []
        self._end = 0
        self.peak = 0

    def reserve(self, *blocks: Block) -> None:
        """Place blocks in an empty buffer, each behind the one before; what lies between them is free."""
        for offset, size in blocks:
            if offset > self._end:
                self._offsets.append(self._end)
                self._sizes.append(offset - self._end)
            self._end = self.peak = offset + size

    def new(self, size: int) -> Block:
        """Allocate."""
        size = -(-size // ALIGNMENT) * ALIGNMENT
        best, best_size = -1, 0
        for index, free in enumerate(self._sizes):
            if free >= size and (best < 0 or free <= best_size):
                best, best_size = index, free
        if best < 0:
            offset = self._end
            self._end += size
            self.peak = max(self.peak, self._end)
            return offset, size
        offset = self._offsets[best]
        if best_size == size:
            del self._offsets[best], self._sizes[best]
        else:
            self._offsets[best] += size
            self._sizes[best] -= size
        return offset, size

    def free(self, *blocks: Block) -> None:
        """Give blocks back; neighbours become one."""
        for offset, size in blocks:
            if size:
                self._free(offset, size)

    def _free(self, offset: int, size: int) -> None:
        offsets, sizes = self._offsets, self._sizes
        index = 0
        while index < len(offsets) and offsets[index] < offset:
            index += 1
        if index and offsets[index - 1] + sizes[index - 1] == offset:
            index -= 1
            offset = offsets.pop(index)
            size += sizes.pop(index)
        if index < len(offsets) and offset + size == offsets[index]:
            del offsets[index]
            size += sizes.pop(index)
        if offset + size == self._end:
            self._end = offset
        else:
            offsets.insert(index, offset)
            sizes.insert(index, size)

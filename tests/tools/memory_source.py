"""A file in memory that counts how much of it was read."""

from __future__ import annotations


class MemorySource:
    """Bytes with a name; ``size`` may claim more than there is, as a file does whose end nobody reads."""

    def __init__(self, data: bytes, name: str = "memory.gguf", size: int | None = None, far: bool = False) -> None:
        """Keep the bytes."""
        self.data = data
        self.name = name
        self.size = len(data) if size is None else size
        self.far = far
        self.fetched = 0
        self.reads = 0

    def read(self, begin: int, end: int) -> bytes:
        """Return a part of the bytes, filled up with zeros where only the size is claimed."""
        self.fetched += end - begin
        self.reads += 1
        return self.data[begin:end].ljust(end - begin, b"\0")

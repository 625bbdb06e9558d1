"""Where the bytes of a file come from: anything of known size that can be asked for a part of itself."""

from __future__ import annotations

from typing import Protocol

from ansible_collections.llmhost.core.plugins.module_utils.model_error import ModelError

MIB = 2**20


class ByteSource(Protocol):
    """A file of known size, local or remote, read by parts."""

    @property
    def name(self) -> str:
        """Return what a person calls the file."""

    @property
    def size(self) -> int:
        """Return the bytes of the whole file."""

    def read(self, begin: int, end: int) -> bytes:
        """Return the bytes from ``begin`` up to ``end``, which is at most the size; never fewer."""


class LocalFile:
    """A file on this machine."""

    def __init__(self, path: str, name: str = "") -> None:
        """Look how large the file is."""
        self.path = path
        self.name = name or path
        try:
            with open(path, "rb") as file:
                self.size = file.seek(0, 2)
        except OSError as error:
            raise self._unreadable(error) from error

    def read(self, begin: int, end: int) -> bytes:
        """Return a part of the file."""
        try:
            with open(self.path, "rb") as file:
                file.seek(begin)
                part = file.read(end - begin)
        except OSError as error:
            raise self._unreadable(error) from error
        if len(part) < end - begin:
            raise ModelError("model.truncated", f"{self.name} became shorter while it was read", "Run it again.")
        return part

    def _unreadable(self, error: OSError) -> ModelError:
        code = "model.not_found" if isinstance(error, FileNotFoundError) else "model.unreadable"
        return ModelError(code, f"{self.path} cannot be read: {error.strerror}", "Check the path and its permissions.")


class Prefix:
    """The beginning of a source, fetched only as far as a parser has asked for, in few requests.

    The first step covers most headers at once; later ones are smaller, so that little is fetched in vain.
    """

    LIMIT = 64 * MIB

    def __init__(self, source: ByteSource, first_step: int = 4 * MIB, next_step: int = MIB // 2) -> None:
        """Fetch nothing yet."""
        self.source = source
        self.data = bytearray()
        self._first_step = first_step
        self._next_step = next_step

    def extend_to(self, end: int, likely_end: int = 0) -> None:
        """Make sure that the bytes before ``end`` are in ``data``; ``likely_end`` is how far will be asked for soon."""
        have = len(self.data)
        if end <= have:
            return
        if end > self.source.size:
            raise ModelError(
                "model.truncated",
                f"{self.source.name} is truncated: its header needs {end} bytes or more, it has {self.source.size}",
                "Fetch the file again.",
            )
        if end > self.LIMIT:
            raise ModelError(
                "model.invalid",
                f"{self.source.name} claims a header of more than {self.LIMIT // MIB} MiB, which no model has",
                "Choose another file.",
            )
        step = self._next_step if have else self._first_step
        likely = min(likely_end, have + self._first_step) + self._next_step
        self.data += self.source.read(have, min(max(end, have + step, likely), self.source.size))

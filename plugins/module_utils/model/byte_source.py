"""Where the bytes of a file come from: anything of known size that can be asked for a part of itself."""

from __future__ import annotations

from typing import Protocol

from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError

MIB = 2**20
LARGEST_READ = 8 * MIB  # bounds the memory that one answer takes beside what was read before


class ByteSource(Protocol):
    """A file of known size, local or remote, read by parts."""

    @property
    def name(self) -> str:
        """Return what a person calls the file."""

    @property
    def size(self) -> int:
        """Return the bytes of the whole file."""

    @property
    def far(self) -> bool:
        """Say whether its bytes come over a network, so that those which say nothing are better left there."""

    def read(self, begin: int, end: int) -> bytes:
        """Return the bytes from ``begin`` up to ``end``, which is at most the size; never fewer."""


class LocalFile:
    """A file on this machine."""

    far = False

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

    The first step covers most headers at once; later ones are smaller, so that little is fetched in vain. Of a source
    that is far, parts can be passed over: what lies before them is then given up.
    """

    LIMIT = 64 * MIB
    NEXT_STEP = MIB // 2

    def __init__(self, source: ByteSource, first_step: int = 4 * MIB) -> None:
        """Fetch nothing yet."""
        self.source = source
        self.begin = 0  # where in the source ``data`` begins
        self.data = bytearray()
        self.fetched = 0
        self._first_step = first_step

    @property
    def end(self) -> int:
        """Return how far the source was fetched."""
        return self.begin + len(self.data)

    def extend_to(self, end: int, likely_end: int = 0) -> None:
        """Make sure that the bytes before ``end`` are in ``data``; ``likely_end`` is how far will be asked for soon."""
        have = self.end
        if end <= have:
            return
        self._ensure_within(end)
        step = self.NEXT_STEP if self.fetched else self._first_step
        likely = min(likely_end, have + self._first_step) + self.NEXT_STEP
        wanted = min(max(end, have + step, likely), self.source.size)
        while self.end < wanted:
            part = self.source.read(self.end, min(wanted, self.end + LARGEST_READ))
            self.fetched += len(part)
            self.data += part

    def pass_to(self, position: int) -> None:
        """Do without the bytes before ``position``; those of a source that is near are read nonetheless."""
        if not self.source.far:
            self.extend_to(position)
        elif position > self.end:
            self._ensure_within(position)
            self.begin, self.data = position, bytearray()

    def _ensure_within(self, end: int) -> None:
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

"""Settings of the kernel: in force now and after every boot, and as before when nobody wants them any more."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ansible_collections.llmhost.core.plugins.module_utils.files import read_int, read_text
from ansible_collections.llmhost.core.plugins.module_utils.text_file import TextFile

_LINE = re.compile(r"^([a-z][a-z0-9_.]*) = (-?\d+)$", re.MULTILINE)

Step = tuple[str, Callable[[], object]]


@dataclass(frozen=True)
class Sysctls:
    """The file below sysctl.d that holds them, and where the kernel shows them."""

    path: str
    proc: str

    def values_before(self, wanted: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
        """Return the kernel's own values of what is wanted: as recorded, or those of now where none is set yet."""
        written = self._written()
        found = {name: before.get(name, None if name in written else self._live(name)) for name in wanted}
        return {name: value for name, value in found.items() if value is not None}

    def steps(self, wanted: Mapping[str, int], before: Mapping[str, int]) -> Iterator[Step]:
        """Yield what is to be done. What is taken back goes out of the kernel before it goes out of the file, which
        tells a later run that it was ours."""
        for name, value in self._written().items():
            if name not in wanted and name in before and self._live(name) == value and self._may_write(name):
                yield f"set {name} back to {before[name]}", partial(self._write, name, before[name])
        lines = "".join(f"{name} = {value}\n" for name, value in wanted.items())
        file = TextFile(Path(self.path), f"# Written by llmhost.\n{lines}" if lines else "")
        if not file.is_current():
            yield f"{'write' if lines else 'delete'} {file.path}", file.apply
        for name, value in wanted.items():
            # In a container the value belongs to the whole machine; where it can't be written, the file is all.
            if self._live(name) != value and self._may_write(name):
                yield f"set {name} to {value}", partial(self._write, name, value)

    def _written(self) -> dict[str, int]:
        return {name: int(value) for name, value in _LINE.findall(read_text(self.path) or "")}

    def _live_path(self, name: str) -> str:
        return os.path.join(self.proc, "sys", *name.split("."))

    def _live(self, name: str) -> int | None:
        return read_int(self._live_path(name))

    def _may_write(self, name: str) -> bool:
        return os.access(self._live_path(name), os.W_OK)

    def _write(self, name: str, value: int) -> None:
        Path(self._live_path(name)).write_text(f"{value}\n", encoding="ascii")

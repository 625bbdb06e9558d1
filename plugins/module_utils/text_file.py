"""A small file that llmhost owns: its text, its mode, and whether it should be there at all."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.llmhost.core.plugins.module_utils.durable import replace, sync_directory


@dataclass(frozen=True)
class TextFile:
    """A file with the text it should have; without a text it should be absent."""

    path: Path
    text: str = ""
    mode: int = 0o644

    def read(self) -> str:
        """Return what the file holds now, nothing when it is absent."""
        try:
            return self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def is_current(self) -> bool:
        """Tell whether text, mode and owner are the wanted ones."""
        try:
            status = self.path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return not self.text
        regular = stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == self.mode
        return bool(self.text) and regular and status.st_uid == os.geteuid() and self.read() == self.text

    def apply(self) -> None:
        """Write or delete the file in one step; it is never readable by more people than its mode says."""
        if not self.text:
            self._delete()
            return
        private = not self.mode & stat.S_IROTH
        self.path.parent.mkdir(mode=0o750 if private else 0o755, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(self.text)
                os.fchmod(descriptor, self.mode)
                file.flush()
                os.fsync(descriptor)
            replace(temporary, self.path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def _delete(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
            sync_directory(self.path.parent)

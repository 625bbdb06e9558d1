"""A virtual environment with pinned packages, made as a whole or not at all."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.durable import replace

PIP = ("-m", "pip", "install", "--require-hashes", "--no-input", "--disable-pip-version-check", "--progress-bar=off")


class EnvironmentFailedError(Exception):
    """The environment could not be made; the message holds the end of what the tool said."""


@dataclass(frozen=True)
class PythonEnvironment:
    """The environment at ``path``. Its folder appears under that name only when everything is in it."""

    path: Path
    requirements: str

    @property
    def python(self) -> Path:
        """Return the interpreter; the scripts beside it name the folder that they were made in, and are not used."""
        return self.path / "bin/python"

    def is_complete(self) -> bool:
        """Tell whether the environment is there with exactly these requirements."""
        try:
            return self._list(self.path).read_text(encoding="utf-8") == self.requirements and self.python.exists()
        except OSError:
            return False

    def make(self, python: str, run: RunCommand) -> None:
        """Make the environment beside its place and move it there; a run that was killed leaves nothing that counts."""
        # Services that are not root use it, and root's own umask may be a strict one.
        before = os.umask(0o022)
        try:
            self._make(python, run)
        finally:
            os.umask(before)

    def _make(self, python: str, run: RunCommand) -> None:
        fresh = self.path.with_name(f".{self.path.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.parent.mkdir(parents=True, exist_ok=True)
        _run(run, python, "-m", "venv", str(fresh))
        wanted = fresh / "wanted.txt"
        wanted.write_text(self.requirements, encoding="utf-8")
        _run(run, str(fresh / "bin/python"), *PIP, "-r", str(wanted))
        os.replace(wanted, self._list(fresh))
        shutil.rmtree(self.path, ignore_errors=True)
        # Thousands of small files, none of which pip has synced: all of them are on the disk before the folder counts.
        _run(run, "sync", "--file-system", str(fresh))
        replace(fresh, self.path)

    def remove(self) -> None:
        """Remove the environment."""
        shutil.rmtree(self.path, ignore_errors=True)

    @staticmethod
    def _list(folder: Path) -> Path:
        return folder / "requirements.txt"


def _run(run: RunCommand, *command: str) -> None:
    done = run(command)
    if done.rc != 0:
        said = [line for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()][-8:]
        raise EnvironmentFailedError(f"{' '.join(command[:4])} … ended with {done.rc}:\n" + "\n".join(said))

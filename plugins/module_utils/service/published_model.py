"""The record of the models that were published on this host, and whether one is still what it was."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.record import integer, section, sections, text
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile

SCHEMA = 1


class PublishError(Exception):
    """What was fetched is not what the plan wants."""


@dataclass(frozen=True)
class FilePrint:
    """A published file as it was when its checksum was computed; as long as it looks the same, it need not be read."""

    name: str
    blob: str
    size_bytes: int
    mtime_ns: int

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FilePrint:
        """Build from the record, or from the result of the fetcher."""
        return cls(text(data, "name"), text(data, "blob"), integer(data, "size_bytes"), integer(data, "mtime_ns"))

    def as_dict(self) -> dict[str, Any]:
        """Return what the record holds."""
        return {"name": self.name, "blob": self.blob, "size_bytes": self.size_bytes, "mtime_ns": self.mtime_ns}

    def trouble(self, snapshot: Path) -> str:
        """Say in which way the file is no longer the same; empty when it is."""
        path = snapshot / self.name
        try:
            status = path.stat()
            blob = os.path.basename(os.readlink(path))
        except OSError as problem:
            return f"{path}: {problem.strerror}"
        same = (blob, status.st_size, status.st_mtime_ns) == (self.blob, self.size_bytes, self.mtime_ns)
        return "" if same else f"{path}: it was changed"


class PublishedModels:
    """The record, and the cache that it is about."""

    def __init__(self, state: StateFile, cache_path: str) -> None:
        self._state, self._cache_path = state, cache_path

    def trouble(self, model: Mapping[str, Any]) -> str:
        """Say why a model does not count as published; empty when it does."""
        for entry in self._entries():
            if section(entry, "model") == model and text(entry, "cache_path") == self._cache_path:
                prints = [FilePrint.from_dict(file) for file in sections(entry, "files")]
                return next((t for p in prints if (t := p.trouble(self.snapshot(model)))), "")
        return f"{model_name(model)} was not published yet"

    def record(self, model: Mapping[str, Any], files: list[dict[str, Any]]) -> bool:
        """Record a model that was just fetched, after a look at each file; True when that changed the record."""
        fetched = {file.name: file for file in map(FilePrint.from_dict, files)}
        prints = [self._checked(model, wanted, fetched) for wanted in sections(model, "files")]
        entry = {"model": dict(model), "cache_path": self._cache_path, "files": [p.as_dict() for p in prints]}
        # An older answer to the same request is history; other models stay known, so going back to one is quick.
        others = [e for e in self._entries() if section(e, "model").get("request") != model.get("request")]
        return self._state.write({"schema": SCHEMA, "models": [entry, *others]})

    def snapshot(self, model: Mapping[str, Any]) -> Path:
        """Return the folder that holds the names of the model's files."""
        folder = "models--" + model_name(model).replace("/", "--")
        return Path(self._cache_path) / folder / "snapshots" / text(model, "commit")

    def _checked(self, model: Mapping[str, Any], wanted: Mapping[str, Any], fetched: dict[str, FilePrint]) -> FilePrint:
        name = text(wanted, "name")
        found = fetched.get(name)
        if found is None:
            raise PublishError(f"{model_name(model)}: {name} was not fetched")
        digest = text(wanted, "sha256") or text(wanted, "git_oid") or found.blob
        if (found.blob, found.size_bytes) != (digest, integer(wanted, "size_bytes")):
            raise PublishError(f"{model_name(model)}: {name} has the checksum {found.blob}, the plan wants {digest}")
        if trouble := found.trouble(self.snapshot(model)):
            raise PublishError(trouble)
        return found

    def _entries(self) -> list[Mapping[str, Any]]:
        return sections(self._state.read(), "models")


def model_name(model: Mapping[str, Any]) -> str:
    """Return the repository of a model; a file of this machine counts as one of the user ``local``."""
    return text(model, "repo") or f"local/{Path(text(model, 'path')).stem}"

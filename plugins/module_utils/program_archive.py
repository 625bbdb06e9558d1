"""A program of this collection's own Python as one file, packed by whatever module installs it."""

from __future__ import annotations

import ast
import importlib.util
import io
import zipfile
from collections.abc import Iterator, Sequence

ROOT = "ansible_collections.llmhost.core.plugins.module_utils"
# The earliest date that a zip archive can name: the same sources give the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def packed(start: str, entries: Sequence[str]) -> bytes:
    """Return a zip archive with the entries and all that they import of this collection; Python runs it as a program.

    ``start`` is the text that runs first. Whoever packs must import the entries, so that Ansible sends them along.
    """
    files = {"__main__.py": start}
    for name, source in sorted(_sources(entries)):
        *folders, _last = parts = name.split(".")
        files["/".join(parts) + ".py"] = source
        files |= {"/".join(folders[:depth]) + "/__init__.py": "" for depth in range(1, len(folders) + 1)}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as pack:
        for path, text in sorted(files.items()):
            pack.writestr(zipfile.ZipInfo(path, _DATE), text)
    return archive.getvalue()


def _sources(entries: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the names and sources of the entries and of everything below ROOT that they need, each once."""
    seen, queue = set(entries), list(entries)
    while queue:
        name = queue.pop()
        source = _source(name)
        if source:
            yield name, source
        found = set(_imports(source)) - seen
        seen |= found
        queue += sorted(found)


def _source(name: str) -> str:
    """Return the source of a module, from a folder or from the archive that Ansible sends; nothing for a package."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        return ""
    read = getattr(spec.loader, "get_source", None) if spec else None
    source: str | None = read(name) if read else None
    if source is None:
        raise ImportError(f"{name}: its source is not at hand")
    return source


def _imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(ROOT):
            yield node.module
            # What is imported from a package is a module of its own.
            if not _source(node.module):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

"""The program of the boot units as one file: this collection's own Python, packed by whatever module installs it."""

from __future__ import annotations

import ast
import importlib.util
import io
import zipfile
from collections.abc import Iterator

from ansible_collections.llmhost.core.plugins.module_utils.boot.bring_back import main as bring_back
from ansible_collections.llmhost.core.plugins.module_utils.boot.main import main as light

ROOT = "ansible_collections.llmhost.core.plugins.module_utils"
# Imported, and not only named, so that Ansible sends them along with the module that packs them.
ENTRIES = (light.__module__, bring_back.__module__)
_START = f'''"""Written by llmhost."""
import sys
if sys.argv[1:] == ["storage"]:
    from {ENTRIES[1]} import main
else:
    from {ENTRIES[0]} import main
sys.exit(main())
'''
# The earliest date that a zip archive can name: the same sources give the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def packed() -> bytes:
    """Return a zip archive with the steps and all that they import of this collection; Python runs it as a program."""
    files = {"__main__.py": _START}
    for name, source in sorted(_sources()):
        *folders, _last = parts = name.split(".")
        files["/".join(parts) + ".py"] = source
        files |= {"/".join(folders[:depth]) + "/__init__.py": "" for depth in range(1, len(folders) + 1)}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as pack:
        for path, text in sorted(files.items()):
            pack.writestr(zipfile.ZipInfo(path, _DATE), text)
    return archive.getvalue()


def _sources() -> Iterator[tuple[str, str]]:
    """Yield the names and sources of the steps and of everything below ROOT that they need, each once."""
    seen, queue = set(ENTRIES), list(ENTRIES)
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

"""Names that outlive a power cut: a file is on the disk before its name is, and the name before anyone is told."""

from __future__ import annotations

import os
from pathlib import Path


def replace(temporary: str | Path, path: str | Path) -> None:
    """Put a file whose content was synced in the place of another; when this returns, so it stays."""
    os.replace(temporary, path)
    sync_directory(os.path.dirname(path) or ".")


def write(path: Path, content: bytes, mode: int) -> None:
    """Put a file with this content in its place, in one step."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(mode)
    replace(temporary, path)


def sync_directory(path: str | Path) -> None:
    """Wait until the names in a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: str | Path) -> None:
    """Wait until the content of a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: str | Path) -> None:
    """Wait until everything below a directory is on the disk, links apart, which live in their directory."""
    for folder, _folders, names in os.walk(path):
        for name in names:
            if not os.path.islink(os.path.join(folder, name)):
                sync_file(os.path.join(folder, name))
        sync_directory(folder)

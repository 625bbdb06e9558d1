"""The runtimes installed on a host: one directory for each version, and links to the one in use and the one before."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.durable import sync_directory, sync_tree

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
MEMBER = re.compile(r"manifest\.json|bin/[A-Za-z0-9][A-Za-z0-9._+-]*")
CURRENT, PREVIOUS = "current", "previous"


class RuntimeStoreError(Exception):
    """An archive that must not be installed, or a version that is not there."""


@dataclass(frozen=True)
class RuntimeStore:
    """The directory below which versions lie side by side."""

    directory: Path

    def is_complete(self, name: str) -> bool:
        """Tell whether a version is there with every byte that its manifest names."""
        home = self.directory / checked_name(name)
        manifest = _read_manifest(home / "manifest.json")
        files = manifest.get("files")
        if manifest.get("archive") != name or not isinstance(files, dict) or not files:
            return False
        return all(isinstance(entry, dict) and _has(home / path, entry) for path, entry in files.items())

    def install(self, name: str, package: Path) -> None:
        """Unpack an archive beside the others and show it under its name in one step."""
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._sweep()
        unpacked = Path(tempfile.mkdtemp(dir=self.directory, prefix=".new-"))
        try:
            home = RuntimeStore(unpacked)
            _unpack(package, checked_name(name), unpacked / name)
            if not home.is_complete(name):
                raise RuntimeStoreError(
                    f"{package.name} is not what its manifest says: it is damaged or of another kind."
                )
            target = self.directory / name
            if target.exists():
                target.rename(unpacked / "broken")
            sync_tree(unpacked / name)
            (unpacked / name).rename(target)
            sync_directory(self.directory)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)

    def active(self) -> str:
        """Return the version in use, or nothing."""
        return self._target(CURRENT)

    def activate(self, name: str) -> bool:
        """Make a version the one in use, remember the one before, forget older ones; tell whether that changed it."""
        if not (self.directory / name).is_dir():
            raise RuntimeStoreError(f"{name} is not installed in {self.directory}.")
        before = self.active()
        if before != name:
            if before:
                self._point(PREVIOUS, before)
            self._point(CURRENT, name)
        self._sweep()
        return before != name

    def _sweep(self) -> None:
        """Remove the versions that no link names, and what a killed installation left."""
        kept = {self._target(CURRENT), self._target(PREVIOUS), CURRENT, PREVIOUS}
        for path in self.directory.iterdir() if self.active() else ():
            if path.name not in kept and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)

    def _target(self, link: str) -> str:
        try:
            return os.readlink(self.directory / link)
        except OSError:
            return ""

    def _point(self, link: str, name: str) -> None:
        temporary = self.directory / f".{link}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(name)
        temporary.replace(self.directory / link)
        sync_directory(self.directory)


def checked_name(name: str) -> str:
    """Return a name that is one harmless path component."""
    if not NAME.fullmatch(name) or name in (CURRENT, PREVIOUS):
        raise RuntimeStoreError(f"{name!r} cannot be the name of a runtime archive.")
    return name


def sha256(path: Path) -> str:
    """Return the checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def recorded_sha256(package: Path) -> str:
    """Return the checksum that is written beside an archive; nothing when there is none."""
    try:
        words = package.with_name(package.name + ".sha256").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return ""
    return words[0] if words and re.fullmatch(r"[0-9a-f]{64}", words[0]) else ""


def verify(package: Path) -> None:
    """Raise unless an archive has the checksum that is written beside it."""
    if not package.is_file() or sha256(package) != recorded_sha256(package):
        raise RuntimeStoreError(
            f"{package} does not have the checksum in {package.name}.sha256. Delete both files and run again."
        )


def _unpack(package: Path, name: str, home: Path) -> None:
    """Write the programs and the manifest, and nothing else that an archive may hold."""
    try:
        with tarfile.open(package, "r:gz") as tar:
            for member in tar:
                top, _slash, path = member.name.partition("/")
                if top != name or not member.isreg() or not MEMBER.fullmatch(path):
                    raise RuntimeStoreError(f"{package.name} holds {member.name!r}, which no runtime has.")
                source = tar.extractfile(member)
                assert source is not None
                place = home / path
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as file:
                    shutil.copyfileobj(source, file)
                place.chmod(0o755 if path.startswith("bin/") else 0o644)
    except (tarfile.TarError, EOFError, OSError) as problem:
        raise RuntimeStoreError(f"{package.name} cannot be unpacked: {problem}.") from problem
    for folder in (home, home / "bin"):
        if folder.is_dir():
            folder.chmod(0o755)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _has(path: Path, entry: dict[str, Any]) -> bool:
    try:
        return path.stat().st_size == entry.get("size_bytes") and sha256(path) == entry.get("sha256")
    except OSError:
        return False

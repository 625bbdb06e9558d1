"""A package file made of a package that is installed, where no source has it any more."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.files import list_names, read_text

_OF_DPKG = re.compile(r"^(?:Status|Config-Version|Conffiles):.*\n(?:[ \t].*\n)*", re.MULTILINE)
_INFO = "var/lib/dpkg/info"
# Files that dpkg writes itself, beside those that came in the package.
_MADE = ("list", "md5sums")


def repack(name: str, version: str, directory: str, run: RunCommand, root: str = "/") -> str | None:
    """Write the package that is installed into ``directory``; return its file, or None where it cannot be made."""
    stanza = _stanza(name, root)
    if f"\nVersion: {version}\n" not in stanza:
        return None
    architecture = next(iter(re.findall(r"^Architecture: (\S+)$", stanza, re.MULTILINE)), "all")
    file = os.path.join(directory, f"{name}_{version.replace(':', '%3a')}_{architecture}.deb")
    with tempfile.TemporaryDirectory(dir=directory) as stage:
        os.chmod(stage, 0o755)
        try:
            _copy_control(name, architecture, stanza, stage, root)
            _copy_files(name, architecture, stage, root)
        except OSError:
            return None
        half = f"{file}.new"
        if run(["dpkg-deb", "--build", "-Zgzip", "-z1", stage, half]).rc != 0:
            return None
        os.replace(half, file)
    return file


def _stanza(name: str, root: str) -> str:
    status = read_text(root, "var/lib/dpkg/status") or ""
    found = (f"{text}\n" for text in status.split("\n\n") if f"\n{text}\n".startswith(f"\nPackage: {name}\n"))
    return next(found, "")


def _copy_control(name: str, architecture: str, stanza: str, stage: str, root: str) -> None:
    control = os.path.join(stage, "DEBIAN")
    os.mkdir(control, 0o755)
    with open(os.path.join(control, "control"), "w", encoding="utf-8") as file:
        file.write(_OF_DPKG.sub("", stanza).strip("\n") + "\n")
    for entry in list_names(root, _INFO):
        package, _dot, kind = entry.rpartition(".")
        if package in (name, f"{name}:{architecture}") and kind not in _MADE:
            shutil.copy2(os.path.join(root, _INFO, entry), os.path.join(control, kind))


def _copy_files(name: str, architecture: str, stage: str, root: str) -> None:
    listed = read_text(root, _INFO, f"{name}:{architecture}.list") or read_text(root, _INFO, f"{name}.list") or ""
    for path in listed.split("\n"):
        relative = path.strip("/")
        if not relative or relative == ".":
            continue
        source, target = os.path.join(root, relative), os.path.join(stage, relative)
        if not os.path.lexists(source):
            continue  # left out by settings of dpkg, as small images do with what is only to be read
        status = os.lstat(source)
        # What is a directory in one package may be a link on this host, as /lib is.
        if stat.S_ISLNK(status.st_mode) and os.path.isdir(source) and f"{path}/" in listed:
            os.makedirs(target, exist_ok=True)
            continue
        if stat.S_ISDIR(status.st_mode):
            os.makedirs(target, exist_ok=True)
            os.chmod(target, stat.S_IMODE(status.st_mode))
        else:
            shutil.copy2(source, target, follow_symlinks=False)
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)

"""The package files of the driver that are kept on the host: the way back to them needs no package source.

Ubuntu's archive keeps only the newest version of a package, so what is not kept here may be nowhere.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.files import list_names

DIRECTORY = "/var/cache/llmhost/driver"
_NAME = re.compile(r"^([^_]+)_([^_]+)_[^_]+\.deb$")


@dataclass(frozen=True)
class Archives:
    """A directory that apt fills; apt's own one is looked into, too."""

    directory: str = DIRECTORY
    apt: str = "/var/cache/apt/archives"

    @property
    def options(self) -> tuple[str, ...]:
        """Return what makes apt keep here what it downloads."""
        return ("-o", f"Dir::Cache::Archives={self.directory}/", "-o", "APT::Keep-Downloaded-Packages=true")

    def prepare(self) -> None:
        """Make the directory with the place where apt puts what is half there."""
        os.makedirs(os.path.join(self.directory, "partial"), mode=0o755, exist_ok=True)

    def find(self, name: str, version: str) -> str | None:
        """Return the file of a package in a version, or None."""
        for directory in (self.directory, self.apt):
            for file in list_names(directory):
                if _parse(file) == (name, version):
                    return os.path.join(directory, file)
        return None

    def keep_only(self, versions: Mapping[str, str]) -> None:
        """Delete the files of other versions than these; those of other packages, too."""
        for file in list_names(self.directory):
            found = _parse(file)
            if found and versions.get(found[0]) != found[1]:
                os.unlink(os.path.join(self.directory, file))

    def remove(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.directory, ignore_errors=True)


def _parse(file: str) -> tuple[str, str] | None:
    match = _NAME.match(file)
    return (match[1], match[2].replace("%3a", ":")) if match else None

"""What is mounted where, from /proc/self/mountinfo."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

_OCTAL = re.compile(r"\\([0-3][0-7]{2})")


@dataclass(frozen=True)
class Mount:
    """One mounted file system; ``number`` is ``major:minor`` of its device."""

    target: str
    source: str
    fstype: str
    number: str

    @classmethod
    def from_line(cls, line: str) -> Mount | None:
        """Return the mount that a line of mountinfo tells; None when the line is odd."""
        before, separator, after = line.partition(" - ")
        fields, tail = before.split(" "), after.split(" ")
        if not separator or len(fields) < 6 or len(tail) < 2:
            return None
        return cls(target=_unescape(fields[4]), source=_unescape(tail[1]), fstype=tail[0], number=fields[2])


@dataclass(frozen=True)
class Mounts:
    """Every mount that this process sees, in the order in which they were made."""

    mounts: tuple[Mount, ...]

    @classmethod
    def from_mountinfo(cls, text: str) -> Mounts:
        """Read the text of mountinfo."""
        return cls(tuple(mount for mount in map(Mount.from_line, text.split("\n")) if mount))

    @classmethod
    def from_proc(cls, proc: str = "/proc") -> Mounts:
        """Read the mounts of this process."""
        with open(os.path.join(proc, "self/mountinfo"), encoding="utf-8", errors="surrogateescape") as file:
            return cls.from_mountinfo(file.read())

    def at(self, path: str) -> Mount | None:
        """Return what is mounted on ``path`` itself: of several, the one on top."""
        return next((mount for mount in reversed(self.mounts) if mount.target == path), None)

    def holding(self, path: str) -> Mount | None:
        """Return the mount that a file at ``path`` is in, whether or not it exists yet."""
        while True:
            if found := self.at(path):
                return found
            if path in ("/", ""):
                return None
            path = os.path.dirname(path)


def _unescape(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), field)

"""/etc/fstab: one line is set or taken out, every other line stays as it is, byte for byte."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.durable import replace

PATH = "/etc/fstab"

_ESCAPES = {" ": r"\040", "\t": r"\011", "\n": r"\012", "\\": r"\134"}
_OCTAL = re.compile(r"\\([0-3][0-7]{2})")
_SPACE = re.compile(r"[ \t]+")


@dataclass(frozen=True)
class Entry:
    """One file system, or swap area, that the host mounts."""

    source: str
    target: str
    fstype: str
    options: str = "defaults"
    dump: int = 0
    check: int = 0

    @classmethod
    def from_line(cls, line: str) -> Entry | None:
        """Return the entry that a line holds; None for a comment, an empty line, and one that mount can't read."""
        fields = _SPACE.split(line.strip(" \t\n"))
        if len(fields) < 3 or fields[0].startswith("#"):
            return None
        source, target, fstype, options = (_unescape(field) for field in (*fields, "defaults")[:4])
        try:
            dump, check = (int(field) for field in (*fields[4:6], "0", "0")[:2])
        except ValueError:
            dump = check = 0
        return cls(source, target, fstype, options, dump, check)

    @property
    def line(self) -> str:
        """Return the line that says this, without its end."""
        fields = (self.source, self.target, self.fstype, self.options, str(self.dump), str(self.check))
        return " ".join(_escape(field) for field in fields)


@dataclass(frozen=True)
class Fstab:
    """The text of an fstab; changing it returns another one."""

    text: str

    @classmethod
    def from_file(cls, path: str = PATH) -> Fstab:
        """Read the file; a host without one mounts nothing."""
        try:
            with open(path, "rb") as file:
                # Bytes that are no UTF-8 come back as they were: this is the file of the host, not of llmhost.
                return cls(file.read().decode("utf-8", "surrogateescape"))
        except FileNotFoundError:
            return cls("")

    @property
    def entries(self) -> list[Entry]:
        """Return what is mounted, in order."""
        return [entry for entry in map(Entry.from_line, self._lines()) if entry]

    def with_entry(self, wanted: Entry, replaces: Callable[[Entry], bool]) -> Fstab:
        """Return an fstab that holds ``wanted`` once, in place of every line that ``replaces`` accepts.

        A line that says the same in other spacing is left alone.
        """
        kept: list[str] = []
        lines = self._lines()
        found = [Entry.from_line(line) for line in lines]
        stays = found.index(wanted) if wanted in found else None
        place = stays if stays is not None else next((i for i, e in enumerate(found) if e and replaces(e)), None)
        for number, (line, entry) in enumerate(zip(lines, found, strict=True)):
            if number == place:
                kept.append(line if stays is not None else wanted.line + "\n")
            elif not (entry and (entry == wanted or replaces(entry))):
                kept.append(line)
        if place is None:
            kept.append(wanted.line + "\n")
        return Fstab(_join(kept))

    def without(self, unwanted: Callable[[Entry], bool]) -> Fstab:
        """Return an fstab without the entries that ``unwanted`` accepts."""
        pairs = [(line, Entry.from_line(line)) for line in self._lines()]
        return Fstab("".join(line for line, entry in pairs if not (entry and unwanted(entry))))

    def save(self, path: str = PATH) -> None:
        """Put this text in place of the file in one step, with the mode and owner that the file had."""
        path = os.path.realpath(path)
        descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".fstab.llmhost-")
        try:
            with open(descriptor, "wb") as file:
                file.write(self.text.encode("utf-8", "surrogateescape"))
                _copy_status(path, descriptor)
                file.flush()
                os.fsync(descriptor)
            replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

    def _lines(self) -> list[str]:
        # Not splitlines(), which also ends a line at characters that are none for mount.
        return re.findall(r"[^\n]*\n|[^\n]+", self.text)


def _join(lines: list[str]) -> str:
    """Join lines; one without an end, which was the last of the file, gets one when another follows."""
    return "".join(
        line if line.endswith("\n") or number == len(lines) - 1 else line + "\n" for number, line in enumerate(lines)
    )


def _copy_status(path: str, descriptor: int) -> None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        os.fchmod(descriptor, 0o644)
        return
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, status.st_uid, status.st_gid)


def _escape(field: str) -> str:
    return "".join(_ESCAPES.get(char, char) for char in field)


def _unescape(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), field)

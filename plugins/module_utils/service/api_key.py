"""The key that clients of the served model show, and the people of the host who may read it."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.llmhost.core.plugins.module_utils.text_file import TextFile

RunCommand = Callable[..., tuple[int, str, str]]
KEY = re.compile(r"[A-Za-z0-9_-]{43,}")
KEY_BYTES = 32


class ApiKeyError(Exception):
    """Somebody who shall read the key does not exist, or a tool refused."""


@dataclass(frozen=True)
class ApiKey:
    """One key in a root-only file, with a copy for a group of people where there are any.

    The copy has a directory of its own: no person needs to enter the one that holds the credentials.
    """

    path: Path
    copy: Path
    group: str
    run_command: RunCommand
    users: Sequence[str] = field(default=())

    def key(self) -> str:
        """Return the key, or nothing when there is none that a client could show."""
        try:
            text = self.path.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""
        return text if KEY.fullmatch(text) else ""

    def fingerprint(self) -> str:
        """Return a short name of the key that does not help to guess it: the key has 256 random bits."""
        key = self.key()
        return hashlib.sha256(f"llmhost api key {key}".encode()).hexdigest()[:16] if key else ""

    def changes(self) -> list[str]:
        """Say what is not as it should be, and check that it can be made so."""
        unknown = [user for user in self.users if not _user_exists(user)]
        if unknown:
            raise ApiKeyError(f"llmhost_api_users names {unknown[0]}, who has no account on this host.")
        key = self.key()
        found = [] if key and _is(self.path, 0o600, os.getegid()) else ["key"]
        if self.users:
            gid = _gid(self.group)
            if gid is None or sorted(grp.getgrnam(self.group).gr_mem) != sorted(set(self.users)):
                found.append("group")
            if gid is None or not key or not _is(self.copy, 0o640, gid) or self.copy.read_text() != f"{key}\n":
                found.append("copy")
        elif self.copy.parent.exists() or _gid(self.group) is not None:
            found.append("sharing")
        return found

    def apply(self, changes: Sequence[str]) -> None:
        """Make the named things so. A key that exists is never replaced."""
        if "key" in changes:
            self.path.parent.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            self.path.parent.chmod(0o700)
            TextFile(self.path, f"{self.key() or secrets.token_urlsafe(KEY_BYTES)}\n", 0o600).apply()
        if "group" in changes:
            if _gid(self.group) is None:
                self._call("groupadd", "--system", self.group)
            self._call("gpasswd", "--members", ",".join(sorted(set(self.users))), self.group)
        if "copy" in changes:
            self._write_copy()
        if "sharing" in changes:
            self._stop_sharing()

    def remove(self, dry_run: bool = False) -> bool:
        """Take away the key and its copy; tell whether there was anything."""
        if not self.path.exists() and not self.copy.parent.exists() and _gid(self.group) is None:
            return False
        if dry_run:
            return True
        self.path.unlink(missing_ok=True)
        self._stop_sharing()
        return True

    def _write_copy(self) -> None:
        gid = grp.getgrnam(self.group).gr_gid
        self.copy.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        os.chown(self.copy.parent, 0, gid)
        temporary = self.copy.with_name(f".{self.copy.name}")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{self.key()}\n")
            os.fchown(descriptor, 0, gid)
            os.fchmod(descriptor, 0o640)
        temporary.replace(self.copy)

    def _stop_sharing(self) -> None:
        shutil.rmtree(self.copy.parent, ignore_errors=True)
        if _gid(self.group) is not None:
            self._call("groupdel", self.group)

    def _call(self, *command: str) -> None:
        rc, _out, err = self.run_command(list(command))
        if rc != 0:
            raise ApiKeyError(f"{command[0]} failed: {err.strip()}")


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _gid(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def _is(path: Path, mode: int, gid: int) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return (stat.S_ISREG(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (
        True,
        mode,
        os.geteuid(),
        gid,
    )

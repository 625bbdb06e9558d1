"""The packages of a host as dpkg's status file has them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.files import read_text

_FIELD = re.compile(r"^(Package|Status|Version): (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Dpkg:
    """Versions of what is installed as a whole, what of it is on hold, and what is there in part.

    ``remains`` are packages of which only the settings are left.
    """

    versions: dict[str, str]
    held: frozenset[str]
    broken: frozenset[str] = frozenset()
    remains: frozenset[str] = frozenset()

    @classmethod
    def from_host(cls, root: str = "/") -> Dpkg:
        """Read the status file of the host below ``root``."""
        return cls.from_status(read_text(root, "var/lib/dpkg/status") or "")

    @classmethod
    def from_status(cls, status: str) -> Dpkg:
        """Read a status file; a package that was removed with its settings is left out."""
        versions, held, broken, remains = {}, set(), set(), set()
        for stanza in status.split("\n\n"):
            found = dict(_FIELD.findall(stanza))
            words = found.get("Status", "").split()
            if "Package" not in found or len(words) != 3 or words[2] == "not-installed":
                continue
            if words[2] == "config-files":
                remains.add(found["Package"])
            elif words[1:] == ["ok", "installed"]:
                versions[found["Package"]] = found.get("Version", "")
                held |= {found["Package"]} if words[0] == "hold" else set()
            else:
                broken.add(found["Package"])
        return cls(versions, frozenset(held), frozenset(broken), frozenset(remains))

    @property
    def there(self) -> set[str]:
        """Return every package of which something is there."""
        return {*self.versions, *self.broken}

    def missing(self, names: tuple[str, ...]) -> list[str]:
        """Return those of ``names`` that are not installed."""
        return [name for name in names if name not in self.versions]

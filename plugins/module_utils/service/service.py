"""A systemd service whose process always runs what its unit file says, also after a run that was killed in between.

Each start carries a digest of what it started from, the unit file and the files that the process reads once, as a
credential of the process. Whoever wants to know whether a running service is up to date compares the two; no handler
has to survive for that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit
from ansible_collections.llmhost.core.plugins.module_utils.text_file import TextFile

DIGEST = "llmhost_digest"


@dataclass(frozen=True)
class ServicePaths:
    """Where systemd keeps what matters here."""

    units: Path = Path("/etc/systemd/system")
    credentials: Path = Path("/run/credentials")


class Service:
    """One service that llmhost owns."""

    def __init__(
        self, unit: SystemdUnit, content: str, reads: Sequence[str] = (), paths: ServicePaths | None = None
    ) -> None:
        """Take the text of the unit file, and the files of which the process has to run the present contents."""
        paths = paths or ServicePaths()
        self.unit = unit
        self.digest = digest_of(content, reads)
        self.file = TextFile(paths.units / unit.name, with_digest(content, self.digest) if content else "")
        self._running_digest = paths.credentials / unit.name / DIGEST

    def changes(self) -> list[str]:
        """Say what has to be done, in the order of doing it."""
        state = self.unit.state()
        needed = {
            "write": not self.file.is_current(),
            "reload": not self.file.is_current() or state.needs_reload,
            "enable": not state.enabled,
            "restart": not state.busy or self._started_from() != self.digest,
        }
        return [deed for deed, is_needed in needed.items() if is_needed]

    def apply(self, changes: list[str]) -> None:
        """Do what has to be done; the restart does not wait until the service is ready."""
        if "restart" not in changes and self.unit.state().restarts:
            # It died once, and systemd brought it back: that is history. Who waits for it counts from here.
            self.unit.forget()
        if "write" in changes:
            self.file.apply()
        if "reload" in changes:
            self.unit.reload_manager()
        if "enable" in changes:
            self.unit.enable()
        if "restart" in changes:
            self.unit.restart()

    def remove(self, dry_run: bool = False) -> bool:
        """Stop the service and take its file away; tell whether there was anything."""
        if not self.unit.state().exists and not self.file.path.exists():
            return False
        if dry_run:
            return True
        self.unit.stop_and_disable()
        self.file.path.unlink(missing_ok=True)
        self.unit.reload_manager()
        self.unit.forget()
        return True

    def _started_from(self) -> str:
        try:
            return self._running_digest.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""


def digest_of(content: str, reads: Sequence[str]) -> str:
    """Return the digest of a unit file and of the files that the process reads; a missing one counts as empty."""
    digest = hashlib.sha256(content.encode())
    for path in reads:
        file = Path(path)
        digest.update(hashlib.sha256(file.read_bytes() if file.is_file() else b"").digest())
    return digest.hexdigest()


def with_digest(content: str, digest: str) -> str:
    """Return the unit file with the digest that a process started from it carries."""
    comment = "# Tells a running process from one that was started from another unit file."
    return f"{content.rstrip()}\n\n[Service]\n{comment}\nSetCredential={DIGEST}:{digest}\n"

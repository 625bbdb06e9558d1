"""What a host is given for its proof: a program, a request, and the unit that runs the one with the other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.durable import write
from ansible_collections.llmhost.core.plugins.module_utils.proof.main import RECORD
from ansible_collections.llmhost.core.plugins.module_utils.proof.program import packed
from ansible_collections.llmhost.core.plugins.module_utils.proof.request import REQUEST, Request
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit
from ansible_collections.llmhost.core.plugins.module_utils.state import DIRECTORY, StateFile
from ansible_collections.llmhost.core.plugins.module_utils.text_file import TextFile

NAME = "llmhost-proof.service"
PROGRAM = "/opt/llmhost/proof/llmhost-proof.pyz"

UNIT = f"""# Written by llmhost (role multi_gpu).
[Unit]
Description=Prove the GPUs of this host
After=nvidia-persistenced.service nvidia-fabricmanager.service

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 {PROGRAM}
RuntimeDirectory=llmhost/llmhost-proof
RuntimeDirectoryPreserve=yes

# Root for the kernel log and the record. No filter of system calls: what one breaks would look like broken hardware.
CapabilityBoundingSet=CAP_SYSLOG
LockPersonality=yes
NoNewPrivileges=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelModules=yes
ProtectSystem=strict
ReadWritePaths={DIRECTORY}
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
"""


@dataclass(frozen=True)
class Paths:
    """Where things are."""

    unit: Path = Path("/etc/systemd/system") / NAME
    program: Path = Path(PROGRAM)
    request: Path = Path(REQUEST)
    state: str = DIRECTORY
    proc: str = "/proc"
    sysfs: str = "/sys"


class InstalledProof:
    """The files of the proof, and what it has found on this host."""

    def __init__(self, manager: SystemdUnit, request: Mapping[str, Any], paths: Paths | None = None) -> None:
        self._manager, self._paths = manager, paths or Paths()
        self._request = Request.from_dict(request)
        text = json.dumps(request, indent=2, sort_keys=True) + "\n" if request else ""
        self._files = [TextFile(self._paths.request, text, 0o640), TextFile(self._paths.unit, UNIT if request else "")]

    @property
    def result(self) -> dict[str, Any]:
        """Return what the last proof found; nothing when it was of other GPUs, another driver or another request."""
        kept = StateFile(RECORD, self._paths.state).read()
        wanted = self._request.fingerprint(self._paths.proc, self._paths.sysfs)
        return kept if kept.get("fingerprint") == wanted else {}

    def is_current(self) -> bool:
        """Tell whether every file is as it should be."""
        return all(file.is_current() for file in self._files) and self._program_is_current()

    def apply(self) -> None:
        """Write the files; a proof that runs is one of something else."""
        if self._manager.state().busy:
            self._manager.stop()
        if not self._program_is_current():
            write(self._paths.program, packed(), 0o644)
        for file in self._files:
            file.apply()
        self._manager.reload_manager()

    def exist(self) -> bool:
        """Tell whether anything of the proof is there."""
        record = Path(StateFile(RECORD, self._paths.state).path)
        return any(path.exists() for path in (self._paths.unit, self._paths.program, self._paths.request, record))

    def remove(self) -> None:
        """End a proof that runs, and take everything away."""
        if self._manager.state().exists:
            self._manager.stop()
        for path in (self._paths.unit, self._paths.program, self._paths.request):
            path.unlink(missing_ok=True)
        if self._paths.program.parent.is_dir():
            self._paths.program.parent.rmdir()
        StateFile(RECORD, self._paths.state).write({})
        self._manager.reload_manager()
        self._manager.forget()

    def _program_is_current(self) -> bool:
        try:
            return self._paths.program.read_bytes() == packed()
        except OSError:
            return False

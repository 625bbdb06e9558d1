"""What a host is given for its proof: a program, a request, and the unit that runs the one with the other."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.durable import write
from ansible_collections.llmhost.core.plugins.module_utils.proof.main import FILES, RECORD
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
# Nor ProtectControlGroups, which mounts another /proc: in a container that would show GPUs which it was not given.
CapabilityBoundingSet=CAP_SYSLOG
LockPersonality=yes
NoNewPrivileges=yes
PrivateTmp=yes
ProtectClock=yes
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
    said: Path = Path(FILES)
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
        known = os.path.isdir(self._paths.state) and not self._manager.state().needs_reload
        return known and all(file.is_current() for file in self._files) and self._program_is_current()

    def apply(self) -> None:
        """Write the files; a proof that runs is one of something else."""
        if self._manager.state().busy:
            self._manager.stop()
        if not self._program_is_current():
            write(self._paths.program, packed(), 0o644)
        for file in self._files:
            file.apply()
        # systemd does not start a unit that may write to a folder which is not there.
        os.makedirs(self._paths.state, mode=0o750, exist_ok=True)
        for folder in self._libraries():
            if str(folder) != self._request.nccl:
                shutil.rmtree(folder)
        self._manager.reload_manager()

    def exist(self) -> bool:
        """Tell whether anything of the proof is there, be it what a run that was killed has left."""
        return any(path.exists() for path in self._places()) or self._manager.state().exists

    def remove(self) -> None:
        """End a proof that runs, and take everything away."""
        if self._manager.state().exists:
            self._manager.stop()
        for path in self._places():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        self._manager.reload_manager()
        self._manager.forget()

    def _places(self) -> list[Path]:
        record = Path(StateFile(RECORD, self._paths.state).path)
        files = [self._paths.unit, self._paths.request, record]
        return [*files, self._paths.program.parent, self._paths.said, *self._libraries()]

    def _libraries(self) -> list[Path]:
        """Return the environments of Python that have NCCL, of this release or an earlier one, whole or not."""
        around = self._paths.program.parent.parent
        return [*around.glob("nccl-*"), *around.glob(".nccl-*.new")]

    def _program_is_current(self) -> bool:
        try:
            return self._paths.program.read_bytes() == packed()
        except OSError:
            return False

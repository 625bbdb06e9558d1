"""The files by which a host brings its storage back at boot: a program, a unit, and what starts the unit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.boot.place import Place
from ansible_collections.llmhost.core.plugins.module_utils.boot.program import packed
from ansible_collections.llmhost.core.plugins.module_utils.durable import sync_directory, write
from ansible_collections.llmhost.core.plugins.module_utils.record import text
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit
from ansible_collections.llmhost.core.plugins.module_utils.service.unit_name import unit_name
from ansible_collections.llmhost.core.plugins.module_utils.text_file import TextFile

NAME = "llmhost-storage.service"
PROGRAM = "/opt/llmhost/boot/llmhost.pyz"
DROP_IN = "llmhost.conf"
PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class BootPaths:
    """Where the files go, and how a host with udev is known: without it systemd sees no disks come and go."""

    units: Path = Path("/etc/systemd/system")
    program: Path = Path(PROGRAM)
    udev: Path = Path("/run/udev/control")


class BootUnits:
    """The unit llmhost-storage and what belongs to it."""

    def __init__(
        self, manager: SystemdUnit, storage: Mapping[str, Any], swap: Mapping[str, Any], paths: BootPaths | None = None
    ) -> None:
        """Take the records of the storage and of the swap; without a storage there is nothing to bring back."""
        self._manager = manager
        self._paths = paths or BootPaths()
        self._place = Place.from_record(storage)
        self._swap_unit = unit_name(text(swap, "path"), "swap") if text(swap, "path") else ""
        self._links = {self._wants(device) / NAME for device in self._devices()}

    def is_current(self) -> bool:
        """Tell whether every file is as it should be, and none is too many."""
        files = all(file.is_current() for file in self._files())
        links = set(self._found_links()) == self._links and all(link.is_symlink() for link in self._links)
        state = self._manager.state()
        known = state.enabled and not state.needs_reload
        return files and links and known and self._program_is_current() and self._found_drop_ins() == self._drop_ins()

    def apply(self) -> None:
        """Write the files; what an earlier storage needed goes. Nothing is started: that is for the next boot."""
        if not self._program_is_current():
            write(self._paths.program, packed(), 0o644)
        for path in (self._found_drop_ins() | self._found_links()) - self._drop_ins() - self._links:
            _forget(path)
        for file in self._files():
            file.apply()
        for link in self._links - self._found_links():
            link.parent.mkdir(mode=0o755, exist_ok=True)
            link.symlink_to(self._paths.units / NAME)
            sync_directory(link.parent)
        self._manager.reload_manager()
        self._manager.enable()

    def exist(self) -> bool:
        """Tell whether any of the files is there."""
        paths = [self._paths.program, self._paths.units / NAME]
        return any(path.exists() for path in paths) or bool(self._found_links() | self._found_drop_ins())

    def remove(self) -> None:
        """Take the files away."""
        if self._manager.state().exists:
            self._manager.stop_and_disable()
        for path in self._found_links() | self._found_drop_ins():
            _forget(path)
        for path in (self._paths.units / NAME, self._paths.program):
            path.unlink(missing_ok=True)
        if self._paths.program.parent.is_dir():
            self._paths.program.parent.rmdir()
        self._manager.reload_manager()
        self._manager.forget()

    # -- what should be there -------------------------------------------------------------------------------------

    @property
    def unit(self) -> str:
        """Return the text of the unit."""
        return "\n".join([*self._head(), *_BODY.splitlines()]) + "\n"

    def _head(self) -> Iterator[str]:
        place = self._place
        yield "# Written by llmhost (role inference)."
        yield "[Unit]"
        yield "Description=Bring back the storage of llmhost"
        yield "# A disk may come and go as often as it likes."
        yield "StartLimitIntervalSec=0"
        if place.mount_unit and place.ephemeral:
            yield "# What came back blank is made again, and only then mounted."
            yield f"Before={place.mount_unit}"
        elif place.mount_unit:
            wanted = " ".join(filter(None, [place.mount_unit, self._swap_unit]))
            yield "# Also when the disk comes later than the boot: mount, swap, and a look at what is there."
            yield f"Wants={wanted}"
            yield f"After={wanted}"
        else:
            yield f"RequiresMountsFor={os.path.dirname(place.path) or '/'}"

    def _files(self) -> list[TextFile]:
        files = [TextFile(self._paths.units / NAME, self.unit)]
        return files + [TextFile(path, self._drop_in) for path in sorted(self._drop_ins())]

    @property
    def _drop_in(self) -> str:
        return (
            "# Written by llmhost (role inference).\n[Unit]\n"
            "# A disk that was pulled must not stay mounted, nor its service go on: it would wait for it for ever.\n"
            f"BindsTo={self._filesystem_device()}\n"
        )

    def _drop_ins(self) -> set[Path]:
        if not (self._place.mount_unit and self._place.uuid and self._paths.udev.exists()):
            return set()
        return {self._paths.units / f"{self._place.mount_unit}.d" / DROP_IN}

    def _devices(self) -> set[str]:
        """Return the device units whose coming starts the unit."""
        if self._place.kind != "disk" or not self._paths.udev.exists():
            return set()
        recorded = {unit_name(disk.device, "device") for disk in self._place.disks}
        return recorded | ({self._filesystem_device()} if self._place.uuid else set())

    def _filesystem_device(self) -> str:
        return unit_name(f"/dev/disk/by-uuid/{self._place.uuid}", "device")

    # -- what is there --------------------------------------------------------------------------------------------

    def _wants(self, device: str) -> Path:
        return self._paths.units / f"{device}.wants"

    def _found_links(self) -> set[Path]:
        return set(self._paths.units.glob(f"*.device.wants/{NAME}"))

    def _found_drop_ins(self) -> set[Path]:
        return set(self._paths.units.glob(f"*.mount.d/{DROP_IN}"))

    def _program_is_current(self) -> bool:
        try:
            return self._paths.program.read_bytes() == packed()
        except OSError:
            return False


_BODY = f"""
[Service]
Type=notify
# Ready when the storage is there; a model that has to be fetched again does not hold up the boot.
ExecStart={PYTHON} {PROGRAM} storage
TimeoutStartSec=infinity
KillMode=mixed

# No option that would give it a mount namespace: what it mounts is for the whole host.
NoNewPrivileges=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target"""


def _forget(path: Path) -> None:
    """Delete a file, and its folder when nobody else has anything in it."""
    path.unlink(missing_ok=True)
    if not any(path.parent.iterdir()):
        path.parent.rmdir()

"""The place for model files: a claimed disk with a filesystem that is mounted by UUID, or a plain directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult, RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.host.disks import Disk
from ansible_collections.llmhost.core.plugins.module_utils.host.mounts import Mounts
from ansible_collections.llmhost.core.plugins.module_utils.host.sampling import erase_samples
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import (
    Claim,
    Decision,
    Identity,
    Record,
    RefusedError,
    decide,
)
from ansible_collections.llmhost.core.plugins.module_utils.storage.fstab import PATH, Entry, Fstab
from ansible_collections.llmhost.core.plugins.module_utils.storage.mountpoint import seal, unseal


@dataclass(frozen=True)
class FilesystemTools:
    """The programs that make a filesystem and look whether one is whole."""

    package: str
    make: tuple[str, ...]
    uuid: str
    force: tuple[str, ...]
    check: tuple[str, ...]
    fsck_pass: int

    def make_command(self, device: str, label: str, uuid: str, again: bool) -> list[str]:
        """Return the command that makes the filesystem; ``again`` over one that is there."""
        return [*self.make, *(self.force if again else ()), "-L", label, *self.uuid.format(uuid).split(), device]


# Model files are few and large: no blocks are reserved for root (5 % of the disk), and an inode per MiB is plenty.
TOOLS = {
    "ext4": FilesystemTools(
        "e2fsprogs", ("mkfs.ext4", "-q", "-m", "0", "-T", "largefile"), "-U {}", (), ("e2fsck", "-f", "-n"), 2
    ),
    "xfs": FilesystemTools("xfsprogs", ("mkfs.xfs", "-q"), "-m uuid={}", ("-f",), ("xfs_repair", "-n"), 0),
}


class MissingToolError(Exception):
    """The program that makes the filesystem is not installed; the message is the package that brings it."""


def find_program(name: str) -> str | None:
    """Return where a program is, or None; a run without a login shell may lack the sbin directories."""
    return shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")


def device_number(path: str) -> str:
    """Return ``major:minor`` of a device node."""
    number = os.stat(path).st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


@dataclass(frozen=True)
class Host:
    """The machine, as far as storage needs it; tests hand in another one."""

    run: RunCommand
    read_disk: Callable[[str], Disk]
    state: StateFile
    fstab: str = PATH
    proc: str = "/proc"
    systemd: str = "/run/systemd/system"
    number: Callable[[str], str] = device_number
    new_uuid: Callable[[], str] = lambda: str(uuid.uuid4())
    which: Callable[[str], str | None] = find_program
    erase: Callable[[str], None] = erase_samples


class Storage:
    """Makes the storage true, step by step. A run that is killed between two steps is completed by the next one."""

    def __init__(self, host: Host, check: bool = False) -> None:
        """Read what earlier runs recorded; with ``check``, only say what would be done."""
        self._host = host
        self._check = check
        self._before = Record.from_dict(host.state.read())
        self.actions: list[str] = []

    def claim(self, claim: Claim) -> Record:
        """Make the disk ours, or find that it is; mount it; return the record."""
        disk = self._host.read_disk(claim.device)
        decision = decide(claim, disk, self._before)
        self._refuse_conflicts(claim, decision)
        created = self._before.created if self._before.path == claim.path else not os.path.exists(claim.path)
        record = Record(
            kind="disk",
            uuid=decision.uuid or (None if self._check else self._host.new_uuid()),
            device=claim.device,
            identity=Identity.from_disk(disk),
            path=claim.path,
            filesystem=decision.filesystem,
            label=claim.label_on(decision.filesystem),
            created=created,
            unrecognised_data=self._before.held_unrecognised(disk),
        )
        if decision.action != "keep":
            self._make(claim, decision, record)
        self._remember(record)
        self._mount(claim, record)
        return record

    def directory(self, path: str) -> Record:
        """Make the directory; return the record."""
        if self._before.kind == "disk":
            raise RefusedError(
                "storage.disk_in_use",
                f"{path}: the plan wants a directory, but {self._before.device} is claimed for {self._before.path}. "
                "Name that disk in llmhost_storage_disk, or give it up first with playbooks/remove.yml.",
            )
        if os.path.lexists(path) and not os.path.isdir(path):
            raise RefusedError("storage.no_directory", f"{path}: exists and is no directory. Choose another path.")
        created = self._before.created if self._before.path == path else not os.path.isdir(path)
        record = Record(kind="directory", path=path, created=created)
        self._remember(record)
        if not os.path.isdir(path):
            self._step(f"make the directory {path}", lambda: os.makedirs(path, mode=0o755))
        return record

    def remove(self, remove_data: bool) -> None:
        """Take back the mount and the record; with ``remove_data`` the filesystem or directory, too."""
        record = self._before
        if record.kind == "disk":
            self._remove_disk(record, remove_data)
        elif record.kind == "directory" and record.created and record.path and os.path.isdir(record.path):
            self._remove_directory(record.path, remove_data)
        if record.kind:
            self._step(f"forget {record.path}", lambda: self._host.state.write({}))

    def _step(self, what: str, act: Callable[[], object]) -> None:
        self.actions.append(what)
        if not self._check:
            act()

    def _run(self, code: str, argv: Sequence[str]) -> CommandResult:
        done = self._host.run(argv)
        if done.rc != 0:
            raise RefusedError(code, f"{' '.join(argv)}: {done.stderr.strip() or done.complaint}")
        return done

    def _remember(self, record: Record) -> None:
        if record != self._before:
            self._step("record it", lambda: self._host.state.write(record.as_dict()))

    def _refuse_conflicts(self, claim: Claim, decision: Decision) -> None:
        """Refuse when the mount would hide something, or something is where the mount shall be."""
        mounts, number = Mounts.from_proc(self._host.proc), self._host.number(claim.device)
        here = mounts.at(claim.path)
        elsewhere = next((mount.target for mount in mounts.mounts if mount.number == number), None)
        ours = {f"UUID={decision.uuid}", f"UUID={self._before.uuid}", f"LABEL={claim.label}"}
        line = next((e for e in Fstab.from_file(self._host.fstab).entries if e.target == claim.path), None)
        if here and here.number != number:
            problem = f"{here.source} is mounted there. Unmount it, or choose another llmhost_storage_path"
        elif not here and elsewhere:
            problem = f"{claim.device} is mounted on {elsewhere}. Unmount it there, or make that llmhost_storage_path"
        elif line and line.source not in ours:
            problem = f"{self._host.fstab} has {line.source} for it. Take out that line, or choose another path"
        elif os.path.lexists(claim.path) and not os.path.isdir(claim.path):
            problem = "it is no directory. Choose another llmhost_storage_path"
        elif not here and os.path.isdir(claim.path) and os.listdir(claim.path):
            problem = "it holds files, which the mount would hide. Move them, or set llmhost_storage_disk to none"
        else:
            return
        raise RefusedError("storage.path_taken", f"{claim.path}: {problem}. Nothing was changed.")

    def _make(self, claim: Claim, decision: Decision, record: Record) -> None:
        """Make the filesystem, announced before the first byte is written, so that half of one is known as ours."""
        tools = TOOLS[decision.filesystem]
        device = os.path.realpath(claim.device)
        if not self._check and not self._host.which(tools.make[0]):
            raise MissingToolError(tools.package)
        if decision.action == "finish" and self._host.run([*tools.check, device]).rc == 0:
            return
        command = tools.make_command(device, str(record.label), str(record.uuid), again=decision.action == "finish")
        self._step(
            f"make an {decision.filesystem} filesystem on {claim.device}",
            lambda: self._announce_and_run(record, command),
        )
        if self._check:
            return
        found = self._host.read_disk(claim.device)
        if (found.filesystem, found.uuid) != (record.filesystem, record.uuid):
            raise RefusedError(
                "storage.mkfs_failed",
                f"{claim.device}: {command[0]} reported success, but the disk holds {found.filesystem} {found.uuid}, "
                f"not {record.filesystem} {record.uuid}. Look at the kernel's log for errors of the disk.",
            )

    def _announce_and_run(self, record: Record, command: Sequence[str]) -> None:
        self._host.state.write({**record.as_dict(), "phase": "formatting"})
        self._run("storage.mkfs_failed", command)

    def _mount(self, claim: Claim, record: Record) -> None:
        uuids = {f"UUID={record.uuid}", f"UUID={self._before.uuid}"}
        filesystem = str(record.filesystem)
        wanted = Entry(f"UUID={record.uuid}", claim.path, filesystem, claim.options, 0, TOOLS[filesystem].fsck_pass)
        before = Fstab.from_file(self._host.fstab)
        after = before.with_entry(wanted, lambda entry: entry.target == claim.path or entry.source in uuids)
        mounted = Mounts.from_proc(self._host.proc).at(claim.path) is not None
        if after != before:
            self._step(f"set the line of {claim.path} in {self._host.fstab}", lambda: after.save(self._host.fstab))
        if not mounted:
            self._step(f"mount {claim.device} on {claim.path}", lambda: self._mount_now(claim))
        elif after != before:
            self._step(f"remount {claim.path} with {claim.options}", lambda: self._remount(claim.path))

    def _mount_now(self, claim: Claim) -> None:
        # Through fstab, which proves the line; systemd hears of it first, or it may undo a mount that it does not know.
        self._reload_systemd()
        seal(claim.path)
        self._run("storage.mount_failed", ["mount", claim.path])
        found = Mounts.from_proc(self._host.proc).at(claim.path)
        if found is None or found.number != self._host.number(claim.device):
            raise RefusedError(
                "storage.mount_failed", f"{claim.path}: mount succeeded, but {claim.device} is not there."
            )

    def _remount(self, path: str) -> None:
        self._reload_systemd()
        self._run("storage.mount_failed", ["mount", "-o", "remount", path])

    def _reload_systemd(self) -> None:
        if os.path.isdir(self._host.systemd):
            self._run("storage.systemd", ["systemctl", "daemon-reload"])

    def _remove_disk(self, record: Record, remove_data: bool) -> None:
        path, device = str(record.path), str(record.device)
        disk = self._host.read_disk(device)
        if remove_data and (disk.uuid != record.uuid or record.identity.differences(Identity.from_disk(disk))):
            raise RefusedError(
                "storage.other_disk",
                f"{device}: no longer the disk that was claimed; it is not wiped. Nothing was changed.",
            )
        here = Mounts.from_proc(self._host.proc).at(path)
        if here and self._host.read_disk(here.source).uuid != record.uuid:
            raise RefusedError(
                "storage.path_taken", f"{path}: {here.source} is mounted there, which llmhost did not do."
            )
        if here:
            self._step(f"unmount {path}", lambda: self._run("storage.busy", ["umount", path]))
        before = Fstab.from_file(self._host.fstab)
        after = before.without(lambda entry: entry.source == f"UUID={record.uuid}" and entry.target == path)
        if after != before:
            self._step(f"take the line of {path} out of {self._host.fstab}", lambda: after.save(self._host.fstab))
            if not self._check:
                self._reload_systemd()
        if os.path.isdir(path):
            self._step(f"free the mount point {path}", lambda: self._free(path, record.created))
        if remove_data:
            self._step(f"wipe {device}", lambda: self._wipe(os.path.realpath(device)))

    def _wipe(self, device: str) -> None:
        # wipefs takes away the magic strings only; what is left would be data that no test recognises.
        self._run("storage.busy", ["wipefs", "--all", device])
        self._host.erase(device)

    def _free(self, path: str, created: bool) -> None:
        unseal(path)
        if created:
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def _remove_directory(self, path: str, remove_data: bool) -> None:
        if remove_data:
            self._step(f"delete {path} and what is in it", lambda: shutil.rmtree(path))
        elif not os.listdir(path):
            self._step(f"delete the empty directory {path}", lambda: os.rmdir(path))

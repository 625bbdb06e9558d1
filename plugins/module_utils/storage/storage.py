"""The place for model files: claimed disks with a filesystem that is mounted by UUID, or a plain directory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ansible_collections.llmhost.core.plugins.module_utils.host.disks import Disk
from ansible_collections.llmhost.core.plugins.module_utils.host.mounts import Mounts
from ansible_collections.llmhost.core.plugins.module_utils.storage import array, removal
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import (
    Claim,
    Decision,
    Found,
    RefusedError,
    decide,
)
from ansible_collections.llmhost.core.plugins.module_utils.storage.claimed import (
    FORMATTING,
    READY,
    Identity,
    Member,
    Record,
)
from ansible_collections.llmhost.core.plugins.module_utils.storage.fstab import Entry, Fstab
from ansible_collections.llmhost.core.plugins.module_utils.storage.machine import Host as Host
from ansible_collections.llmhost.core.plugins.module_utils.storage.machine import MissingToolError as MissingToolError
from ansible_collections.llmhost.core.plugins.module_utils.storage.machine import Steps
from ansible_collections.llmhost.core.plugins.module_utils.storage.mountpoint import seal
from ansible_collections.llmhost.core.plugins.module_utils.storage.tuning import Tuning


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


class Storage(Steps):
    """Makes the storage true, step by step. A run that is killed between two steps is completed by the next one."""

    def __init__(self, host: Host, check: bool = False) -> None:
        """Read what earlier runs recorded; with ``check``, only say what would be done."""
        super().__init__(host, check)
        self._before = self._recorded = Record.from_dict(host.state.read())

    def claim(self, claim: Claim) -> Record:
        """Make the disks ours, or find that they are; mount them; return the record."""
        found = array.survey(self.host, claim.members, claim.raid)
        decision = decide(claim, found, self._before)
        self._refuse_conflicts(claim, decision, found)
        self._require_tools(claim, decision)
        if decision.array == "assemble":
            found, decision = self._assemble(claim, decision, found)
        record = self._record_of(claim, decision, found)
        volume = found.array.path if found.array else os.path.realpath(claim.members[0].device)
        if decision.action != "keep":
            volume = self._make(claim, decision, found, record)
        self._name_array(record)
        self._mount(claim, record, volume)
        self._tune(claim, record)
        self._remember(record)
        return record

    def directory(self, path: str, ephemeral: bool = False) -> Record:
        """Make the directory, or find it; return the record."""
        if self._before.kind == "disk":
            devices = " and ".join(member.device for member in self._before.devices)
            raise RefusedError(
                "storage.claimed",
                f"{devices} holds the models on {self._before.path}. Nothing was changed. "
                "To use a directory instead, run the role's remove.yml first.",
            )
        created = self._before.created if self._before.path == path else not os.path.isdir(path)
        record = Record(kind="directory", path=path, created=created, ephemeral=ephemeral)
        self._remember(record)
        if not os.path.isdir(path):
            self.do(f"make the directory {path}", lambda: os.makedirs(path, mode=0o755))
        return record

    def restore(self) -> Record | None:
        """Make ephemeral storage again that came back empty, from the record alone; None where none is recorded.

        A disk that holds anything but our own filesystem is refused, like at any claim.
        """
        record = self._before
        if record.kind != "disk" or not record.ephemeral:
            return None
        claim = Claim(
            members=self._members_now(record),
            filesystem=str(record.filesystem),
            label=str(record.label),
            path=str(record.path),
            options=record.mount_options or "defaults,nofail",
            raid=record.raid,
            ephemeral=True,
            tuning=record.tuning,
        )
        return self.claim(claim)

    def remove(self, remove_data: bool) -> None:
        """Take back the mount and the record; with ``remove_data`` the filesystem or directory, too."""
        removal.remove(self, self._before, remove_data)

    def _members_now(self, record: Record) -> tuple[Member, ...]:
        """Return the disks that stand for the recorded ones: the same, or what a cloud gave for them after a stop.

        Such a disk has another serial number. It counts when it is of the same model and size, ephemeral, blank and all
        zeros, and when there are exactly as many as are missing, so that there is nothing to choose.
        """
        there = [(member, self.host.read_disk(member.device)) for member in record.devices]
        same = {m.device for m, disk in there if not m.identity.differences(Identity.from_disk(disk))}
        missing = [member for member in record.devices if member.device not in same]
        if not missing:
            return record.devices
        taken = {disk.name for member, disk in there if member.device in same}
        spare = [disk for disk in self.host.disks() if disk.name not in taken and _stands_for(disk, missing)]
        if len(spare) > len(missing):
            raise RefusedError(
                "storage.other_disk",
                f"{' and '.join(map(str, missing))}: not there any more, and {len(spare)} blank disks could take the "
                "place. Nothing was changed. Run the playbook, or name them in llmhost_storage_devices.",
            )
        if len(spare) < len(missing):
            return record.devices
        new = [Member((disk.by_id or [disk.path])[0], Identity.from_disk(disk)) for disk in spare]
        return tuple(member if member.device in same else new.pop(0) for member in record.devices)

    def _remember(self, record: Record) -> None:
        if record != self._recorded:
            self.do("record it", lambda: self.host.state.write(record.as_dict()))

    def _record_of(self, claim: Claim, decision: Decision, found: Found) -> Record:
        def uuid(chosen: str | None) -> str | None:
            return chosen or (None if self.check else self.host.new_uuid())

        created = self._before.created if self._before.path == claim.path else not os.path.exists(claim.path)
        return Record(
            kind="disk",
            uuid=uuid(decision.uuid),
            devices=tuple(
                Member(member.device, Identity.from_disk(disk))
                for member, disk in zip(claim.members, found.disks, strict=True)
            ),
            array_uuid=uuid(decision.array_uuid) if claim.raid else None,
            path=claim.path,
            filesystem=decision.filesystem,
            label=claim.label_on(decision.filesystem),
            mount_options=claim.options,
            phase=READY,
            created=created,
            unrecognised_data=self._before.held_unrecognised(found.disks),
            ephemeral=claim.ephemeral,
            raid=claim.raid,
            tuning=claim.tuning,
        )

    def _refuse_conflicts(self, claim: Claim, decision: Decision, found: Found) -> None:
        """Refuse when the mount would hide something, or something is where the mount shall be."""
        volume = found.array.path if found.array else claim.members[0].device
        mounts, number = Mounts.from_proc(self.host.proc), self.host.number(volume)
        here = mounts.at(claim.path)
        elsewhere = next((mount.target for mount in mounts.mounts if mount.number == number), None)
        ours = {f"UUID={decision.uuid}", f"UUID={self._before.uuid}", f"LABEL={claim.label}"}
        line = next((e for e in Fstab.from_file(self.host.fstab).entries if e.target == claim.path), None)
        if here and here.number != number:
            problem = f"{here.source} is mounted there. Unmount it, or choose another llmhost_storage_path"
        elif not here and elsewhere:
            problem = f"{volume} is mounted on {elsewhere}. Unmount it there, or make that llmhost_storage_path"
        elif line and line.source not in ours:
            problem = f"{self.host.fstab} has {line.source} for it. Take out that line, or choose another path"
        elif os.path.lexists(claim.path) and not os.path.isdir(claim.path):
            problem = "it is no directory. Choose another llmhost_storage_path"
        elif not here and os.path.isdir(claim.path) and os.listdir(claim.path):
            problem = "it holds files, which the mount would hide. Move them, or set llmhost_storage_devices to none"
        else:
            return
        raise RefusedError("storage.path_taken", f"{claim.path}: {problem}. Nothing was changed.")

    def _require_tools(self, claim: Claim, decision: Decision) -> None:
        """Ask for everything that is missing at once, before the first step."""
        tools = TOOLS[decision.filesystem]
        needs = {tools.make[0]: tools.package} if decision.action != "keep" else {}
        if claim.raid:
            needs[array.PROGRAM] = array.PACKAGE
        packages = [package for program, package in needs.items() if not self.host.which(program)]
        if packages and not self.check:
            raise MissingToolError(packages)

    def _assemble(self, claim: Claim, decision: Decision, found: Found) -> tuple[Found, Decision]:
        """Put an array of ours together, and look at what is on it."""
        raid, uuid = claim.raid, decision.array_uuid
        if raid is None or uuid is None:
            return found, decision
        self.do(f"put {claim} together", lambda: array.assemble(self, raid, uuid, found, str(claim)))
        if self.check:
            return found, decision
        found = array.survey(self.host, claim.members, raid)
        decision = decide(claim, found, self._before)
        self._refuse_conflicts(claim, decision, found)
        return found, decision

    def _make(self, claim: Claim, decision: Decision, found: Found, record: Record) -> str:
        """Make array and filesystem, announced before the first byte is written: half of them is known as ours."""
        tools = TOOLS[decision.filesystem]
        volume = found.array.path if found.array else os.path.realpath(claim.members[0].device)
        if decision.action == "finish" and self.host.run([*tools.check, volume]).rc == 0:
            return volume
        what = f"an {decision.filesystem} filesystem on {claim}"
        made: list[str] = []
        if decision.array == "create":
            self.do(f"make {claim}", lambda: None)
        self.do(f"make {what}", lambda: made.append(self._make_held(claim, decision, found, record)))
        if self.check:
            return volume
        disk = self.host.read_disk(made[0])
        if (disk.filesystem, disk.uuid) != (record.filesystem, record.uuid):
            raise RefusedError(
                "storage.mkfs_failed",
                f"{claim}: {tools.make[0]} reported success, but {made[0]} holds {disk.filesystem} {disk.uuid}, "
                f"not {record.filesystem} {record.uuid}. Look at the kernel's log for errors of the disk.",
            )
        return made[0]

    def _make_held(self, claim: Claim, decision: Decision, judged: Found, record: Record) -> str:
        """Prove all disks once more while they are held, then write to them; return what was made."""
        nodes = [os.path.realpath(member.device) for member in claim.members]
        with self.host.hold(nodes) as numbers:
            found = array.survey(self.host, claim.members, claim.raid)
            same = [os.path.realpath(member.device) for member in claim.members] == nodes
            if not same or numbers != [self.host.number(node) for node in nodes]:
                raise _changed(claim, "a name leads to another disk than before")
            if decide(claim, found, self._before) != decision or _unknown(found) != _unknown(judged):
                raise _changed(claim, "what is on the disks is not what it was a moment ago")
            self._recorded = replace(record, phase=FORMATTING)
            self.host.state.write(self._recorded.as_dict())
            volume = found.array.path if found.array else nodes[0]
            if claim.raid and decision.array == "create":
                volume = array.create(self, claim.raid, str(record.array_uuid), found, str(claim))
            tools = TOOLS[decision.filesystem]
            begun = claim.raid is not None and self._before.begun_on(found.disks)
            again = decision.action == "finish" or begun
            command = tools.make_command(volume, str(record.label), str(record.uuid), again)
            self.run("storage.mkfs_failed", command, str(claim))
            return volume

    def _name_array(self, record: Record) -> None:
        file = array.name_file(self.host, record.raid, record.array_uuid)
        if (record.raid or self._before.raid) and not file.is_current():
            self.do(f"set the array's name in {self.host.arrays}", file.apply)

    def _mount(self, claim: Claim, record: Record, volume: str) -> None:
        uuids = {f"UUID={record.uuid}", f"UUID={self._before.uuid}"}
        filesystem = str(record.filesystem)
        wanted = Entry(f"UUID={record.uuid}", claim.path, filesystem, claim.options, 0, TOOLS[filesystem].fsck_pass)
        before = Fstab.from_file(self.host.fstab)
        after = before.with_entry(wanted, lambda entry: entry.target == claim.path or entry.source in uuids)
        mounted = Mounts.from_proc(self.host.proc).at(claim.path) is not None
        if after != before:
            self.do(f"set the line of {claim.path} in {self.host.fstab}", lambda: after.save(self.host.fstab))
        if not mounted:
            self.do(f"mount {claim} on {claim.path}", lambda: self._mount_now(claim, volume))
        elif after != before:
            self.do(f"remount {claim.path} with {claim.options}", lambda: self._remount(claim.path))

    def _mount_now(self, claim: Claim, volume: str) -> None:
        # Through fstab, which proves the line; systemd hears of it first, or it may undo a mount that it does not know.
        self.reload_systemd()
        seal(claim.path)
        self.run("storage.mount_failed", ["mount", claim.path], str(claim))
        found = Mounts.from_proc(self.host.proc).at(claim.path)
        if found is None or found.number != self.host.number(volume):
            raise RefusedError("storage.mount_failed", f"{claim.path}: mount succeeded, but {claim} is not there.")

    def _tune(self, claim: Claim, record: Record) -> None:
        if self.host.tuner is None:
            return
        disks = [member.device for member in claim.members]
        device = array.node(claim.raid) if claim.raid else disks.pop()
        wanted = Tuning.from_arguments(claim.tuning)
        for what, act in self.host.tuner.apply(wanted, record.uuid, device, record.array_uuid, disks):
            self.do(what, act)

    def _remount(self, path: str) -> None:
        self.reload_systemd()
        self.run("storage.mount_failed", ["mount", "-o", "remount", path])


def _stands_for(disk: Disk, missing: Sequence[Member]) -> bool:
    wanted = {(member.identity.model, member.identity.size_bytes) for member in missing}
    proved = disk.ephemeral and disk.blank and not disk.unrecognised_data
    return proved and (disk.model or None, disk.size_bytes) in wanted


def _unknown(found: Found) -> list[bool]:
    return [disk.unrecognised_data for disk in found.disks]


def _changed(claim: Claim, what: str) -> RefusedError:
    return RefusedError("storage.changed", f"{claim}: {what}. Nothing was changed. Run the plan again.", [what])

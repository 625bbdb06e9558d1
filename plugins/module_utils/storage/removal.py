"""The way back: what was mounted is unmounted and forgotten; what is on it goes only when that is said."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import replace

from ansible_collections.llmhost.core.plugins.module_utils.host.mounts import Mounts
from ansible_collections.llmhost.core.plugins.module_utils.storage import array
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import Found, RefusedError
from ansible_collections.llmhost.core.plugins.module_utils.storage.claimed import (
    WIPING,
    Identity,
    Record,
    same_uuid,
)
from ansible_collections.llmhost.core.plugins.module_utils.storage.fstab import Fstab
from ansible_collections.llmhost.core.plugins.module_utils.storage.machine import Steps
from ansible_collections.llmhost.core.plugins.module_utils.storage.mountpoint import unseal


def remove(steps: Steps, record: Record, remove_data: bool) -> None:
    """Take back what the record tells of; with ``remove_data`` the filesystem or directory, too."""
    if record.kind == "disk":
        _remove_disks(steps, record, remove_data)
    elif record.kind == "directory" and record.created and record.path and os.path.isdir(record.path):
        _remove_directory(steps, record.path, remove_data)
    if record.kind:
        steps.do(f"forget {record.path}", lambda: steps.host.state.write({}))


def _remove_disks(steps: Steps, record: Record, remove_data: bool) -> None:
    path = str(record.path)
    found = array.survey(steps.host, record.devices, record.raid)
    if remove_data:
        _refuse_unless_ours(record, found)
    here = Mounts.from_proc(steps.host.proc).at(path)
    if here and steps.host.read_disk(here.source).uuid != record.uuid:
        raise RefusedError("storage.path_taken", f"{path}: {here.source} is mounted there, which llmhost did not do.")
    if here:
        steps.do(f"unmount {path}", lambda: steps.run("storage.busy", ["umount", path]))
    before = Fstab.from_file(steps.host.fstab)
    after = before.without(lambda entry: entry.source == f"UUID={record.uuid}" and entry.target == path)
    if after != before:
        steps.do(f"take the line of {path} out of {steps.host.fstab}", lambda: after.save(steps.host.fstab))
        if not steps.check:
            steps.reload_systemd()
    if os.path.isdir(path):
        steps.do(f"free the mount point {path}", lambda: _free(path, record.created))
    for what, act in steps.host.tuner.remove() if steps.host.tuner else ():
        steps.do(what, act)
    name = array.name_file(steps.host, None, None)
    if found.array and not remove_data:
        running = found.array.path
        steps.do(f"stop the array {running}", lambda: array.stop(steps, running))
    if record.raid and not name.is_current():
        steps.do(f"take away {steps.host.arrays}", name.apply)
    if remove_data:
        devices = " and ".join(member.device for member in record.devices)
        steps.do(f"wipe {devices}", lambda: _wipe(steps, record))


def _refuse_unless_ours(record: Record, found: Found, lost: str = "Nothing was changed.") -> None:
    """Refuse to wipe anything but what was claimed; a wipe that was cut short may go on."""
    volume = found.array or found.disks[0]
    whole = same_uuid(volume.uuid, record.uuid)
    if record.raid and not found.array:
        whole = all(same_uuid(disk.uuid, record.array_uuid) for disk in found.disks)
    if record.phase == WIPING:
        uuid = record.array_uuid or record.uuid
        whole = all(not disk.filesystem or same_uuid(disk.uuid, uuid) for disk in found.disks)
    differ = any(
        member.identity.differences(Identity.from_disk(disk))
        for member, disk in zip(record.devices, found.disks, strict=True)
    )
    if differ or found.others or not whole:
        devices = " and ".join(map(str, record.devices))
        raise RefusedError(
            "storage.other_disk",
            f"{devices}: no longer what was claimed; nothing is wiped. {lost} Give it up without the data "
            "(remove_data: false), and look yourself at what is on it.",
        )


def _wipe(steps: Steps, record: Record) -> None:
    """Wipe the disks, announced so that a wipe that was cut short is known as ours."""
    with steps.host.hold([os.path.realpath(member.device) for member in record.devices]):
        found = array.survey(steps.host, record.devices, record.raid)
        _refuse_unless_ours(record, found, "The mount was taken back.")
        steps.host.state.write(replace(record, phase=WIPING).as_dict())
        if record.raid:
            for name in [found.array.path] if found.array else [f"/dev/{idle}" for idle in found.idle]:
                array.stop(steps, name)
        for disk in found.disks:
            # wipefs takes away the magic strings only; what is left would be data that no test recognises.
            steps.run("storage.busy", ["wipefs", "--all", disk.path])
            steps.host.erase(disk.path)


def _free(path: str, created: bool) -> None:
    unseal(path)
    if created:
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _remove_directory(steps: Steps, path: str, remove_data: bool) -> None:
    if remove_data:
        steps.do(f"delete {path} and what is in it", lambda: shutil.rmtree(path))
    elif not os.listdir(path):
        steps.do(f"delete the empty directory {path}", lambda: os.rmdir(path))

"""What is written on a block device, by the tests that read the device itself: wipefs, blkid and an exclusive look."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.files import parse_int
from ansible_collections.llmhost.core.plugins.module_utils.host.remains import find_remains
from ansible_collections.llmhost.core.plugins.module_utils.host.sampling import read_samples
from ansible_collections.llmhost.core.plugins.module_utils.host.uses import Uses, block_number

# The one status of ``blkid -p`` that speaks for a blank device. 0 is a find, 8 more than one.
BLKID_NOTHING_FOUND = 2
BLKID_AMBIVALENT = 8

_ATTEMPTS = 8
_PAUSE_SECONDS = 0.25

_KINDS = {
    "LVM1_member": "an LVM physical volume",
    "LVM2_member": "an LVM physical volume",
    "crypto_LUKS": "a LUKS container",
    "linux_raid_member": "a member of a Linux software RAID",
    "swap": "a swap area",
    "zfs_member": "a member of a ZFS pool",
}
_PARTITION_TABLES = frozenset({"PMBR", "atari", "bsd", "dos", "gpt", "mac", "minix", "sgi", "solaris", "sun", "ultrix"})


@dataclass(frozen=True)
class Signature:
    """A magic string that wipefs found, and where it found it first."""

    type: str
    offset: int

    @property
    def reason(self) -> str:
        """Why a device with this signature is not blank."""
        kind = "a partition table" if self.type in _PARTITION_TABLES else _KINDS.get(self.type, "data")
        return f"it holds {kind} (signature {self.type} at byte {self.offset})"


@dataclass(frozen=True)
class Blkid:
    """The answer of ``blkid -p``: its status, None when it could not look, and what it found if that is one thing."""

    status: int | None
    fields: Mapping[str, str]
    failure: str = ""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why a device with this answer is not proved blank."""
        if self.failure:
            return (self.failure,)
        if self.status == BLKID_NOTHING_FOUND:
            return ()
        if self.status == BLKID_AMBIVALENT:
            return ("blkid finds more than one kind of data on it",)
        return (f"blkid finds {self.fields.get('TYPE') or self.fields.get('PTTYPE') or 'something'} on it",)


@dataclass(frozen=True)
class Look:
    """What reading a device shows: why it cannot be had, or whether it holds anything but zeros where it was read.

    ``remains`` names what the data is part of, where a magic number tells it: a copy of a superblock that was wiped.
    """

    problem: str = ""
    data: bool = False
    remains: str = ""


def parse_wipefs(text: str) -> tuple[Signature, ...]:
    """Return the first signature of each type in the output of ``wipefs --json``; raise ValueError when it is none.

    One of each type is enough: a member of a ZFS pool holds hundreds.
    """
    try:
        document = json.loads(text)
    except RecursionError as reason:
        raise ValueError("it is nested too deeply") from reason
    entries = document.get("signatures") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("it holds no list of signatures")
    first: dict[str, Signature] = {}
    for signature in map(_signature, entries):
        first.setdefault(signature.type, signature)
    return tuple(first.values())


def _signature(entry: object) -> Signature:
    """Return one signature. An entry that nobody understands counts too: something is there."""
    kind = entry.get("type") if isinstance(entry, dict) else None
    offset = entry.get("offset") if isinstance(entry, dict) else None
    return Signature(
        type=kind if isinstance(kind, str) and kind else "unknown",
        offset=(parse_int(offset, 16) or 0) if isinstance(offset, str) else 0,
    )


def parse_blkid(text: str) -> dict[str, str]:
    """Return the fields in the output of ``blkid -p -o export``, which escapes odd characters by a backslash."""
    fields = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            fields[key] = re.sub(r"\\(.)", r"\1", value)
    return fields


def read_signatures(path: str, run_command: RunCommand) -> tuple[tuple[Signature, ...], str]:
    """Return what wipefs finds on ``path``, and why it could not look when it could not."""
    done = run_command(["wipefs", "--no-act", "--json", path])
    if done.rc != 0:
        return (), f"wipefs could not examine it: {done.complaint}"
    try:
        return parse_wipefs(done.stdout), ""
    except ValueError as reason:
        return (), f"the output of wipefs is not understood: {reason}"


def read_blkid(path: str, run_command: RunCommand) -> Blkid:
    """Return what blkid finds on ``path``. It ends with status 2 for a device that it cannot open too, and says so."""
    done = run_command(["blkid", "-p", "-o", "export", path])
    quiet = not done.stdout.strip() and not done.stderr.strip()
    if done.rc in (0, BLKID_AMBIVALENT) or (done.rc == BLKID_NOTHING_FOUND and quiet):
        return Blkid(done.rc, parse_blkid(done.stdout))
    return Blkid(None, {}, f"blkid could not examine it: {done.complaint}")


def look_exclusively(path: str, uses: Uses | None = None) -> Look:
    """Open ``path`` for exclusive reading and look at samples of it. Nothing is written.

    A mount, a swap area, an array or a volume claims its device in whatever namespace it lives: a container that was
    given a disk cannot see that the host has mounted it, but this open fails. Uses without a claim are looked up, now
    or, for many disks at once, in ``uses``.
    """
    number = block_number(path)
    if number and (users := uses.of(number) if uses else _users(number)):
        return Look("; ".join(users))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
    except OSError as reason:
        if reason.errno == errno.EBUSY:
            kinds = "a mount, swap area, array or volume, perhaps outside this container"
            return Look(f"the kernel has it in use ({kinds})")
        return Look(f"it cannot be opened: {reason.strerror}")
    except ValueError as reason:
        return Look(f"it cannot be opened: {reason}")
    try:
        return _look(descriptor)
    except OSError as reason:
        return Look(f"it cannot be read: {reason.strerror}")
    finally:
        os.close(descriptor)


def _users(number: str) -> tuple[str, ...]:
    """Return who has the device open and goes on having it: the programs of udev rules look at a disk and go away."""
    for _attempt in range(_ATTEMPTS):
        if not (users := Uses.read().of(number)):
            return ()
        time.sleep(_PAUSE_SECONDS)
    return users


def _look(descriptor: int) -> Look:
    data, remains = False, ""
    for offset, read in read_samples(descriptor):
        if read != bytes(len(read)):
            data, remains = True, remains or find_remains(offset, read)
        if remains:
            break
    return Look(data=data, remains=remains)

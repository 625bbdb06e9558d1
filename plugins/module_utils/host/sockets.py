"""The TCP sockets that listen, and who holds them."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.files import list_names, parse_int, read_text, read_word
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, info

_LISTEN = "0A"
_UNIT = re.compile(r".+\.(service|socket|scope)")


@dataclass(frozen=True)
class Entry:
    """One line of /proc/net/tcp: an address, a port, its owner, and the inode by which a process holds the socket."""

    address: str
    port: int
    uid: int | None
    inode: str


@dataclass(frozen=True)
class Listener:
    """A listening socket.

    Process and unit are None where the reader may not see them: root in a container may not look into the processes of
    other users. The user who opened the socket is told to everyone.
    """

    address: str
    port: int
    user: str | None
    process: str | None
    unit: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the plain dict that host_info returns."""
        return asdict(self)


def parse_tcp(text: str) -> list[Entry]:
    """Return the listening sockets in /proc/net/tcp or tcp6."""
    entries = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != _LISTEN:
            continue
        address, _, port = fields[1].partition(":")
        decoded, number = _address(address), parse_int(port, 16)
        if decoded and number is not None and 0 < number < 65536:
            entries.append(Entry(decoded, number, parse_int(fields[7]), fields[9]))
    return entries


def read_listeners(proc: str = "/proc", etc: str = "/etc") -> tuple[list[Listener], list[Finding]]:
    """Return the listening sockets, sorted by port and address."""
    tables = [read_text(proc, "net", name) for name in ("tcp", "tcp6")]
    findings = []
    if tables[0] is None:
        findings.append(
            info(
                "facts.sockets_unreadable",
                f"{proc}/net/tcp cannot be read, so it is not known which ports are taken.",
                "A port that is taken shows when the service starts.",
            )
        )
    entries = {entry for table in tables for entry in parse_tcp(table or "")}
    owners = find_owners({entry.inode for entry in entries}, proc)
    users = parse_passwd(read_text(etc, "passwd") or "")
    listeners = {
        Listener(entry.address, entry.port, users.get(entry.uid), *owners.get(entry.inode, (None, None)))
        for entry in entries
    }
    return sorted(listeners, key=lambda found: (found.port, found.address, found.process or "")), findings


def parse_passwd(text: str) -> dict[int | None, str]:
    """Return the name of each user id in /etc/passwd."""
    lines = (line.split(":") for line in text.splitlines())
    return {uid: fields[0] for fields in lines if len(fields) > 3 and (uid := parse_int(fields[2])) is not None}


def find_owners(inodes: set[str], proc: str = "/proc") -> dict[str, tuple[str | None, str | None]]:
    """Return the process and the unit that hold each socket, as far as they may be seen.

    Process 1 comes last: it keeps the sockets that it has handed to the services which answer on them.
    """
    owners: dict[str, tuple[str | None, str | None]] = {}
    pids = [name for name in list_names(proc) if name.isascii() and name.isdigit()]
    for pid in sorted(pids, key=lambda pid: (pid == "1", int(pid))):
        held = inodes.intersection(_sockets(proc, pid)) - owners.keys() if len(owners) < len(inodes) else set()
        if held:
            owner = (read_word(proc, pid, "comm") or None, parse_unit(read_text(proc, pid, "cgroup") or ""))
            owners.update(dict.fromkeys(held, owner))
    return owners


def parse_unit(text: str) -> str | None:
    """Return the systemd unit in a /proc/PID/cgroup: the last part of a group's path that is named like one."""
    for line in text.splitlines():
        for part in reversed(line.split(":", 2)[-1].split("/")):
            if _UNIT.fullmatch(part):
                return part
    return None


def _sockets(proc: str, pid: str) -> Iterator[str]:
    directory = os.path.join(proc, pid, "fd")
    for name in list_names(directory):
        try:
            target = os.readlink(os.path.join(directory, name))
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


def _address(text: str) -> str | None:
    """Return the address that the kernel writes as words of four bytes, the last byte of each word first."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    if len(raw) not in (4, 16):
        return None
    return str(ipaddress.ip_address(b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))))

"""An HTTP server of this host: does it answer, and is it the process that should?"""

from __future__ import annotations

import http.client
import json
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

LISTEN = "0A"
ANSWER_SECONDS = 5


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket."""

    address: IPv4Address | IPv6Address
    port: int
    uid: int

    def serves(self, host: IPv4Address | IPv6Address, port: int) -> bool:
        """Tell whether a connection to this host and port can end here."""
        return self.port == port and (self.address == host or self.address.is_unspecified)


@dataclass(frozen=True)
class Answer:
    """What the server said when it was asked for its health: a status, 0 for no answer at all."""

    status: int
    text: str = ""

    @property
    def is_ready(self) -> bool:
        """True when it takes requests."""
        return self.status == 200


def reachable(host: str) -> IPv4Address | IPv6Address:
    """Return the address at which a server that listens on ``host`` is asked from the host itself."""
    address = ip_address(host)
    if not address.is_unspecified:
        return address
    return ip_address("127.0.0.1" if address.version == 4 else "::1")


def health(host: str, port: int, path: str = "/health", timeout: float = ANSWER_SECONDS) -> Answer:
    """Ask once, directly: a proxy of the environment has no part in it."""
    connection = http.client.HTTPConnection(str(reachable(host)), port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return Answer(response.status, _message(response.read(4096)))
    except (OSError, http.client.HTTPException) as problem:
        return Answer(0, str(problem))
    finally:
        connection.close()


def listeners(proc: str = "/proc") -> Iterator[Listener]:
    """Give every listening TCP socket of the host's network namespace."""
    for name in ("tcp", "tcp6"):
        try:
            lines = (Path(proc) / "net" / name).read_text(encoding="ascii").splitlines()[1:]
        except (OSError, ValueError):
            continue
        for line in lines:
            words = line.split()
            if len(words) > 7 and words[3] == LISTEN:
                address, _colon, port = words[1].partition(":")
                yield Listener(_address(address), int(port, 16), int(words[7]))


def owner(host: str, port: int, proc: str = "/proc") -> int | None:
    """Return the user id of whoever listens there, or None when nobody does.

    The user is enough to know the process: a system user of llmhost runs one service. The process id would need the
    right to trace processes, which root lacks in many containers.
    """
    address = reachable(host)
    return next((one.uid for one in listeners(proc) if one.serves(address, port)), None)


def user_name(uid: int) -> str:
    """Return the name of a user, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def resident_bytes(pid: int, page_size: int, proc: str = "/proc") -> int:
    """Return how much of a process is in memory, which tells how far it has read its model; 0 when unknown."""
    try:
        return int((Path(proc) / str(pid) / "statm").read_text(encoding="ascii").split()[1]) * page_size
    except (OSError, ValueError, IndexError):
        return 0


def _address(text: str) -> IPv4Address | IPv6Address:
    """Read an address of /proc/net/tcp: 32-bit words in the byte order of the machine, which is little-endian here."""
    raw = bytes.fromhex(text)
    swapped = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    address = ip_address(swapped)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    # A socket on [::] takes IPv4 connections too, unless it was told not to; either way nobody else can bind there.
    return mapped or (ip_address("0.0.0.0") if address.version == 6 and address.is_unspecified else address)


def _message(body: bytes) -> str:
    try:
        data = json.loads(body)
    except ValueError:
        return ""
    error = data.get("error") if isinstance(data, dict) else None
    return str(error.get("message", "")) if isinstance(error, dict) else ""

"""Reach a port of the target's own loopback from the controller, however the target is reached.

Every connection to the local end starts one small relay on the target, which copies between its standard streams and
the port. That needs no port forwarding of an SSH server and no network to a container, only the means by which the
suite runs commands anyway.
"""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import threading
from types import TracebackType
from typing import IO, Any

from tests.acceptance.sudo import resolved

_RELAY = """\
import os, socket, sys, threading
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
s.settimeout(None)
def up():
    while True:
        data = os.read(0, 65536)
        if not data:
            break
        s.sendall(data)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while True:
    data = s.recv(65536)
    if not data:
        break
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]
"""


class UnreachableError(Exception):
    """The suite does not know how to carry a connection to this kind of target."""


def relay_command(backend: Any, address: str, port: int) -> list[str]:
    """Return the command that, on the controller, speaks with the port of the target through its standard streams."""
    found = resolved(backend)
    if found is None:
        raise UnreachableError(f"{backend.host}: the acceptance suite reaches hosts by ssh, docker or local.")
    relay = ["python3", "-c", _RELAY, address, str(port)]
    kind = found.NAME
    if kind == "local":
        return relay
    if kind in ("docker", "podman"):
        return [kind, "exec", "--interactive", found.name, *relay]
    if kind in ("ssh", "safe-ssh"):
        words, values = found._build_ssh_command(shlex.join(relay))
        return shlex.split(found.quote(" ".join(words), *values))
    raise UnreachableError(f"{found.hostname}: reached by {kind}; the acceptance suite knows ssh, docker and local.")


class Tunnel:
    """A port on the controller that stands for a port on the target; use it in a ``with`` statement."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._relays: list[subprocess.Popen[bytes]] = []
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Tunnel:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for relay in self._relays:
            relay.terminate()
            relay.wait(timeout=10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # the listener was closed: the suite has ended
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            relay = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
            self._relays.append(relay)
            threading.Thread(target=_upstream, args=(connection, relay.stdin), daemon=True).start()
            threading.Thread(target=_downstream, args=(connection, relay.stdout), daemon=True).start()


def _upstream(connection: socket.socket, stdin: IO[bytes]) -> None:
    """Copy from the client to the relay until the client has said all."""
    try:
        while data := connection.recv(65536):
            stdin.write(data)
    except OSError:
        pass
    finally:
        stdin.close()


def _downstream(connection: socket.socket, stdout: IO[bytes]) -> None:
    """Copy from the relay to the client until the server has said all."""
    try:
        while data := stdout.read(65536):
            connection.sendall(data)
    except OSError:
        pass
    finally:
        stdout.close()
        _hang_up(connection)


def _hang_up(connection: socket.socket) -> None:
    """Wake the other copying thread as well: closing alone would leave it waiting, and the client with it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()

"""Tell systemd how a unit is, in words that ``systemctl status`` shows."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*lines: str) -> None:
    """Send lines such as ``READY=1`` or ``STATUS=…``; without systemd, or when it does not listen, nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto("\n".join(lines).encode(), name)


def say(text: str) -> None:
    """Say one sentence: in the journal, and as the status of the unit."""
    print(text, flush=True)
    notify(f"STATUS={text}")

"""A password for sudo on the host: it goes through standard input, never into a command line or a file."""

from __future__ import annotations

import os
import subprocess
from typing import Any

# The number of a pipe that this process inherited; whoever starts the suite has written the password into it.
PIPE = "LLMHOST_BECOME_PASSWORD_FD"


def inherited_password() -> str:
    """Return the password that came through the pipe; empty when there is none. It can be read once."""
    number = os.environ.pop(PIPE, "")
    if not number:
        return ""
    with os.fdopen(int(number), encoding="utf-8") as pipe:
        return pipe.read()


def resolved(backend: Any) -> Any:
    """Return the backend that runs the commands: that of ansible:// only finds the real one, by the inventory."""
    if not hasattr(backend, "ansible_runner"):
        return backend
    options = {"ssh_config": backend.ssh_config, "ssh_identity_file": backend.ssh_identity_file}
    host = backend.ansible_runner.get_host(backend.host, **options)
    return None if host is None else host.backend


class SudoPassword:
    """Makes a testinfra backend give the password to sudo, which asks for it before each command."""

    def __init__(self, backend: Any, password: str) -> None:
        self._backend = backend
        self._password = password
        backend.get_sudo_command = self.command
        backend.run_local = self.run

    def command(self, command: str, user: str | None) -> str:
        """Return what runs ``command`` by sudo.

        Credentials that sudo remembers are left out of it, or it would sometimes read the password and sometimes not;
        where it needs none, the command must not find it.
        """
        inner = self._backend.quote("/bin/sh -c %s", f"exec </dev/null; {command}")
        return f"sudo -S -k -p '' {'' if user is None else self._backend.quote('-u %s ', user)}{inner}"

    def run(self, command: str, *words: str) -> Any:
        """Run a command on the controller, such as ssh, and hand it the password."""
        line = self._backend.encode(self._backend.quote(command, *words))
        done = subprocess.run(line, shell=True, input=f"{self._password}\n".encode(), capture_output=True, check=False)
        return self._backend.result(done.returncode, line, done.stdout, done.stderr)

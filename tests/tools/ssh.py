"""One connection to a machine over SSH, kept open: under emulation each new one costs seconds."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

OPTIONS = {
    "StrictHostKeyChecking": "no",
    "UserKnownHostsFile": "/dev/null",
    "IdentitiesOnly": "yes",
    "BatchMode": "yes",
    "LogLevel": "ERROR",
    "ServerAliveInterval": "30",
    "ServerAliveCountMax": "10",
}


class SshError(RuntimeError):
    """A command on the machine failed, or it cannot be reached; the text says why."""


class Ssh:
    """A loopback port behind which a machine listens."""

    def __init__(self, port: int, key: Path, user: str = "root") -> None:
        self.port = port
        self.key = key
        self.user = user
        # A socket's path is short by rule, and a checkout's may be long.
        self._folder = Path(tempfile.mkdtemp(prefix="llmhost-ssh-"))
        options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
        self._options = [*options, "-o", f"ControlPath={self._folder}/master", "-i", str(key)]
        self._to = ["-p", str(port), f"{user}@127.0.0.1"]

    def open(self, seconds: float, alive: Callable[[], bool] = lambda: True) -> None:
        """Wait until the machine takes the connection, and keep it; ``alive`` is asked whether waiting is in vain."""
        end = time.monotonic() + seconds
        self.close()
        while True:
            # What stays in the background would hold a pipe open.
            command = ["ssh", "-M", "-N", "-f", *self._options, "-o", "ConnectTimeout=20", *self._to]
            with (self._folder / "log").open("w") as log:
                done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            if done.returncode == 0:
                return
            if not alive():
                raise SshError("the machine ended before it took a connection")
            if time.monotonic() > end:
                reason = (self._folder / "log").read_text().strip()
                raise SshError(f"no SSH connection to port {self.port} within {seconds:.0f} s: {reason}")
            time.sleep(0.3)

    def close(self) -> None:
        """Let go of the connection, if there is one."""
        if (self._folder / "master").exists():
            subprocess.run(["ssh", "-O", "exit", *self._options, *self._to], check=False, capture_output=True)
            (self._folder / "master").unlink(missing_ok=True)

    def forget(self) -> None:
        """Let go of the connection and of what it needed."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(
        self, *argv: str, check: bool = True, stdin: str | bytes | None = None, timeout: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the machine."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            ["ssh", *self._options, *self._to, shlex.join(argv)],
            check=False,
            capture_output=True,
            input=given or b"",
            timeout=timeout,
        )
        out, error = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check and done.returncode != 0:
            raise SshError(f"{shlex.join(argv)}: exit {done.returncode}\n{out}{error}".rstrip())
        return subprocess.CompletedProcess(argv, done.returncode, out, error)

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a command on the machine and do not wait for it."""
        command = ["ssh", *self._options, *self._to, shlex.join(argv)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def config(self, name: str) -> str:
        """Return the text of a configuration that lets ``ssh -F FILE NAME`` in."""
        lines = {"HostName": "127.0.0.1", "Port": self.port, "User": self.user, "IdentityFile": self.key, **OPTIONS}
        return f"Host {name}\n" + "".join(f"  {key} {value}\n" for key, value in lines.items())

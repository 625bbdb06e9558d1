"""Run a program on the target and say what came of it, whatever it was."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple

# The status that shells give for a program that is not there.
NOT_FOUND = 127
TIMED_OUT = 124

_TIMEOUT_SECONDS = 15
# It wakes every GPU that nothing keeps awake, which takes some seconds for each.
_SLOW = {"nvidia-smi": 90}
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class CommandResult(NamedTuple):
    """How a program ended and what it wrote."""

    rc: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """The last line that the program wrote on its error output, or its status when it wrote none."""
        lines = self.stderr.strip().splitlines()
        return lines[-1].strip() if lines else f"status {self.rc}"


RunCommand = Callable[[Sequence[str]], CommandResult]


def run_command(argv: Sequence[str]) -> CommandResult:
    """Run ``argv`` without a shell, in the C locale, and return its result.

    A program that is missing, may not be run or does not end in time is a result too (status 127 or 124): a tool that a
    host lacks is a fact about that host. ``AnsibleModule.run_command`` would end the module there.
    """
    # An empty PATH would put the current directory in front.
    path = ":".join(filter(None, (os.environ.get("PATH"), _SYSTEM_PATH)))
    seconds = seconds_for(argv)
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "PATH": path}
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            check=False,
            encoding="utf-8",
            env=environment,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return CommandResult(TIMED_OUT, "", f"{argv[0]} did not end within {seconds} s")
    except (OSError, ValueError) as reason:
        return CommandResult(NOT_FOUND, "", f"{argv[0]} cannot be run: {reason}")
    return CommandResult(done.returncode, done.stdout, done.stderr)


def seconds_for(argv: Sequence[str]) -> int:
    """Return how long a program may take."""
    return _SLOW.get(os.path.basename(argv[0]), _TIMEOUT_SECONDS)

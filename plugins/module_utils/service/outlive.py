"""Run a program that must not be cut off, dpkg say: it goes on when whoever started it is killed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence

from ansible_collections.llmhost.core.plugins.module_utils.command import NOT_FOUND, CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.service.packages import ENVIRONMENT


def run(argv: Sequence[str]) -> CommandResult:
    """Run a program for as long as it takes, with nobody to ask; its error output is a part of its output.

    What it writes goes to a file: a pipe that nobody reads any more would end it.
    """
    environment = {**os.environ, **ENVIRONMENT, "LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    with tempfile.TemporaryFile() as out:
        try:
            rc = subprocess.call(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except OSError as reason:
            return CommandResult(NOT_FOUND, "", f"{argv[0]} cannot be run: {reason}")
        out.seek(0)
        return CommandResult(rc, out.read().decode(errors="replace"), "")

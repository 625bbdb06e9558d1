"""A lock outlives the run that was killed, for as long as its program runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.lock import LockedError, hold

RUN = """
import sys
from ansible_collections.llmhost.core.plugins.module_utils.lock import hold
with hold("test", 0, sys.argv[1]) as lock:
    print("locked", flush=True)
    lock.run(["sleep", sys.argv[2]])
"""


def test_one_at_a_time(tmp_path: Path) -> None:
    with (
        hold("test", 0, str(tmp_path)),
        pytest.raises(LockedError, match="another run"),
        hold("test", 0, str(tmp_path)),
    ):
        pytest.fail("both hold it")
    with hold("test", 0, str(tmp_path)) as lock:
        assert lock.run(["echo", "free"]).stdout == "free\n"
        assert lock.run(["no-such-program"]).rc == 127


def test_a_program_of_a_killed_run_keeps_the_lock(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path), "1"], stdout=subprocess.PIPE, env=environment, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "locked\n"
        while not Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text():
            pass
        run.send_signal(signal.SIGKILL)
    with pytest.raises(LockedError), hold("test", 0, str(tmp_path)):
        pytest.fail("the program still runs")
    with hold("test", 5, str(tmp_path)):
        pass

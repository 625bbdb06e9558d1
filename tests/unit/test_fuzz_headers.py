"""A few rounds of the fuzz target; it runs for as long as one likes from the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_spoiled_headers_are_read_or_refused_clearly() -> None:
    # In a process of its own, since it limits its memory.
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'collections'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.tools.fuzz_headers", "--seed", "1", "--rounds", "600"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "gguf: read" in done.stdout
    assert "config: model.invalid" in done.stdout

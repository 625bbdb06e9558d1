"""The repository of small random models that demo and molecule serve: made once, kept in .cache by what makes it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tests.tools.bed import CACHE, CHECKOUT

REPO = "llmhost/Nonsense-Demo-GGUF"
QUANTIZATION = "Q8_0"
SOURCES = ("make_model.py", "nonsense_tokenizer.py", "demo_model.py")


def models_directory() -> Path:
    """A directory for a hub to serve (org/repo/file…)."""
    digest = hashlib.sha256(b"".join((CHECKOUT / "tests" / "tools" / name).read_bytes() for name in SOURCES))
    directory = CACHE / "models" / digest.hexdigest()[:12]
    if not directory.is_dir():
        unfinished = directory.with_suffix(f".{os.getpid()}")
        command = [
            sys.executable,
            "-m",
            "tests.tools.make_model",
            str(unfinished),
            "--repo",
            REPO,
            "--quant",
            QUANTIZATION,
        ]
        subprocess.run(command, check=True, cwd=CHECKOUT, stdout=subprocess.DEVNULL)
        unfinished.rename(directory)
    return directory


if __name__ == "__main__":
    print(models_directory())

"""Compiles the CUDA driver and the NCCL without GPUs that tests load in place of NVIDIA's."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent / "fake_cuda"


def compiled(name: str, folder: Path) -> Path:
    """Compile ``libcuda`` or ``libnccl`` and return where it is."""
    library = folder / f"{name}.so"
    # C of an age that asks for nothing newer than the libc of Ubuntu 22.04.
    command = ["cc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, str(SOURCES / f"{name}.c")], check=True, capture_output=True)
    return library

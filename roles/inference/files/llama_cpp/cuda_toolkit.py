"""One CUDA toolkit as cmake expects it, from a compiler and libraries that lie in different places."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

DRIVER_CALL = re.compile(r"\b(cu[A-Z][a-z]\w+)\s*\(")
NO_DEVICE = 100
"""What the driver answers where there is no GPU (CUDA_ERROR_NO_DEVICE)."""


def merged(compiler: Path, libraries: Path, tree: Path) -> Path:
    """Return the root of a whole toolkit: the compiler's own if it is one, else links below ``tree`` to both parts."""
    if (compiler / "lib64").exists():
        return compiler
    shutil.rmtree(tree, ignore_errors=True)
    for part in (compiler, libraries):
        shutil.copytree(part, tree, copy_function=_link, dirs_exist_ok=True)
    for library in tree.glob("lib/lib*.so.*"):
        # Wheels have libraries to run with; to link with them takes the name without a version.
        _link(library.name, library.with_name(library.name.partition(".so")[0] + ".so"))
    (tree / "lib64").symlink_to("lib")
    return tree


def stand_in(toolkit: Path, sources: Path, directory: Path) -> Path:
    """Return a directory with a ``libcuda.so.1`` to link with and to start with, on a host that has no driver.

    NVIDIA's own stand-in is in its packages and not in its wheels; then one is made that has what ``sources`` call.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    stub = toolkit / "lib64/stubs/libcuda.so"
    if not stub.exists():
        code = directory / "libcuda.c"
        calls = driver_calls(path.read_text(errors="replace") for path in sources.rglob("*.cu*"))
        code.write_text("".join(f"int {name}(void) {{ return {NO_DEVICE}; }}\n" for name in calls))
        stub.parent.mkdir(exist_ok=True)
        command = ["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(stub), str(code)]
        subprocess.run(command, check=True)
    (directory / "libcuda.so.1").symlink_to(stub)
    return directory


def driver_calls(texts: Iterable[str]) -> list[str]:
    """Return the functions of the driver that sources call by name."""
    return sorted({name for text in texts for name in DRIVER_CALL.findall(text)})


def cmake_flags(toolkit: Path, prefix_map: str) -> list[str]:
    """Return what tells cmake where the toolkit is."""
    return [
        f"-DCUDAToolkit_ROOT={toolkit}",
        f"-DCMAKE_CUDA_COMPILER={toolkit}/bin/nvcc",
        f"-DCMAKE_CUDA_FLAGS=-Xcompiler={prefix_map}",
    ]


def version(toolkit: Path) -> str:
    """Return what the compiler calls itself."""
    said = subprocess.run([str(toolkit / "bin/nvcc"), "--version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[-1]


def _link(source: str | Path, target: str | Path) -> None:
    # Both parts may hold the same file.
    if not os.path.lexists(target):
        os.symlink(source, target)

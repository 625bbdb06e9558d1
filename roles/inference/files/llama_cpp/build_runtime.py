"""Build llama.cpp on the host and pack it into an archive that every host of its kind can install.

Runs as the unit llmhost-runtime-build, as a user without rights. Only the fetch uses the network. A build that was
killed goes on where it stopped: the sources are unpacked in one step, and ninja redoes what had not ended.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cuda_toolkit

HERE = Path(__file__).resolve().parent
PROGRAMS = ("llama-server", "llama-bench", "llama-fit-params")

# What one compiler process of the larger files may need; fewer of them run on a host with little memory.
BYTES_PER_COMPILER = 3 * 2**29
# --no-build-isolation: pip asks scikit_build_core beside this file for the metadata, and runs nothing of the archive.
PIP_OPTIONS = ("--no-deps", "--no-build-isolation", "--no-binary=:all:", "--require-hashes", "--no-cache-dir")
STATUS = re.compile(r"\[(\d+)/(\d+)\] ")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class BuildError(Exception):
    """The build cannot go on; ``remedy`` says what a person can do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class Recipe:
    """What to build: the archive's name, the source and its checksum, the flags of the plan.

    ``cuda`` are the directories of CUDA's compiler and libraries; none for a build without CUDA.
    """

    archive: str
    version: str
    sha256: str
    cmake: dict[str, str]
    cuda: tuple[Path, ...] = ()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recipe:
        """Read the recipe that the role wrote."""
        flags = {str(name): str(value) for name, value in data["cmake"].items()}
        cuda = tuple(Path(path) for path in data.get("cuda", ()))
        return cls(data["archive"], data["version"], data["sha256"], flags, cuda)

    @property
    def requirement(self) -> str:
        """The line by which pip finds the source archive and proves it."""
        return f"llama-cpp-python=={self.version} --hash=sha256:{self.sha256}\n"


@dataclass
class Reporter:
    """Writes how far the build is to where llmhost.core.job reads it."""

    directory: Path
    _stage: str = ""
    _since: float = field(default=0.0)

    def progress(self, stage: str, done: int = 0, total: int = 0, message: str = "") -> None:
        """Report, at most once a second within a stage."""
        now = time.time()
        if stage == self._stage and now - self._since < 1 and done < total:
            return
        self._stage, self._since = stage, now
        report = {"stage": stage, "done": done, "total": total, "unit": "steps", "message": message, "updated": now}
        write_json(self.directory / "progress.json", report)

    def result(self, result: dict[str, Any]) -> None:
        """Say how the build ended."""
        write_json(self.directory / "result.json", result)


class Builder:
    """Makes one archive in one directory."""

    def __init__(self, recipe: Recipe, work: Path, reporter: Reporter) -> None:
        self.recipe = recipe
        self.work = work
        self.reporter = reporter
        self.package = work / f"{recipe.archive}.tar.gz"
        self._tree = work / recipe.archive
        self._cuda: Path | None = None

    def run(self) -> dict[str, Any]:
        """Build unless it is done; return what was made."""
        self._clear_others()
        if not self._is_built():
            self._begin()
            self._sources()
            self._configure()
            self._compile()
            self._pack()
        shutil.rmtree(self._tree, ignore_errors=True)
        return {"package": str(self.package), "sha256": sha256(self.package), "size_bytes": self.package.stat().st_size}

    def _clear_others(self) -> None:
        for path in self.work.iterdir():
            if not path.name.startswith(self.recipe.archive):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _is_built(self) -> bool:
        mark = self.package.with_name(self.package.name + ".sha256")
        return self.package.exists() and mark.exists() and mark.read_text().split()[:1] == [sha256(self.package)]

    def _begin(self) -> None:
        """Go on from what a killed build has left, unless there was a boot: a power cut may have emptied any file."""
        mark, boot = self._tree / "boot_id", BOOT_ID.read_text()
        if not mark.exists() or mark.read_text() != boot:
            shutil.rmtree(self._tree, ignore_errors=True)
        self._tree.mkdir(exist_ok=True)
        mark.write_text(boot)

    def _sources(self) -> None:
        sources = self._tree / "src"
        if sources.exists():
            return
        self.reporter.progress("fetch", message="sources of llama.cpp")
        requirement = self._tree / "requirements.txt"
        requirement.write_text(self.recipe.requirement)
        venv, sdist = self._tree / "venv", self._tree / "sdist"
        self._call([sys.executable, "-m", "venv", str(venv)], "making a virtual environment", "Install python3-venv.")
        self._call(
            [str(venv / "bin/pip"), "download", *PIP_OPTIONS, f"--requirement={requirement}", f"--dest={sdist}"],
            "fetching the sources",
            "Check that the host reaches the Python package index (llmhost_proxy, llmhost_ca_certificates, pip.conf).",
            {**os.environ, "PYTHONPATH": str(HERE)},
        )
        unpacked = self._tree / "unpacking"
        shutil.rmtree(unpacked, ignore_errors=True)
        unpack_folder(next(sdist.iterdir()), "vendor/llama.cpp", unpacked)
        unpacked.rename(sources)

    def _configure(self) -> None:
        self.reporter.progress("configure")
        flags = [f"-D{name}={value}" for name, value in sorted(self.recipe.cmake.items())]
        # The tree's own path must not enter the programs, or two builds of the same sources would differ.
        prefix_map = f"-ffile-prefix-map={self._tree}=."
        flags += [f"-DCMAKE_C_FLAGS={prefix_map}", f"-DCMAKE_CXX_FLAGS={prefix_map}"]
        self._cuda = self._toolkit() if self.recipe.cuda else None
        if self._cuda:
            flags += cuda_toolkit.cmake_flags(self._cuda, prefix_map)
        command = ["cmake", "-G", "Ninja", "-S", str(self._tree / "src"), "-B", str(self._tree / "build"), *flags]
        self._call(command, "configuring the build", "The lines above name what cmake misses.", plain_environment())

    def _toolkit(self) -> Path:
        try:
            toolkit = cuda_toolkit.merged(*self.recipe.cuda, self._tree / "cuda")
            cuda_toolkit.stand_in(toolkit, self._tree / "src/ggml/src/ggml-cuda", self._tree / "driver")
        except (OSError, subprocess.CalledProcessError) as failure:
            where = ", ".join(map(str, self.recipe.cuda))
            raise BuildError(
                f"no CUDA toolkit can be made of {where}: {failure}", "Run the role cuda again."
            ) from failure
        return toolkit

    def _compile(self) -> None:
        command = ["ninja", "-C", str(self._tree / "build"), f"-j{compilers()}", *PROGRAMS]
        environment = {**plain_environment(), "NINJA_STATUS": "[%f/%t] "}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                status = STATUS.match(line)
                if status:
                    self.reporter.progress("compile", int(status[1]), int(status[2]))
                else:
                    print(line, end="", flush=True)
        if process.returncode != 0:
            raise BuildError(
                f"compiling llama.cpp {self.recipe.version} failed",
                "The last lines of the journal hold the compiler's words; 'Killed' among them means too little memory.",
            )

    def _pack(self) -> None:
        self.reporter.progress("pack")
        programs = {name: self._tree / "build/bin" / name for name in PROGRAMS}
        for path in programs.values():
            self._call(["strip", str(path)], "stripping the programs", "Install binutils.")
        # Also proves that this processor has all that the flags promise, and that the libraries of CUDA are found.
        # Builds run where no GPU is to be seen, so the driver has a stand-in.
        environment = {**os.environ, "LD_LIBRARY_PATH": str(self._tree / "driver")} if self._cuda else None
        start = [str(programs["llama-server"]), "--version"]
        self._call(start, "starting the server", "Check the plan's cmake flags.", environment)
        files = {f"bin/{name}": path.read_bytes() for name, path in programs.items()}
        write_package(self.package, self.recipe.archive, manifest(self.recipe, files, self._cuda), files)

    def _call(self, command: list[str], deed: str, remedy: str, environment: dict[str, str] | None = None) -> None:
        done = subprocess.run(command, env=environment, check=False)
        if done.returncode != 0:
            raise BuildError(f"{deed} failed (exit status {done.returncode})", remedy)


def manifest(recipe: Recipe, files: dict[str, bytes], toolkit: Path | None) -> dict[str, Any]:
    """Say what is in the archive and how it was made; nothing in it depends on the time."""
    compiler = subprocess.run(["c++", "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "schema": 1,
        "archive": recipe.archive,
        "provider": "llama_cpp",
        "version": recipe.version,
        "source_sha256": recipe.sha256,
        "cmake": recipe.cmake,
        "compiler": compiler.splitlines()[0],
        "glibc": platform.libc_ver()[1],
        **({"cuda": cuda_toolkit.version(toolkit)} if toolkit else {}),
        "files": {
            name: {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
    }


def write_package(package: Path, archive: str, described: dict[str, Any], files: dict[str, bytes]) -> None:
    """Write the archive and then its checksum, each in one step; the same input gives the same bytes."""
    members = {"manifest.json": json.dumps(described, indent=2, sort_keys=True).encode() + b"\n", **files}
    temporary = package.with_suffix(".part")
    with (
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, data in sorted(members.items()):
            info = tarfile.TarInfo(f"{archive}/{name}")
            info.size, info.mode = len(data), 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(info, io.BytesIO(data))
    sync(temporary)
    temporary.rename(package)
    temporary.write_text(f"{sha256(package)}  {package.name}\n")
    sync(temporary)
    temporary.rename(package.with_name(package.name + ".sha256"))
    sync(package.parent)


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unpack_folder(sdist: Path, folder: str, target: Path) -> None:
    """Unpack one folder of a source archive; links and odd names are left out."""
    with tarfile.open(sdist) as tar:
        for member, name in members_below(tar, folder):
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(member)
            assert source is not None
            with place.open("wb") as file:
                shutil.copyfileobj(source, file)
            place.chmod(0o755 if member.mode & 0o100 else 0o644)
            os.utime(place, (member.mtime, member.mtime))


def members_below(tar: tarfile.TarFile, folder: str) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """Give the regular files below a folder of the archive's single top directory, and their names there."""
    for member in tar:
        _top, _slash, path = member.name.partition("/")
        name = path.removeprefix(f"{folder}/")
        if member.isreg() and name != path and ".." not in name.split("/") and not name.startswith("/"):
            yield member, name


def compilers() -> int:
    """Return how many compilers may run at once: one for each processor, fewer when memory is short."""
    free = int(re.findall(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[0]) * 1024
    return max(1, min(len(os.sched_getaffinity(0)), free // BYTES_PER_COMPILER))


def plain_environment() -> dict[str, str]:
    """Return an environment for the compiler: no proxy, no credentials, the same on every host."""
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TMPDIR": os.environ.get("TMPDIR", "/tmp")}


def sha256(path: Path) -> str:
    """Return the checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a file in one step: whoever reads it sees the old or the new one."""
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(data))
    temporary.rename(path)


def main() -> int:
    """Build by the recipe beside this file, in the directories that systemd gives."""
    recipe = Recipe.from_dict(json.loads((HERE / "recipe.json").read_text()))
    reporter = Reporter(Path(os.environ["RUNTIME_DIRECTORY"]))
    try:
        reporter.result(Builder(recipe, Path(os.environ["CACHE_DIRECTORY"]), reporter).run())
    except BuildError as failure:
        reporter.result({"message": str(failure), "remedy": failure.remedy})
        return 1
    except OSError as failure:
        where = f" ({failure.filename})" if failure.filename else ""
        reporter.result({"message": f"{failure.strerror}{where}", "remedy": "Free disk space or repair what it names."})
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())

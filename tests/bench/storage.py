#!/usr/bin/env python3
"""`make bench-storage`: how fast a model loads from a disk, beside what the disk itself gives, for each way to load.

A start is timed from the call of the server to the first good answer of /health: once with the file's pages thrown out
of the page cache (cold) and once with all of them in it (cached). The difference is what the disk costs, and is held
against the fastest plain read of the same cold file. What is measured takes turns in every round, because disks of
rented machines are rarely as fast twice; medians are shown.

A ratio over 1 says that reading and computing overlap. `dio` goes around the page cache, so its start without a disk
is that of `none`, which copies the same bytes. `share` is the plain read's time in that of the whole cold start. As in
the service's unit, a reader brings the file into the page cache beside the server; `alone` is without it.

It needs Python 3.10 and no package, but to make a model (as `make bench-storage` does), so it runs on a host, too:
`python3 storage.py --server /opt/llmhost/…/llama-server --reader /opt/llmhost/boot/llmhost.pyz --model FILE`.
"""

from __future__ import annotations

import argparse
import ctypes
import http.client
import mmap
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache"
MIB, GIB = 1 << 20, 1 << 30
ALONE = " alone"
MODES = ("mmap", "mmap alone", "none", "none alone", "dio")
TARGET = 0.8
_TRIES = 5
DEADLINE_SECONDS = 900.0
# As the plan sets them, but for what has nothing to do with loading.
ARGUMENTS = "--host 127.0.0.1 --ctx-size 512 --parallel 1 --fit off --no-ui --offline --cache-ram 0"


@dataclass(frozen=True)
class CachedFile:
    """A file, and which of its pages are in memory."""

    path: Path

    @property
    def size_bytes(self) -> int:
        """Its length."""
        return self.path.stat().st_size

    def forget(self) -> None:
        """Throw its pages out; exits where the kernel keeps them, for then nothing would be measured."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if (left := self.resident()) > 0.01:
            sys.exit(f"{self.path}: {left:.0%} of its pages stay in memory, so it cannot be read cold here.")

    def remember(self) -> None:
        """Read it, so that all of it is in memory; exits where there is no room."""
        buffer = bytearray(4 * MIB)
        for _ in range(_TRIES):  # a page that is read again counts as wanted, and stays before those of others
            with self.path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass
            if (held := self.resident()) > 0.99:
                return
        sys.exit(f"{self.path}: only {held:.0%} of it stays in memory. Take a smaller model, or free memory.")

    def resident(self) -> float:
        """Return the share of its pages that are in memory, as mincore(2) tells."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
        libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        length, pages = self.size_bytes, -(-self.size_bytes // mmap.PAGESIZE)
        found = ctypes.create_string_buffer(pages)
        with self.path.open("rb") as file:
            address = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
            try:
                if libc.mincore(address, length, found):
                    sys.exit(f"mincore: {os.strerror(ctypes.get_errno())}")
            finally:
                libc.munmap(address, length)
        return found.raw[:pages].count(b"\1") / pages


@dataclass(frozen=True)
class Server:
    """The program that loads the model."""

    program: Path
    reader: Path
    model: Path
    arguments: Sequence[str]

    def start(self, mode: str) -> float:
        """Return the seconds from the call to the first good answer."""
        port, path = _free_port(), mode.removesuffix(ALONE)
        command = [str(self.program), "--model", str(self.model), "--load-mode", path, "--port", str(port)]
        with tempfile.TemporaryFile("w+") as log:
            began = time.perf_counter()
            server = subprocess.Popen([*command, *self.arguments], stdout=log, stderr=subprocess.STDOUT)
            if mode in ("mmap", "none"):
                subprocess.run([sys.executable, str(self.reader), "read", str(self.model)], check=True)
            try:
                while not _is_ready(port):
                    if server.poll() is not None or time.perf_counter() - began > DEADLINE_SECONDS:
                        log.seek(0)
                        sys.exit(f"{' '.join(command)} does not serve:\n{log.read()[-2000:]}")
                    time.sleep(0.01)
                return time.perf_counter() - began
            finally:
                server.kill()
                server.wait()


@dataclass
class Times:
    """What was measured, by name: plain reads, and the two starts of each way to load."""

    reads: dict[str, list[float]] = field(default_factory=dict)
    cold: dict[str, list[float]] = field(default_factory=dict)
    cached: dict[str, list[float]] = field(default_factory=dict)

    def disk(self) -> tuple[str, float]:
        """Return the fastest plain read: its name and its seconds."""
        return min(((name, statistics.median(all_of)) for name, all_of in self.reads.items()), key=lambda one: one[1])

    def row(self, mode: str) -> Row:
        """Return the figures of one way to load."""
        path = mode.removesuffix(ALONE).replace("dio", "none")
        without = statistics.median(self.cached[path + ALONE])
        return Row(mode, self.disk()[1], statistics.median(self.cold[mode]), without)


@dataclass(frozen=True)
class Row:
    """One way to load: seconds of the plain read, of a cold start, and of one without a disk."""

    mode: str
    disk: float
    cold: float
    cached: float

    @property
    def ratio(self) -> float:
        """The plain read's time by what the disk adds to a start."""
        return self.disk / max(self.cold - self.cached, 1e-9)

    @property
    def share(self) -> float:
        """The plain read's time by that of the whole start."""
        return self.disk / self.cold

    def __str__(self) -> str:
        seconds = f"{self.cold:7.2f} s  {self.cached:7.2f} s  {self.cold - self.cached:7.2f} s"
        return f"{self.mode:10} {seconds}  {self.ratio:5.2f}  {self.share:5.2f}"


HEADING = "path          cold start     cached   the disk  ratio  share"


def readers(path: Path) -> dict[str, list[str]]:
    """Return the commands that read a file plainly, of which the fastest is what the disk can do."""
    dd = ["dd", f"if={path}", "of=/dev/null", "status=none"]
    found = {"dd": [*dd, "bs=1M"], "dd, direct": [*dd, "bs=64M", "iflag=direct"]}
    if shutil.which("fio"):
        fio = f"fio --name=read --readonly --rw=read --bs=4M --direct=1 --ioengine=libaio --iodepth=8 --filename={path}"
        found["fio, direct"] = fio.split()
    return found


def measure(server: Server, modes: Sequence[str], rounds: int) -> Times:
    """Take turns: every plain read and every start once in each round."""
    times, file = Times(), CachedFile(server.model)
    paths = {mode.removesuffix(ALONE).replace("dio", "none") for mode in modes}
    for _ in range(rounds):
        for name, command in readers(server.model).items():
            file.forget()
            times.reads.setdefault(name, []).append(_timed(command))
        for mode in modes:
            file.forget()
            times.cold.setdefault(mode, []).append(server.start(mode))
        file.remember()
        for path in sorted(paths):
            times.cached.setdefault(path + ALONE, []).append(server.start(path + ALONE))
    return times


def show(times: Times, modes: Sequence[str], size_bytes: int) -> list[Row]:
    """Print the table; return its rows."""
    reads = (f"{name} {size_bytes / statistics.median(all_of) / 1e9:.2f} GB/s" for name, all_of in times.reads.items())
    rows = [times.row(mode) for mode in modes]
    print(f"{size_bytes / 1e9:.2f} GB, plain reads: {', '.join(reads)}")
    print("\n".join([HEADING, *map(str, rows)]), flush=True)
    return rows


@contextmanager
def read_ahead(path: Path, kib: int | None) -> Iterator[None]:
    """Set the read-ahead of the filesystem's device for a while; None leaves it alone."""
    if kib is None:
        yield
        return
    number = path.stat().st_dev
    knob = Path(f"/sys/class/bdi/{os.major(number)}:{os.minor(number)}/read_ahead_kb")
    before = knob.read_text(encoding="ascii")
    try:
        knob.write_text(str(kib), encoding="ascii")
        print(f"\nread-ahead {kib} KiB: ", end="")
        yield
    finally:
        knob.write_text(before, encoding="ascii")


def main() -> int:
    """Measure, print, and tell by the exit status whether every way to load reaches the target."""
    options = _options()
    model = options.model or made_model(options.folder, options.quantization, options.size)
    arguments = [*ARGUMENTS.split(), *options.arguments.split()]
    server = Server(options.server or built_server(), options.reader or packed_reader(), model, arguments)
    print(f"{server.program.name} loads {model.name} on {os.cpu_count()} CPUs, medians of {options.rounds} rounds")
    good = True
    for kib in options.read_ahead or [None]:
        with read_ahead(model, kib):
            rows = show(measure(server, options.modes, options.rounds), options.modes, model.stat().st_size)
        good = all(row.ratio >= TARGET for row in rows if not row.mode.endswith(ALONE))
    print(f"target {TARGET}: {'met' if good else 'missed'}")
    return 0 if good else 1


def _options() -> argparse.Namespace:
    def words(kind: Callable[[str], object]) -> Callable[[str], list[object]]:
        return lambda text: [kind(word) for word in text.split(",")]

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="a GGUF; one is made if none is named")
    parser.add_argument("--folder", type=Path, default=CACHE / "bench", help="where to make it: on the disk to measure")
    parser.add_argument("--quantization", default="Q8_0", help="of the model that is made")
    parser.add_argument("--size", type=float, default=3.0, help="GiB of the model that is made")
    parser.add_argument("--server", type=Path, help="llama-server; one of an archive in .cache if none is named")
    parser.add_argument("--reader", type=Path, help="llmhost.pyz; packed if none is named")
    parser.add_argument("--arguments", default="", help="more arguments of the server")
    parser.add_argument("--modes", type=words(str), default=list(MODES), help="of --load-mode, separated by commas")
    parser.add_argument("--read-ahead", type=words(int), help="KiB, separated by commas: set one after the other")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def made_model(folder: Path, quantization: str, gib: float) -> Path:
    """Return a model of random weights, made on the disk to measure if it is not there."""
    from tests.tools.make_model import PRESETS, write_gguf

    path = folder / f"load-{quantization}-{gib:g}GiB.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        begun = path.with_suffix(".part.gguf")
        write_gguf(begun, PRESETS["load"].sized(quantization, int(gib * GIB)), quantization)
        begun.rename(path)
    return path


def built_server() -> Path:
    """Return the server of the newest archive that this machine has built or was given."""
    archives = sorted((CACHE / "archives").glob("llama_cpp-*.tar.gz"), key=lambda path: path.stat().st_mtime)
    if not archives:
        sys.exit("No llama-server has been built here: name one with --server, or run `make demo` first.")
    folder = CACHE / "bench" / "runtime"
    with tarfile.open(archives[-1]) as archive:
        member = next(one for one in archive if one.name.endswith("/bin/llama-server"))
        archive.extract(member, folder)
    return folder / member.name


def packed_reader() -> Path:
    """Return the program that the service's unit runs beside the server."""
    from ansible_collections.llmhost.core.plugins.module_utils.boot.program import packed

    path = CACHE / "bench" / "llmhost.pyz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed())
    return path


def _timed(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())

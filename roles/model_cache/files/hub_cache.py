"""The model cache on disk: what is wanted, where it lies, and which files were verified.

The layout is that of the Hugging Face hub client (``models--org--repo/{blobs,refs,snapshots}``), so its tools find the
models. A file under ``blobs`` is complete and verified; one that is still coming ends in ``.incomplete``.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What a model needs to be served. Pickles run code when they are loaded, so no format that may hold one is here.
ALLOWED_SUFFIXES = (".gguf", ".safetensors", ".json", ".txt", ".jinja", ".md", ".model", ".tiktoken")
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
READ_BYTES = 1 << 22
# The time of change of every verified file: 2000-01-01.
TIME_NS = 946684800 * 10**9
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
BROKEN = (errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.EUCLEAN, errno.EBADMSG)
COMMIT = re.compile(r"[0-9a-f]{40}")

Heartbeat = Callable[[], None]


class FetchError(Exception):
    """Why a model could not be fetched, in words for the person who asked for it."""

    def __init__(self, code: str, message: str, remedy: str, *, retry: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.code, self.message, self.remedy = code, message, remedy
        self.retry, self.retry_after = retry, retry_after

    def as_dict(self) -> dict[str, Any]:
        """Return the error as it goes from the transfer to its supervisor."""
        return {
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            "retry": self.retry,
            "retry_after": self.retry_after,
        }


def disk_trouble(problem: OSError, cache_path: Path | None = None) -> FetchError:
    """Explain why the cache could not be read or written, and name its disk where that is broken."""
    if problem.errno in NO_ROOM:
        remedy = "Free some space, or choose a larger disk (llmhost_storage_devices)."
        return FetchError("disk.full", f"The disk of the models is full ({problem}).", remedy)
    if problem.errno in BROKEN and cache_path:
        text = f"{disk_words(cache_path)} fails: {cache_path} cannot be read or written ({problem})."
        remedy = "Look at dmesg; replace the disk, or name another in llmhost_storage_devices, and run again."
        return FetchError("disk.failed", text, remedy)
    remedy = "Check the disk and its mount (findmnt, dmesg), and that the user llmhost-models may write there."
    return FetchError("disk.failed", f"The cache of the models cannot be used ({problem}).", remedy)


def disk_words(path: Path, block: Path = Path("/sys/dev/block")) -> str:
    """Name the disk, or the disks, that a path lies on, as on their stickers; as well as the host tells."""
    try:
        number = path.stat().st_dev
        here = (block / f"{os.major(number)}:{os.minor(number)}").resolve(strict=True)
        members = sorted((here / "slaves").iterdir()) if (here / "slaves").is_dir() else []
    except OSError:
        return "the disk of the models"
    return "the disk " + " or ".join(_sticker(member.resolve()) for member in members or [here])


def _sticker(disk: Path) -> str:
    told = {}
    for name in ("model", "serial"):
        try:
            told[name] = (disk / "device" / name).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            told[name] = ""
    serial = f"(serial {told['serial']})" if told["serial"] else ""
    return " ".join(filter(None, [f"/dev/{disk.name}", told["model"], serial]))


@dataclass(frozen=True)
class WantedFile:
    """One file of the model, with the checksum that the hub gave for it."""

    name: str
    size_bytes: int
    sha256: str | None
    git_oid: str | None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> WantedFile:
        """Build from the plan; refuses what may not be fetched."""
        name = str(data["name"])
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise FetchError("model.bad_name", f"{name}: a file of a model may not lie outside of it.", "")
        if not name.lower().endswith(ALLOWED_SUFFIXES):
            pickle = name.lower().endswith(PICKLE_SUFFIXES)
            why = "it may hold a pickle, which runs code when it is loaded" if pickle else "its format is not known"
            raise FetchError("model.refused_file", f"{name}: refused, {why}.", "Choose GGUF or safetensors files.")
        return cls(name, int(data["size_bytes"]), data.get("sha256"), data.get("git_oid"))

    @property
    def digest(self) -> str | None:
        """The checksum that the content must have, which is also the name of its blob."""
        return self.sha256 or self.git_oid

    def hasher(self) -> Any:
        """Return a fresh hash of the kind of ``digest``; git puts a header before the content."""
        if self.sha256 is None and self.git_oid is not None:
            return hashlib.sha1(b"blob %d\0" % self.size_bytes)
        return hashlib.sha256()


@dataclass(frozen=True)
class Request:
    """What the plan wants in the cache."""

    source: str
    endpoint: str
    repo: str
    commit: str
    revision: str
    cache_path: Path
    files: tuple[WantedFile, ...]
    path: str | None = None
    stall_seconds: float = 60.0
    retry_seconds: float = 1.0
    margin_bytes: int = 64 << 20

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Request:
        """Build from the request file that the role writes."""
        if not COMMIT.fullmatch(str(data["commit"])):
            raise FetchError("model.bad_commit", f"{data['commit']}: a commit has 40 hexadecimal digits.", "")
        return cls(
            source=str(data["source"]),
            endpoint=str(data.get("endpoint") or "").rstrip("/"),
            repo=str(data.get("repo") or ""),
            commit=str(data["commit"]),
            revision=str(data.get("revision") or "main"),
            cache_path=Path(data["cache_path"]),
            files=tuple(WantedFile.from_dict(file) for file in data["files"]),
            path=data.get("path"),
            stall_seconds=float(data.get("stall_seconds", 60)),
            retry_seconds=float(data.get("retry_seconds", 1)),
            margin_bytes=int(data.get("margin_bytes", 64 << 20)),
        )

    @classmethod
    def from_file(cls, path: Path) -> Request:
        """Build from the request file that the role writes."""
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))

    @property
    def folder(self) -> Path:
        """Where the model lies in the cache; a local file is a repository of the made-up user ``local``."""
        name = self.repo if self.source == "hub" else f"local/{Path(self.path or '').stem}"
        return self.cache_path / ("models--" + name.replace("/", "--"))


@dataclass
class Cache:
    """The folder of one model in the cache."""

    folder: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def blobs(self) -> Path:
        """Where the contents lie, named by their checksum."""
        return self.folder / "blobs"

    def partial(self, digest: str) -> Path:
        """Where the content with that checksum comes in."""
        return self.blobs / f"{digest}.incomplete"

    def prepare(self) -> None:
        """Make the folders."""
        for name in ("blobs", "refs", "snapshots"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def is_verified(self, digest: str) -> bool:
        """Whether the blob is the very file whose checksum was once computed: same size, same time of change."""
        return self._memory().get(digest, {}) == _print_of(self.blobs / digest)

    def remember(self, digest: str) -> None:
        """Note that the blob as it is now has the checksum of its name.

        It gets a time of change that nothing written to it later has. A model that was fetched again, because its disk
        came back empty, is the same file as before for everybody who noted that time. One that takes the place of a
        damaged file keeps its own time: a server that has the damaged one open must be restarted.
        """
        with self._lock:
            before = self._memory()
            if digest not in before:
                os.utime(self.blobs / digest, ns=(TIME_NS, TIME_NS))
            known = before | {digest: _print_of(self.blobs / digest)}
            write_json(self.folder / ".verified.json", {name: p for name, p in known.items() if p})

    def _memory(self) -> dict[str, dict[str, int]]:
        return read_json(self.folder / ".verified.json")

    def arrived(self, file: WantedFile) -> int:
        """How many bytes of a file are here, verified or not."""
        digest = file.digest
        if digest is None:
            return 0
        if (self.blobs / digest).exists():
            return file.size_bytes
        try:
            return self.partial(digest).stat().st_size
        except OSError:
            return 0

    def linked(self, commit: str, file: WantedFile) -> str | None:
        """Return the blob that a published name leads to, if that blob was verified and has the right size."""
        link = self.folder / "snapshots" / commit / file.name
        try:
            blob = Path(os.readlink(link)).name
            complete = link.stat().st_size == file.size_bytes
        except OSError:
            return None
        return blob if complete and self.is_verified(blob) else None

    def publish(self, commit: str, revision: str, blobs: dict[str, str]) -> None:
        """Give the verified blobs their names, all at once; ``blobs`` is ordered, the main file first."""
        snapshot = self.folder / "snapshots" / commit
        if snapshot.exists():
            # Another quantisation of the same commit is there. The main file comes last: it is what a server opens.
            for name, blob in reversed(blobs.items()):
                _link(self.blobs / blob, snapshot / name)
        else:
            fresh = snapshot.with_name(f".{commit}.new")
            for name, blob in blobs.items():
                _link(self.blobs / blob, fresh / name)
            fresh.rename(snapshot)
            sync(snapshot.parent)
        if not COMMIT.fullmatch(revision) and ".." not in revision.split("/"):
            write_text(self.folder / "refs" / revision, commit)


def hash_file(path: Path, hasher: Any, heartbeat: Heartbeat, end: int | None = None) -> Any:
    """Feed a file (up to ``end``) to a hash; the heartbeat tells the watchdog that this is work, not a stall."""
    with path.open("rb", buffering=0) as stream:
        left = path.stat().st_size if end is None else end
        while left > 0 and (chunk := stream.read(min(READ_BYTES, left))):
            hasher.update(chunk)
            left -= len(chunk)
            heartbeat()
    return hasher


def write_text(path: Path, text: str) -> None:
    """Write a file so that it has the old content or the new one, whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    fresh.write_text(text, encoding="utf-8")
    rename(fresh, path)


def rename(fresh: Path, path: Path) -> None:
    """Give a file its name when its content is on the disk; when this returns, so is the name."""
    sync(fresh)
    fresh.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees all of it or none."""
    write_text(path, json.dumps(value))


def read_json(path: Path) -> dict[str, Any]:
    """Return the dict in a JSON file; empty when there is none, or it makes no sense."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _print_of(path: Path) -> dict[str, int]:
    try:
        stat = path.stat()
    except OSError:
        return {"missing": 1}
    return {"size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _link(blob: Path, name: Path) -> None:
    name.parent.mkdir(parents=True, exist_ok=True)
    fresh = name.with_name(f".{name.name}.new")
    fresh.unlink(missing_ok=True)
    # The target counts from where the name ends up; the temporary folder of a snapshot is as deep as the final one.
    fresh.symlink_to(os.path.relpath(blob, name.parent))
    fresh.rename(name)
    sync(name.parent)

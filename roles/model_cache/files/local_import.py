"""Bring a model that already lies on this machine into the cache, without touching the original."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from pathlib import Path

from hub_cache import Cache, FetchError, Heartbeat, Request, WantedFile, hash_file, rename

FICLONE = 0x40049409
COPY_BYTES = 1 << 24


def import_files(request: Request, first: int | None, heartbeat: Heartbeat) -> dict[str, str]:
    """Bring all files of a local model in, and return the blob of each.

    ``first`` is a descriptor of the first file, opened by systemd before it gave up root: the user that runs this can't
    read a model in somebody's home, and needs no right to.
    """
    cache = Cache(request.folder)
    blobs: dict[str, str] = {}
    for number, file in enumerate(request.files):
        known = cache.linked(request.commit, file)
        if known is None:
            source = os.dup(first) if number == 0 and first is not None else _open(request, file)
            try:
                known = _import(source, file, cache, request, heartbeat)
            finally:
                os.close(source)
        blobs[file.name] = known
    return blobs


def _open(request: Request, file: WantedFile) -> int:
    path = Path(request.path or "").parent / file.name
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as problem:
        raise FetchError(
            "model.unreadable",
            f"{path}: {problem.strerror}.",
            "Let the user llmhost-models read the further parts of a split model, or merge them into one file.",
        ) from problem


def _import(source: int, file: WantedFile, cache: Cache, request: Request, heartbeat: Heartbeat) -> str:
    _check(source, file, request)
    partial = cache.partial(f"{request.commit}.{file.name.replace('/', '_')}")
    target = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        hasher = file.hasher() if file.digest else hashlib.sha256()
        if _clone(source, target, file.size_bytes, heartbeat):
            hash_file(partial, hasher, heartbeat)
        else:
            os.ftruncate(target, 0)
            for offset in range(0, file.size_bytes, COPY_BYTES):
                piece = os.pread(source, COPY_BYTES, offset)
                hasher.update(piece)
                _write(target, piece)
                heartbeat()
    finally:
        os.close(target)
    found: str = hasher.hexdigest()
    if file.digest not in (None, found):
        partial.unlink()
        raise FetchError(
            "model.checksum", f"{file.name}: expected {file.digest}, the file has {found}.", "Get it again."
        )
    rename(partial, cache.blobs / found)
    cache.remember(found)
    return found


def _check(source: int, file: WantedFile, request: Request) -> None:
    status = os.fstat(source)
    if not stat.S_ISREG(status.st_mode):
        raise FetchError("model.no_file", f"{request.path}: this is no regular file.", "Give the path of a GGUF file.")
    if status.st_size != file.size_bytes:
        raise FetchError(
            "model.changed",
            f"{request.path}: the plan saw {file.size_bytes} bytes, now there are {status.st_size}.",
            "Let whoever writes the file finish, then run the playbook again.",
        )
    if file.name.lower().endswith(".gguf") and os.pread(source, 4, 0) != b"GGUF":
        raise FetchError("model.no_gguf", f"{request.path}: this is no GGUF file.", "Give the path of a GGUF file.")


def _clone(source: int, target: int, size: int, heartbeat: Heartbeat) -> bool:
    """Share the blocks if the filesystem can: no time, no space. False means that the bytes must be copied."""
    try:
        fcntl.ioctl(target, FICLONE, source)
        return True
    except OSError:
        if os.fstat(source).st_dev != os.fstat(target).st_dev:
            return False
    # Up to Linux 5.18 FICLONE refuses to cross the mounts that the unit's sandbox makes; this call shares blocks there.
    offset = 0
    try:
        while offset < size:
            copied = os.copy_file_range(source, target, min(size - offset, 1 << 30), offset, offset)
            if copied == 0:
                return False
            offset += copied
            heartbeat()
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False
    return True


def _write(target: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(target, view) :]

#!/usr/bin/env python3
"""Fetch the model of the plan into the cache, verify it and give it its name. Runs as the unit llmhost-model-fetch.

The transfer is a child process (hub_transfer.py), because a client that hangs inside a library can only be killed. This
process watches whether bytes arrive, kills and restarts the child, tells how far it is and says in the end how it went.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_cache import Cache, FetchError, Request, disk_trouble, read_json, write_json
from local_import import import_files

# How often in a row a transfer may end without one new byte, and how often in all.
FRUITLESS_ATTEMPTS = 5
ALL_ATTEMPTS = 200
# So many stalls or Xet errors, and the transfer goes on without Xet.
XET_CHANCES = 2
LONGEST_WAIT_SECONDS = 900.0
PROGRESS_SECONDS = 1.0
GIB = 2**30

FreeBytes = Callable[[Path], int]


@dataclass
class Report:
    """How far the work is, as a file that the controller reads."""

    run_dir: Path
    total: int
    done: Callable[[], int]
    _written: float = 0.0

    def say(self, stage: str, message: str = "", *, now: bool = False) -> None:
        """Write the progress file, at most once a second unless the stage is new."""
        if not now and time.monotonic() - self._written < PROGRESS_SECONDS:
            return
        self._written = time.monotonic()
        progress = {"stage": stage, "done": self.done(), "total": self.total, "unit": "bytes", "message": message}
        write_json(self.run_dir / "progress.json", progress | {"updated": time.time()})


class Supervisor:
    """Runs transfers until the model is here, or it is clear that it won't come."""

    def __init__(self, request: Request, request_file: Path, report: Report) -> None:
        self._request, self._request_file, self._report = request, request_file, report
        self._cache = Cache(request.folder)
        self._without_xet = False
        self.fetched = 0

    def run(self) -> None:
        """Bring the files; each attempt goes on from where the last one ended."""
        fruitless = xet_trouble = 0
        for attempt in range(1, ALL_ATTEMPTS + 1):
            before = self._report.done()
            problem = self._attempt()
            grown = self._report.done() - before
            self.fetched += max(0, grown)
            if problem is None:
                return
            fruitless = 0 if grown > 0 else fruitless + 1
            if not problem.retry or fruitless >= FRUITLESS_ATTEMPTS or attempt == ALL_ATTEMPTS:
                raise problem
            xet_trouble += problem.code in ("hub.stalled", "hub.transfer")
            self._without_xet |= xet_trouble >= XET_CHANCES
            wait = max(problem.retry_after, min(30.0, self._request.retry_seconds * 2**fruitless))
            self._report.say("download", f"{problem.message} Again in {wait:.0f} s.", now=True)
            print(f"{problem.message} Again in {wait:.1f} s.", flush=True)
            time.sleep(min(wait, LONGEST_WAIT_SECONDS))

    def _attempt(self) -> FetchError | None:
        """Run one transfer to its end, or to the end of our patience."""
        run_dir = self._report.run_dir
        (run_dir / "transfer.json").unlink(missing_ok=True)
        program = [
            sys.executable,
            str(Path(__file__).with_name("hub_transfer.py")),
            str(self._request_file),
            str(run_dir),
        ]
        with subprocess.Popen(program, env=self._environment(), stdin=subprocess.PIPE) as child:
            try:
                stalled = self._watch(child)
            finally:
                child.kill()
        if stalled:
            return FetchError(
                "hub.stalled",
                f"{self._request.endpoint}: no byte for {self._request.stall_seconds:.0f} s.",
                "Check the network and llmhost_proxy, or try again later; what was fetched is kept.",
                retry=True,
            )
        report = read_json(run_dir / "transfer.json")
        if "error" not in report:
            text = f"the transfer ended with status {child.returncode} and said nothing."
            return FetchError("hub.transfer", text, "See journalctl -u llmhost-model-fetch.", retry=True)
        return FetchError(**report["error"]) if report["error"] else None

    def _watch(self, child: subprocess.Popen[bytes]) -> bool:
        """Wait for the child; True when it lives but nothing arrives."""
        look = min(0.5, self._request.stall_seconds / 10)
        seen, since = self._signs_of_life(), time.monotonic()
        while True:
            try:
                child.wait(look)
                return False
            except subprocess.TimeoutExpired:
                pass
            self._report.say("download", "without Xet" if self._without_xet else "")
            now = self._signs_of_life()
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since >= self._request.stall_seconds:
                return True

    def _signs_of_life(self) -> tuple[object, ...]:
        """What changes while bytes arrive, or while the child reads a file to compute its checksum."""
        beat = self._report.run_dir / "heartbeat"
        return (self._report.done(), beat.stat().st_mtime_ns if beat.exists() else 0)

    def _environment(self) -> dict[str, str]:
        # The client reconnects by itself when a plain connection is silent; that comes first, as nothing is lost then.
        patience = str(max(1, min(30, int(self._request.stall_seconds / 2))))
        return os.environ | {
            "HF_ENDPOINT": self._request.endpoint,
            "HF_HUB_CACHE": str(self._request.cache_path),
            "HF_HOME": str(self._report.run_dir / "home"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            # Warnings of the client show whole addresses, and those of a content network carry a permission.
            "HF_HUB_VERBOSITY": "error",
            "HF_HUB_DOWNLOAD_TIMEOUT": patience,
            "HF_HUB_ETAG_TIMEOUT": patience,
            "HF_HUB_DISABLE_XET": "1" if self._without_xet else "0",
        }


class Fetch:
    """One run: from the request to a published model."""

    def __init__(self, request: Request, request_file: Path, run_dir: Path, free_bytes: FreeBytes) -> None:
        self._request, self._request_file, self._free_bytes = request, request_file, free_bytes
        self._cache = Cache(request.folder)
        self._run_dir = run_dir
        total = sum(file.size_bytes for file in request.files)
        self._report = Report(run_dir, total, self._done)

    def run(self, source: int | None) -> dict[str, Any]:
        """Bring, verify and publish; returns the result for the controller."""
        begun = time.monotonic()
        self._cache.prepare()
        self._report.say("check", now=True)
        if self._request.source == "hub":
            blobs, fetched = self._from_hub()
        else:
            blobs, fetched = self._from_disk(source), 0
        self._report.say("publish", now=True)
        self._cache.publish(self._request.commit, self._request.revision, blobs)
        files = [self._entry(name, blob) for name, blob in blobs.items()]
        self._report.say("done", now=True)
        return {"files": files, "bytes_fetched": fetched, "seconds": round(time.monotonic() - begun, 1)}

    def _done(self) -> int:
        if self._request.source == "hub":
            return sum(self._cache.arrived(file) for file in self._request.files)
        return sum(path.stat().st_size for path in self._cache.blobs.iterdir())

    def _from_hub(self) -> tuple[dict[str, str], int]:
        blobs = {file.name: file.digest or "" for file in self._request.files}
        if all(self._cache.is_verified(digest) for digest in blobs.values()):
            return blobs, 0
        self._check_room(sum(f.size_bytes - self._cache.arrived(f) for f in self._request.files))
        supervisor = Supervisor(self._request, self._request_file, self._report)
        supervisor.run()
        return blobs, supervisor.fetched

    def _from_disk(self, source: int | None) -> dict[str, str]:
        request = self._request
        self._check_room(sum(f.size_bytes for f in request.files if not self._cache.linked(request.commit, f)))
        return import_files(request, source, lambda: self._report.say("import"))

    def _check_room(self, missing: int) -> None:
        free, need = self._free_bytes(self._request.cache_path), missing + self._request.margin_bytes
        if missing > 0 and free < need:
            raise FetchError(
                "disk.full",
                f"{self._request.cache_path}: {need / GIB:.2f} GiB more are needed, {free / GIB:.2f} GiB are free.",
                "Free some space, choose a larger disk (llmhost_storage_devices) or a smaller quantisation.",
            )

    def _entry(self, name: str, blob: str) -> dict[str, Any]:
        stat = (self._cache.blobs / blob).stat()
        return {"name": name, "blob": blob, "size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def free_bytes(path: Path) -> int:
    """Return how much an ordinary user may still write there."""
    return shutil.disk_usage(path).free


def main(arguments: list[str] | None = None, free: FreeBytes = free_bytes) -> int:
    """Fetch, and leave the result where the controller looks for it."""
    parser = argparse.ArgumentParser(description="Fetch the model of the plan into the cache.")
    credentials, runtime = os.environ.get("CREDENTIALS_DIRECTORY", "."), os.environ.get("RUNTIME_DIRECTORY", ".")
    parser.add_argument("--request", type=Path, default=Path(credentials) / "request")
    parser.add_argument("--run-dir", type=Path, default=Path(runtime))
    parser.add_argument(
        "--source-stdin", action="store_true", help="the first file of a local model is on standard input"
    )
    options = parser.parse_args(arguments)
    os.umask(0o027)
    result: dict[str, Any] = {"ok": False, "error": None}
    cache_path: Path | None = None
    try:
        request = Request.from_file(options.request)
        cache_path = request.cache_path
        result |= {"commit": request.commit, "repo": request.repo, "source": request.source}
        fetch = Fetch(request, options.request, options.run_dir, free)
        result |= fetch.run(0 if options.source_stdin else None) | {"ok": True}
    except (FetchError, OSError) as raised:
        problem = raised if isinstance(raised, FetchError) else disk_trouble(raised, cache_path)
        words = {"code": problem.code, "message": problem.message, "remedy": problem.remedy}
        # The words stand at the top as well, where every long job has them.
        result |= words | {"error": words}
        print(f"{problem.message} {problem.remedy}", file=sys.stderr)
    write_json(options.run_dir / "result.json", result)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())

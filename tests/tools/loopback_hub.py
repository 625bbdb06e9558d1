#!/usr/bin/env python3
"""A model hub on the loopback interface, with faults on request.

It speaks the protocol that the ``huggingface_hub`` client speaks (model info, tree, resolve with LFS redirects, ranges,
tokens, gated and private repositories, Xet advertised) and needs nothing but Python 3.10.

    python3 loopback_hub.py --root DIR --listen 127.0.0.1:9696 --faults-file FILE

``DIR/<org>/<repo>/…`` holds the files. ``DIR/<org>/<repo>/.hub.json`` may say ``{"private": true, "gated": "manual",
"allow": ["user"], "license": "apache-2.0", "xet": true}`` and ``DIR/.hub.json`` ``{"tokens": {"<token>": "<user>"}}``.
A commit is a hash of the files' contents, so equal files have an equal commit everywhere.

Faults are a JSON list, read from the faults file at each request or set by ``PUT /-/faults`` (``DELETE`` clears them):

    [{"kind": "cut", "match": "cdn/.*gguf", "at": "60%", "times": 1, "skip": 0, "method": "GET"}]

``kind`` is one of ``cut`` (close at a file offset), ``flip`` (one byte inverted there), ``stall`` (no byte after it for
``seconds``), ``no_range``, ``wrong_length`` (``by`` bytes too many, or too few), ``slow`` (``rate`` bytes a second) and
``status`` (``status``, ``retry_after``, ``code``). ``times`` 0 means always. ``GET /-/log`` lists the requests and the
bytes sent; ``DELETE /-/log`` empties it. Tokens are never logged.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

SETTINGS = ".hub.json"
LFS_SUFFIXES = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".model")
LFS_BYTES = 10_000_000
CHUNK_BYTES = 1 << 16
DATE = "2024-01-01T00:00:00.000Z"
BODY_FAULTS = ("cut", "flip", "stall", "no_range", "wrong_length", "slow")


@dataclass(frozen=True)
class HubFile:
    """One file of a repository; ``sha256`` is set when the hub would keep it in LFS."""

    name: str
    path: Path
    size: int
    oid: str
    sha256: str | None

    @property
    def etag(self) -> str:
        """The checksum that the hub shows: SHA-256 for LFS files, the git object id for the others."""
        return self.sha256 or self.oid

    @property
    def xet_hash(self) -> str:
        """A made-up but stable Xet hash."""
        return hashlib.sha256(b"xet:" + self.etag.encode()).hexdigest()

    def lfs(self, key: str) -> dict[str, Any] | None:
        """The LFS entry of the API; the tree calls the checksum ``oid``, the model info ``sha256``."""
        return {key: self.sha256, "size": self.size, "pointerSize": 134} if self.sha256 else None


@dataclass(frozen=True)
class Repository:
    """The files of one repository and who may read them."""

    name: str
    files: dict[str, HubFile]
    commit: str
    settings: dict[str, Any]

    @property
    def gated(self) -> str | bool:
        """``False``, ``auto`` or ``manual``."""
        value: str | bool = self.settings.get("gated", False)
        return value

    @property
    def private(self) -> bool:
        """Whether the repository hides from those who may not read it."""
        return bool(self.settings.get("private", False))


class Store:
    """The repositories below a folder; each file is hashed once for as long as it does not change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sums: dict[tuple[str, int, int], tuple[str, str]] = {}
        self._lock = threading.Lock()

    def settings(self, folder: Path) -> dict[str, Any]:
        """Return what the settings file of a folder says, if there is one."""
        try:
            loaded: dict[str, Any] = json.loads((folder / SETTINGS).read_text())
        except FileNotFoundError:
            return {}
        return loaded

    def repository(self, name: str) -> Repository | None:
        """Return a repository as it is on disk now."""
        folder = self.root / name
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or ".." in name.split("/") or not folder.is_dir():
            return None
        paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SETTINGS)
        files = {f.name: f for f in (self._file(folder, path) for path in paths)}
        listing = "".join(f"{f.name}\0{f.etag}\n" for f in files.values())
        return Repository(name, files, hashlib.sha1(listing.encode()).hexdigest(), self.settings(folder))

    def _file(self, folder: Path, path: Path) -> HubFile:
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        with self._lock:
            if key not in self._sums:
                self._sums[key] = _sums(path, stat.st_size)
            oid, sha256 = self._sums[key]
        name = path.relative_to(folder).as_posix()
        lfs = stat.st_size >= LFS_BYTES or path.suffix in LFS_SUFFIXES
        return HubFile(name, path, stat.st_size, oid, sha256 if lfs else None)


def _sums(path: Path, size: int) -> tuple[str, str]:
    git, sha256 = hashlib.sha1(b"blob %d\0" % size), hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            git.update(chunk)
            sha256.update(chunk)
    return git.hexdigest(), sha256.hexdigest()


@dataclass
class Fault:
    """One kind of trouble for the requests whose path matches."""

    kind: str
    match: str = ".*"
    method: str = "GET"
    at: int | str = 0
    times: int = 1
    skip: int = 0
    seconds: float = 3600.0
    status: int = 500
    retry_after: int | None = None
    code: str = ""
    by: int = 1
    rate: int = 1 << 20
    seen: int = field(default=0, init=False)

    def offset(self, size: int) -> int:
        """The file offset where the fault happens."""
        if isinstance(self.at, str) and self.at.endswith("%"):
            return int(size * float(self.at[:-1]) / 100)
        return int(self.at)

    def strikes(self, method: str, path: str) -> bool:
        """Count one request, and say whether the fault hits it."""
        if self.method not in ("*", method) or not re.search(self.match, path):
            return False
        self.seen += 1
        return self.seen > self.skip and (self.times == 0 or self.seen <= self.skip + self.times)


class Faults:
    """The faults in force: from the control endpoint, and from a file that is read again when it changes."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._text = ""
        self._from_file: list[Fault] = []
        self._set: list[Fault] = []
        self._lock = threading.Lock()

    def set(self, faults: list[dict[str, Any]]) -> None:
        """Replace the faults that were set by call or by the control endpoint."""
        with self._lock:
            self._set = [Fault(**fault) for fault in faults]

    def pick(self, method: str, path: str, kinds: tuple[str, ...], start: int = 0, size: int = 0) -> Fault | None:
        """Return the first fault of these kinds that hits the request (one at an offset that was passed does not)."""
        with self._lock:
            self._reload()
            for fault in self._set + self._from_file:
                if fault.kind not in kinds:
                    continue
                if fault.kind in ("cut", "flip", "stall") and fault.offset(size) < start:
                    continue
                if fault.strikes(method, path):
                    return fault
        return None

    def _reload(self) -> None:
        if self._path is None:
            return
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            text = ""
        if text != self._text:
            self._text = text
            self._from_file = [Fault(**fault) for fault in json.loads(text or "[]")]


class RequestLog:
    """What was asked and how many bytes of files were sent."""

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def open(self, **entry: Any) -> dict[str, Any]:
        """Add a request; the caller fills in status and bytes while it is answered."""
        with self._lock:
            self._entries.append(entry)
        return entry

    def clear(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._entries = []

    def as_dict(self) -> dict[str, Any]:
        """Return the requests and the sum of the file bytes sent."""
        with self._lock:
            entries = [dict(entry) for entry in self._entries]
        by_file: dict[str, int] = {}
        for entry in entries:
            if entry["file"]:
                by_file[entry["file"]] = by_file.get(entry["file"], 0) + entry["sent"]
        return {"requests": entries, "bytes_served": sum(by_file.values()), "bytes_by_file": by_file}


class _RefusedError(Exception):
    """An answer that is an error of the hub."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on the terminal: the request log is there to be asked."""

    def handle_one_request(self) -> None:
        """Answer one request; a client that goes away is no error of the hub."""
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, url = self.server.hub, urlsplit(self.path)
        path = unquote(url.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path in ("/-/log", "/-/faults"):
            return self._control(path, body)
        self.entry = hub.log.open(
            method=self.command, path=path, range=self.headers.get("Range"), status=0, sent=0, file="", fault="",
            authenticated="Authorization" in self.headers, agent=self.headers.get("User-Agent", ""), time=time.time(),
        )  # fmt: skip
        fault = hub.faults.pick(self.command, path, ("status",))
        if fault is not None:
            self.entry["fault"] = "status"
            retry = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return self._error(fault.status, fault.code, "fault on request", retry)
        try:
            self._route(path, parse_qs(url.query), body)
        except _RefusedError as refused:
            self._error(refused.status, refused.code, refused.message)
        return None

    def _control(self, path: str, body: bytes) -> None:
        hub = self.server.hub
        if path == "/-/log":
            if self.command == "DELETE":
                hub.log.clear()
            return self._json(hub.log.as_dict())
        if self.command in ("PUT", "POST", "DELETE"):
            hub.faults.set(json.loads(body or b"[]") if self.command != "DELETE" else [])
        return self._json({"ok": True})

    def _route(self, path: str, query: dict[str, list[str]], body: bytes) -> None:
        if path == "/api/whoami-v2":
            return self._whoami()
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/xet-read-token/([^/]+)", path):
            return self._xet_token(self._readable(match[1], match[2]))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(tree|paths-info)/([^/]+)(?:/(.*))?", path):
            repo = self._readable(match[1], match[3])
            return self._tree(repo, match[4] or "", json.loads(body or b"{}") if match[2] == "paths-info" else query)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/refs", path):
            repo = self._readable(match[1], "main")
            branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commit}
            return self._json({"branches": [branch], "converts": [], "tags": []})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            return self._model_info(self._readable(match[1], match[2] or "main", gate=False), "blobs" in query)
        if match := re.fullmatch(r"/([^/]+/[^/]+)/(?:resolve|raw)/([^/]+)/(.+)", path):
            return self._resolve(self._readable(match[1], match[2]), match[3])
        if match := re.fullmatch(r"/-/cdn/([^/]+/[^/]+)/([^/]+)/(.+)", path):
            # A content network knows no users: its addresses are secret for as long as they hold.
            repo_or_none = self.server.hub.store.repository(match[1])
            if repo_or_none and match[2] == repo_or_none.commit and match[3] in repo_or_none.files:
                return self._send_file(repo_or_none, repo_or_none.files[match[3]])
        if path.startswith("/-/cas/"):
            fault = self.server.hub.faults.pick(self.command, path, ("stall",))
            if fault is not None:
                self.entry["fault"] = "stall"
                self._stall(fault.seconds)
            if self.server.hub.cas is not None:
                return self._send_cas(self.server.hub.cas.answer(path, self.headers.get("Range")))
        raise _RefusedError(404, "", "there is nothing here")

    def _user(self) -> str | None:
        header = self.headers.get("Authorization", "")
        if not header:
            return None
        user = self.server.hub.tokens().get(header.removeprefix("Bearer ").strip())
        if user is None:
            raise _RefusedError(401, "", "Invalid credentials in Authorization header")
        return user

    def _readable(self, name: str, revision: str, gate: bool = True) -> Repository:
        """Return the repository if the one who asks may read it; otherwise answer as the hub would."""
        user = self._user()
        repo = self.server.hub.store.repository(name)
        allowed = repo is not None and user is not None and user in repo.settings.get("allow", [user])
        if repo is None or (repo.private and not allowed):
            # To strangers the hub does not tell a private repository from one that does not exist.
            raise _RefusedError(404 if user else 401, "RepoNotFound", "Repository not found")
        if gate and repo.gated and not allowed:
            raise _RefusedError(403 if user else 401, "GatedRepo", f"Access to model {name} is restricted.")
        if revision not in ("main", repo.commit, repo.commit[:7]):
            raise _RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo

    def _whoami(self) -> None:
        user = self._user()
        if user is None:
            raise _RefusedError(401, "", "Invalid username or password.")
        account = {"type": "user", "id": "0" * 24, "name": user, "fullname": user, "orgs": []}
        self._json(account | {"auth": {"type": "access_token"}})

    def _xet_token(self, repo: Repository) -> None:
        headers = {
            "X-Xet-Cas-Url": f"{self.server.hub.url}/-/cas",
            "X-Xet-Access-Token": "cas-" + repo.commit[:8],
            "X-Xet-Token-Expiration": str(int(time.time()) + 3600),
        }
        self._json({"casUrl": headers["X-Xet-Cas-Url"], "exp": int(headers["X-Xet-Token-Expiration"])}, headers)

    def _tree(self, repo: Repository, below: str, query: dict[str, Any]) -> None:
        wanted = query.get("paths")
        entries: list[dict[str, Any]] = []
        folders: set[str] = set()
        for file in repo.files.values():
            if wanted is not None:
                inside = file.name in wanted
            else:
                inside = file.name.startswith(below + "/" if below else "")
                rest = file.name[len(below) + 1 if below else 0 :]
                if inside and "/" in rest and query.get("recursive", ["false"])[0].lower() not in ("true", "1"):
                    folders.add(file.name[: len(file.name) - len(rest)] + rest.split("/")[0])
                    continue
            if inside:
                entry = {"type": "file", "oid": file.oid, "size": file.size, "path": file.name}
                entries.append(entry | ({"lfs": file.lfs("oid")} if file.sha256 else {}) | self._xet_entry(repo, file))
        for folder in sorted(folders):
            oid = hashlib.sha1(folder.encode()).hexdigest()
            entries.append({"type": "directory", "oid": oid, "size": 0, "path": folder})
        self._json(entries)

    def _xet_entry(self, repo: Repository, file: HubFile) -> dict[str, str]:
        return {"xetHash": file.xet_hash} if file.sha256 and self.server.hub.xet_for(repo) else {}

    def _model_info(self, repo: Repository, blobs: bool) -> None:
        siblings: list[dict[str, Any]] = []
        for file in repo.files.values():
            entry: dict[str, Any] = {"rfilename": file.name}
            if blobs:
                entry |= {"size": file.size, "blobId": file.oid} | ({"lfs": file.lfs("sha256")} if file.sha256 else {})
            siblings.append(entry)
        license_name = repo.settings.get("license", "apache-2.0")
        self._json(
            {
                "_id": repo.commit[:24], "id": repo.name, "modelId": repo.name, "author": repo.name.split("/")[0],
                "sha": repo.commit, "private": repo.private, "gated": repo.gated, "disabled": False,
                "downloads": 0, "likes": 0, "createdAt": DATE, "lastModified": DATE,
                "tags": [f"license:{license_name}"], "cardData": {"license": license_name},
                "siblings": siblings, "usedStorage": sum(f.size for f in repo.files.values()),
            }
        )  # fmt: skip

    def _resolve(self, repo: Repository, name: str) -> None:
        file = repo.files.get(name)
        if file is None:
            raise _RefusedError(404, "EntryNotFound", "Entry not found")
        if file.sha256 is None:
            return self._send_file(repo, file)
        hub = self.server.hub
        location = f"{hub.cdn_url}/-/cdn/{repo.name}/{repo.commit}/{quote(file.name)}?signature={file.xet_hash[:16]}"
        body = f"Found. Redirecting to {location}".encode()
        headers = self._file_headers(repo, file) | {"Location": location, "Content-Length": str(len(body))}
        if hub.xet_for(repo):
            route = f"{hub.url}/api/models/{repo.name}/xet-read-token/{repo.commit}"
            headers |= {"X-Xet-Hash": file.xet_hash, "X-Xet-Refresh-Route": route, "Link": f'<{route}>; rel="xet-auth"'}
        self._head(302, headers)
        if self.command != "HEAD":
            self.wfile.write(body)
        return None

    def _file_headers(self, repo: Repository, file: HubFile) -> dict[str, str]:
        headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
        if file.sha256:
            headers |= {"X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.sha256}"'}
        return headers

    def _send_file(self, repo: Repository, file: HubFile) -> None:
        headers = self._file_headers(repo, file) | {"Content-Type": "application/octet-stream"}
        start, end, partial = _range(self.headers.get("Range"), file.size)
        if start >= max(file.size, 1):
            return self._error(416, "", "range not satisfiable", {"Content-Range": f"bytes */{file.size}"})
        fault = self.server.hub.faults.pick(self.command, self.path, BODY_FAULTS, start, file.size)
        if fault is not None:
            self.entry["fault"] = fault.kind
            if fault.kind == "no_range":
                start, end, partial = 0, file.size, False
                del headers["Accept-Ranges"]
        if partial:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        length = end - start + (fault.by if fault and fault.kind == "wrong_length" else 0)
        self._head(206 if partial else 200, headers | {"Content-Length": str(length)})
        self.entry["file"] = f"{repo.name}/{file.name}"
        if self.command != "HEAD":
            self._send_body(file, start, min(end, start + length), fault)
            self.close_connection |= length != end - start
        return None

    def _send_body(self, file: HubFile, start: int, end: int, fault: Fault | None) -> None:
        at = fault.offset(file.size) if fault else -1
        stop = min(end, at) if fault and fault.kind in ("cut", "stall") else end
        for offset, chunk in _chunks(file.path, start, stop):
            if fault and fault.kind == "flip" and offset <= at < offset + len(chunk):
                chunk = chunk[: at - offset] + bytes([chunk[at - offset] ^ 0xFF]) + chunk[at - offset + 1 :]
            if fault and fault.kind == "slow":
                time.sleep(len(chunk) / fault.rate)
            # Counted first: whoever has read the bytes finds them in the log.
            self.entry["sent"] += len(chunk)
            self.wfile.write(chunk)
        if stop < end and fault:
            self.wfile.flush()
            if fault.kind == "stall":
                self._stall(fault.seconds)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_WR)

    def _send_cas(self, answer: Any) -> None:
        self.entry["file"] = answer.file
        self._head(answer.status, {"Content-Length": str(len(answer.body))})
        self.entry["sent"] += answer.data_bytes
        self.wfile.write(answer.body)

    def _stall(self, seconds: float) -> None:
        """Send nothing until the time is over, the client has left or the hub stops."""
        self.connection.settimeout(0.05)
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.server.hub.stopping.is_set():
            try:
                if not self.connection.recv(1, socket.MSG_PEEK):
                    break
                time.sleep(0.05)
            except TimeoutError:
                continue
            except OSError:
                break
        self.connection.settimeout(None)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        if hasattr(self, "entry"):
            self.entry["status"] = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self._head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))} | (headers or {}))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"error": message}).encode()
        common = {"Content-Type": "application/json", "Content-Length": str(len(body)), "X-Error-Message": message}
        self._head(status, common | ({"X-Error-Code": code} if code else {}) | (headers or {}))
        if self.command != "HEAD":
            self.wfile.write(body)


def _range(header: str | None, size: int) -> tuple[int, int, bool]:
    """Return first byte, end (exclusive) and whether a part was asked for."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if not match or not (match[1] or match[2]):
        return 0, size, False
    if not match[1]:
        return max(0, size - int(match[2])), size, True
    return int(match[1]), min(size, int(match[2]) + 1) if match[2] else size, True


def _chunks(path: Path, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as stream:
        stream.seek(start)
        while start < end and (chunk := stream.read(min(CHUNK_BYTES, end - start))):
            yield start, chunk
            start += len(chunk)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], hub: LoopbackHub) -> None:
        super().__init__(address, _Handler)
        self.hub = hub


class LoopbackHub:
    """The hub as an object: a context manager that serves in threads of its own.

    ``cdn`` is the address of a second listener that LFS files are redirected to, so that they come from another
    origin as they do on the real hub; without it they come from the same one.
    """

    def __init__(
        self,
        root: Path | str,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        cdn: tuple[str, int] | None = None,
        faults_file: Path | str | None = None,
        tokens: dict[str, str] | None = None,
        xet: bool = False,
    ) -> None:
        self.store = Store(Path(root))
        self.faults = Faults(Path(faults_file) if faults_file else None)
        self.log = RequestLog()
        self.stopping = threading.Event()
        # Storage for Xet (loopback_xet.py) can be set here; without it, Xet is advertised but gives nothing.
        self.cas: Any = None
        self._tokens = tokens or {}
        self._xet = xet
        self._servers = [_Server(listen, self)] + ([_Server(cdn, self)] if cdn else [])
        self.url, self.cdn_url = (_url(self._servers[i]) for i in (0, -1))

    def __enter__(self) -> LoopbackHub:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Serve in the background."""
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Stop serving, stalled answers included."""
        self.stopping.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def tokens(self) -> dict[str, str]:
        """The tokens that are valid now, with the user of each."""
        listed: dict[str, str] = self.store.settings(self.store.root).get("tokens", {})
        return self._tokens | listed

    def xet_for(self, repo: Repository) -> bool:
        """Whether the files of a repository are advertised as kept in Xet."""
        return bool(repo.settings.get("xet", self._xet))


def _url(server: _Server) -> str:
    host, port = server.server_address[:2]
    return f"http://{host!s}:{port}"


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host or "127.0.0.1", int(port)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description="A model hub on the loopback interface, with faults on request.")
    parser.add_argument("--root", required=True, type=Path, help="folder that holds <org>/<repo>/files")
    parser.add_argument("--listen", default="127.0.0.1:9696", type=_address, metavar="HOST:PORT")
    parser.add_argument("--cdn-listen", type=_address, metavar="HOST:PORT", help="second origin for the LFS files")
    parser.add_argument("--faults-file", type=Path, help="JSON list of faults, read again at each request")
    parser.add_argument("--token", action="append", default=[], help="a valid token (of the user tester)")
    parser.add_argument("--xet", action="store_true", help="advertise Xet for every repository")
    args = parser.parse_args()
    tokens = dict.fromkeys(args.token, "tester")
    hub = LoopbackHub(args.root, args.listen, args.cdn_listen, args.faults_file, tokens, args.xet)
    hub.start()
    print(f"serving {args.root} on {hub.url}, process {os.getpid()}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()

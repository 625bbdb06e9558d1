"""Bring the files of one request from the hub, with the hub's own client. A child of fetch_model.py, which may kill it.

The client's high-level download begins again from zero after a kill: its temporary file has a new name each time. So
this uses the client's parts (metadata, HTTP with resume, Xet) with a partial file whose name stays the same, and
computes the checksum while the bytes come in.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hf_xet  # type: ignore[import-untyped]
import httpx2
from hub_cache import (
    BROKEN,
    NO_ROOM,
    Cache,
    FetchError,
    Heartbeat,
    Request,
    WantedFile,
    disk_trouble,
    hash_file,
    rename,
    write_json,
)
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._xet import (
    XetFileData,
    get_xet_session,
    refresh_xet_connection_info,
    xet_headers_without_auth,
)

# A cut connection loses the piece that was not handed on yet, so the pieces are small (the client's own are 10 MiB).
PIECE_BYTES = 1 << 18
# Files at once. One connection to a content network rarely fills a fast line.
FILES_AT_ONCE = 4


class PartialFile:
    """A file that is coming in, and the checksum of what it holds. The client writes to it as to any binary file."""

    def __init__(self, path: Path, file: WantedFile, heartbeat: Heartbeat) -> None:
        self._path, self._file, self._heartbeat = path, file, heartbeat
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            os.close(self._fd)
            raise FetchError(
                "cache.busy", f"{path.name}: another process writes it.", "Wait for it.", retry=True
            ) from problem
        size = os.fstat(self._fd).st_size
        self._take(size if size <= file.size_bytes else 0)

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def _take(self, size: int) -> None:
        """Keep the first bytes and forget the rest."""
        os.ftruncate(self._fd, size)
        self._hasher = hash_file(self._path, self._file.hasher(), self._heartbeat)
        self._position = os.lseek(self._fd, size, os.SEEK_SET)

    def tell(self) -> int:
        """Return how many bytes are there."""
        return self._position

    def seek(self, position: int) -> int:
        """Go back; the client does so when the server does not know ranges."""
        self._position = position
        return position

    def truncate(self) -> int:
        """Forget what comes after the position."""
        self._take(self._position)
        return self._position

    def write(self, data: bytes) -> int:
        """Append, and go on with the checksum."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._hasher.update(data)
        self._position += len(data)
        return len(data)

    def digest(self) -> str:
        """Return the checksum of all that is there."""
        result: str = self._hasher.hexdigest()
        return result


class Transfer:
    """Brings the missing files of a request into the cache."""

    def __init__(self, request: Request, token: str | None, heartbeat: Heartbeat) -> None:
        self._request, self._token, self._heartbeat = request, token, heartbeat
        self._cache = Cache(request.folder)

    def run(self) -> None:
        """Bring all files; the first error that can't be mended by trying again wins."""
        missing = {f.digest: f for f in self._request.files if not self._cache.is_verified(f.digest or "")}
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            jobs = [pool.submit(self._bring, file) for file in missing.values()]
            errors = [job.exception() for job in jobs]
        explained = [explain(problem, self._request) for problem in errors if problem is not None]
        for problem in sorted(explained, key=lambda problem: problem.retry):
            raise problem

    def _bring(self, file: WantedFile) -> None:
        digest = file.digest
        if digest is None:
            raise FetchError(
                "model.no_checksum", f"{file.name}: the hub gives no checksum for it.", "Choose another hub."
            )
        blob = self._cache.blobs / digest
        if blob.exists():
            if hash_file(blob, file.hasher(), self._heartbeat).hexdigest() == digest:
                self._cache.remember(digest)
                return
            blob.unlink()
        found = ""
        for _attempt in range(2):
            found = self._download(file, digest)
            if found == digest:
                self._cache.remember(digest)
                return
        raise FetchError(
            "model.checksum",
            f"{file.name}: the checksum is wrong, twice. The hub says {digest}, what arrived has {found}.",
            "Something between this host and the hub changes files. Try again later, or another llmhost_hub_endpoint.",
        )

    def _download(self, file: WantedFile, digest: str) -> str:
        """Bring one file and return the checksum of what came; only the right one gets its name in ``blobs``."""
        request = self._request
        url = hf_hub_url(request.repo, file.name, revision=request.commit, endpoint=request.endpoint)
        try:
            about = get_hf_file_metadata(url, token=self._token or False, endpoint=request.endpoint)
        except HfHubHTTPError as problem:
            raise refusal(problem, request, file) from problem
        if about.commit_hash != request.commit:
            raise FetchError(
                "hub.protocol", f"{request.endpoint} does not answer like a model hub.", "Check llmhost_hub_endpoint."
            )
        partial = self._cache.partial(digest)
        with PartialFile(partial, file, self._heartbeat) as stream:
            if about.xet_file_data is not None and not constants.HF_HUB_DISABLE_XET:
                self._receive_xet(stream, about.xet_file_data, file.size_bytes)
            else:
                self._receive_http(stream, url, about.location, file.size_bytes)
            found = stream.digest()
            if found == digest:
                # A name in blobs must never lead to a file that a power cut emptied.
                rename(partial, self._cache.blobs / digest)
            else:
                partial.unlink()
        return found

    def _receive_http(self, stream: PartialFile, url: str, location: str, size: int) -> None:
        headers = build_hf_headers(token=self._token or False)
        if urlsplit(location)[:2] != urlsplit(url)[:2]:
            # The address of a content network carries its own permission; the token must not leave the hub.
            headers.pop("authorization", None)
        http_get(location, stream, resume_size=stream.tell(), headers=headers, expected_size=size)  # type: ignore[arg-type]

    def _receive_xet(self, stream: PartialFile, xet: XetFileData, size: int) -> None:
        """Go on from where the partial file ends. The client's own ``xet_get`` can only begin at the beginning."""
        if stream.tell() == size:
            return
        headers = build_hf_headers(token=self._token or False)
        access = refresh_xet_connection_info(file_data=xet, headers=headers)
        session: Any = get_xet_session()  # type: ignore[no-untyped-call]
        group = session.new_download_stream_group(
            endpoint=access.endpoint,
            token=access.access_token,
            token_expiry_unix_secs=access.expiration_unix_epoch,
            token_refresh_url=xet.refresh_route,
            token_refresh_headers=headers,
            custom_headers=xet_headers_without_auth(headers),
        )
        for piece in group.download_stream(hf_xet.XetFileInfo(xet.file_hash, size), start=stream.tell() or None):
            stream.write(piece)


def refusal(problem: HfHubHTTPError, request: Request, file: WantedFile) -> FetchError:
    """Explain why the hub did not give the metadata of a file."""
    status = problem.response.status_code
    what = f"{request.repo} at {request.endpoint}"
    if isinstance(problem, GatedRepoError) or status in (401, 403):
        hidden = isinstance(problem, RepositoryNotFoundError) and not isinstance(problem, GatedRepoError)
        why = "it does not exist, or it is private" if hidden else "this account may not read it"
        return FetchError(
            "hub.unauthorized",
            f"{what}: the hub refuses it ({status}): {why}.",
            "Check the name, accept a gated model's licence on its page, set llmhost_hub_token to one that may read.",
        )
    if isinstance(problem, (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError)) or status == 404:
        return FetchError(
            "model.not_found",
            f"{what}: the hub has no {file.name} at commit {request.commit[:12]} (404).",
            "Check llmhost_model and llmhost_model_revision; the repository may have been changed or removed.",
        )
    return explain(problem, request)


def explain(problem: BaseException, request: Request) -> FetchError:
    """Turn any error of a transfer into one that says what to do."""
    if isinstance(problem, FetchError):
        return problem
    text = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
    if (isinstance(problem, OSError) and problem.errno in NO_ROOM) or "No space left on device" in str(problem):
        return FetchError(
            "disk.full",
            f"{request.cache_path}: the disk filled up during the download ({text}).",
            "Free some space, or choose a larger disk; what was fetched is kept, the next run goes on from there.",
        )
    if isinstance(problem, OSError) and problem.errno in BROKEN:
        return disk_trouble(problem, request.cache_path)
    if isinstance(problem, HfHubHTTPError):
        status = problem.response.status_code
        wait = problem.response.headers.get("Retry-After", "")
        after = float(wait) if wait.isdigit() else 0.0
        code = "hub.rate_limited" if status == 429 else "hub.error"
        remedy = (
            "Try again later; a token (llmhost_hub_token) raises the limit." if status == 429 else "Try again later."
        )
        return FetchError(code, f"{request.endpoint}: the hub answers {status}.", remedy, retry=True, retry_after=after)
    if isinstance(problem, (httpx2.TransportError, OSError)):
        return FetchError(
            "hub.unreachable",
            f"{request.endpoint}: no connection, or it breaks again and again ({text}).",
            "Check the network, llmhost_proxy and llmhost_hub_endpoint.",
            retry=True,
        )
    # The rest comes from Xet, whose errors have no common class; the supervisor goes on without it.
    return FetchError("hub.transfer", f"the transfer failed: {text}", "Try again later.", retry=True)


def main(request_file: str, run_dir: str) -> int:
    """Transfer, and leave a report for the supervisor."""
    threading.Thread(target=_die_with_supervisor, daemon=True).start()
    os.umask(0o027)
    constants.DOWNLOAD_CHUNK_SIZE = PIECE_BYTES
    request = Request.from_file(Path(request_file))
    beat, report = Path(run_dir) / "heartbeat", Path(run_dir) / "transfer.json"
    token = read_token()
    outcome: dict[str, Any] = {}
    try:
        Transfer(request, token, beat.touch).run()
    except FetchError as problem:
        outcome = problem.as_dict()
        if token:
            outcome["message"] = outcome["message"].replace(token, "…")
    write_json(report, {"error": outcome or None})
    return 1 if outcome else 0


def _die_with_supervisor() -> None:
    """End at once when the supervisor does: its end closes the pipe. Two transfers must not write one file."""
    os.read(0, 1)
    os._exit(1)


def read_token() -> str | None:
    """Return the hub token that systemd put before this process, if there is one."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    try:
        return (Path(folder) / "hub_token").read_text(encoding="utf-8").strip() or None if folder else None
    except OSError:
        return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

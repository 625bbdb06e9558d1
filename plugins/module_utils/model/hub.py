"""A hub that speaks the protocol of Hugging Face: what a repository holds, and parts of its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from ansible_collections.llmhost.core.plugins.module_utils.model.http_range import HttpClient, HttpStatusError
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.model.safetensors import MAX_JSON, read_json_object

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_FILE = 2**50
TOKEN = "Check llmhost_hub_token."


@dataclass(frozen=True)
class HubFile:
    """One file as the hub lists it; ``sha256`` is known for large files, ``git_oid`` for all."""

    name: str
    size_bytes: int | None
    sha256: str | None
    git_oid: str | None

    @classmethod
    def from_sibling(cls, sibling: dict[str, Any]) -> HubFile:
        """Read an entry of ``siblings``; what is not of the right kind counts as unknown."""
        stored = sibling.get("lfs")
        lfs: dict[str, Any] = stored if isinstance(stored, dict) else {}
        size, oid, sha256 = sibling.get("size"), sibling.get("blobId"), lfs.get("sha256")
        return cls(
            name=sibling["rfilename"],
            size_bytes=size if type(size) is int and 0 <= size <= MAX_FILE else None,
            sha256=sha256 if isinstance(sha256, str) and SHA256.fullmatch(sha256) else None,
            git_oid=oid if isinstance(oid, str) and COMMIT.fullmatch(oid) else None,
        )


@dataclass(frozen=True)
class Repository:
    """A repository at one commit."""

    name: str
    commit: str
    files: dict[str, HubFile]
    gated: str | bool
    private: bool
    license: str | None

    @classmethod
    def from_api(cls, name: str, answer: dict[str, Any]) -> Repository:
        """Read the answer of ``/api/models``; raise ModelError if it is none."""
        commit, siblings, gated = answer.get("sha"), answer.get("siblings"), answer.get("gated")
        if not isinstance(commit, str) or not COMMIT.fullmatch(commit) or not isinstance(siblings, list):
            message = f"the hub's answer for {name} names no commit or no files"
            raise ModelError("hub.answer", message, "Check that llmhost_hub_endpoint is a hub for models.")
        listed = [HubFile.from_sibling(entry) for entry in siblings if _is_file(entry)]
        return cls(
            name,
            commit,
            {file.name: file for file in listed},
            gated if gated in ("auto", "manual") else bool(gated) and "manual",
            answer.get("private") is True,
            _license(answer),
        )


class Hub:
    """A client of one hub, for one user."""

    def __init__(self, client: HttpClient, endpoint: str, token: str = "") -> None:
        """Keep the address without its last slash, and the token for the header only."""
        self.endpoint = checked_endpoint(endpoint)
        self._client = client
        self._token = token
        self._headers = {"User-Agent": "llmhost"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def repository(self, name: str, revision: str) -> Repository:
        """Return what the repository holds at a revision."""
        url = f"{self.endpoint}/api/models/{name}/revision/{quote(revision, safe='')}?blobs=true"
        try:
            answer = self._client.get(url, self._headers, MAX_JSON)
        except HttpStatusError as error:
            raise self._explained(error, name, f"revision {revision}") from error
        return Repository.from_api(name, read_json_object(answer, f"the answer of {self.endpoint}"))

    def file(self, repository: Repository, name: str) -> RemoteFile:
        """Return a file of the repository to read parts of."""
        if name not in repository.files:
            raise ModelError("model.incomplete", f"{repository.name} has no {name}", "Choose another repository.")
        return RemoteFile(self, repository, name)

    def url(self, repository: Repository, name: str) -> str:
        """Return where the content of a file is."""
        return f"{self.endpoint}/{repository.name}/resolve/{repository.commit}/{quote(name)}"

    def size(self, repository: Repository, name: str) -> int:
        """Return the size of a file: as listed, else as the file itself tells it."""
        listed = repository.files[name].size_bytes
        if listed is not None:
            return listed
        try:
            return self._client.size(self.url(repository, name), self._headers)
        except HttpStatusError as error:
            raise self._explained(error, repository.name, name) from error

    def read(self, repository: Repository, name: str, begin: int, end: int, size: int) -> bytes:
        """Return a part of a file."""
        if begin >= end:
            return b""
        try:
            return self._client.read_range(self.url(repository, name), self._headers, begin, end, size)
        except HttpStatusError as error:
            raise self._explained(error, repository.name, name) from error

    def _explained(self, error: HttpStatusError, repo: str, part: str) -> ModelError:
        """Return what an error of the hub means, and what to do about it."""
        where = f"{repo} on {self.endpoint}"
        if error.reason == "GatedRepo":
            remedy = (
                f"Accept its terms at {self.endpoint}/{repo}, and set llmhost_hub_token to a token of that account."
            )
            return ModelError("model.gated", f"{where} is gated, and this account may not read it", remedy)
        if error.reason == "RevisionNotFound":
            return ModelError("model.revision_not_found", f"{where} has no {part}", "Correct llmhost_model_revision.")
        if error.reason == "RepoNotFound" or (error.status == 404 and not error.reason):
            remedy = TOKEN if self._token else "Correct llmhost_model, or set llmhost_hub_token."
            return ModelError("model.not_found", f"{where} does not exist, or is private", remedy)
        if error.reason == "EntryNotFound":
            return ModelError("model.incomplete", f"{where} has no {part}", "Choose another file.")
        if error.status == 401:
            if self._token:
                return ModelError("hub.token_refused", f"{self.endpoint} refuses the token", TOKEN)
            return ModelError("hub.token_needed", f"{where} needs a token", "Set llmhost_hub_token.")
        if error.status == 403:
            return ModelError("hub.forbidden", f"{where} may not be read by this account", TOKEN)
        message = f"{where} cannot be read: HTTP status {error.status} for {part}"
        return ModelError("hub.status", message, "Check llmhost_hub_endpoint and llmhost_proxy.")


class RemoteFile:
    """A file on a hub, read by parts."""

    far = True

    def __init__(self, hub: Hub, repository: Repository, name: str) -> None:
        """Learn the size."""
        self.name = f"{repository.name}/{name}"
        self.size = hub.size(repository, name)
        self._hub = hub
        self._repository = repository
        self._file = name

    def read(self, begin: int, end: int) -> bytes:
        """Return a part of the file."""
        return self._hub.read(self._repository, self._file, begin, end, self.size)


def checked_endpoint(endpoint: str) -> str:
    """Return the address of a hub without its last slash; raise ModelError if it is none."""
    plain = endpoint.strip().rstrip("/")
    try:
        parts = urlsplit(plain)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment or not re.fullmatch(r"[!-~]+", plain):
        message = f"{endpoint!r} is not the address of a hub"
        raise ModelError("hub.address", message, "Set llmhost_hub_endpoint to one such as https://huggingface.co.")
    return plain


def _is_file(entry: Any) -> bool:
    """Say whether an entry names a file inside the repository."""
    name = entry.get("rfilename") if isinstance(entry, dict) else None
    return isinstance(name, str) and bool(name) and not name.startswith("/") and ".." not in name.split("/")


def _license(answer: dict[str, Any]) -> str | None:
    """Return the licence of the model card, by name if it is none of the usual ones; else that of the tags."""
    found = answer.get("cardData")
    card: dict[str, Any] = found if isinstance(found, dict) else {}
    named = card.get("license")
    if named == "other" and isinstance(card.get("license_name"), str):
        named = card["license_name"]
    if isinstance(named, list):
        named = ", ".join(str(name) for name in named)
    tags = answer.get("tags") or []
    tagged = (
        [tag for tag in tags if isinstance(tag, str) and tag.startswith("license:")] if isinstance(tags, list) else []
    )
    return str(named) if named else tagged[0].partition(":")[2] if tagged else None

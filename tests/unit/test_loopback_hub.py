"""The loopback hub answers the real client as the real hub would; tests of the fetcher rest on that."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.tools.loopback_hub import LoopbackHub

REPO = "acme/tiny"
WEIGHTS = bytes(range(256)) * 4096


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    """A hub with one repository."""
    folder = tmp_path / "hub" / REPO
    (folder / "sub").mkdir(parents=True)
    (folder / "a.gguf").write_bytes(WEIGHTS)
    (folder / "sub/x.txt").write_text("hello\n")
    with LoopbackHub(tmp_path / "hub", cdn=("127.0.0.1", 0), tokens={"hf_good": "reader"}) as hub:
        yield hub


@pytest.fixture
def api(hub: LoopbackHub) -> HfApi:
    """The real client's view of it."""
    return HfApi(endpoint=hub.url, token=False)


def get(url: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask without the client."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, method=method, data=data, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        return answer.status, dict(answer.headers), answer.read()


def test_the_client_reads_what_a_model_is(hub: LoopbackHub, api: HfApi) -> None:
    info = api.model_info(REPO, files_metadata=True)
    big, small = info.siblings or []
    assert big.lfs is not None
    assert big.lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert (small.rfilename, small.lfs) == ("sub/x.txt", None)
    assert small.blob_id == hashlib.sha1(b"blob 6\0hello\n").hexdigest()
    assert [entry.path for entry in api.list_repo_tree(REPO)] == ["a.gguf", "sub"]
    assert [entry.path for entry in api.list_repo_tree(REPO, recursive=True)] == ["a.gguf", "sub/x.txt"]
    assert api.list_repo_refs(REPO).branches[0].target_commit == info.sha
    assert HfApi(endpoint=hub.url, token="hf_good").whoami()["name"] == "reader"


def test_the_client_downloads_a_snapshot(hub: LoopbackHub, tmp_path: Path) -> None:
    folder = Path(snapshot_download(REPO, cache_dir=tmp_path / "cache", endpoint=hub.url, token=False))
    assert (folder / "a.gguf").read_bytes() == WEIGHTS
    assert (folder / "sub/x.txt").read_text() == "hello\n"
    assert hub.log.as_dict()["bytes_served"] == len(WEIGHTS) + 6


def test_equal_files_have_an_equal_commit(hub: LoopbackHub, api: HfApi) -> None:
    first = api.model_info(REPO).sha
    folder = hub.store.root / REPO
    (folder / "a.gguf").write_bytes(WEIGHTS[::-1])
    assert api.model_info(REPO).sha != first
    (folder / "a.gguf").write_bytes(WEIGHTS)
    assert api.model_info(REPO).sha == first


def test_what_is_not_there_has_the_errors_of_the_hub(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    place: dict[str, Any] = {"endpoint": hub.url, "cache_dir": tmp_path, "token": False}
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=hub.url, token="hf_good").model_info("acme/none")
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(REPO, "none.gguf", **place)
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPO, "a.gguf", revision="0" * 40, **place)


def test_gated_and_private_repositories_know_their_readers(hub: LoopbackHub, tmp_path: Path) -> None:
    settings = hub.store.root / REPO / ".hub.json"
    place: dict[str, Any] = {"endpoint": hub.url, "cache_dir": tmp_path}
    settings.write_text('{"gated": "manual", "allow": ["somebody"]}')
    with pytest.raises(GatedRepoError):
        hf_hub_download(REPO, "a.gguf", token="hf_good", **place)
    settings.write_text('{"private": true}')
    with pytest.raises(HfHubHTTPError, match="401"):
        hf_hub_download(REPO, "a.gguf", token=False, **place)
    assert hf_hub_download(REPO, "a.gguf", token="hf_good", **place)


def test_ranges(hub: LoopbackHub) -> None:
    url = f"{hub.url}/{REPO}/resolve/main/a.gguf"
    assert get(url, Range="bytes=10-19")[2] == WEIGHTS[10:20]
    assert get(url, Range="bytes=-5")[2] == WEIGHTS[-5:]
    status, headers, body = get(url, Range=f"bytes={len(WEIGHTS) - 3}-")
    assert (status, body) == (206, WEIGHTS[-3:])
    assert headers["Content-Range"] == f"bytes {len(WEIGHTS) - 3}-{len(WEIGHTS) - 1}/{len(WEIGHTS)}"
    with pytest.raises(urllib.error.HTTPError, match="416"):
        get(url, Range=f"bytes={len(WEIGHTS)}-")


def test_faults_come_from_the_control_address_and_from_a_file(hub: LoopbackHub, tmp_path: Path) -> None:
    url = f"{hub.url}/{REPO}/resolve/main/sub/x.txt"
    get(f"{hub.url}/-/faults", "PUT", [{"kind": "flip", "match": "x.txt", "at": 0}])
    assert get(url)[2] == b"\x97ello\n"
    assert get(url)[2] == b"hello\n"
    faults = tmp_path / "faults.json"
    with LoopbackHub(hub.store.root, faults_file=faults) as other:
        url = f"{other.url}/{REPO}/resolve/main/sub/x.txt"
        assert get(url)[2] == b"hello\n"
        faults.write_text('[{"kind": "status", "status": 429, "retry_after": 7, "times": 0}]')
        with pytest.raises(urllib.error.HTTPError, match="429") as caught:
            get(url)
        assert caught.value.headers["Retry-After"] == "7"


def test_the_log_counts_bytes_and_shows_no_token(hub: LoopbackHub) -> None:
    get(f"{hub.url}/{REPO}/resolve/main/a.gguf", Range="bytes=0-99", Authorization="Bearer hf_good")
    log = get(f"{hub.url}/-/log")[2].decode()
    assert json.loads(log)["bytes_by_file"] == {f"{REPO}/a.gguf": 100}
    assert "hf_good" not in log
    get(f"{hub.url}/-/log", "DELETE")
    assert json.loads(get(f"{hub.url}/-/log")[2])["requests"] == []

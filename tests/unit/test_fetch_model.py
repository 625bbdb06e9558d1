"""The real fetcher with the real hub client, against the loopback hub and its faults."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import hf_hub_download

from tests.tools.loopback_hub import LoopbackHub
from tests.tools.loopback_xet import XetStorage

FETCHER = Path(__file__).parents[2] / "roles/model_cache/files/fetch_model.py"
TOKEN = "hf_SecretOfTheTests"
REPO = "acme/tiny-gguf"
BIG = "tiny-Q4_K_M.gguf"
SIZE = 24 << 20


def content(size: int, seed: int = 1) -> bytes:
    """Return bytes that look like a GGUF at the front and that no compression helps."""
    return b"GGUF\x03\x00\x00\x00" + random.Random(seed).randbytes(size - 8)


@dataclass
class Bed:
    """A hub, a cache and the way to fetch from one into the other."""

    hub: LoopbackHub
    root: Path
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def request(self, **changes: Any) -> dict[str, Any]:
        """Return the request that the role would write for the big file and its configuration."""
        repo = self.hub.store.repository(REPO)
        assert repo is not None
        files = [
            {"name": f.name, "size_bytes": f.size, "sha256": f.sha256, "git_oid": f.oid}
            for f in sorted(repo.files.values(), key=lambda f: -f.size)
        ]
        wanted = {
            "source": "hub",
            "endpoint": self.hub.url,
            "repo": REPO,
            "commit": repo.commit,
            "revision": "main",
            "cache_path": str(self.folder / "models"),
            "files": files,
            "stall_seconds": 2,
            "retry_seconds": 0.05,
            "margin_bytes": 0,
        }
        return wanted | changes

    def start(self, request: dict[str, Any], token: str | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start the fetcher as its unit does."""
        credentials = self.folder / "credentials"
        for name in ("credentials", "run", "models"):
            (self.folder / name).mkdir(exist_ok=True)
        (credentials / "request").write_text(json.dumps(request))
        (credentials / "hub_token").write_text(f"{token}\n") if token else None
        env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and not k.startswith("HF_")}
        env |= {"CREDENTIALS_DIRECTORY": str(credentials), "RUNTIME_DIRECTORY": str(self.folder / "run")} | self.env
        return subprocess.Popen(
            [sys.executable, str(FETCHER), *options.pop("arguments", [])],
            env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
        )  # fmt: skip

    def fetch(self, request: dict[str, Any] | None = None, token: str | None = None, **options: Any) -> dict[str, Any]:
        """Fetch to the end and return the result, with the journal under ``log``."""
        process = self.start(request or self.request(), token, **options)
        log, _ = process.communicate(timeout=50)
        result: dict[str, Any] = json.loads((self.folder / "run/result.json").read_text())
        assert process.returncode == (0 if result["ok"] else 1), log
        return result | {"log": log}

    @property
    def model(self) -> Path:
        """The folder of the model in the cache."""
        return self.folder / "models" / f"models--{REPO.replace('/', '--')}"

    def published(self) -> Path:
        """The name that the runtime would be given."""
        commit: str = self.request()["commit"]
        return self.model / "snapshots" / commit / BIG

    def assert_published(self) -> None:
        """The big file has its name and the right content, and nothing else is left."""
        assert self.published().read_bytes() == (self.root / REPO / BIG).read_bytes()
        assert not list(self.model.rglob("*.incomplete"))

    def assert_nothing_published(self) -> None:
        """No name leads to a file."""
        assert not [p for p in (self.model / "snapshots").rglob("*") if p.exists()]


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    """A hub with one repository, and an empty cache."""
    root = tmp_path / "hub"
    (root / REPO).mkdir(parents=True)
    (root / REPO / BIG).write_bytes(content(SIZE))
    (root / REPO / "config.json").write_text('{"model_type": "tiny"}')
    with LoopbackHub(root, cdn=("127.0.0.1", 0), tokens={TOKEN: "reader", "hf_other": "other"}) as hub:
        yield Bed(hub, root, tmp_path)


def fetched_twice(bed: Bed) -> float:
    """Return which part of the file was sent more than once."""
    served: int = bed.hub.log.as_dict()["bytes_by_file"][f"{REPO}/{BIG}"]
    return served / SIZE - 1


def test_a_model_is_fetched_verified_and_published(bed: Bed) -> None:
    result = bed.fetch()
    assert result["ok"], result["log"]
    bed.assert_published()
    blob = bed.published().resolve()
    assert [entry["name"] for entry in result["files"]] == [BIG, "config.json"]
    assert result["files"][0] | {"size_bytes": SIZE, "mtime_ns": blob.stat().st_mtime_ns} == result["files"][0]
    assert result["bytes_fetched"] == SIZE + len('{"model_type": "tiny"}')
    assert (bed.model / "refs/main").read_text() == bed.request()["commit"]
    assert blob.stat().st_mode & 0o777 == 0o640
    progress = json.loads((bed.folder / "run/progress.json").read_text())
    assert progress["stage"] == "done"
    assert progress["done"] == progress["total"] == result["bytes_fetched"]


def test_the_hub_client_finds_what_was_published(bed: Bed) -> None:
    bed.fetch()
    found = hf_hub_download(REPO, BIG, cache_dir=bed.folder / "models", local_files_only=True)
    assert Path(found).resolve() == bed.published().resolve()


def test_a_second_run_asks_nobody(bed: Bed) -> None:
    request = bed.request()
    bed.fetch(request)
    bed.hub.log.clear()
    result = bed.fetch(request)
    assert result["ok"]
    assert result["bytes_fetched"] == 0
    assert bed.hub.log.as_dict()["requests"] == []


def test_a_second_file_of_the_commit_joins_the_first(bed: Bed) -> None:
    request = bed.request()
    bed.fetch(request | {"files": request["files"][:1]})
    result = bed.fetch(request | {"files": request["files"][1:]})
    assert result["ok"]
    bed.assert_published()
    assert bed.published().with_name("config.json").read_text() == '{"model_type": "tiny"}'


@pytest.mark.parametrize("times", [1, 3])
def test_a_cut_download_goes_on_where_it_ended(bed: Bed, times: int) -> None:
    bed.hub.faults.set([{"kind": "cut", "match": "cdn", "at": f"{60 + 10 * n}%"} for n in range(times)])
    result = bed.fetch()
    assert result["ok"], result["log"]
    bed.assert_published()
    assert fetched_twice(bed) < 0.05


def test_a_flipped_byte_is_fetched_again_once(bed: Bed) -> None:
    bed.hub.faults.set([{"kind": "flip", "match": "cdn", "at": "50%"}])
    assert bed.fetch()["ok"]
    bed.assert_published()


def test_a_wrong_checksum_publishes_nothing_and_names_both_sums(bed: Bed) -> None:
    bed.hub.faults.set([{"kind": "flip", "match": "cdn", "at": "50%", "times": 0}])
    result = bed.fetch()
    wrong = bytearray(content(SIZE))
    wrong[SIZE // 2] ^= 0xFF
    assert result["error"]["code"] == "model.checksum"
    assert hashlib.sha256(content(SIZE)).hexdigest() in result["message"]
    assert hashlib.sha256(wrong).hexdigest() in result["message"]
    bed.assert_nothing_published()
    assert not list(bed.model.rglob(f"{bed.request()['files'][0]['sha256']}*"))
    # The other file was good and is kept.
    assert (bed.model / "blobs" / bed.request()["files"][1]["git_oid"]).exists()


def test_a_file_in_place_of_a_damaged_one_is_another_and_one_on_an_empty_disk_the_same(bed: Bed) -> None:
    """What a record says of the file decides whether a server that has it open is restarted."""
    first = bed.fetch()["files"]
    os.truncate(bed.published().resolve(), 100)
    mended = bed.fetch()["files"]
    assert mended[0]["mtime_ns"] != first[0]["mtime_ns"]
    shutil.rmtree(bed.model)
    assert bed.fetch()["files"] == first


def test_a_damaged_blob_is_found_and_only_that_one_fetched_again(bed: Bed) -> None:
    request = bed.request()
    bed.fetch(request)
    blob = bed.published().resolve()
    with blob.open("r+b") as stream:
        stream.write(b"XXXX")
    bed.hub.log.clear()
    assert bed.fetch(request)["ok"]
    bed.assert_published()
    assert list(bed.hub.log.as_dict()["bytes_by_file"]) == [f"{REPO}/{BIG}"]


def test_a_silent_connection_is_made_anew_and_nothing_is_fetched_twice(bed: Bed) -> None:
    bed.hub.faults.set([{"kind": "stall", "match": "cdn", "at": "60%"}])
    assert bed.fetch()["ok"]
    bed.assert_published()
    assert fetched_twice(bed) < 0.05


def use_xet(bed: Bed) -> None:
    """Keep the files in Xet, as the hub does with all large files now."""
    (bed.root / REPO / ".hub.json").write_text('{"xet": true}')
    bed.hub.cas = XetStorage(bed.hub)


def xet_starts(bed: Bed) -> list[int]:
    """Return at which byte each transfer by Xet began."""
    requests = [r for r in bed.hub.log.as_dict()["requests"] if "/v1/reconstructions/" in r["path"]]
    return [int(r["range"].removeprefix("bytes=").split("-")[0]) for r in requests]


def test_a_model_comes_by_xet(bed: Bed) -> None:
    use_xet(bed)
    assert bed.fetch()["ok"]
    bed.assert_published()
    assert xet_starts(bed) == [0]
    paths = [entry["path"] for entry in bed.hub.log.as_dict()["requests"]]
    assert not [path for path in paths if "telemetry" in path or "harness" in path or path.endswith(f"/cdn/{BIG}")]


def test_xet_goes_on_where_it_stalled(bed: Bed) -> None:
    use_xet(bed)
    bed.hub.faults.set([{"kind": "stall", "match": "/-/cas/block/.*/3"}])
    result = bed.fetch(bed.request(stall_seconds=1.5))
    assert result["ok"], result["log"]
    bed.assert_published()
    assert "no byte for" in result["log"]
    assert xet_starts(bed) == [0, 3 * (4 << 20)]


def test_what_xet_brought_is_kept_when_it_is_given_up(bed: Bed) -> None:
    use_xet(bed)
    bed.hub.faults.set([{"kind": "stall", "match": "/-/cas/block/.*/3", "times": 0}])
    result = bed.fetch(bed.request(stall_seconds=1.5))
    assert result["ok"], result["log"]
    bed.assert_published()
    by_http = [r for r in bed.hub.log.as_dict()["requests"] if "/-/cdn/" in r["path"]]
    assert [r["range"] for r in by_http if r["method"] == "GET"] == [f"bytes={3 * (4 << 20)}-"]


def test_a_stall_inside_xet_ends_without_xet(bed: Bed) -> None:
    (bed.root / REPO / ".hub.json").write_text('{"xet": true}')
    bed.hub.faults.set([{"kind": "stall", "match": "/-/cas/", "method": "*", "times": 0}])
    result = bed.fetch(bed.request(stall_seconds=1.5))
    assert result["ok"], result["log"]
    bed.assert_published()
    paths = [entry["path"] for entry in bed.hub.log.as_dict()["requests"]]
    assert any("/-/cas/" in path for path in paths)
    assert "no byte for" in result["log"]


def test_no_network_is_an_error_that_says_what_to_check(bed: Bed) -> None:
    result = bed.fetch(bed.request(endpoint="http://127.0.0.1:9", retry_seconds=0.01))
    assert result["error"]["code"] == "hub.unreachable"
    assert "llmhost_proxy" in result["remedy"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_the_variable_and_never_the_token(bed: Bed, status: int) -> None:
    bed.hub.faults.set([{"kind": "status", "status": status, "match": "resolve", "method": "*", "times": 0}])
    result = bed.fetch(token=TOKEN)
    assert result["error"]["code"] == "hub.unauthorized"
    assert "llmhost_hub_token" in result["remedy"]
    assert str(status) in result["message"]
    assert TOKEN not in json.dumps(result)


@pytest.mark.parametrize(
    ("settings", "token", "code"),
    [
        ({"private": True}, None, "hub.unauthorized"),
        ({"private": True}, "hf_wrong", "hub.unauthorized"),
        ({"private": True, "allow": ["reader"]}, "hf_other", "model.not_found"),
        ({"gated": "manual"}, None, "hub.unauthorized"),
        ({"gated": "manual", "allow": ["reader"]}, "hf_other", "hub.unauthorized"),
        ({"private": True, "gated": "auto", "allow": ["reader"]}, TOKEN, None),
    ],
)
def test_private_and_gated_models_need_the_right_token(
    bed: Bed, settings: dict[str, Any], token: str | None, code: str | None
) -> None:
    (bed.root / REPO / BIG).write_bytes(content(1 << 16))
    (bed.root / REPO / ".hub.json").write_text(json.dumps(settings))
    result = bed.fetch(token=token)
    assert (result["error"] or {}).get("code") == code


def test_a_model_that_is_gone_is_an_error(bed: Bed) -> None:
    result = bed.fetch(bed.request(repo="acme/gone"), token=TOKEN)
    assert result["error"]["code"] == "model.not_found"
    assert "acme/gone" in result["message"]


def test_a_rate_limit_is_waited_for(bed: Bed) -> None:
    bed.hub.faults.set([{"kind": "status", "status": 429, "retry_after": 1, "match": "resolve", "method": "HEAD"}])
    begun = time.monotonic()
    assert bed.fetch()["ok"]
    assert time.monotonic() - begun >= 1
    bed.assert_published()


def test_a_server_error_is_tried_again(bed: Bed) -> None:
    bed.hub.faults.set([{"kind": "status", "status": 503, "match": "resolve", "method": "HEAD", "times": 3}])
    assert bed.fetch()["ok"]
    bed.assert_published()


@pytest.mark.parametrize("by", [1, -1])
def test_a_wrong_content_length_does_no_harm(bed: Bed, by: int) -> None:
    bed.hub.faults.set([{"kind": "wrong_length", "match": "cdn", "by": by}])
    assert bed.fetch()["ok"]
    bed.assert_published()


def test_a_hub_without_ranges_sends_all_again(bed: Bed) -> None:
    bed.hub.faults.set(
        [{"kind": "cut", "match": "cdn", "at": "60%"}, {"kind": "no_range", "match": "cdn", "times": 0}],
    )
    assert bed.fetch()["ok"]
    bed.assert_published()


def test_a_full_disk_is_noticed_before_the_download(bed: Bed) -> None:
    result = bed.fetch(bed.request(margin_bytes=1 << 60))
    assert result["error"]["code"] == "disk.full"
    assert bed.hub.log.as_dict()["requests"] == []


def test_a_cache_that_cannot_be_written_is_an_error_and_no_traceback(bed: Bed) -> None:
    (bed.folder / "models").mkdir()
    bed.model.write_text("a file where a folder should be")
    result = bed.fetch()
    assert result["code"] == "disk.failed"
    assert str(bed.model) in result["message"]
    assert "Traceback" not in result["log"]


def test_a_disk_that_fills_up_keeps_what_came(bed: Bed) -> None:
    # A limit on the file's size stands in for the full disk: the write fails in the same way.
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, SIZE // 2))

    result = bed.fetch(preexec_fn=limit)
    assert result["error"]["code"] == "disk.full"
    assert os.strerror(errno.EFBIG) in result["message"]
    bed.assert_nothing_published()
    assert bed.fetch()["ok"]
    bed.assert_published()
    assert fetched_twice(bed) < 0.5


def test_a_killed_fetcher_goes_on_where_it_was(bed: Bed) -> None:
    bed.hub.faults.set([{"kind": "slow", "match": "cdn", "rate": 24 << 20, "times": 0}])
    chance = random.Random(7)
    for _ in range(5):
        process = bed.start(bed.request())
        time.sleep(chance.uniform(0.3, 0.9))
        process.kill()
        process.communicate()
        if list((bed.model / "snapshots").rglob("*.gguf")):
            bed.assert_published()
    bed.hub.faults.set([])
    assert bed.fetch()["ok"]
    bed.assert_published()
    assert fetched_twice(bed) < 0.25


def test_the_token_is_in_no_argument_log_or_result(bed: Bed) -> None:
    (bed.root / REPO / ".hub.json").write_text('{"private": true}')
    bed.hub.faults.set([{"kind": "slow", "match": "cdn", "rate": 24 << 20}])
    process = bed.start(bed.request(), TOKEN)
    arguments = ""
    while process.poll() is None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                arguments += path.read_text() if (path.parent / "cwd").exists() else ""
            except OSError:
                continue
        time.sleep(0.1)
    log, _ = process.communicate()
    assert process.returncode == 0
    assert "hub_transfer.py" in arguments
    left = [p for p in bed.folder.rglob("*") if p.is_file() and p.name != "hub_token" and p.stat().st_size < 1 << 20]
    assert TOKEN not in arguments + log + "".join(p.read_text(errors="replace") for p in left)
    cdn = [entry for entry in bed.hub.log.as_dict()["requests"] if "/cdn/" in entry["path"]]
    assert cdn
    assert not any(entry["authenticated"] for entry in cdn)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt", "run.sh", "../x.gguf", "/x.gguf"])
def test_what_could_hurt_is_refused(bed: Bed, name: str) -> None:
    file = {"name": name, "size_bytes": 1, "sha256": "0" * 64, "git_oid": None}
    result = bed.fetch(bed.request(files=[file]))
    assert result["error"]["code"] in ("model.refused_file", "model.bad_name")
    assert name in result["message"]
    assert bed.hub.log.as_dict()["requests"] == []


def local_request(bed: Bed, path: Path) -> dict[str, Any]:
    """Return the request for a model that lies on this machine."""
    file = {"name": path.name, "size_bytes": path.stat().st_size, "sha256": None, "git_oid": None}
    return bed.request(source="local", repo=None, path=str(path), commit="a" * 40, files=[file])


def test_a_local_model_is_imported_and_left_alone(bed: Bed) -> None:
    path = bed.folder / "mine.gguf"
    path.write_bytes(content(SIZE, seed=2))
    before = unchanging(path)
    with path.open("rb") as source:
        result = bed.fetch(local_request(bed, path), arguments=["--source-stdin"], stdin=source)
    assert result["ok"], result["log"]
    name = bed.folder / f"models/models--local--mine/snapshots/{'a' * 40}/mine.gguf"
    assert name.read_bytes() == path.read_bytes()
    assert result["files"][0]["blob"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert unchanging(path) == before
    path.unlink()
    assert bed.fetch(local_request_again(bed, path))["ok"]


def unchanging(path: Path) -> tuple[int, ...]:
    """Return what reading a file leaves as it is: all but the time of the last access."""
    found = path.stat()
    return found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_nlink, found.st_size, found.st_mtime_ns


def local_request_again(bed: Bed, path: Path) -> dict[str, Any]:
    """Return the request for a model whose original is gone."""
    file = {"name": path.name, "size_bytes": SIZE, "sha256": None, "git_oid": None}
    return bed.request(source="local", repo=None, path=str(path), commit="a" * 40, files=[file])


@pytest.mark.parametrize(("bytes_there", "code"), [(b"PK\x03\x04", "model.no_gguf"), (None, "model.unreadable")])
def test_a_local_file_that_is_no_model_is_refused(bed: Bed, bytes_there: bytes | None, code: str) -> None:
    path = bed.folder / "mine.gguf"
    path.write_bytes(bytes_there or b"GGUF")
    request = local_request(bed, path)
    if bytes_there is None:
        path.unlink()
    assert bed.fetch(request)["error"]["code"] == code

"""The record of published models, against a cache on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.service.published_model import PublishedModels, PublishError
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile

COMMIT = "c" * 40
SUMS = {"a.gguf": "a" * 64, "config.json": "b" * 40}


def make_model(**changes: Any) -> dict[str, Any]:
    """Return a model with one file in LFS and one in git."""
    files = [
        {"name": "a.gguf", "size_bytes": 3, "sha256": SUMS["a.gguf"], "git_oid": "d" * 40},
        {"name": "config.json", "size_bytes": 2, "sha256": None, "git_oid": SUMS["config.json"]},
    ]
    request = {"model": "acme/x:Q4_0", "revision": "main", "endpoint": "https://hub.example"}
    model = {"schema": 1, "source": "hub", "repo": "acme/x", "path": None, "commit": COMMIT}
    return model | {"request": request, "files": files} | changes


class Host:
    """A cache with the files in it, and a record."""

    def __init__(self, root: Path) -> None:
        self.cache = root / "models"
        self.models = PublishedModels(StateFile("models", str(root / "state")), str(self.cache))
        folder = self.cache / "models--acme--x"
        (folder / "blobs").mkdir(parents=True)
        self.snapshot = folder / "snapshots" / COMMIT
        self.snapshot.mkdir(parents=True)
        for name, text in (("a.gguf", "abc"), ("config.json", "{}")):
            (folder / "blobs" / SUMS[name]).write_text(text)
            (self.snapshot / name).symlink_to(f"../../blobs/{SUMS[name]}")

    def fetched(self) -> list[dict[str, Any]]:
        """Return the files as the fetcher would list them."""
        stats = {name: (self.snapshot / name).stat() for name in SUMS}
        return [
            {"name": name, "blob": SUMS[name], "size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
            for name, stat in stats.items()
        ]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host where the model was fetched and not recorded yet."""
    return Host(tmp_path)


def test_a_recorded_model_counts_as_published(host: Host) -> None:
    assert host.models.trouble(make_model()) == "acme/x was not published yet"
    assert host.models.record(make_model(), host.fetched())
    assert host.models.trouble(make_model()) == ""
    assert not host.models.record(make_model(), host.fetched())


def test_another_commit_is_another_model(host: Host) -> None:
    host.models.record(make_model(), host.fetched())
    assert host.models.trouble(make_model(commit="e" * 40)) != ""


@pytest.mark.parametrize("damage", ["touch", "grow", "remove", "relink"])
def test_a_file_that_changed_is_noticed(host: Host, damage: str) -> None:
    host.models.record(make_model(), host.fetched())
    name = host.snapshot / "a.gguf"
    if damage == "touch":
        name.resolve().touch()
    elif damage == "grow":
        name.resolve().write_text("abcd")
    elif damage == "remove":
        name.resolve().unlink()
    else:
        name.unlink()
        name.symlink_to(f"../../blobs/{SUMS['config.json']}")
    assert "a.gguf" in host.models.trouble(make_model())


def test_what_was_not_fetched_is_not_recorded(host: Host) -> None:
    with pytest.raises(PublishError, match=r"a\.gguf was not fetched"):
        host.models.record(make_model(), host.fetched()[1:])


def test_a_result_with_another_checksum_is_refused(host: Host) -> None:
    files = host.fetched()
    files[0]["blob"] = "0" * 64
    with pytest.raises(PublishError, match="the plan wants"):
        host.models.record(make_model(), files)


def test_a_result_that_lies_about_the_disk_is_refused(host: Host) -> None:
    files = host.fetched()
    files[0]["mtime_ns"] += 1
    with pytest.raises(PublishError, match="it was changed"):
        host.models.record(make_model(), files)


def test_other_models_stay_known_and_an_old_answer_goes(host: Host) -> None:
    host.models.record(make_model(), host.fetched())
    other = make_model(request={"model": "acme/x:Q8_0", "revision": "main", "endpoint": "https://hub.example"})
    host.models.record(other, host.fetched())
    assert host.models.trouble(make_model()) == ""
    newer = make_model(name="better")
    host.models.record(newer, host.fetched())
    assert host.models.trouble(newer) == ""
    assert host.models.trouble(make_model()) != ""


def test_a_local_model_is_found_by_the_stem_of_its_path(host: Host) -> None:
    local = make_model(source="local", repo=None, path="/data/mine.gguf")
    assert host.models.snapshot(local).parts[-3:] == ("models--local--mine", "snapshots", COMMIT)

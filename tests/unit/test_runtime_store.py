"""Runtimes side by side: what may be installed, and what a killed installation leaves."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.service.runtime_store import (
    RuntimeStore,
    RuntimeStoreError,
    recorded_sha256,
    sha256,
    verify,
)

PROGRAM = b"#!/bin/sh\n"


def make_package(folder: Path, name: str, members: dict[str, bytes] | None = None, **manifest: object) -> Path:
    described = {
        "archive": name,
        "files": {"bin/server": {"size_bytes": len(PROGRAM), "sha256": hashlib.sha256(PROGRAM).hexdigest()}},
        **manifest,
    }
    files = {"manifest.json": json.dumps(described).encode(), "bin/server": PROGRAM}
    if members is not None:
        files = members
    package = folder / f"{name}.tar.gz"
    with tarfile.open(package, "w:gz") as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(path if path.startswith("/") else f"{name}/{path}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    package.with_name(package.name + ".sha256").write_text(f"{sha256(package)}  {package.name}\n")
    return package


@pytest.fixture
def store(tmp_path: Path) -> RuntimeStore:
    return RuntimeStore(tmp_path / "runtimes")


def names(store: RuntimeStore) -> list[str]:
    return sorted(os.listdir(store.directory))


def test_install_makes_a_complete_version(store: RuntimeStore, tmp_path: Path) -> None:
    assert not store.is_complete("v1")
    store.install("v1", make_package(tmp_path, "v1"))
    assert store.is_complete("v1")
    assert (store.directory / "v1/bin/server").stat().st_mode & 0o777 == 0o755
    assert names(store) == ["v1"]


@pytest.mark.parametrize("damage", ["bin/server", "manifest.json"])
def test_a_damaged_version_is_not_complete_and_is_replaced(store: RuntimeStore, tmp_path: Path, damage: str) -> None:
    package = make_package(tmp_path, "v1")
    store.install("v1", package)
    (store.directory / "v1" / damage).write_bytes(PROGRAM.replace(b"s", b"t"))
    assert not store.is_complete("v1")
    store.install("v1", package)
    assert store.is_complete("v1")


@pytest.mark.parametrize(
    "members",
    [
        {"manifest.json": b"{}", "../../evil": b"x"},
        {"manifest.json": b"{}", "/etc/evil": b"x"},
        {"manifest.json": b"{}", "lib/other.so": b"x"},
        {"manifest.json": b"{}"},
        {"manifest.json": b"[" * 100},
        {},
    ],
)
def test_an_archive_of_another_kind_is_refused(store: RuntimeStore, tmp_path: Path, members: dict[str, bytes]) -> None:
    package = make_package(tmp_path, "v1", members)
    with pytest.raises(RuntimeStoreError, match="v1"):
        store.install("v1", package)
    assert names(store) == []


def test_a_truncated_archive_is_refused(store: RuntimeStore, tmp_path: Path) -> None:
    package = make_package(tmp_path, "v1")
    package.write_bytes(package.read_bytes()[:-40])
    with pytest.raises(RuntimeStoreError, match="v1"):
        store.install("v1", package)
    assert names(store) == []


def test_a_manifest_that_promises_more_is_refused(store: RuntimeStore, tmp_path: Path) -> None:
    package = make_package(tmp_path, "v1", files={"bin/absent": {"size_bytes": 1, "sha256": "0"}})
    with pytest.raises(RuntimeStoreError, match="manifest"):
        store.install("v1", package)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "current", "previous"])
def test_a_name_is_one_harmless_component(store: RuntimeStore, name: str) -> None:
    with pytest.raises(RuntimeStoreError, match="name"):
        store.is_complete(name)


def test_only_current_and_previous_are_kept(store: RuntimeStore, tmp_path: Path) -> None:
    changes = []
    for name in ("v1", "v1", "v2", "v3", "v2"):
        if not store.is_complete(name):
            store.install(name, make_package(tmp_path, name))
        changes.append(store.activate(name))
    assert changes == [True, False, True, True, True]
    assert names(store) == ["current", "previous", "v2", "v3"]
    assert (store.active(), os.readlink(store.directory / "previous")) == ("v2", "v3")


def test_what_a_killed_installation_left_is_swept(store: RuntimeStore, tmp_path: Path) -> None:
    store.install("v1", make_package(tmp_path, "v1"))
    (store.directory / ".new-x/v1").mkdir(parents=True)
    (store.directory / ".current").symlink_to("gone")
    store.activate("v1")
    assert names(store) == ["current", "v1"]


def test_a_version_that_is_not_there_cannot_be_activated(store: RuntimeStore) -> None:
    with pytest.raises(RuntimeStoreError, match="not installed"):
        store.activate("v1")


def test_an_archive_is_checked_against_the_file_beside_it(tmp_path: Path) -> None:
    package = make_package(tmp_path, "v1")
    verify(package)
    package.write_bytes(package.read_bytes() + b"x")
    with pytest.raises(RuntimeStoreError, match="Delete both files"):
        verify(package)


@pytest.mark.parametrize("text", ["", "xyz  v1.tar.gz\n", "\xff"])
def test_a_checksum_file_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "v1.tar.gz.sha256").write_text(text, encoding="latin-1")
    assert recorded_sha256(tmp_path / "v1.tar.gz") == ""

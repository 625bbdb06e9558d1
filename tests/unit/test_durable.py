"""What a power cut may leave: a name is given after its content is on the disk, and told of after the name is."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.boot.units import BootPaths, BootUnits
from ansible_collections.llmhost.core.plugins.module_utils.durable import replace, sync_tree
from ansible_collections.llmhost.core.plugins.module_utils.service.runtime_store import RuntimeStore
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile
from ansible_collections.llmhost.core.plugins.module_utils.storage.fstab import Fstab
from ansible_collections.llmhost.core.plugins.module_utils.text_file import TextFile

from tests.unit.test_runtime_store import make_package

ROLES = Path(__file__).parents[2] / "roles"


def load(path: Path) -> Any:
    """Return a module that a role brings to the host."""
    spec = importlib.util.spec_from_file_location(f"durable_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


cache: Any = load(ROLES / "model_cache/files/hub_cache.py")
build: Any = load(ROLES / "inference/files/llama_cpp/build_runtime.py")


class Journal:
    """Notes what is synced and renamed, in order; inodes, as names change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.on = False
        self.synced: set[int] = set()
        self.unsafe: list[str] = []
        self.waiting: dict[str, str] = {}  # directories that a name was put into, and which

    def rename(self, source: str, target: str) -> None:
        """Judge a rename that is about to be made."""
        if not self.on or not target.startswith(str(self.root)):
            return
        for path in [Path(source), *Path(source).rglob("*")]:
            if path.is_file() and not path.is_symlink() and path.stat().st_ino not in self.synced:
                self.unsafe.append(f"{path.relative_to(self.root)} is renamed and was not synced")
        self.waiting[os.path.dirname(target)] = os.path.basename(target)

    def fsync(self, descriptor: int) -> None:
        """Note what is on the disk now."""
        status = os.fstat(descriptor)
        self.synced.add(status.st_ino)
        self.waiting.pop(os.readlink(f"/proc/self/fd/{descriptor}"), None)

    def problems(self) -> list[str]:
        """Return all that a power cut could undo."""
        return self.unsafe + [f"the name {name} in {folder} was not synced" for folder, name in self.waiting.items()]


_journals: list[Journal] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "os.rename":
        for journal in _journals:
            journal.rename(os.path.abspath(os.fspath(arguments[0])), os.path.abspath(os.fspath(arguments[1])))


sys.addaudithook(_audit)  # there is no way back, so it does nothing while nobody listens


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    made = Journal(tmp_path)
    monkeypatch.setattr(os, "fsync", made.fsync)
    _journals.append(made)
    yield made
    _journals.remove(made)


def text_file(root: Path) -> None:
    TextFile(root / "etc/unit", "text\n").apply()
    TextFile(root / "etc/unit", "other\n").apply()


def record(root: Path) -> None:
    StateFile("storage", str(root / "state")).write({"kind": "disk"})


def fstab(root: Path) -> None:
    Fstab("tmpfs /tmp tmpfs\n").save(str(root / "fstab"))


def runtime(root: Path) -> None:
    store = RuntimeStore(root / "runtimes")
    store.install("v1", make_package(root, "v1"))
    store.activate("v1")


def program(root: Path) -> None:
    paths = BootPaths(root / "units", root / "opt/boot/llmhost.pyz", root)
    paths.units.mkdir()
    manager = SystemdUnit("llmhost-storage", lambda _command: (0, "", ""))
    BootUnits(manager, {"kind": "disk", "path": "/p", "device": "/dev/d", "uuid": "u"}, {}, paths).apply()


def model(root: Path) -> None:
    folder = cache.Cache(root / "models--o--r")
    folder.prepare()
    folder.partial("d").write_bytes(b"GGUF")
    cache.rename(folder.partial("d"), folder.blobs / "d")
    folder.remember("d")
    folder.publish("a" * 40, "main", {"m.gguf": "d", "sub/n.gguf": "d"})
    folder.publish("a" * 40, "main", {"other.gguf": "d"})


def package(root: Path) -> None:
    build.write_package(root / "v1.tar.gz", "v1", {}, {"bin/x": b"1"})


@pytest.mark.parametrize("publish", [text_file, record, fstab, runtime, program, model, package])
def test_nothing_is_published_before_it_is_on_the_disk(
    journal: Journal, tmp_path: Path, publish: Callable[[Path], None]
) -> None:
    journal.on = True
    publish(tmp_path)
    journal.on = False
    assert journal.problems() == []


def test_the_journal_sees_what_is_not_synced(journal: Journal, tmp_path: Path) -> None:
    journal.on = True
    (tmp_path / "new").write_text("x")
    os.replace(tmp_path / "new", tmp_path / "file")
    assert journal.problems() == ["new is renamed and was not synced", f"the name file in {tmp_path} was not synced"]


def test_a_tree_is_synced_as_a_whole(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "new/sub").mkdir(parents=True)
    (tmp_path / "new/sub/file").write_text("x")
    (tmp_path / "new/link").symlink_to("/nowhere")
    journal.on = True
    sync_tree(tmp_path / "new")
    replace(tmp_path / "new", tmp_path / "tree")
    assert journal.problems() == []


def test_a_deleted_file_stays_deleted(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    TextFile(tmp_path / "file").apply()
    assert tmp_path.stat().st_ino in journal.synced

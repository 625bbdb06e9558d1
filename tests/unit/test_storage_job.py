"""What happens at boot: storage, swap and cache come back where they may, and the model after them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.boot import storage_job
from ansible_collections.llmhost.core.plugins.module_utils.boot.place import Place
from ansible_collections.llmhost.core.plugins.module_utils.boot.storage_job import Host, StorageJob
from ansible_collections.llmhost.core.plugins.module_utils.boot.wanted_model import WantedModel
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import RefusedError

COMMIT = "a" * 40


class World:
    """A host whose disk may be missing, blank or whole, and a hub that may fail for a while."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.proc = root / "proc"
        (self.proc / "self").mkdir(parents=True)
        self.path = root / "srv"
        self.time = 0.0
        self.calls: list[str] = []
        self.appears_at = 0.0
        self.refusal = ""
        self.hub_fails = 0
        self.enabled = True
        self.mounts = ["/ /dev/root"]
        self.write_mounts()

    def write_mounts(self) -> None:
        lines = [
            f"1 0 8:{n} / {target} rw - ext4 {source} rw"
            for n, (target, source) in enumerate(map(str.split, self.mounts))
        ]
        (self.proc / "self/mountinfo").write_text("\n".join(lines) + "\n")

    def mount(self) -> None:
        self.path.mkdir(exist_ok=True)
        self.mounts.append(f"{self.path} /dev/nvme0n1")
        self.write_mounts()

    def restore_storage(self) -> list[str]:
        self.calls.append("storage")
        if self.time < self.appears_at:
            raise RefusedError("storage.disk_missing", "S1 is not there.")
        if self.refusal:
            raise RefusedError("storage.not_blank", self.refusal)
        self.mount()
        return ["make an ext4 filesystem"]

    def restore_swap(self) -> list[str]:
        self.calls.append("swap")
        return []

    def run(self, argv: Sequence[str]) -> CommandResult:
        self.calls.append(" ".join(argv[1:]))
        if argv[1] == "is-enabled":
            return CommandResult(0 if self.enabled else 1, "", "")
        if "--wait" in argv:
            self.hub_fails -= 1
            if self.hub_fails < 0:
                self.publish()
            return CommandResult(1 if self.hub_fails >= 0 else 0, "", "")
        return CommandResult(0, "", "")

    def publish(self) -> None:
        snapshot = self.path / "models/models--o--r/snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (snapshot / "m.gguf").write_bytes(b"1234")

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def job(self, ephemeral: bool = True, kind: str = "disk", model: bool = True) -> StorageJob:
        host = Host(
            self.run,
            self.restore_storage,
            self.restore_swap,
            self.sleep,
            lambda: self.time,
            str(self.proc),
            lambda _name: (-1, -1),
        )
        device = {"device": str(self.root / "nvme0n1"), "identity": {"serial": "S1"}}
        record: dict[str, Any] = {"kind": kind, "path": str(self.path), "devices": [device], "ephemeral": ephemeral}
        request = {"repo": "o/r", "commit": COMMIT, "files": [{"name": "m.gguf", "size_bytes": 4}]}
        wanted = {**request, "cache_path": f"{self.path}/models"} if model else {}
        (self.root / "request.json").write_text(json.dumps(wanted))
        return StorageJob(host, Place.from_record(record), WantedModel.from_file(str(self.root / "request.json")))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


FETCH = "start --wait llmhost-model-fetch.service"
SERVE = ["is-enabled --quiet llmhost-inference.service", "start --no-block llmhost-inference.service"]


def test_blank_ephemeral_storage_comes_back_with_swap_cache_and_model(world: World) -> None:
    assert world.job().run() == 0
    assert world.calls == ["storage", "swap", FETCH, *SERVE]
    assert (world.path / "models").stat().st_mode & 0o777 == 0o750


def test_persistent_storage_is_only_looked_at(world: World) -> None:
    world.mount()
    world.publish()
    assert world.job(ephemeral=False).run() == 0
    assert world.calls == SERVE


def test_a_missing_persistent_disk_is_named_and_nothing_is_made(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.job(ephemeral=False).run() == 1
    assert world.calls == []
    assert not world.path.exists()
    assert "does not have the disk (serial S1)" in capsys.readouterr().out


def test_drives_that_appear_late_are_waited_for(world: World) -> None:
    world.appears_at = 12
    assert world.job().run() == 0
    assert world.calls.count("storage") == 13


def test_drives_that_never_appear_are_given_up(world: World) -> None:
    world.appears_at = 10**9
    assert world.job().run() == 1
    assert world.time <= storage_job.PATIENCE_SECONDS + 1


def test_a_disk_that_holds_something_is_not_asked_twice(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.refusal = "nvme0n1 holds a filesystem of somebody else."
    assert world.job().run() == 1
    assert world.calls == ["storage"]
    assert world.refusal in capsys.readouterr().out


def test_a_hub_that_fails_is_asked_again_and_ever_more_rarely(world: World) -> None:
    world.hub_fails = 9
    assert world.job().run() == 0
    assert world.calls.count(FETCH) == 10
    assert world.time == 15 + 30 + 60 + 120 + 240 + 480 + 3 * 900


def test_a_service_that_was_disabled_stays_down(world: World) -> None:
    world.enabled = False
    assert world.job().run() == 0
    assert world.calls[-1] == SERVE[0]


def test_a_host_without_a_request_fetches_nothing(world: World) -> None:
    assert world.job(model=False).run() == 0
    assert FETCH not in world.calls


def test_an_ephemeral_directory_is_made_again_on_its_disk_alone(world: World) -> None:
    assert world.job(kind="directory").run() == 1
    assert not world.path.exists(), "the root disk is no place for it"
    world.mounts.append(f"{world.root} /dev/sdb1")
    world.write_mounts()
    assert world.job(kind="directory").run() == 0
    assert world.path.is_dir()


def test_storage_that_goes_while_the_model_comes_ends_the_job(world: World) -> None:
    job = world.job()

    def lose(argv: Sequence[str]) -> CommandResult:
        world.mounts.pop()
        world.write_mounts()
        return CommandResult(1, "", " ".join(argv))

    assert StorageJob(Host(**{**vars(job.host), "run": lose}), job.place, job.model).run() == 1

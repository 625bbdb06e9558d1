"""A service whose process runs what its unit file says, whatever was killed when."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.service.service import DIGEST, Service, ServicePaths
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit, UnitError

OLD, NEW = "[Service]\nExecStart=/bin/old\n", "[Service]\nExecStart=/bin/new\n"


class Host:
    """A host with systemd, as far as one service can see it."""

    def __init__(self, root: Path) -> None:
        self.paths = ServicePaths(root / "units", root / "credentials")
        self.file = self.paths.units / "x.service"
        self.loaded = self.running = ""
        self.enabled = False
        self.restarts = 0
        self.calls: list[str] = []

    def __call__(self, command: list[str]) -> tuple[int, str, str]:
        verb = command[1]
        if verb == "show":
            return 0, self._show(), ""
        self.calls.append(verb)
        text = self.file.read_text() if self.file.exists() else ""
        if verb == "daemon-reload":
            self.loaded = text
        elif verb == "enable":
            self.enabled = True
        elif verb == "restart":
            self._start()
        elif verb == "reset-failed":
            self.restarts = 0
        elif verb in ("stop", "disable"):
            self.running, self.enabled = "", False
        return 0, "", ""

    def _start(self) -> None:
        self.running = self.loaded
        credential = self.paths.credentials / "x.service" / DIGEST
        credential.parent.mkdir(parents=True, exist_ok=True)
        credential.write_text(self.loaded.rpartition(":")[2].strip())

    def _show(self) -> str:
        on_disk = self.file.read_text() if self.file.exists() else ""
        return (
            f"LoadState={'loaded' if self.loaded or on_disk else 'not-found'}\n"
            f"ActiveState={'active' if self.running else 'inactive'}\nSubState=running\n"
            f"NeedDaemonReload={'yes' if self.loaded and self.loaded != on_disk else 'no'}\n"
            f"UnitFileState={'enabled' if self.enabled else 'disabled'}\n"
            f"NRestarts={self.restarts}\n"
        )

    def service(self, content: str, *reads: str) -> Service:
        return Service(SystemdUnit("x", self), content, reads, self.paths)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def converge(host: Host, content: str) -> list[str]:
    service = host.service(content)
    changes = service.changes()
    service.apply(changes)
    return changes


def test_a_bare_host_gets_everything(host: Host) -> None:
    assert converge(host, NEW) == ["write", "reload", "enable", "restart"]
    assert NEW.rstrip() in host.running
    assert host.file.stat().st_mode & 0o777 == 0o644


def test_a_run_without_a_change_does_nothing(host: Host) -> None:
    converge(host, NEW)
    host.calls.clear()
    assert converge(host, NEW) == []
    assert host.calls == []


def test_a_service_that_systemd_brought_back_counts_as_one_that_never_died(host: Host) -> None:
    converge(host, NEW)
    host.restarts = 2
    host.calls.clear()
    assert converge(host, NEW) == []
    assert (host.calls, host.restarts) == (["reset-failed"], 0)


def test_a_changed_file_restarts_once(host: Host) -> None:
    converge(host, OLD)
    host.calls.clear()
    assert converge(host, NEW) == ["write", "reload", "restart"]
    assert host.calls.count("restart") == 1
    assert converge(host, NEW) == []


@pytest.mark.parametrize("killed_after", range(4))
def test_a_killed_run_is_made_good_by_the_next(host: Host, killed_after: int) -> None:
    converge(host, OLD)
    service = host.service(NEW)
    service.apply(service.changes()[:killed_after])
    converge(host, NEW)
    assert NEW.rstrip() in host.running
    assert converge(host, NEW) == []


def test_a_dead_service_is_started(host: Host) -> None:
    converge(host, NEW)
    host.running = ""
    assert converge(host, NEW) == ["restart"]


def test_remove_takes_everything_and_says_whether_there_was_anything(host: Host) -> None:
    converge(host, NEW)
    assert host.service("").remove(dry_run=True)
    assert host.running
    assert host.service("").remove()
    assert not host.file.exists()
    assert not host.running
    assert not host.service("").remove()


def test_a_file_that_the_process_reads_restarts_it_when_it_changes(host: Host, tmp_path: Path) -> None:
    models = tmp_path / "models.json"
    for contents, changes in (
        (None, ["write", "reload", "enable", "restart"]),
        ("one", None),
        ("one", []),
        ("two", None),
    ):
        if contents is not None:
            models.write_text(contents)
        service = host.service(NEW, str(models))
        found = service.changes()
        assert found == (["write", "reload", "restart"] if changes is None else changes)
        service.apply(found)


@pytest.mark.parametrize("is_started", [True, False])
def test_a_service_that_dies_at_its_start_is_left_to_whoever_waits_for_it(is_started: bool) -> None:
    invocations = iter(["InvocationID=a\n", "InvocationID=b\n" if is_started else "InvocationID=a\n"])

    def run(command: list[str]) -> tuple[int, str, str]:
        if command[1] == "show":
            return 0, next(invocations), ""
        return (1, "", "Job for x.service failed") if command[1] == "restart" else (0, "", "")

    unit = SystemdUnit("x", run)
    if is_started:
        unit.restart()
    else:
        with pytest.raises(UnitError, match="Job for"):
            unit.restart()

"""Long jobs: start, wait, and what is said when one fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.service.job import Job
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit, UnitError, UnitState

RUNNING = "LoadState=loaded\nActiveState=activating\nSubState=start\nResult=success\n"
DONE = "LoadState=loaded\nActiveState=inactive\nSubState=dead\nResult=success\n"
FAILED = "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\nExecMainStatus=3\n"


class FakeSystemd:
    """Answers as systemctl and journalctl do; each look takes the next state."""

    def __init__(self, *states: str, journal: str = "", start_rc: int = 0) -> None:
        self.states = list(states)
        self.journal = journal
        self.start_rc = start_rc
        self.calls: list[list[str]] = []

    def __call__(self, command: list[str]) -> tuple[int, str, str]:
        self.calls.append(command)
        if command[:2] == ["systemctl", "show"]:
            return 0, self.states.pop(0) if len(self.states) > 1 else self.states[0], ""
        if command[:2] == ["systemctl", "start"]:
            return self.start_rc, "", "Unit is masked." if self.start_rc else ""
        if command[0] == "journalctl" and "--sync" not in command:
            return 0, self.journal, ""
        return (1, "", "not loaded") if "reset-failed" in command else (0, "", "")


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self, on_sleep: Callable[[], None] = lambda: None) -> None:
        self.now = 0.0
        self.on_sleep = on_sleep

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()


def make_job(systemd: FakeSystemd, runtime: Path, clock: Clock | None = None) -> Job:
    clock = clock or Clock()
    return Job(SystemdUnit("llmhost-x", systemd), str(runtime), clock.sleep, clock)


def write(runtime: Path, name: str, data: object) -> None:
    (runtime / "llmhost-x").mkdir(exist_ok=True)
    (runtime / "llmhost-x" / name).write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("output", "exists", "busy", "failed"),
    [
        (RUNNING, True, True, False),
        (DONE, True, False, False),
        (FAILED, True, False, True),
        ("LoadState=not-found\nActiveState=inactive\n", False, False, False),
        ("LoadState=loaded\nActiveState=active\nSubState=exited\n", True, False, False),
        ("LoadState=loaded\nActiveState=activating\nSubState=auto-restart\n", True, True, False),
        ("", False, False, False),
    ],
)
def test_state_of_a_unit(output: str, exists: bool, busy: bool, failed: bool) -> None:
    state = UnitState.from_show(output)
    assert (state.exists, state.busy, state.failed) == (exists, busy, failed)


def test_start_forgets_what_an_earlier_run_left(tmp_path: Path) -> None:
    write(tmp_path, "result.json", {"message": "old"})
    write(tmp_path, "progress.json", {"done": 9})
    systemd = FakeSystemd(DONE)
    make_job(systemd, tmp_path).start()
    assert list((tmp_path / "llmhost-x").iterdir()) == []
    assert systemd.calls[1:] == [
        ["systemctl", "reset-failed", "--", "llmhost-x.service"],
        ["systemctl", "start", "--no-block", "--", "llmhost-x.service"],
    ]


def test_start_reads_a_changed_unit_file_first(tmp_path: Path) -> None:
    systemd = FakeSystemd(DONE + "NeedDaemonReload=yes\n")
    make_job(systemd, tmp_path).start()
    assert [call[1] for call in systemd.calls] == ["show", "stop", "daemon-reload", "reset-failed", "start"]


def test_a_job_for_something_else_is_outdated(tmp_path: Path) -> None:
    assert not make_job(FakeSystemd(RUNNING), tmp_path).report().outdated
    assert make_job(FakeSystemd(RUNNING + "NeedDaemonReload=yes\n"), tmp_path).report().outdated
    assert not make_job(FakeSystemd(DONE + "NeedDaemonReload=yes\n"), tmp_path).report().outdated


def test_start_that_systemd_refuses_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnitError, match="masked"):
        make_job(FakeSystemd(DONE, start_rc=1), tmp_path).start()


def test_wait_ends_when_the_job_ends(tmp_path: Path) -> None:
    write(tmp_path, "result.json", {"archive": "a"})
    clock = Clock()
    report = make_job(FakeSystemd(RUNNING, RUNNING, DONE), tmp_path, clock).wait(60)
    assert report.as_dict() == {"running": False, "progress": {}, "result": {"archive": "a"}}
    assert clock.now == 1.0


def test_wait_ends_when_the_time_is_over(tmp_path: Path) -> None:
    clock = Clock()
    assert make_job(FakeSystemd(RUNNING), tmp_path, clock).wait(5).running
    assert clock.now == 5.0


def test_wait_ends_at_another_stage(tmp_path: Path) -> None:
    write(tmp_path, "progress.json", {"stage": "download"})
    clock = Clock(lambda: write(tmp_path, "progress.json", {"stage": "verify"}) if clock.now >= 2 else None)
    report = make_job(FakeSystemd(RUNNING), tmp_path, clock).wait(60)
    assert report.progress == {"stage": "verify"}
    assert clock.now == 2.0


def test_failure_carries_the_reason_the_remedy_and_the_journal(tmp_path: Path) -> None:
    write(tmp_path, "result.json", {"message": "the disk is full", "remedy": "Free 2.0 GiB"})
    job = make_job(FakeSystemd(FAILED, journal="one\n\x1b[31mtwo\n"), tmp_path)
    failure = job.failure(job.report())
    assert failure["msg"].startswith("llmhost-x failed: the disk is full. Free 2.0 GiB.\n")
    assert failure["msg"].endswith("(journalctl -u llmhost-x):\n  one\n  [31mtwo")
    assert failure["journal"] == ["one", "[31mtwo"]


@pytest.mark.parametrize(
    ("state", "reason"),
    [(FAILED, "exit status 3"), (FAILED.replace("exit-code", "oom-kill"), "the result 'oom-kill'")],
)
def test_failure_without_a_result_names_the_outcome(tmp_path: Path, state: str, reason: str) -> None:
    job = make_job(FakeSystemd(state), tmp_path)
    assert job.failure(job.report())["msg"] == f"llmhost-x failed: it ended with {reason}."


def test_journal_is_that_of_the_latest_run() -> None:
    systemd = FakeSystemd(FAILED + "InvocationID=abc\n", journal="x\n")
    assert SystemdUnit("llmhost-x", systemd).journal(5) == ["x"]
    assert systemd.calls[-1][-4:] == ["--lines=5", "_SYSTEMD_INVOCATION_ID=abc", "+", "INVOCATION_ID=abc"]


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_files_that_make_no_sense_read_as_empty(tmp_path: Path, text: str) -> None:
    write(tmp_path, "progress.json", {})
    (tmp_path / "llmhost-x" / "progress.json").write_text(text)
    assert make_job(FakeSystemd(RUNNING), tmp_path).report().progress == {}

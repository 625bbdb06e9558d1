"""The benchmarks' reading of what Ansible says about its tasks, and what they make of times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bench.first_run import Stage, chains, role_stages
from tests.bench.playbook_run import PlaybookRun
from tests.bench.storage import CachedFile, Times

BEGIN = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def entry(
    name: str, start: float, end: float, action: str = "ansible.builtin.command", **result: Any
) -> dict[str, Any]:
    def stamp(seconds: float) -> str:
        return f"2027-01-15T08:{int(seconds // 60):02}:{seconds % 60:09.6f}Z"

    duration = {"start": stamp(start), "end": stamp(end)}
    return {"task": {"name": name, "duration": duration}, "hosts": {"bed": {"action": action, **result}}}


def run_of(*entries: dict[str, Any], seconds: float = 100.0) -> PlaybookRun:
    document = {"plays": [{"tasks": list(entries)}], "stats": {"bed": {"changed": 2}}}
    return PlaybookRun.from_json(document, BEGIN, BEGIN + seconds)


def test_skipped_tasks_do_not_count() -> None:
    run = run_of(entry("a", 0, 1), entry("b", 1, 2, skipped=True))
    assert [(task.name, task.seconds) for task in run.tasks] == [("a", 1.0)]
    assert run.changed == 2


def test_consecutive_tasks_of_a_role_are_one_stage() -> None:
    run = run_of(entry("llmhost.core.swap : A", 0, 1), entry("llmhost.core.swap : B", 2, 3), entry("C", 3, 4))
    assert role_stages(run) == [Stage("swap", BEGIN, BEGIN + 3)]


def test_chains_take_the_job_in_place_of_the_wait() -> None:
    job = "llmhost.core.job"
    run = run_of(
        entry("llmhost.core.llmhost : Plan", 0, 10),
        entry("llmhost.core.model_cache : Start the download", 10, 11, job),
        entry("llmhost.core.inference : Start the build", 11, 12, job),
        entry("llmhost.core.inference : Build", 12, 80, job),
        entry("llmhost.core.inference : Unpack", 80, 82),
        entry("llmhost.core.model_cache : Download", 82, 83, job),
        entry("llmhost.core.model_cache : Publish", 83, 84),
        entry("llmhost.core.inference : Serve", 84, 90),
        seconds=90,
    )
    download, build = Stage("download", BEGIN + 11, BEGIN + 51), Stage("build", BEGIN + 12, BEGIN + 79)
    assert chains(run, download, build) == pytest.approx(
        {"download": 10 + 1 + 40 + 1 + 6, "build": 10 + 1 + 67 + 2 + 6}
    )


def test_a_load_is_held_against_the_fastest_plain_read() -> None:
    times = Times(
        reads={"dd": [3.0, 2.0, 9.0], "fio": [4.0]},
        cold={"mmap": [4.0], "mmap alone": [7.0], "dio": [5.0]},
        cached={"mmap alone": [1.0], "none alone": [2.5]},
    )
    assert times.disk() == ("dd", 3.0)
    rows = [times.row(mode) for mode in times.cold]
    assert [(row.cached, row.ratio, row.share) for row in rows] == [
        (1.0, 1.0, 0.75),
        (1.0, 0.5, 3 / 7),
        (2.5, 1.2, 0.6),
    ]


def test_pages_in_memory_are_counted(tmp_path: Path) -> None:
    file = CachedFile(tmp_path / "file")
    file.path.write_bytes(bytes(10_000_000))
    file.remember()
    assert file.resident() == 1

"""`make bench-first`: stages and critical path of a first run, in a fresh container with nothing built before.

The hub is slowed, so that there is a download to overlap with the compile. Then a second fresh container takes what
the first one built, and must not compile.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass

from tests.bench.playbook_run import PlaybookError, PlaybookRun, TaskTime
from tests.tools.bed import CACHE, Bed, BedError
from tests.tools.demo_model import models_directory

DOWNLOAD, BUILD = "llmhost-model-fetch.service", "llmhost-runtime-build.service"
DOWNLOAD_ROLE, BUILD_ROLE = "model_cache", "inference"
JOB_ACTION = "llmhost.core.job"
HUB_BYTES_PER_SECOND = 200_000
OVERLAP_LIMIT = 1.15


@dataclass(frozen=True)
class Stage:
    name: str
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


def unit_stage(bed: Bed, unit: str) -> Stage | None:
    """When a unit began and ended, by the journal: systemd itself forgets a unit that has ended well."""
    entries = bed.shell(f"journalctl --quiet --output=json --output-fields=MESSAGE --unit={unit}").splitlines()
    times = [int(json.loads(entry)["__REALTIME_TIMESTAMP"]) / 1e6 for entry in entries]
    return Stage(unit.removesuffix(".service"), times[0], times[-1]) if times else None


def role_stages(run: PlaybookRun) -> list[Stage]:
    """Consecutive tasks of one role make a stage."""
    stages: list[Stage] = []
    for task in run.tasks:
        if task.role and stages and stages[-1].name == task.role:
            stages[-1] = Stage(task.role, stages[-1].begin, task.end)
        elif task.role:
            stages.append(Stage(task.role, task.begin, task.end))
    return stages


def chains(run: PlaybookRun, download: Stage, build: Stage) -> dict[str, float]:
    """What each chain of steps that need one another takes by itself: its tasks, with its job in place of the wait."""
    waits = {role: _last_job(run, role) for role in (DOWNLOAD_ROLE, BUILD_ROLE)}
    joined = waits[DOWNLOAD_ROLE].begin  # what inference does after this needs the model; before it, it builds
    shared = run.wall_seconds - sum(task.seconds for task in run.tasks)
    lengths = {"download": shared + download.seconds, "build": shared + build.seconds}
    for task in run.tasks:
        if task in waits.values():
            continue
        if task.role != DOWNLOAD_ROLE:
            lengths["build"] += task.seconds
        if task.role != BUILD_ROLE or task.begin > joined:
            lengths["download"] += task.seconds
    return lengths


def _last_job(run: PlaybookRun, role: str) -> TaskTime:
    return [task for task in run.tasks if task.role == role and task.action == JOB_ACTION][-1]


def first_run(name: str) -> tuple[PlaybookRun, Stage | None, Stage | None]:
    with Bed(name).running() as bed:
        bed.serve_hub(models_directory())
        slow = {"kind": "slow", "rate": HUB_BYTES_PER_SECOND, "match": "gguf", "method": "GET", "times": 0}
        bed.write("/srv/hub/faults.json", json.dumps([slow]))
        variables = {"ansible_host": name, "llmhost_archive_dir": str(CACHE / "bench" / "archives")}
        run = PlaybookRun.of("playbooks/intermediate.yml", variables)
        return run, unit_stage(bed, DOWNLOAD), unit_stage(bed, BUILD)


def show(run: PlaybookRun, stages: list[Stage]) -> None:
    print(f"  {'stage':28} {'from':>8} {'to':>8} {'takes':>8}")
    for stage in sorted(stages, key=lambda stage: stage.begin):
        print(f"  {stage.name:28} {stage.begin - run.begin:7.1f}s {stage.end - run.begin:7.1f}s {stage.seconds:7.1f}s")
    print(f"  {'wall':28} {'':8} {'':8} {run.wall_seconds:7.1f}s")


def main() -> None:
    shutil.rmtree(CACHE / "bench", ignore_errors=True)
    print(
        f"First host, nothing built before; the hub sends {HUB_BYTES_PER_SECOND / 1e3:.0f} kB/s. Minutes.", flush=True
    )
    run, download, build = first_run("llmhost-bench")
    if download is None or build is None:
        sys.exit("bench: the first host did not download or did not build; its stages cannot be told")
    show(run, [*role_stages(run), download, build])
    lengths = chains(run, download, build)
    critical = max(lengths, key=lambda name: lengths[name])
    ratio = run.wall_seconds / lengths[critical]
    for name, seconds in lengths.items():
        print(f"  the {name} chain alone: {seconds:.1f} s{' (critical)' if name == critical else ''}")
    print(f"  wall / critical chain: {ratio:.3f} (limit {OVERLAP_LIMIT})")

    print("\nSecond host, with the archive of the first", flush=True)
    second, second_download, second_build = first_run("llmhost-bench-second")
    show(second, [*role_stages(second), *(stage for stage in (second_download, second_build) if stage)])
    if second_build is not None:
        sys.exit("bench: the second host compiled although an archive was there")
    if ratio > OVERLAP_LIMIT:
        sys.exit("bench: download and compile overlap less than they should")


if __name__ == "__main__":
    try:
        main()
    except (BedError, PlaybookError) as error:
        sys.exit(f"bench: {error}")

"""`make bench`: what a run of the whole tier that changes nothing costs, against the demo's container.

The empty playbook is what Ansible itself costs. The runs take turns, so that both see the same machine.
"""

from __future__ import annotations

import sys
from statistics import median

from tests.bench.playbook_run import PlaybookError, PlaybookRun

ROUNDS = 5


def report(name: str, runs: list[PlaybookRun]) -> None:
    walls = [run.wall_seconds for run in runs]
    tasks = len(runs[0].tasks)
    each = f"{median(walls) / tasks:6.2f} s a task" if tasks else ""
    print(f"{name:18} {median(walls):6.2f} s  ({min(walls):.2f} to {max(walls):.2f})  {tasks:3} tasks {each}")


def main() -> None:
    tier: list[PlaybookRun] = []
    empty: list[PlaybookRun] = []
    for _ in range(ROUNDS):
        tier.append(PlaybookRun.of("playbooks/intermediate.yml"))
        empty.append(PlaybookRun.of("tests/bench/empty.yml"))
    changed = sum(run.changed for run in tier)
    print(f"Medians of {ROUNDS} runs in turn (smallest to largest); {changed} changed")
    report("intermediate.yml", tier)
    report("empty playbook", empty)
    print("\nTask by task, medians:")
    for position, task in enumerate(tier[0].tasks):
        print(f"  {median(run.tasks[position].seconds for run in tier):6.2f} s  {task.name}")
    if changed:
        sys.exit("bench: the tier changed something, so these are not the figures of a run without changes")


if __name__ == "__main__":
    try:
        main()
    except PlaybookError as error:
        sys.exit(f"bench: {error}")

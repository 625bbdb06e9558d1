"""The tier killed at any moment of a first run, and run again: it converges each time, and leaves nothing half-done."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.bed.tier import Tier, kill, started

ROUNDS = 10
SEED = int(os.environ.get("LLMHOST_SEED", "") or random.SystemRandom().randrange(10**6))
# Some seconds for the demo's model, so that moments fall into the download, too.
SLOW = {"kind": "slow", "match": "cdn/.*gguf", "rate": 4 << 20, "times": 0}
STALL = {"kind": "stall", "match": "cdn/.*gguf", "at": "40%", "seconds": 600, "times": 4}
UNITS = ("llmhost-model-fetch", "llmhost-inference")


@dataclass(frozen=True)
class Round:
    """What happens to one first run."""

    part: float  # of the time that a whole first run takes
    workers: bool  # are the workers killed, or only the process group that a terminal would kill?
    units: bool  # are the jobs on the host killed as well?
    packages: bool  # does the host have what is downloaded from registries, which takes half of the time?
    faults: tuple[dict[str, object], ...]

    def __str__(self) -> str:
        words = [f"at {self.part:.2f}", "workers die" if self.workers else "workers live"]
        words += ["jobs die"] * self.units + ["no packages"] * (not self.packages)
        return ", ".join(words + [str(fault["kind"]) for fault in self.faults])


def rounds(seed: int) -> list[Round]:
    """Return ten rounds whose moments are spread over the whole run, in random order."""
    chance = random.Random(seed)
    moments = [(number + chance.random()) / ROUNDS for number in range(ROUNDS)]
    chance.shuffle(moments)
    trouble: list[tuple[dict[str, object], ...]] = [(SLOW,), (SLOW,), (STALL,), (SLOW,)] + [()] * (ROUNDS - 4)
    chance.shuffle(trouble)
    return [
        Round(moment, chance.random() < 0.6, chance.random() < 0.5, chance.random() < 0.7, faults)
        for moment, faults in zip(moments, trouble, strict=True)
    ]


@dataclass(frozen=True)
class Whole:
    """What a first run is when nobody kills it."""

    seconds: dict[bool, float]  # without packages and with them
    plan: str


@pytest.fixture(scope="module")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tier]:
    with started(f"llmhost-tier-killed-{os.getpid()}", tmp_path_factory.mktemp("killed")) as host:
        yield host


@pytest.fixture(scope="module")
def whole(tier: Tier) -> Whole:
    """Set the host up twice: as it comes, and with the packages that the first time has brought."""
    seconds = {}
    for packages in (False, True):
        tier.make_bare(packages=packages)
        begun = time.monotonic()
        tier.converge()
        seconds[packages] = time.monotonic() - begun
    tier.assert_serves()
    return Whole(seconds, tier.plan())


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_killed_first_run_is_made_good(tier: Tier, whole: Whole, number: int) -> None:
    fate = rounds(SEED)[number]
    seconds = whole.seconds[fate.packages]
    print(f"LLMHOST_SEED={SEED}, round {number}: {fate}; a whole run takes {seconds:.1f} s")
    tier.make_bare(packages=fate.packages)
    with tier.faults(*fate.faults):
        process = tier.start()
        _kill_after(process, fate.part * seconds, workers=fate.workers)
        print(f"killed in: {tier.last_task()}")
        if fate.units:
            for unit in UNITS:
                tier.bed.exec("systemctl", "kill", "-s", "KILL", unit, check=False)
    tier.converge()
    again = tier.converge()
    assert again.changed == 0, again.text
    assert tier.plan() == whole.plan
    tier.assert_serves()


def _kill_after(process: subprocess.Popen[str], seconds: float, *, workers: bool) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill(process, workers=workers)

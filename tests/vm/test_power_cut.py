"""The power goes in every stage of a first run, one after another: each next run goes on, and the last one converges.

A power cut is SIGKILL for QEMU: what the guest has not synced is lost, as with a real one.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.tools.vm import NvmeDisk
from tests.vm.tier import RUN_SECONDS, VmTier, started

pytestmark = pytest.mark.long

MODELS = NvmeDisk("models", "2 GiB", serial="S5GXNX0R200001", model="Samsung SSD 980 PRO 1TB")
SEED = int(os.environ.get("LLMHOST_SEED", "") or random.SystemRandom().randrange(10**6))
# Slow enough for a moment within the download.
SLOW = ({"kind": "slow", "match": "cdn/.*gguf", "rate": 1 << 20, "times": 0},)


@dataclass(frozen=True)
class Stage:
    """A moment of a run: so long after a task has begun."""

    task: str
    within_seconds: float
    faults: tuple[dict[str, Any], ...] = ()


STAGES = (
    Stage("Make the storage what the plan says", 8),
    Stage("Make the swap what the plan says", 8),
    Stage("Install the hub client", 60),
    Stage("Wait for the download", 20, SLOW),
    Stage("Install llama.cpp if an archive is to be had", 20),
    Stage("Serve the model", 8),
)


@pytest.fixture(scope="module")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VmTier]:
    """Return a machine that llmhost has never seen."""
    with started(f"llmhost-power-{os.getpid()}", tmp_path_factory.mktemp("power"), [MODELS]) as host:
        yield host


def test_a_host_whose_power_goes_in_every_stage_converges_in_the_end(tier: VmTier) -> None:
    chance = random.Random(SEED)
    for stage in STAGES:
        after = chance.uniform(0, stage.within_seconds)
        print(f"LLMHOST_SEED={SEED}: power cut {after:.1f} s after the begin of '{stage.task}'")
        with tier.faults(*stage.faults):
            cut(tier, stage.task, after)
            tier.vm.start()
            tier.vm.wait_for_boot()
        assert_nothing_half_done_is_served(tier)
    tier.converge(llmhost_storage_devices=MODELS.serial)
    tier.assert_serves()
    assert tier.shell("findmnt -no SOURCE /srv/llmhost") == tier.vm.device(MODELS)
    assert tier.converge(llmhost_storage_devices=MODELS.serial).changed == 0


def cut(tier: VmTier, task: str, after: float) -> None:
    """Run until a task has begun, and cut the power some seconds later; the run then has nobody to talk to."""
    process = tier.start(llmhost_storage_devices=MODELS.serial)
    end = time.monotonic() + RUN_SECONDS
    while tier.last_task() != task and not tier.last_task().endswith(f" : {task}"):
        assert process.poll() is None, f"the run ended before '{task}'\n{(tier.folder / 'output.txt').read_text()}"
        assert time.monotonic() < end, f"'{task}' did not begin"
        time.sleep(0.2)
    time.sleep(after)
    tier.vm.power_cut()
    tier.wait(process, RUN_SECONDS)


def assert_nothing_half_done_is_served(tier: VmTier) -> None:
    """Assert that whatever has its final name is whole, before any run could mend it."""
    script = (
        "cd /srv/llmhost/models/models--*/blobs 2>/dev/null || exit 0; "
        'for f in *; do case "$f" in *.incomplete|"*") ;; *) set -- $(sha256sum < "$f"); echo "$f" "$1";; esac; done'
    )
    for line in tier.shell(script).splitlines():
        name, digest = line.split()
        assert name == digest or len(name) == 40, f"a model file has a name and not its content: {line}"
    assert tier.shell("find /etc/llmhost /opt/llmhost/boot -type f -empty 2>/dev/null || true") == ""
    assert (
        tier.shell("findmnt --verify --tab-file /etc/fstab >/dev/null 2>&1; grep -c cloudimg-rootfs /etc/fstab") == "1"
    )

"""Disks that fail and disks that are full: an error that names the disk and the way out, and nothing half-published."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.tools.vm import NvmeDisk
from tests.vm.tier import RUN_SECONDS, VmTier, started

pytestmark = pytest.mark.long

UNREADABLE = NvmeDisk("unreadable", "2 GiB", serial="S5BADREAD0001", model="Samsung SSD 980 PRO 1TB", fault="read")
UNWRITABLE = NvmeDisk("unwritable", "2 GiB", serial="S5BADWRITE001", model="Samsung SSD 980 PRO 1TB", fault="write")
GOOD = NvmeDisk("good", "2 GiB", serial="S5GOOD0000001", model="Samsung SSD 980 PRO 1TB")


@pytest.fixture(scope="module")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VmTier]:
    """Return a machine with a good drive and two bad ones."""
    disks = [UNREADABLE, UNWRITABLE, GOOD]
    with started(f"llmhost-errors-{os.getpid()}", tmp_path_factory.mktemp("errors"), disks) as host:
        yield host


def assert_nothing_was_published(tier: VmTier) -> None:
    assert tier.shell("findmnt -n /srv/llmhost || true") == ""
    assert tier.shell("find /srv/llmhost -type f 2>/dev/null || true") == ""
    assert tier.shell("systemctl is-enabled llmhost-inference 2>/dev/null || true") in ("", "not-found")


def test_a_disk_that_cannot_be_read_is_refused_by_name(tier: VmTier) -> None:
    tier.run(llmhost_storage_devices=UNREADABLE.serial).says(UNREADABLE.serial, "read|error|Input/output")
    assert_nothing_was_published(tier)


def test_a_disk_that_cannot_be_written_fails_by_name(tier: VmTier) -> None:
    tier.run(llmhost_storage_devices=UNWRITABLE.serial).says(UNWRITABLE.serial, "mkfs|write|Input/output")
    assert_nothing_was_published(tier)


def test_a_failed_claim_is_given_up_before_another_disk_is_taken(tier: VmTier) -> None:
    tier.run(llmhost_storage_devices=GOOD.serial).says("did not finish its work on", UNWRITABLE.serial, "remove.yml")
    assert tier.run(playbook="remove").rc == 0
    assert_nothing_was_published(tier)


def test_a_full_root_disk_is_told_before_anything_is_changed(tier: VmTier) -> None:
    tier.shell("free=$(df --output=avail -B1 / | tail -n1); fallocate -l $((free - (8 << 20))) /root/ballast")
    try:
        tier.run(llmhost_storage_devices=GOOD.serial).says(r"/ has [\d.]+ MiB free", r"Free [\d.]+ GiB on /")
    finally:
        tier.shell("rm /root/ballast")
    assert_nothing_was_published(tier)


def test_a_disk_that_fills_during_the_download_publishes_nothing(tier: VmTier) -> None:
    process = tier.start(llmhost_storage_devices=GOOD.serial)
    end = time.monotonic() + RUN_SECONDS
    while tier.shell("findmnt -n /srv/llmhost || true") == "" or tier.shell("swapon --noheadings || true") == "":
        assert process.poll() is None, "the run ended before the swap"
        assert time.monotonic() < end, "the run did not come as far as the swap"
        time.sleep(1)
    tier.shell("fallocate -l $(df --output=avail -B1 /srv/llmhost | tail -n1) /srv/llmhost/ballast || true")
    tier.wait(process, RUN_SECONDS).says("No space left on device|not enough free space|do(es)? not fit|[Ff]ree .* on")
    assert tier.shell("find /srv/llmhost/models -path '*/snapshots/*' -name '*.gguf' 2>/dev/null || true") == ""
    assert tier.shell("systemctl is-active llmhost-inference || true") != "active"
    tier.shell("rm /srv/llmhost/ballast")
    tier.converge(llmhost_storage_devices=GOOD.serial)
    tier.assert_serves()

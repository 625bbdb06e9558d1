"""Boots of a real machine: all comes back in order, a missing disk is told in words, ephemeral storage is made again.

One machine goes through all of it, in order: each boot costs more than a minute.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tools.vm import NvmeDisk
from tests.vm.tier import VmTier, started

pytestmark = pytest.mark.long

MODELS = NvmeDisk("models", "2 GiB", serial="S5GXNX0R100001", model="Samsung SSD 980 PRO 1TB")
CLOUD = NvmeDisk("cloud", "2 GiB", serial="AWS1234567890", model="Amazon EC2 NVMe Instance Storage")
MOUNT, SWAP, SERVICE = "srv-llmhost.mount", "srv-llmhost-swapfile.swap", "llmhost-inference"
STICKER = "Samsung SSD 980 PRO 1TB (serial S5GXNX0R100001)"
# A bound for a machine that hangs, not a measurement.
PATIENCE_SECONDS = 900


@pytest.fixture(scope="module")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VmTier]:
    """Return a machine that serves the demo's model from its only drive."""
    with started(f"llmhost-boot-{os.getpid()}", tmp_path_factory.mktemp("boot"), [MODELS]) as host:
        host.converge(llmhost_storage_devices=MODELS.serial)
        yield host


def wait_for(what: str, check: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not check():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE_SECONDS} s"
        time.sleep(2)


def prop(tier: VmTier, unit: str, name: str) -> str:
    return tier.shell(f"systemctl show -P {name} {unit}")


def is_served(tier: VmTier) -> bool:
    return tier.bed.exec("curl", "-fsS", "http://127.0.0.1:8080/health", check=False).returncode == 0


def status(tier: VmTier, unit: str = SERVICE) -> str:
    return tier.bed.shell(f"systemctl status --no-pager --full {unit} || true")


def assert_bare_mount_point_is_sealed(tier: VmTier) -> None:
    assert tier.shell("findmnt -n /srv/llmhost || true") == ""
    assert tier.shell("ls -A /srv/llmhost") == ""
    assert tier.bed.exec("touch", "/srv/llmhost/file", check=False).returncode != 0, "not even root may write there"


def test_after_a_reboot_mount_swap_and_service_come_back_in_this_order(tier: VmTier) -> None:
    tier.vm.reboot()
    wait_for("the service", lambda: is_served(tier))
    came = [int(prop(tier, unit, "ActiveEnterTimestampMonotonic")) for unit in (MOUNT, SWAP, SERVICE)]
    assert all(came), "one of them is not active"
    assert came == sorted(came)
    assert prop(tier, SERVICE, "NRestarts") == "0"
    assert tier.shell("systemctl --failed --no-legend --plain | grep llmhost || true") == ""
    tier.assert_serves()


def test_without_its_disk_the_host_boots_and_the_service_says_what_it_waits_for(tier: VmTier) -> None:
    tier.vm.power_cut()
    tier.vm.unplug(MODELS)
    tier.vm.start()
    assert tier.vm.wait_for_boot() in ("running", "degraded")
    wait_for("the words", lambda: "waits for the storage" in status(tier))
    told = " ".join(status(tier).split())
    assert f"/srv/llmhost is not mounted, because the host does not have the disk {STICKER}" in told
    wait_for("its rest", lambda: prop(tier, SERVICE, "ActiveState") == "inactive")
    assert STICKER in status(tier, "llmhost-storage")
    assert_bare_mount_point_is_sealed(tier)


def test_when_the_disk_comes_everything_starts_by_itself(tier: VmTier) -> None:
    tier.vm.plug(MODELS)
    wait_for("the service", lambda: is_served(tier))
    assert prop(tier, MOUNT, "ActiveState") == prop(tier, SWAP, "ActiveState") == "active"
    wait_for("the look at the disk", lambda: prop(tier, "llmhost-storage", "ActiveState") == "inactive")
    tier.assert_serves()


def test_a_disk_that_is_pulled_ends_the_service_with_words(tier: VmTier) -> None:
    # What is swapped out to a disk that is gone is lost, whoever asks for it: that is not llmhost's to mend.
    tier.shell(f"systemctl stop {SWAP}")
    tier.vm.unplug(MODELS)
    wait_for("its end", lambda: prop(tier, SERVICE, "ActiveState") in ("inactive", "failed"))
    wait_for("the end of the mount", lambda: tier.shell("findmnt -n /srv/llmhost || true") == "")
    assert STICKER in status(tier)
    assert_bare_mount_point_is_sealed(tier)
    tier.vm.plug(MODELS)
    wait_for("the service", lambda: is_served(tier))


def test_a_disk_that_answers_with_errors_is_told_from_one_that_is_gone(tier: VmTier) -> None:
    tier.shell(f"systemctl stop {SERVICE} {SWAP} {MOUNT}")
    tier.vm.unplug(MODELS)
    MODELS.fault = "read"
    tier.vm.plug(MODELS)
    wait_for("the drive", lambda: tier.bed.exec("test", "-e", "/dev/nvme0n1", check=False).returncode == 0)
    tier.bed.exec("systemctl", "start", SERVICE, check=False)
    wait_for("the words", lambda: "waits for the storage" in status(tier))
    assert STICKER in status(tier)
    wait_for("its rest", lambda: prop(tier, SERVICE, "ActiveState") == "inactive")
    assert_bare_mount_point_is_sealed(tier)
    again = tier.run(llmhost_storage_devices=MODELS.serial)
    again.says("S5GXNX0R100001")
    tier.vm.unplug(MODELS)
    MODELS.fault = None


def test_ephemeral_storage_that_comes_back_empty_is_made_again_with_its_model(tier: VmTier) -> None:
    tier.run(playbook="remove")
    tier.vm.plug(CLOUD)
    tier.converge(llmhost_storage_devices=CLOUD.serial, llmhost_claim_disks=True)
    record = json.loads(tier.shell("cat /etc/llmhost/state/storage.json"))
    assert record["ephemeral"], "the plan did not know this model of drive"
    models = tier.shell("cat /etc/llmhost/state/models.json")
    empty(tier, CLOUD)
    wait_for("the service", lambda: is_served(tier))
    tier.assert_serves()
    after = json.loads(tier.shell("cat /etc/llmhost/state/storage.json"))
    assert after["uuid"] == record["uuid"]
    assert tier.shell("cat /etc/llmhost/state/models.json") == models, "it is the same model"
    assert "64M" in tier.shell("swapon --show=SIZE --noheadings")
    assert tier.converge(llmhost_storage_devices=CLOUD.serial, llmhost_claim_disks=True).changed == 0


def test_an_ephemeral_disk_that_comes_back_with_somebody_elses_data_is_left_alone(tier: VmTier) -> None:
    tier.vm.power_cut()
    backing = tier.vm.backing_file(CLOUD)
    _overwrite(backing, b"somebody's data " * 4096)
    before = backing.read_bytes()[: 1 << 20]
    tier.vm.start()
    tier.vm.wait_for_boot()
    wait_for("the words", lambda: "waits for the storage" in status(tier))
    tier.shell("sync")
    assert backing.read_bytes()[: 1 << 20] == before
    assert prop(tier, "llmhost-storage", "ActiveState") == "failed"


def empty(tier: VmTier, disk: NvmeDisk) -> None:
    """Do what a stop and a start of a cloud's instance do: the drive comes back, and all of it is zeros."""
    tier.vm.power_cut()
    _overwrite(tier.vm.backing_file(disk), b"")
    tier.vm.start()
    assert tier.vm.wait_for_boot() in ("running", "degraded", "starting")


def _overwrite(backing: Path, content: bytes) -> None:
    size = backing.stat().st_size
    with backing.open("r+b") as file:
        file.truncate(0)
        file.truncate(size)
        file.write(content)

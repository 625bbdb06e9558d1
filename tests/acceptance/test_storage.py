"""Where the models lie: the planned disk mounted by its UUID, or a directory."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.expectation import Figure, expect, expect_equal, gib
from tests.acceptance.target import Target

RERUN = "run the tier's playbook again."
RULES = "/etc/udev/rules.d/90-llmhost-storage.rules"


def fstab_entries(target: Target, path: str) -> list[list[str]]:
    """Return the entries of fstab for a mount point."""
    rows = [line.split() for line in target.output("cat", "/etc/fstab").splitlines() if not line.startswith("#")]
    return [row for row in rows if len(row) >= 4 and row[1] == path]


def kernel_name(target: Target, device: str) -> str:
    """Return the kernel's name of a device."""
    return target.output("readlink", "--canonicalize", device).strip().rpartition("/")[2]


@pytest.fixture
def storage(target: Target) -> dict[str, Any]:
    """Return the plan of the storage, for hosts that get a disk of their own."""
    part = target.slice("model_storage")
    if part["kind"] != "disk":
        pytest.skip(f"the plan uses a directory, {part['path']}, and no disk of its own")
    return part


@pytest.mark.applied("model_storage")
def test_the_storage_is_a_directory_that_only_root_changes(target: Target) -> None:
    path = target.slice("model_storage")["path"]
    kind, owner, mode = target.output("stat", "--format=%F|%U|%a", path).strip().split("|")
    expect_equal(f"kind of {path}", expected="directory", found=kind, remedy=RERUN)
    expect_equal(f"owner of {path}", expected="root", found=owner, remedy=f"chown root {path}, or {RERUN}")
    expect(not int(mode[-1]) & 2, f"mode of {path}", expected="not writable by everyone", found=mode, remedy=RERUN)


@pytest.mark.applied("model_storage")
def test_the_disk_is_mounted_by_its_uuid(target: Target, storage: dict[str, Any]) -> None:
    path = storage["path"]
    entries = fstab_entries(target, path)
    expect_equal(f"entries in /etc/fstab for {path}", expected=1, found=len(entries), remedy=RERUN)
    uuid = target.output("findmnt", "--noheadings", "--output=UUID", "--mountpoint", path).strip()
    expect(bool(uuid), f"filesystem mounted on {path}", expected="one with a UUID", found=uuid, remedy=f"mount {path}")
    expect_equal(f"device of {path} in /etc/fstab", expected=f"UUID={uuid}", found=entries[0][0], remedy=RERUN)


@pytest.mark.applied("model_storage")
def test_the_filesystem_is_the_planned_one(target: Target, storage: dict[str, Any]) -> None:
    path = storage["path"]
    found = target.output("findmnt", "--noheadings", "--output=FSTYPE", "--mountpoint", path).strip()
    expect_equal(f"filesystem of {path}", expected=storage["filesystem"], found=found, remedy=RERUN)
    source = target.output("findmnt", "--noheadings", "--output=SOURCE", "--mountpoint", path).strip()
    label = target.output("blkid", "--probe", "--output=value", "--match-tag=LABEL", source).strip()
    expect_equal(f"label of {source}", expected=storage["label"], found=label, remedy=RERUN)


@pytest.mark.applied("model_storage")
def test_the_mounted_disks_are_those_that_the_plan_names(target: Target, storage: dict[str, Any]) -> None:
    source = target.output("findmnt", "--noheadings", "--output=SOURCE", "--mountpoint", storage["path"]).strip()
    # A filesystem and, of an array, its members.
    below = target.output("lsblk", "--noheadings", "--inverse", "--list", "--output=PATH", source).split()
    for device in (entry["device"] for entry in storage["devices"]):
        planned = target.output("readlink", "--canonicalize", device).strip()
        expect(
            planned in below,
            f"disks behind {storage['path']}",
            expected=f"{device} ({planned}) among them",
            found=", ".join(below),
            remedy="name the disks by their serial numbers in llmhost_storage_devices.",
        )


@pytest.mark.applied("model_storage")
def test_the_mount_options_are_the_planned_ones(target: Target, storage: dict[str, Any]) -> None:
    path, wanted = storage["path"], storage["mount_options"]
    expect_equal(
        f"options of {path} in /etc/fstab", expected=wanted, found=fstab_entries(target, path)[0][3], remedy=RERUN
    )
    active = set(target.output("findmnt", "--noheadings", "--output=OPTIONS", "--mountpoint", path).strip().split(","))
    kernel = {
        option for option in wanted.split(",") if option in ("noatime", "nodiratime", "nodev", "nosuid", "noexec")
    }
    expect(
        kernel <= active,
        f"options in force on {path}",
        expected=kernel,
        found=active,
        remedy=f"mount -o remount {path}",
    )


@pytest.fixture
def tuning(storage: dict[str, Any]) -> dict[str, Any]:
    """Return how the disks are to be driven, for hosts whose disks are set."""
    part: dict[str, Any] | None = storage["tuning"]
    if not part:
        pytest.skip("the plan leaves the disks as they are, as in a container")
    return part


@pytest.mark.applied("model_storage")
def test_the_read_ahead_is_the_planned_one(target: Target, storage: dict[str, Any], tuning: dict[str, Any]) -> None:
    source = target.output("findmnt", "--noheadings", "--output=SOURCE", "--mountpoint", storage["path"]).strip()
    found = int(target.output("cat", f"/sys/class/block/{kernel_name(target, source)}/queue/read_ahead_kb"))
    expect_equal(f"read-ahead of {source} in KiB", expected=tuning["read_ahead_bytes"] >> 10, found=found, remedy=RERUN)


@pytest.mark.applied("model_storage")
def test_the_scheduler_is_the_planned_one(target: Target, storage: dict[str, Any], tuning: dict[str, Any]) -> None:
    for device in (entry["device"] for entry in storage["devices"]):
        choices = target.output("cat", f"/sys/class/block/{kernel_name(target, device)}/queue/scheduler").split()
        chosen = [word.strip("[]") for word in choices if word.startswith("[")] or choices
        offered = tuning["scheduler"] in [word.strip("[]") for word in choices]
        wanted = [tuning["scheduler"]] if offered else chosen
        expect_equal(f"scheduler of {device}", expected=wanted, found=chosen, remedy=RERUN)


@pytest.mark.applied("model_storage")
def test_a_boot_sets_the_disks_too(target: Target, storage: dict[str, Any], tuning: dict[str, Any]) -> None:
    uuid = target.output("findmnt", "--noheadings", "--output=UUID", "--mountpoint", storage["path"]).strip()
    rules = [line for line in target.lines(f"cat {RULES}") if f'"{uuid}"' in line]
    value = f'ATTR{{queue/read_ahead_kb}}="{tuning["read_ahead_bytes"] >> 10}"'
    expect(any(value in rule for rule in rules), f"rule of udev for {uuid}", expected=value, found=rules, remedy=RERUN)


@pytest.mark.applied("model_storage")
def test_free_blocks_are_given_back_each_week(target: Target, tuning: dict[str, Any]) -> None:
    if not tuning["trim"]:
        pytest.skip("disks that turn have no blocks to give back")
    found = target.shell("systemctl is-enabled fstrim.timer").strip()
    # Whoever masked it wants it off, and llmhost leaves it so.
    expect(found in ("enabled", "masked"), "fstrim.timer", expected="enabled", found=found, remedy=RERUN)


@pytest.mark.applied("model_storage")
def test_a_storage_without_a_disk_has_no_entry_in_fstab(target: Target) -> None:
    part = target.slice("model_storage")
    if part["kind"] == "disk":
        pytest.skip("the plan uses a disk")
    ours = [row for row in fstab_entries(target, part["path"]) if "x-systemd.device-timeout" in row[3]]
    expect(not ours, f"entries in /etc/fstab for {part['path']}", expected="none of llmhost", found=ours, remedy=RERUN)


@pytest.mark.applied("model_storage")
def test_the_storage_has_room_left(target: Target, figure: Figure) -> None:
    path = target.slice("model_storage")["path"]
    free = int(target.output("stat", "--file-system", "--format=%a", path)) * int(
        target.output("stat", "--file-system", "--format=%S", path)
    )
    figure("free", gib(free))
    expect(
        free > 0, f"free space on {path}", expected="some", found=gib(free), remedy="remove models that are not used."
    )

"""swap on real filesystems: its size, its holes, other people's swap, and killed runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.bed.conftest import BLANK_FSTAB, Target

MIB = 2**20
# The kernel shows the swap of every container on this machine to each of them: these paths are no other bed's.
DIRECTORY = "/srv/bed/swap-test"
DISK = "/srv/swap-test"
PATH = f"{DIRECTORY}/swapfile"
STATE = "/etc/llmhost/state/swap.json"
TASKS_OF_A_RUN_WITHOUT_CHANGE = 2


def swap_plan(size: int, **changes: Any) -> dict[str, Any]:
    usual = {"swappiness": 10, "priority": 10, "overcommit_memory": None, "ephemeral": False}
    return {"swap": {"size_bytes": size, "path": PATH, **usual, **changes}}


@pytest.fixture
def host(target: Target) -> Target:
    target.shell(f"mkdir {DIRECTORY}")
    target.plan = swap_plan(64 * MIB)
    return target


def swaps(target: Target) -> dict[str, tuple[int, int]]:
    """Return path, size of the file and priority of the swap files of these tests."""
    rows = [line.split() for line in target.read("/proc/swaps").splitlines()[1:]]
    return {row[0]: (int(row[2]) * 1024 + 4096, int(row[4])) for row in rows if "swap-test" in row[0]}


def assert_ready(target: Target, size: int, path: str = PATH) -> None:
    """Assert everything that the role promises of a swap file."""
    assert swaps(target) == {path: (size, 10)}
    assert target.shell(f"stat -c '%s %a %U' {path}") == f"{size} 600 root"
    assert int(target.shell(f"stat -c %b {path}")) * 512 >= size
    assert target.read("/etc/fstab") == BLANK_FSTAB + f"{path} none swap sw,nofail,pri=10 0 0\n"
    assert json.loads(target.read(STATE))["size_bytes"] == size
    assert target.shell(f"stat -c %a {STATE}") == "640"
    assert target.read("/etc/sysctl.d/60-llmhost.conf").endswith("vm.swappiness = 10\n")
    directory = path.rpartition("/")[0]
    assert target.shell(f"ls -A {directory} | grep llmhost-new || true") == ""


def test_made_grown_shrunk_and_taken_away(host: Target) -> None:
    assert host.succeed("swap", "--check").changed == 1
    assert swaps(host) == {}
    for size in (64 * MIB, 128 * MIB, 32 * MIB):
        host.plan = swap_plan(size)
        assert host.succeed("swap").changed == 1
        assert_ready(host, size)
        again = host.succeed("swap")
        assert (again.changed, again.executed) == (0, TASKS_OF_A_RUN_WITHOUT_CHANGE)
    host.plan = swap_plan(0, swappiness=None)
    assert host.succeed("swap").changed == 1
    assert swaps(host) == {}
    assert host.read("/etc/fstab") == BLANK_FSTAB
    assert host.shell(f"ls -A {DIRECTORY} /etc/sysctl.d/60-llmhost.conf {STATE} 2>/dev/null || true") == f"{DIRECTORY}:"
    assert host.succeed("swap").changed == 0


def test_removal(host: Target) -> None:
    host.succeed("swap")
    host.plan = {}
    assert host.succeed("swap", entry="remove").changed == 1
    assert (swaps(host), host.read("/etc/fstab")) == ({}, BLANK_FSTAB)
    assert host.succeed("swap", entry="remove").changed == 0


def mounted_disk(target: Target, make: str, size: int = 128 * MIB) -> str:
    target.bed.loop_disk(size)
    target.shell(f"{make} /dev/disk/by-id/bed-disk && mkdir -p {DISK} && mount /dev/disk/by-id/bed-disk {DISK}")
    return f"{DISK}/swapfile"


@pytest.mark.parametrize("make", ["mkfs.ext4 -q", "mkfs.ext3 -q"])
def test_on_a_disk_of_its_own_and_resized_without_room_for_two(host: Target, make: str) -> None:
    path = mounted_disk(host, make)
    for size in (48 * MIB, 80 * MIB, 40 * MIB):
        host.plan = swap_plan(size, path=path)
        host.succeed("swap")
        assert_ready(host, size, path)


def test_on_xfs(host: Target) -> None:
    host.shell(
        "command -v mkfs.xfs >/dev/null || { apt-get -qq update; apt-get -qq install -y xfsprogs; } >/dev/null 2>&1"
    )
    path = mounted_disk(host, "mkfs.xfs -q", 400 * MIB)
    host.plan = swap_plan(64 * MIB, path=path)
    host.succeed("swap")
    assert_ready(host, 64 * MIB, path)
    assert host.succeed("swap").changed == 0


FIRST, SECOND = "/dev/disk/by-id/bed-disk", "/dev/disk/by-id/bed-second"


def btrfs(target: Target, *options: str) -> str:
    """Mount a btrfs that was made with these options and return where the swap file belongs."""
    target.shell(
        "command -v mkfs.btrfs >/dev/null || "
        "{ apt-get -qq update; apt-get -qq install -y --no-install-recommends btrfs-progs; } >/dev/null 2>&1"
    )
    for name in ("disk", "second"):
        target.bed.loop_disk(256 * MIB, name)
    # udev, which a container lacks, would tell the kernel of the second device.
    devices = ",".join(["compress-force", *(f"device={option}" for option in options if option == SECOND)])
    target.shell(f"mkfs.btrfs -q {' '.join(options)}; mkdir -p {DISK}; mount -o {devices} {FIRST} {DISK}")
    return f"{DISK}/swap/swapfile"


def test_on_btrfs(host: Target) -> None:
    path = btrfs(host, FIRST)
    for size in (64 * MIB, 96 * MIB, 32 * MIB):
        host.plan = swap_plan(size, path=path)
        assert host.succeed("swap").changed == 1
        assert_ready(host, size, path)
        assert host.succeed("swap").changed == 0
    assert "C" in host.shell(f"lsattr {path}").split()[0]
    # What is around the file can still be snapshotted; a subvolume that a swap file in use lies in cannot.
    host.shell(f"btrfs subvolume snapshot {DISK} {DISK}/snapshot")
    assert host.shell(f"btrfs subvolume snapshot {DISK}/swap {DISK}/refused 2>&1 || echo refused").endswith("refused")
    host.plan = swap_plan(0, path=path, swappiness=None)
    host.succeed("swap")
    assert host.shell(f"ls -A {DISK}") == "snapshot"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-d raid1", "-m raid1", FIRST, SECOND), "2 devices"),
        (("-d single", "-m single", FIRST, SECOND), "2 devices"),
        (("-d dup", "-m dup", FIRST), "as dup"),
    ],
)
def test_where_btrfs_cannot_hold_swap(host: Target, options: tuple[str, ...], says: str) -> None:
    path = btrfs(host, *options)
    host.plan = swap_plan(64 * MIB, path=path)
    failure = host.play("swap").failure
    assert failure["code"] == "swap.filesystem"
    assert says in failure["msg"]
    assert host.shell(f"ls -A {DISK}") == ""
    assert host.read("/etc/fstab") == BLANK_FSTAB


def test_on_a_disk_that_a_stop_empties(host: Target) -> None:
    path = mounted_disk(host, "mkfs.ext4 -q")
    host.plan = swap_plan(64 * MIB, path=path, ephemeral=True, priority=7)
    host.succeed("swap")
    assert swaps(host) == {path: (64 * MIB, 7)}
    assert host.read("/etc/fstab") == BLANK_FSTAB
    assert host.succeed("swap").changed == 0


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/root/swapfile", "overlay"),
        ("/run/swapfile", "tmpfs"),
        ("/proc/swapfile", "proc"),
        ("/nowhere/swap", "overlay"),
    ],
)
def test_filesystems_that_cannot_hold_one(host: Target, path: str, says: str) -> None:
    host.plan = swap_plan(64 * MIB, path=path)
    failure = host.play("swap").failure
    assert failure["code"] == "swap.filesystem"
    assert says in failure["msg"]
    assert host.read("/etc/fstab") == BLANK_FSTAB


def test_a_disk_without_room(host: Target) -> None:
    path = mounted_disk(host, "mkfs.ext4 -q", 32 * MIB)
    host.plan = swap_plan(64 * MIB, path=path)
    failure = host.play("swap").failure
    assert failure["code"] == "swap.no_room"
    assert "does not fit" in failure["msg"]
    assert host.shell(f"ls -A {DISK}") == "lost+found"


@pytest.mark.parametrize("size", [0, 64 * MIB])
def test_swap_of_somebody_else_stays(host: Target, size: int) -> None:
    host.shell(f"fallocate -l 16M {PATH}; chmod 600 {PATH}; mkswap {PATH}; swapon {PATH}")
    before = swaps(host)
    host.plan = swap_plan(size)
    outcome = host.play("swap")
    assert (outcome.rc == 0) is (size == 0)
    if size:
        assert outcome.failure["code"] == "swap.not_ours"
    assert (swaps(host), host.read("/etc/fstab")) == (before, BLANK_FSTAB)


def test_a_file_with_holes_is_made_again(host: Target) -> None:
    host.succeed("swap")
    host.shell(f"swapoff {PATH}; fallocate -p -o 1M -l 1M {PATH}")
    host.succeed("swap")
    assert_ready(host, 64 * MIB)


# Before and after each program, the run is killed.
KILLED = [
    (program, moment)
    for program in ("mkswap", "swapoff", "swapon")
    for moment in ("kill -KILL $PPID", '$REAL "$@"; kill -KILL $PPID')
]


@pytest.mark.parametrize(("program", "script"), KILLED)
@pytest.mark.parametrize("make", ["", "mkfs.ext4 -q"])
def test_a_killed_run_is_completed(host: Target, program: str, script: str, make: str) -> None:
    """With ``make`` the disk has no room for two files, so that the old one goes first."""
    path = mounted_disk(host, make) if make else PATH
    host.plan = swap_plan(64 * MIB, path=path)
    host.succeed("swap")
    host.sabotage(program, script)
    host.plan = swap_plan(96 * MIB, path=path)
    assert host.play("swap").rc != 0
    host.repair(program)
    assert host.succeed("swap").changed == 1
    assert_ready(host, 96 * MIB, path)
    assert host.succeed("swap").changed == 0


KILL_THE_WRITER = f"""
for i in $(seq 3000); do
  for open in /proc/[0-9]*/fd/*; do
    case $(readlink $open) in {DISK}/.swapfile.llmhost-new)
      pid=${{open#/proc/}}
      kill -KILL ${{pid%%/*}} && exit
    esac
  done
done
"""


def test_a_run_killed_while_it_writes_is_completed(host: Target) -> None:
    """ext3 is written block by block, which takes a while."""
    path = mounted_disk(host, "mkfs.ext3 -q", 600 * MIB)
    host.plan = swap_plan(512 * MIB, path=path)
    host.bed.write("/tmp/kill-the-writer", KILL_THE_WRITER)
    host.shell("nohup sh /tmp/kill-the-writer >/dev/null 2>&1 &")
    assert host.play("swap").rc != 0
    assert host.shell(f"ls -A {DISK} | grep -c llmhost-new") == "1"
    assert swaps(host) == {}
    host.succeed("swap")
    assert_ready(host, 512 * MIB, path)

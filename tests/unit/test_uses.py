"""Who has a disk open, without the kernel's hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.host.uses import Uses, block_number

DISK = "259:1"
HERE, THERE = "mnt:[1]", "mnt:[2]"


class Proc:
    """A /proc and a /sys made of files; a descriptor is a link, and what it leads to is told by its target."""

    def __init__(self, root: Path) -> None:
        self.proc, self.sysfs = root / "proc", root / "sys"
        self.process("self", "python3")

    def process(self, name: str, comm: str, space: str = HERE, mountinfo: str = "") -> Path:
        path = self.proc / name
        (path / "ns").mkdir(parents=True)
        (path / "fd").mkdir()
        (path / "fdinfo").mkdir()
        (path / "comm").write_text(f"{comm}\n")
        (path / "mountinfo").write_text(mountinfo)
        (path / "ns" / "mnt").symlink_to(space)
        return path

    def opened(self, process: Path, target: str, flags: str = "0100000", mount: str = "30") -> None:
        (process / "fd" / "3").symlink_to(target)
        (process / "fdinfo" / "3").write_text(f"pos:\t0\nflags:\t{flags}\nmnt_id:\t{mount}\n")

    def uses(self, own: int = 1) -> tuple[str, ...]:
        return Uses.read(str(self.proc), str(self.sysfs), self.number, own).of(DISK)

    def number(self, path: str) -> str:
        target = os.readlink(path) if os.path.islink(path) else path
        return DISK if target.endswith("nvme1n1") else ""


@pytest.fixture
def host(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def test_nobody_uses_a_disk_of_its_own_accord(host: Proc) -> None:
    host.opened(host.process("7", "cat"), "/dev/null")
    host.process("8", "kthreadd")
    assert host.uses() == ()


def test_a_process_that_has_it_open_is_named(host: Proc) -> None:
    host.opened(host.process("42", "qemu-system-x86"), "/dev/nvme1n1")
    assert host.uses() == ("the process qemu-system-x86 (42) has it open",)
    assert host.uses(own=42) == ()


def test_a_node_elsewhere_than_in_dev_counts_unless_it_lies_across_a_network(host: Proc) -> None:
    host.opened(host.process("42", "postgres"), "/data/nvme1n1")
    assert host.uses() == ("the process postgres (42) has it open",)
    nfs = "30 1 0:50 / /data rw - nfs4 server:/data rw\n"
    (host.proc / "42" / "mountinfo").write_text(nfs)
    assert host.uses() == ()


@pytest.mark.parametrize(("flags", "counts"), [("0100000", False), ("0100002", True), ("0100001", True)])
def test_what_only_watches_disks_does_not_use_them(host: Proc, flags: str, counts: bool) -> None:
    host.opened(host.process("9", "smartd"), "/dev/nvme1n1", flags)
    assert bool(host.uses()) is counts


def test_a_mount_in_another_namespace_is_named(host: Proc) -> None:
    line = f"40 29 {DISK} / /var/data rw - ext4 /dev/nvme1n1 rw\n"
    host.process("5", "containerd-shim", THERE, line)
    host.process("6", "sh", THERE, line)
    assert host.uses() == (
        "it is mounted on /var/data where the process containerd-shim (5) lives, in a mount namespace of its own",
    )


def test_loop_devices_and_exports_are_named(host: Proc) -> None:
    loop = host.sysfs / "block" / "loop3" / "loop"
    loop.mkdir(parents=True)
    (loop / "backing_file").write_text("/dev/nvme1n1\n")
    namespace = host.sysfs / "kernel/config/nvmet/subsystems/nqn.target/namespaces/1"
    namespace.mkdir(parents=True)
    (namespace / "device_path").write_text("/dev/nvme1n1\n")
    assert host.uses() == ("loop3 is backed by it", "it is exported over NVMe as a namespace of nqn.target")


def test_only_block_devices_have_a_number(tmp_path: Path) -> None:
    assert block_number(str(tmp_path)) == ""
    assert block_number("/dev/null") == ""
    assert block_number("a\0b") == ""


def test_this_machine_is_read_without_a_fault() -> None:
    assert isinstance(Uses.read().by_number, dict)

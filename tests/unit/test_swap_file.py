"""The swap file has the size of the plan and no holes, and swap of others is left alone."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile
from ansible_collections.llmhost.core.plugins.module_utils.storage import swap as swap_module
from ansible_collections.llmhost.core.plugins.module_utils.storage import swapfile
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import RefusedError
from ansible_collections.llmhost.core.plugins.module_utils.storage.swap import Host, Swap, SwapPlan
from ansible_collections.llmhost.core.plugins.module_utils.storage.swap_place import is_own_subvolume, swap_path, unfit
from ansible_collections.llmhost.core.plugins.module_utils.storage.swapfile import (
    LABEL,
    PAGE,
    SwapFile,
    allocate,
)
from ansible_collections.llmhost.core.plugins.module_utils.storage.sysctl import Sysctls
from ansible_collections.llmhost.core.plugins.module_utils.text_file import TextFile

MIB = 2**20
OS_LINES = "/dev/sda1 / ext4 defaults 0 1\n/swap.img none swap sw 0 0\n"
OTHERS = "/swap.img\t\t\tfile\t\t65532\t\t0\t\t-2\n"


def write_header(path: str, label: str = LABEL) -> None:
    """Do what mkswap does."""
    size = os.path.getsize(path)
    page = bytearray(PAGE)
    struct.pack_into("=LL", page, 1024, 1, size // PAGE - 1)
    page[1052 : 1052 + len(label)] = label.encode()
    page[PAGE - 10 :] = b"SWAPSPACE2"
    with open(path, "r+b") as file:
        file.write(page)


class Machine:
    """A machine with a fake kernel; ``dies_at`` kills the run at a command."""

    def __init__(self, root: Path, fstype: str = "ext4") -> None:
        self.directory = root / "srv"
        self.directory.mkdir()
        self.path = str(self.directory / "swapfile")
        self.commands: list[str] = []
        self.dies_at = ""
        self.used = 0
        self.areas: dict[str, tuple[int, int]] = {}
        self.proc = root / "proc"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "sys/vm").mkdir(parents=True)
        (self.proc / "self/mountinfo").write_text(f"29 1 254:0 / / rw - {fstype} /dev/vda rw\n")
        (self.proc / "sys/vm/swappiness").write_text("60\n")
        (self.proc / "meminfo").write_text(f"MemTotal: {2**22} kB\nMemAvailable: {2**20} kB\n")
        self.fstab = root / "fstab"
        self.fstab.write_text(OS_LINES)
        self.sysctl = root / "60-llmhost.conf"
        self.host = Host(
            self.run,
            StateFile("swap", str(root / "etc/llmhost/state")),
            str(self.fstab),
            str(self.proc),
            str(root / "no-systemd"),
            str(self.sysctl),
            lambda path: path in self.areas,
        )
        self.publish()

    def publish(self) -> None:
        lines = [
            f"{path}\tfile\t{size // 1024}\t{self.used // 1024}\t{priority}\n"
            for path, (size, priority) in self.areas.items()
        ]
        (self.proc / "swaps").write_text("Filename Type Size Used Priority\n" + OTHERS + "".join(lines))

    def run(self, argv: Sequence[str]) -> CommandResult:
        self.commands.append(argv[0])
        if argv[0] == self.dies_at:
            raise KeyboardInterrupt
        if argv[0] == "mkswap":
            write_header(argv[-1])
        elif argv[0] == "swapon":
            self.areas[argv[-1]] = (os.path.getsize(argv[-1]) - PAGE, int(argv[2]))
        elif argv[0] == "swapoff":
            del self.areas[argv[-1]]
        self.publish()
        return CommandResult(0, "", "")

    def apply(self, size: int, check: bool = False, **changes: Any) -> list[str]:
        self.commands.clear()
        swap = Swap(self.host, check)
        swap.apply(replace(SwapPlan(self.path, size, 10, 10), **changes))
        return swap.actions

    def remove(self) -> list[str]:
        swap = Swap(self.host)
        swap.remove()
        return swap.actions


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_makes_a_swap_file_once(machine: Machine) -> None:
    assert machine.apply(4 * MIB) != []
    assert machine.commands == ["mkswap", "swapon"]
    file = SwapFile.from_path(machine.path)
    assert file is not None
    assert (file.size_bytes, file.mode, file.whole, file.ours) == (4 * MIB, 0o600, True, True)
    assert machine.fstab.read_text() == OS_LINES + f"{machine.path} none swap sw,nofail,pri=10 0 0\n"
    assert "vm.swappiness = 10" in machine.sysctl.read_text()
    assert (machine.proc / "sys/vm/swappiness").read_text() == "10\n"
    assert os.listdir(machine.directory) == ["swapfile"]
    assert machine.apply(4 * MIB) == []


@pytest.mark.parametrize("size", [8 * MIB, MIB, 4 * MIB + 1])
def test_follows_the_plan(machine: Machine, size: int) -> None:
    machine.apply(4 * MIB)
    machine.apply(size)
    assert machine.commands == ["mkswap", "swapoff", "swapon"]
    assert os.path.getsize(machine.path) == -(-size // PAGE) * PAGE
    assert machine.areas.keys() == {machine.path}
    assert machine.apply(size) == []


def test_check_mode_changes_nothing(machine: Machine, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert machine.apply(4 * MIB, check=True) != []
    assert machine.commands == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_check_mode_does_not_judge_a_disk_that_is_not_mounted_yet(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "overlay")
    machine.directory.chmod(0)
    assert machine.apply(MIB, check=True) != []
    machine.directory.rmdir()
    assert machine.apply(MIB, check=True) != []


@pytest.mark.parametrize("fstype", ["overlay", "tmpfs", "nfs4", "zfs", "fuse.sshfs", "vfat", "9p"])
def test_refuses_filesystems_that_cannot_hold_one(tmp_path: Path, fstype: str) -> None:
    machine = Machine(tmp_path, fstype)
    with pytest.raises(RefusedError, match="Nothing was changed") as refusal:
        machine.apply(MIB)
    assert unfit(fstype) in str(refusal.value)
    assert refusal.value.code == "swap.filesystem"
    assert os.listdir(machine.directory) == []


def test_writes_zeros_where_fallocate_is_not_enough(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "ext3")
    machine.apply(9 * MIB)
    assert machine.apply(9 * MIB) == []


def test_zero_takes_ours_away(machine: Machine) -> None:
    machine.apply(4 * MIB)
    machine.apply(0, swappiness=None)
    assert (os.listdir(machine.directory), machine.areas) == ([], {})
    assert machine.fstab.read_text() == OS_LINES
    assert not machine.sysctl.exists()
    assert machine.host.state.read() == {}
    assert machine.apply(0, swappiness=None) == []


def test_moves_with_the_path(machine: Machine) -> None:
    machine.apply(4 * MIB)
    moved = str(machine.directory / "elsewhere")
    machine.apply(4 * MIB, path=moved)
    assert os.listdir(machine.directory) == ["elsewhere"]
    assert machine.areas.keys() == {moved}
    assert machine.path not in machine.fstab.read_text()


@pytest.mark.parametrize("label", ["", "theirs"])
def test_swap_of_others_is_never_touched(machine: Machine, label: str) -> None:
    allocate(machine.path, MIB, "ext4")
    write_header(machine.path, label)
    content = Path(machine.path).read_bytes()
    machine.areas[machine.path] = (MIB - PAGE, -3)
    machine.apply(0, swappiness=None)
    with pytest.raises(RefusedError, match="not a swap file that llmhost made"):
        machine.apply(4 * MIB)
    assert (machine.commands, machine.fstab.read_text()) == ([], OS_LINES)
    assert Path(machine.path).read_bytes() == content


def test_a_directory_or_link_at_the_place_is_refused(machine: Machine) -> None:
    os.symlink("/etc/passwd", machine.path)
    with pytest.raises(RefusedError, match="not a swap file"):
        machine.apply(MIB)


@pytest.mark.parametrize("command", ["mkswap", "swapon", "swapoff"])
@pytest.mark.parametrize("beside", [True, False])
def test_completes_a_killed_run(machine: Machine, command: str, beside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.apply(4 * MIB)
    disk = 20 * MIB if beside else 9 * MIB

    def statvfs(path: str) -> os.statvfs_result:
        taken = sum(file.stat().st_size for file in machine.directory.iterdir())
        return os.statvfs_result((1, 1, disk, disk - taken, disk - taken, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    machine.dies_at = command
    with pytest.raises(KeyboardInterrupt):
        machine.apply(8 * MIB)
    machine.dies_at = ""
    assert machine.apply(8 * MIB) != []
    assert machine.apply(8 * MIB) == []
    assert os.listdir(machine.directory) == ["swapfile"]
    assert machine.areas.keys() == {machine.path}


def test_deletes_what_a_killed_run_left(machine: Machine) -> None:
    machine.apply(MIB)
    (machine.directory / ".swapfile.llmhost-new").write_bytes(b"half")
    assert len(machine.apply(MIB)) == 1
    assert os.listdir(machine.directory) == ["swapfile"]


@pytest.mark.parametrize("damage", ["hole", "size", "header"])
def test_makes_a_damaged_file_again(machine: Machine, damage: str) -> None:
    machine.apply(4 * MIB)
    machine.run(["swapoff", machine.path])
    os.unlink(machine.path)
    with open(machine.path, "wb") as file:
        file.truncate(2 * MIB if damage == "size" else 4 * MIB)
    write_header(machine.path)
    if damage == "header":
        os.truncate(machine.path, 8 * MIB)
    machine.apply(4 * MIB)
    file_now = SwapFile.from_path(machine.path)
    assert file_now is not None
    assert file_now.fits(4 * MIB)


def test_mends_the_mode_and_the_priority(machine: Machine) -> None:
    machine.apply(MIB)
    os.chmod(machine.path, 0o644)
    assert len(machine.apply(MIB)) == 1
    machine.apply(MIB, priority=20)
    assert machine.commands == ["swapoff", "swapon"]
    assert machine.areas[machine.path][1] == 20


def test_refuses_a_file_that_does_not_fit(machine: Machine) -> None:
    with pytest.raises(RefusedError, match="does not fit") as refusal:
        machine.apply(2**60)
    assert refusal.value.code == "swap.no_room"
    assert os.listdir(machine.directory) == []


def test_a_disk_that_fills_up_leaves_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.apply(MIB)

    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RefusedError, match="does not fit"):
        machine.apply(2 * MIB)
    assert os.listdir(machine.directory) == ["swapfile"]
    assert machine.areas.keys() == {machine.path}


@pytest.mark.parametrize("size", [0, 2 * MIB])
def test_refuses_while_memory_cannot_take_the_pages_back(machine: Machine, size: int) -> None:
    machine.apply(4 * MIB)
    machine.used = 3 * 2**30
    machine.publish()
    with pytest.raises(RefusedError, match="free to take them back") as refusal:
        machine.apply(size)
    assert refusal.value.code == "swap.in_use"
    assert machine.commands == []
    machine.used = 2**29
    machine.publish()
    machine.apply(size)


def test_a_swappiness_that_cannot_be_written_waits_for_the_boot(machine: Machine, monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    machine.apply(MIB)
    assert (machine.proc / "sys/vm/swappiness").read_text() == "60\n"
    assert machine.apply(MIB) == []


def test_swap_of_the_same_name_in_another_container_is_not_ours(machine: Machine) -> None:
    machine.apply(MIB)
    del machine.areas[machine.path]
    machine.areas["/other"] = (0, 0)
    swaps = machine.proc / "swaps"
    swaps.write_text(swaps.read_text() + f"{machine.path}\tfile\t1020\t0\t10\n")
    machine.apply(MIB)
    assert machine.commands == ["swapon"]


def test_removal_forgets_everything(machine: Machine) -> None:
    machine.apply(MIB)
    assert machine.remove() != []
    assert (os.listdir(machine.directory), machine.fstab.read_text()) == ([], OS_LINES)
    assert not machine.sysctl.exists()
    assert machine.remove() == []


def test_sees_holes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.write(b"x" * 2 * MIB)
        file.seek(4 * MIB)
        file.write(b"x" * MIB)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert not swapfile.is_whole(descriptor, 5 * MIB)
        assert swapfile.is_whole(descriptor, 2 * MIB) is False
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("fstype", ["ext4", "ext3"])
def test_allocates_without_holes(tmp_path: Path, fstype: str) -> None:
    path = str(tmp_path / "file")
    allocate(path, 9 * MIB, fstype)
    file = SwapFile.from_path(path)
    assert file is not None
    assert (file.whole, file.mode, file.header) == (True, 0o600, None)


def live(machine: Machine, name: str) -> str:
    return (machine.proc / "sys/vm" / name).read_text().strip()


def test_the_kernel_is_told_and_told_back(machine: Machine) -> None:
    (machine.proc / "sys/vm/overcommit_memory").write_text("0\n")
    machine.apply(MIB, overcommit_memory=1)
    assert (live(machine, "overcommit_memory"), live(machine, "swappiness")) == ("1", "10")
    assert machine.sysctl.read_text().endswith("vm.swappiness = 10\nvm.overcommit_memory = 1\n")
    assert machine.host.state.read()["before"] == {"vm.swappiness": 60, "vm.overcommit_memory": 0}
    assert machine.apply(MIB, overcommit_memory=1) == []
    machine.apply(MIB)
    assert (live(machine, "overcommit_memory"), live(machine, "swappiness")) == ("0", "10")
    assert machine.host.state.read()["before"] == {"vm.swappiness": 60}
    machine.remove()
    assert live(machine, "swappiness") == "60"
    assert not machine.sysctl.exists()


def test_overcommit_without_a_swap_file(machine: Machine) -> None:
    (machine.proc / "sys/vm/overcommit_memory").write_text("2\n")
    machine.apply(0, swappiness=None, overcommit_memory=1)
    assert live(machine, "overcommit_memory") == "1"
    assert machine.apply(0, swappiness=None, overcommit_memory=1) == []
    assert machine.apply(0, swappiness=None) != []
    assert (live(machine, "overcommit_memory"), machine.host.state.read()) == ("2", {})
    assert machine.apply(0, swappiness=None) == []


def test_what_somebody_else_has_set_since_stays(machine: Machine) -> None:
    (machine.proc / "sys/vm/overcommit_memory").write_text("0\n")
    machine.apply(MIB, overcommit_memory=1)
    (machine.proc / "sys/vm/overcommit_memory").write_text("2\n")
    machine.remove()
    assert live(machine, "overcommit_memory") == "2"


@pytest.mark.parametrize("moment", ["apply", "_write"])
def test_a_run_killed_at_a_setting_knows_the_kernels_own_value(
    machine: Machine, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the file is written, and before the kernel is told."""

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    (machine.proc / "sys/vm/overcommit_memory").write_text("0\n")
    machine.apply(MIB)
    with monkeypatch.context() as patched:
        patched.setattr(Sysctls, "_write", die)
        if moment == "apply":
            patched.setattr(TextFile, "apply", die)
            # The record is such a file too, and is written first.
            patched.setattr(type(machine.host.state), "write", lambda state, data: record.update(data))
        record: dict[str, Any] = {}
        with pytest.raises(KeyboardInterrupt):
            machine.apply(MIB, overcommit_memory=1)
    before = (record or machine.host.state.read())["before"]
    assert before == {"vm.swappiness": 60, "vm.overcommit_memory": 0}
    machine.apply(MIB, overcommit_memory=1)
    machine.apply(MIB)
    assert live(machine, "overcommit_memory") == "0"


def test_an_ephemeral_disk_gets_its_swap_again_and_no_line_in_fstab(machine: Machine) -> None:
    machine.apply(4 * MIB, ephemeral=True, priority=7)
    assert machine.fstab.read_text() == OS_LINES
    assert machine.areas[machine.path][1] == 7
    swap = Swap(machine.host)
    swap.restore()
    assert swap.actions == []
    # The stop: nothing is on the disk, nothing is active.
    del machine.areas[machine.path]
    machine.publish()
    os.unlink(machine.path)
    swap = Swap(machine.host)
    swap.restore()
    assert len(swap.actions) == 2
    assert machine.areas[machine.path] == (4 * MIB - PAGE, 7)
    assert machine.fstab.read_text() == OS_LINES
    assert machine.apply(4 * MIB, ephemeral=True, priority=7) == []
    # A reboot that is no stop: the file is there, and only not in use.
    del machine.areas[machine.path]
    machine.publish()
    swap = Swap(machine.host)
    swap.restore()
    assert len(swap.actions) == 1


def test_nothing_is_restored_on_a_disk_that_stays_or_without_a_record(machine: Machine) -> None:
    for made in (False, True):
        if made:
            machine.apply(MIB)
            del machine.areas[machine.path]
        swap = Swap(machine.host)
        swap.restore()
        assert swap.actions == []


def test_a_bare_mount_point_is_never_written_to(machine: Machine) -> None:
    machine.apply(MIB, ephemeral=True)
    del machine.areas[machine.path]
    machine.publish()
    os.unlink(machine.path)
    machine.directory.chmod(0)
    with pytest.raises(RefusedError, match="bare mount point") as refusal:
        Swap(machine.host).restore()
    machine.directory.chmod(0o755)
    assert refusal.value.code == "swap.not_mounted"
    assert os.listdir(machine.directory) == []


def test_a_disk_that_turned_out_ephemeral_loses_its_line(machine: Machine) -> None:
    machine.apply(MIB)
    machine.apply(MIB, ephemeral=True)
    assert machine.fstab.read_text() == OS_LINES
    machine.apply(MIB)
    assert machine.path in machine.fstab.read_text()


@pytest.mark.parametrize(
    ("reason", "code"), [("this btrfs has 2 devices", "swap.filesystem"), ("", "swap.not_mounted")]
)
def test_btrfs_is_asked_and_only_there_a_directory_is_made(
    tmp_path: Path, reason: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, "btrfs" if reason else "ext4")
    monkeypatch.setattr(swap_module, "unfit_btrfs", lambda directory, sysfs: reason)
    with pytest.raises(RefusedError, match=reason or "is not there") as refusal:
        machine.apply(MIB, path=f"{machine.directory}/swap/swapfile")
    assert refusal.value.code == code
    assert os.listdir(machine.directory) == []


def test_a_plain_directory_is_no_subvolume(tmp_path: Path) -> None:
    (tmp_path / "swap").mkdir()
    assert not is_own_subvolume(str(tmp_path / "swap"))
    assert not is_own_subvolume(str(tmp_path))
    assert not is_own_subvolume(str(tmp_path / "none" / "swap"))


@pytest.mark.parametrize(("filesystem", "path"), [("btrfs", "/m/swap/swapfile"), ("ext4", "/m/swapfile")])
def test_where_the_file_is(filesystem: str, path: str) -> None:
    assert swap_path("/m", filesystem) == path

"""A machine whose programs change fake disks, a fake array and a fake mount table, for tests of storage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.host.disks import Disk
from ansible_collections.llmhost.core.plugins.module_utils.host.lsblk import BlockDevice
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import Claim
from ansible_collections.llmhost.core.plugins.module_utils.storage.claimed import Identity, Member, Raid
from ansible_collections.llmhost.core.plugins.module_utils.storage.storage import Host, Storage

UUID = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"
ARRAY_UUID = "33333333-3333-4333-8333-333333333333"
DEVICES = ("/dev/disk/by-id/nvme-Fast_Disk_S1", "/dev/disk/by-id/nvme-Fast_Disk_S2")
DEVICE = DEVICES[0]
ARRAY = "/dev/md127"
RAID = Raid(0, "llmhost-models", 524288)
OS_LINE = "/dev/sda1 / ext4 defaults 0 1\n"


def disk(number: int = 1, **changes: Any) -> Disk:
    """Return a blank NVMe disk; its serial is S with its number."""
    name = f"nvme{number}n1"
    node = {"kname": name, "path": f"/dev/{name}", "type": "disk", "size": 10**12}
    node |= {"model": "Fast Disk", "serial": f"S{number}", "wwn": f"eui.{number}"}
    return replace(Disk.from_block_device(BlockDevice.from_json(node), "/none", "/none"), **changes)


def nothing(path: str) -> Disk:
    """Return what is read where there is no disk."""
    return disk(9, path=path, size_bytes=0, serial="", not_blank=["there is no such block device"])


def part_of_array(number: int = 1, uuid: str = ARRAY_UUID, label: str = "any:llmhost-models", **changes: Any) -> Disk:
    """Return a member of an array."""
    signature = {"filesystem": "linux_raid_member", "uuid": uuid, "label": label, "not_blank": ["signature of a RAID"]}
    return disk(number, **{**signature, **changes})


def array(**changes: Any) -> Disk:
    """Return the array of those, without anything on it."""
    node = {"kname": "md127", "path": ARRAY, "type": "raid0", "size": 2 * 10**12}
    return replace(Disk.from_block_device(BlockDevice.from_json(node), "/none", "/none"), **changes)


def members(count: int = 1) -> tuple[Member, ...]:
    return tuple(Member(DEVICES[n], Identity(f"S{n + 1}", "Fast Disk", size_bytes=10**12)) for n in range(count))


def claim(path: str = "/srv/llmhost", disks: int = 1, **changes: Any) -> Claim:
    raid = RAID if disks > 1 else None
    return replace(Claim(members(disks), "ext4", "llmhost-models", path, "defaults,nofail", raid), **changes)


class Machine:
    """``dies_at`` kills the run at a program, ``fails`` makes one fail; ``asked`` counts how often disks were read."""

    def __init__(self, root: Path, count: int = 1) -> None:
        self.root = root
        self.count = count
        self.disks = {DEVICES[n]: disk(n + 1) for n in range(count)}
        self.array: Disk | None = None
        self.path = str(root / "srv")
        self.commands: list[str] = []
        self.dies_at = ""
        self.fails = ""
        self.whole = True
        self.missing: list[str] = []
        self.spare: list[Disk] = []
        self.while_held: list[Any] = []
        self.mountinfo = root / "self" / "mountinfo"
        self.mountinfo.parent.mkdir()
        self.mountinfo.write_text("29 1 254:0 / / rw - ext4 /dev/vda rw\n")
        self.fstab = root / "fstab"
        self.fstab.write_text(OS_LINE)
        self.names = root / "mdadm" / "llmhost.conf"
        self.state = StateFile("storage", str(root / "etc/llmhost/state"))
        self.uuids = iter([UUID, ARRAY_UUID] if count > 1 else [UUID] * 9)
        self.host = Host(
            run=self.run,
            read_disk=self.read,
            state=self.state,
            fstab=str(self.fstab),
            proc=str(root),
            sysfs=str(root / "sys"),
            systemd=str(root / "no-systemd"),
            arrays=str(self.names),
            number=lambda path: "9:127" if path == ARRAY else f"259:{path[-1]}",
            new_uuid=lambda: next(self.uuids, OTHER),
            which=lambda program: f"/sbin/{program}" if program not in self.missing else None,
            erase=self.erase,
            hold=self.hold,
            disks=lambda: self.spare,
        )

    @property
    def disk(self) -> Disk:
        return self.disks[DEVICE]

    @disk.setter
    def disk(self, found: Disk) -> None:
        self.disks[DEVICE] = found

    def read(self, path: str) -> Disk:
        if path == ARRAY:
            return self.array or nothing(path)
        found = next((d for device, d in self.disks.items() if path in (device, d.path)), nothing(path))
        return replace(found, holders=["md127"], children=["md127"]) if self._is_held(found) else found

    def erase(self, path: str) -> None:
        self.commands.append(f"erase {path}")
        self._each(path, filesystem=None, uuid=None, label=None, not_blank=[], unrecognised_data=False)

    @contextmanager
    def hold(self, paths: Sequence[str]) -> Iterator[list[str]]:
        for change in self.while_held:
            change()
        yield [self.host.number(path) for path in paths]

    def run(self, argv: Sequence[str]) -> CommandResult:
        self.commands.append(" ".join(argv))
        program = argv[1] if argv[0] == "mdadm" else argv[0]
        if program == self.dies_at:
            raise KeyboardInterrupt
        if program == self.fails:
            return CommandResult(1, "", f"{argv[0]}: Input/output error\n")
        if program.startswith("mkfs."):
            self._make_filesystem(argv)
        elif program in ("e2fsck", "xfs_repair"):
            return CommandResult(0 if self.whole else 8, "", "")
        elif program == "--create":
            for path in argv[-self.count :]:
                self._each(path, **_changed(part_of_array()))
            self.assemble(array())
        elif program == "--assemble":
            self.assemble(self.array or array(filesystem="ext4", uuid=UUID, label="llmhost-models"))
        elif program == "--stop":
            self.stop()
        elif program == "wipefs":
            self._each(argv[-1], filesystem=None, uuid=None, label=None, not_blank=[], unrecognised_data=True)
        elif program == "mount" and "remount" not in argv:
            self.mount(argv[-1], "9:127" if self.count > 1 else "259:1")
        elif program == "umount":
            self.mountinfo.write_text(self.mountinfo.read_text().splitlines()[0] + "\n")
        return CommandResult(0, "", "")

    def assemble(self, found: Disk, state: str = "clean") -> None:
        self.array = found
        md = self.root / "sys/block/md127"
        (md / "md").mkdir(parents=True, exist_ok=True)
        (md / "slaves").mkdir(exist_ok=True)
        (md / "md/array_state").write_text(f"{state}\n")
        for member in self.disks.values():
            if member.filesystem == "linux_raid_member":
                holders = self.root / "sys/block" / member.name / "holders"
                holders.mkdir(parents=True, exist_ok=True)
                (holders / "md127").touch()
                (md / "slaves" / member.name).touch()

    def stop(self) -> None:
        for link in (self.root / "sys/block").glob("*/*/*"):
            link.unlink()

    def mount(self, path: str, number: str) -> None:
        source = ARRAY if number == "9:127" else "/dev/nvme1n1"
        with self.mountinfo.open("a") as file:
            file.write(f"40 29 {number} / {path} rw - ext4 {source} rw\n")

    def claim(self, check: bool = False, **changes: Any) -> list[str]:
        storage = Storage(self.host, check)
        storage.claim(claim(self.path, self.count, **changes))
        return storage.actions

    def remove(self, data: bool = False, check: bool = False) -> list[str]:
        storage = Storage(self.host, check)
        storage.remove(data)
        return storage.actions

    def restore(self) -> list[str]:
        storage = Storage(self.host)
        storage.restore()
        return storage.actions

    def _is_held(self, found: Disk) -> bool:
        return (self.root / "sys/block" / found.name / "holders" / "md127").exists()

    def _each(self, path: str, **changes: Any) -> None:
        self.disks = {
            device: replace(found, **changes) if path in (device, found.path) else found
            for device, found in self.disks.items()
        }

    def _make_filesystem(self, argv: Sequence[str]) -> None:
        uuid = next(argument for argument in argv if UUID in argument or OTHER in argument)[-len(UUID) :]
        made = {"filesystem": argv[0][5:], "uuid": uuid, "label": argv[argv.index("-L") + 1]}
        if argv[-1] == ARRAY:
            self.array = array(**made)
        else:
            self._each(argv[-1], **made, not_blank=["signature"], unrecognised_data=False)


def _changed(found: Disk) -> dict[str, Any]:
    names = ("filesystem", "uuid", "label", "not_blank")
    return {name: getattr(found, name) for name in names} | {"unrecognised_data": False}

"""What a host is given for its boots: one program, one unit, and what starts the unit when a disk comes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.boot.program import packed
from ansible_collections.llmhost.core.plugins.module_utils.boot.units import NAME, BootPaths, BootUnits
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit
from ansible_collections.llmhost.core.plugins.module_utils.service.unit_name import unit_name

DISK = {
    "kind": "disk",
    "path": "/srv/llmhost",
    "uuid": "5f1d-a",
    "devices": [{"device": "/dev/disk/by-id/nvme-a_1", "identity": {"serial": "1", "model": "A"}}],
    "ephemeral": False,
}
TWO = {**DISK, "ephemeral": True, "devices": [*DISK["devices"], {"device": "/dev/disk/by-id/nvme-a_2"}]}  # type: ignore[misc]
SWAP = {"path": "/srv/llmhost/swapfile"}


class Host:
    """A host with systemd, udev or none, and nothing of llmhost."""

    def __init__(self, root: Path, udev: bool = True) -> None:
        self.paths = BootPaths(root / "units", root / "opt/boot/llmhost.pyz", root / "control")
        self.paths.units.mkdir()
        if udev:
            self.paths.udev.touch()
        self.enabled = False
        self.calls: list[str] = []

    def __call__(self, command: list[str]) -> tuple[int, str, str]:
        verb = command[1]
        if verb == "show":
            loaded = "loaded" if (self.paths.units / NAME).exists() else "not-found"
            return 0, f"LoadState={loaded}\nUnitFileState={'enabled' if self.enabled else 'disabled'}\n", ""
        self.calls.append(verb)
        self.enabled = verb == "enable" or (self.enabled and verb != "disable")
        return 0, "", ""

    def units(self, storage: dict[str, Any], swap: dict[str, Any] | None = None) -> BootUnits:
        return BootUnits(SystemdUnit(NAME, self), storage, swap or {}, self.paths)

    def files(self) -> list[str]:
        found = [path for path in self.paths.units.rglob("*") if not path.is_dir() or path.is_symlink()]
        return sorted(str(path.relative_to(self.paths.units)) for path in found)


def converge(host: Host, storage: dict[str, Any]) -> None:
    assert not host.units(storage, SWAP).is_current()
    host.units(storage, SWAP).apply()
    assert host.units(storage, SWAP).is_current()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/srv/llmhost", "srv-llmhost.mount"),
        ("/", "-.mount"),
        ("//srv//ll-m/", r"srv-ll\x2dm.mount"),
        ("/.a/.b", r"\x2ea-.b.mount"),
        ("/a b%", r"a\x20b\x25.mount"),
        ("/ä", r"\xc3\xa4.mount"),
    ],
)
def test_units_are_named_as_systemd_escape_does(path: str, name: str) -> None:
    assert unit_name(path, "mount") == name


def test_a_disk_gets_its_unit_and_whatever_starts_it(tmp_path: Path) -> None:
    host = Host(tmp_path)
    converge(host, DISK)
    assert host.files() == [
        r"dev-disk-by\x2did-nvme\x2da_1.device.wants/" + NAME,
        r"dev-disk-by\x2duuid-5f1d\x2da.device.wants/" + NAME,
        NAME,
        "srv-llmhost.mount.d/llmhost.conf",
    ]
    drop_in = (host.paths.units / "srv-llmhost.mount.d/llmhost.conf").read_text()
    assert r"BindsTo=dev-disk-by\x2duuid-5f1d\x2da.device" in drop_in
    assert host.calls == ["daemon-reload", "enable"], "nothing is started: that is for the next boot"


def test_a_persistent_disk_is_looked_at_after_mount_and_swap(tmp_path: Path) -> None:
    lines = Host(tmp_path).units(DISK, SWAP).unit.splitlines()
    assert "After=srv-llmhost.mount srv-llmhost-swapfile.swap" in lines
    assert "Wants=srv-llmhost.mount srv-llmhost-swapfile.swap" in lines
    assert not [line for line in lines if line.startswith("Before=")]


def test_an_ephemeral_disk_is_made_again_before_it_is_mounted(tmp_path: Path) -> None:
    lines = Host(tmp_path).units(TWO, SWAP).unit.splitlines()
    assert "Before=srv-llmhost.mount" in lines
    assert not [line for line in lines if line.startswith(("After=", "Wants="))], "a cycle"


@pytest.mark.parametrize("record", [DISK, TWO, {"kind": "directory", "path": "/mnt/x", "ephemeral": True}])
def test_what_mounts_for_the_host_has_no_mount_namespace(tmp_path: Path, record: dict[str, Any]) -> None:
    unit = Host(tmp_path).units(record).unit
    for option in ("Protect", "Private", "Paths=", "Mount", "TemporaryFileSystem", "DynamicUser", "RootDir"):
        assert not [line for line in unit.splitlines() if line.startswith(option) or f"{option}=" in line], option


def test_without_udev_no_mount_is_bound_to_a_device_that_systemd_never_sees(tmp_path: Path) -> None:
    host = Host(tmp_path, udev=False)
    converge(host, DISK)
    assert host.files() == [NAME]


def test_other_disks_leave_nothing_of_the_ones_before(tmp_path: Path) -> None:
    host = Host(tmp_path)
    converge(host, TWO)
    converge(host, {**DISK, "uuid": "b", "path": "/data"})
    assert host.files() == [
        "data.mount.d/llmhost.conf",
        r"dev-disk-by\x2did-nvme\x2da_1.device.wants/" + NAME,
        "dev-disk-by\\x2duuid-b.device.wants/" + NAME,
        NAME,
    ]


def test_a_directory_gets_the_unit_alone(tmp_path: Path) -> None:
    host = Host(tmp_path)
    converge(host, {"kind": "directory", "path": "/mnt/llmhost"})
    assert host.files() == [NAME]
    assert "RequiresMountsFor=/mnt\n" in host.units({"kind": "directory", "path": "/mnt/llmhost"}).unit


def test_remove_takes_all_of_it_and_leaves_what_is_of_others(tmp_path: Path) -> None:
    host = Host(tmp_path)
    converge(host, DISK)
    other = host.paths.units / "srv-llmhost.mount.d/mine.conf"
    other.touch()
    assert host.units({}).exist()
    host.units({}).remove()
    assert host.files() == ["srv-llmhost.mount.d/mine.conf"]
    assert not host.paths.program.parent.exists()
    assert not host.units({}).exist()


@pytest.mark.parametrize("damage", ["program", "unit", "link", "disabled"])
def test_damage_is_noticed(tmp_path: Path, damage: str) -> None:
    host = Host(tmp_path)
    converge(host, DISK)
    if damage == "program":
        host.paths.program.write_bytes(packed()[:-1])
    elif damage == "unit":
        (host.paths.units / NAME).write_text("[Unit]\n")
    elif damage == "link":
        next(host.paths.units.glob("*uuid*.wants/*")).unlink()
    else:
        host.enabled = False
    converge(host, DISK)


def test_the_program_runs_by_itself(tmp_path: Path) -> None:
    program = tmp_path / "llmhost.pyz"
    program.write_bytes(packed())
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(program), "ready", str(tmp_path / "no-model")],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("waits for the model: "), "without a record there is no storage to wait for"
    assert packed() == packed()

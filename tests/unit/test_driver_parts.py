"""The parts that a driver is made of: what apt says, what dpkg has, what is on the disk, and the files it writes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.driver.archives import Archives
from ansible_collections.llmhost.core.plugins.module_utils.driver.changes import Changes, is_of_driver
from ansible_collections.llmhost.core.plugins.module_utils.driver.dpkg import Dpkg
from ansible_collections.llmhost.core.plugins.module_utils.driver.kernel_module import KernelModule, kernels
from ansible_collections.llmhost.core.plugins.module_utils.driver.record import DriverRecord, Upgrade
from ansible_collections.llmhost.core.plugins.module_utils.driver.repack import repack
from ansible_collections.llmhost.core.plugins.module_utils.driver.settings import Paths, Settings, blacklist
from ansible_collections.llmhost.core.plugins.module_utils.driver.wanted import Wanted
from ansible_collections.llmhost.core.plugins.module_utils.service import outlive
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.driver_machine import PLAN, RUNNING

FIXTURES = Path(__file__).parents[1] / "fixtures" / "driver"
V580, V595 = "580.178.04-0ubuntu0.22.04.1", "595.91.07-0ubuntu0.22.04.1"
WANTED = Wanted.from_plan(PLAN)


def simulated(name: str) -> Changes:
    """Return what apt of jammy said in November 2026."""
    return Changes.from_simulation((FIXTURES / f"{name}.txt").read_text())


def refusals(changes: Changes, wanted: Wanted = WANTED) -> list[str]:
    return [finding.code for finding in changes.objections(wanted)]


# --- What apt would do ---


def test_signed_modules_bring_no_compiler() -> None:
    changes = simulated("install")
    assert len(changes.brought) == 15
    assert changes.brought["nvidia-headless-no-dkms-580-server-open"] == V580
    assert changes.brought[f"linux-modules-nvidia-580-server-open-{RUNNING}"] == "5.15.0-203.213"
    assert (changes.changed, changes.removed, refusals(changes)) == ({}, {}, [])


def test_the_headless_package_alone_brings_a_compiler() -> None:
    changes = simulated("dkms")
    assert len({**changes.brought, **changes.changed}) == 76
    assert changes.changed["perl-base"][0].startswith("5.34")
    assert refusals(changes) == ["driver.would_compile"]
    assert refusals(changes, Wanted("ubuntu-dkms", "580-server")) == []


def test_the_branch_570_is_580() -> None:
    assert refusals(simulated("transitional"), Wanted("ubuntu", "570-server")) == ["driver.other_branch"]
    assert refusals(simulated("transitional")) == []


def test_another_branch_takes_the_place_of_the_first() -> None:
    changes = simulated("up595")
    assert changes.removed["libnvidia-compute-580-server"] == V580
    assert changes.changed == {"linux-image-generic": ("5.15.0.203.175", "5.15.0.204.176")}
    assert changes.is_another_driver
    assert refusals(changes, Wanted("ubuntu", "595-server")) == []
    assert "nvidia-firmware-580-server-580.178.04" not in changes.removed


def test_a_kernels_metapackage_brings_no_modules_of_the_driver() -> None:
    changes = simulated("upkernel")
    assert "linux-image-5.15.0-204-generic" in changes.brought
    assert not [name for name in changes.brought if "nvidia" in name]
    assert WANTED.packages_for_kernel("5.15.0-204-generic") == (
        "linux-modules-nvidia-580-server-open-5.15.0-204-generic",
    )
    assert not changes.is_another_driver


def test_a_purge_is_read_too() -> None:
    assert len(simulated("purge").removed) == 10
    assert simulated("unmet").is_empty


def test_the_loss_of_somebody_elses_packages_is_refused() -> None:
    changes = Changes.from_simulation("Remv docker.io [29.1.3]\nRemv nvidia-utils-535 [535.1]\nInst a (1 U [amd64])\n")
    assert refusals(changes) == ["driver.would_remove"]
    assert "docker.io" in next(changes.objections(WANTED)).message


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        *(("nvidia-utils-580-server", True), ("libnvidia-compute-580-server", True)),
        *((f"linux-modules-nvidia-580-server-open-{RUNNING}", True), (f"linux-objects-nvidia-580-{RUNNING}", True)),
        *(("nvidia-fabricmanager-580", True), ("nvidia-firmware-580-server-580.178.04", True)),
        *(("nvidia-container-toolkit", False), ("libnvidia-container1", False), ("linux-image-generic", False)),
        *(("linux-modules-5.15.0-203-generic", False), ("linux-image-nvidia", False), ("cuda-toolkit-13-0", False)),
    ],
)
def test_what_belongs_to_a_driver(name: str, ours: bool) -> None:
    """unattended-upgrades matches its list from the beginning of a name, as re.match does."""
    assert is_of_driver(name) == ours
    patterns = re.findall(r'^    "(.*)";$', blacklist(("linux-image-generic",)), re.MULTILINE)
    assert any(re.match(pattern, name) for pattern in patterns) == (ours or name == "linux-image-generic")


@given(st.text())
def test_no_text_makes_the_reader_fail(text: str) -> None:
    Changes.from_simulation(text)
    Dpkg.from_status(text)


# --- What is there ---


def test_packages_as_dpkg_has_them() -> None:
    found = Dpkg.from_status(
        "Package: a\nStatus: install ok installed\nVersion: 1\n\n"
        "Package: b\nStatus: hold ok installed\nVersion: 1:2-3\nDescription: x\n Version: 9\n\n"
        "Package: c\nStatus: deinstall ok config-files\nVersion: 1\n\n"
        "Package: d\nStatus: install ok half-configured\nVersion: 1\n\n"
        "Package: e\nStatus: install reinstreq half-installed\nVersion: 1\n\n"
        "Status: install ok installed\n"
    )
    assert found.versions == {"a": "1", "b": "1:2-3"}
    assert [sorted(names) for names in (found.held, found.broken, found.there)] == [["b"], ["d", "e"], list("abde")]
    assert found.remains == {"c"}
    assert found.missing(("a", "c", "d")) == ["c", "d"]


MODINFO = """filename:       /lib/modules/5.15.0-203-generic/kernel/nvidia-580srv-open/nvidia.ko
version:        580.178.04
license:        Dual MIT/GPL
name:           nvidia
vermagic:       5.15.0-203-generic SMP mod_unload modversions
sig_id:         PKCS#7
signer:         Canonical Ltd. Kernel Module Signing
"""


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (MODINFO, KernelModule(RUNNING, "580.178.04", "open", "Canonical Ltd. Kernel Module Signing")),
        ("version: 580.1\nlicense: NVIDIA\n", KernelModule(RUNNING, "580.1", "proprietary", "")),
        ("version: 580.1\nlicense: BSD\n", KernelModule(RUNNING, "580.1", None, "")),
        ("license: NVIDIA\n", None),
        ("", None),
    ],
)
def test_the_module_for_a_kernel(said: str, found: KernelModule | None) -> None:
    calls: list[Sequence[str]] = []

    def run(argv: Sequence[str]) -> CommandResult:
        calls.append(argv)
        return CommandResult(0, said, "")

    assert KernelModule.for_kernel(RUNNING, run) == found
    assert calls == [["modinfo", "-k", RUNNING, "nvidia"]]
    assert KernelModule.for_kernel(RUNNING, lambda argv: CommandResult(1, said, "")) is None


def test_the_newest_kernel_is_booted(tmp_path: Path) -> None:
    for kernel in ("5.15.0-204-generic", "5.15.0-99-generic", "6.8.0-31-generic", "6.8.0-149-generic"):
        (tmp_path / "boot").mkdir(exist_ok=True)
        (tmp_path / f"boot/vmlinuz-{kernel}").touch()
        (tmp_path / "lib/modules" / kernel).mkdir(parents=True)
    (tmp_path / "boot/vmlinuz").symlink_to("vmlinuz-5.15.0-204-generic")
    (tmp_path / "boot/vmlinuz-7.0.0-1-generic").touch()  # removed, and left behind
    assert kernels(str(tmp_path))[-1] == "6.8.0-149-generic"
    assert kernels(str(tmp_path))[0] == "5.15.0-99-generic"
    assert kernels(str(tmp_path / "nowhere")) == []


def test_package_files_are_found_by_name_and_version(tmp_path: Path) -> None:
    kept = Archives(str(tmp_path / "kept"), str(tmp_path / "apt"))
    kept.prepare()
    (tmp_path / "apt").mkdir()
    for file in ("kept/a_1%3a2-3_amd64.deb", "kept/a_1_amd64.deb", "kept/b_1_all.deb", "apt/c_2_amd64.deb"):
        (tmp_path / file).touch()
    assert kept.find("a", "1:2-3") == str(tmp_path / "kept/a_1%3a2-3_amd64.deb")
    assert kept.find("c", "2") == str(tmp_path / "apt/c_2_amd64.deb")
    assert kept.find("c", "3") is None
    kept.keep_only({"a": "1"})
    assert sorted(os.listdir(tmp_path / "kept")) == ["a_1_amd64.deb", "partial"]
    kept.remove()
    kept.remove()
    assert not (tmp_path / "kept").exists()


def test_a_package_is_made_of_what_is_installed(tmp_path: Path) -> None:
    root, seen, control = tmp_path / "root", set[str](), list[str]()
    files = {
        "var/lib/dpkg/status": "Package: a\nStatus: hold ok installed\nArchitecture: amd64\nVersion: 1:2\n"
        "Conffiles:\n /etc/a.conf 123\nDepends: b\n\nPackage: ab\nStatus: install ok installed\nVersion: 3\n",
        "var/lib/dpkg/info/a.list": "/.\n/etc\n/etc/a.conf\n/usr\n/usr/lib\n/usr/lib/a.so\n/usr/share/doc/a/left-out\n",
        "var/lib/dpkg/info/a.postinst": "true\n",
        "var/lib/dpkg/info/a.md5sums": "x\n",
        "var/lib/dpkg/info/ab.postinst": "false\n",
        "etc/a.conf": "changed\n",
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/a.so").symlink_to("a.so.1")

    def run(argv: Sequence[str]) -> CommandResult:
        stage = Path(argv[-2])
        seen.update(str(path.relative_to(stage)) for path in stage.rglob("*"))
        control.append((stage / "DEBIAN/control").read_text())
        Path(argv[-1]).write_text("made")
        return CommandResult(0, "", "")

    (tmp_path / "kept").mkdir()
    made = repack("a", "1:2", str(tmp_path / "kept"), run, str(root))
    assert made == str(tmp_path / "kept/a_1%3a2_amd64.deb")
    assert control == ["Package: a\nArchitecture: amd64\nVersion: 1:2\nDepends: b\n"]
    assert seen == {
        *("DEBIAN", "DEBIAN/control", "DEBIAN/postinst"),
        *("etc", "etc/a.conf", "usr", "usr/lib", "usr/lib/a.so"),
    }
    assert Archives(str(tmp_path / "kept")).find("a", "1:2") == made
    assert repack("a", "3", str(tmp_path / "kept"), run, str(root)) is None
    assert repack("b", "1", str(tmp_path / "kept"), run, str(root)) is None
    assert repack("ab", "3", str(tmp_path / "kept"), lambda argv: CommandResult(2, "", ""), str(root)) is None
    assert os.listdir(tmp_path / "kept") == ["a_1%3a2_amd64.deb"]


# --- What is written ---


def test_the_files_of_a_plan(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "apt", tmp_path / "modules", tmp_path / "units")
    plan = {**PLAN, "fabric_manager": "nvidia-fabricmanager-580", "power_limit_watts": 280}
    settings = Settings(Wanted.from_plan(plan), ("linux-image-generic",), paths)
    texts = {file.path.name: file.text for file in settings.files}
    assert len(settings.changes()) == len(texts) + 1 == 5  # two of them are called llmhost.conf
    assert '"^linux\\-image\\-generic$";' in texts["apt"]
    for file in settings.files:
        file.apply()
    assert settings.changes() == []
    persistence = (paths.units / "nvidia-persistenced.service.d/llmhost.conf").read_text()
    assert (
        "ExecStart=\nExecStart=/usr/bin/nvidia-persistenced --user nvidia-persistenced --persistence-mode"
        in persistence
    )
    assert "StopWhenUnneeded=no" in persistence
    assert "[Install]\nWantedBy=multi-user.target" in persistence
    assert "--power-limit=280" in texts["llmhost-gpu-power.service"]
    assert len(Settings(None, paths=paths).changes()) == 5
    for file in Settings(None, paths=paths).changes():
        file.apply()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("functions", "starts"),
    [
        ({"0000:01:00.0": ("0x10de", "0x030200", "")}, False),
        ({"0000:01:00.0": ("0x10de", "0x030200", ""), "0000:05:00.0": ("0x10de", "0x068000", "")}, True),
        ({"0000:05:00.0": ("0x15b3", "0x020700", "SW_MNG")}, True),
        ({"0000:05:00.0": ("0x15b3", "0x020700", "none")}, False),
        ({"0000:05:00.0": ("0x8086", "0x068000", "")}, False),
        ({}, False),
    ],
)
def test_the_fabric_manager_starts_where_switches_are(
    tmp_path: Path, functions: dict[str, tuple[str, str, str]], starts: bool
) -> None:
    """The condition is run as systemd runs it: a dollar is written twice, a backslash joins two lines."""
    for address, (vendor, kind, data) in functions.items():
        place = tmp_path / "devices" / address
        place.mkdir(parents=True)
        for name, text in {"vendor": vendor, "class": kind, "vpd": data}.items():
            (place / name).write_text(f"{text}\n")
    settings = Settings(Wanted("ubuntu", "580-server", fabric_manager="x"), paths=Paths(units=tmp_path))
    text = next(file.text for file in settings.files if file.path.parent.name.startswith("nvidia-fabric"))
    script = re.findall(r"ExecCondition=/bin/sh -c '(.*?)'", text, re.DOTALL)[0]
    script = script.replace("$$", "$").replace("\\\n", "").replace("/sys/bus/pci/devices", str(tmp_path / "devices"))
    assert (outlive.run(["/bin/sh", "-c", script]).rc == 0) == starts


# --- What is recorded ---


def test_the_record_is_read_as_it_was_written() -> None:
    record = DriverRecord(("a", "b"), ("a",), True, ("b",), {"a": "1"}, Upgrade({"a": "1"}, ("c",), ("a",)))
    assert DriverRecord.from_dict(record.as_dict()) == record
    assert DriverRecord().as_dict() == {}
    assert DriverRecord.from_dict({"brought": 3, "upgrade": [], "good": "x"}) == DriverRecord()


def test_two_changes_have_one_way_back() -> None:
    first = Upgrade().joined({"a": "1", "b": "1"}, {"c": "1"}, {"a": ("1", "2")})
    assert first == Upgrade({"a": "1", "b": "1"}, ("c",), ("a",))
    second = first.joined({"a": "2", "c": "1"}, {"d": "1", "b": "3"}, {"a": ("2", "3")})
    assert second == Upgrade({"a": "1", "b": "1"}, ("d",), ("a",))


# --- Programs that are not cut off ---


def test_a_program_that_is_not_there_is_a_result() -> None:
    assert outlive.run(["/nowhere/program"]).rc == 127


def test_a_program_has_nobody_to_ask_and_one_output() -> None:
    done = outlive.run(["sh", "-c", "cat; echo said; echo complained >&2; echo $DEBIAN_FRONTEND; exit 3"])
    assert (done.rc, done.stdout) == (3, "said\ncomplained\nnoninteractive\n")

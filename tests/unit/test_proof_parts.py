"""What the proof reads of the host: sensors, the kernel log, the driver; and the files that it is made of there."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.proof.cuda import sysfs_address
from ansible_collections.llmhost.core.plugins.module_utils.proof.installed import NAME, InstalledProof, Paths
from ansible_collections.llmhost.core.plugins.module_utils.proof.proof import Host, Proof
from ansible_collections.llmhost.core.plugins.module_utils.proof.request import Request
from ansible_collections.llmhost.core.plugins.module_utils.proof.sensors import Sensors
from ansible_collections.llmhost.core.plugins.module_utils.proof.supervisor import Account
from ansible_collections.llmhost.core.plugins.module_utils.proof.xid import Xid, xids
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit
from hypothesis import given
from hypothesis import strategies as st

A = "0000:01:00.0"

# Records of /dev/kmsg: priority, number, microseconds, flags; message.
LOG = [
    "4,1001,1000000,-;NVRM: Xid (PCI:0000:01:00): 31, pid=1, name=old, Ch 00000008",
    "6,1002,9000000,-;usb 1-1: new device",
    "4,1003,9500000,-;NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
    "4,1004,9600000,-;NVRM: Xid (PCI:0000:41:00.0): 48, DBE (double bit error)\n SUBSYSTEM=pci",
    "4,1005,9700000,-;NVRM: GPU at PCI:0000:01:00: GPU-1b",
    "no record at all",
]


def test_xids_since_the_proof_began() -> None:
    found = xids(LOG, 5.0)
    assert [(xid.pci_address, xid.number, xid.of_hardware) for xid in found] == [
        (A, 79, True),
        ("0000:41:00.0", 48, True),
    ]
    assert found[0].text == "Xid 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
    assert found[1].text.endswith("(double bit error)")


def test_an_xid_of_a_program_is_no_fault_of_the_hardware() -> None:
    assert xids(LOG[:1]) == [Xid(A, 31, "Xid 31, pid=1, name=old, Ch 00000008")]
    assert not xids(LOG[:1])[0].of_hardware


@given(st.lists(st.text()), st.floats(0, 1e9))
def test_no_record_of_the_kernel_is_too_odd(log: list[str], since: float) -> None:
    assert isinstance(xids([*log, *(f"4,1,{text},-;NVRM: Xid (PCI:{text}): 1{text}" for text in log)], since), list)


@pytest.mark.parametrize("text", ["00000000:1A:00.0", "0000:1a:00.0", " 0000:1A:00.0\n"])
def test_addresses_are_written_as_sysfs_does(text: str) -> None:
    assert sysfs_address(text) == "0000:1a:00.0"


class Smi:
    """nvidia-smi, which knows only one of the names of a field."""

    def __init__(self, field: str, *lines: str) -> None:
        self.field, self.lines = field, list(lines)
        self.asked: list[str] = []

    def __call__(self, argv: Sequence[str]) -> CommandResult:
        self.asked.append(argv[1])
        if self.field not in argv[1]:
            return CommandResult(2, f'Field "{argv[1]}" is not a valid field to query.', "")
        return CommandResult(0, self.lines.pop(0) if len(self.lines) > 1 else self.lines[0], "")


NEW, OLD = "clocks_event_reasons.active", "clocks_throttle_reasons.active"


def test_sensors_keep_what_matters() -> None:
    smi = Smi(
        NEW,
        "00000000:01:00.0, 61, 1800, 2100, 340.12, 350.00, 0x0000000000000004\n",
        "00000000:01:00.0, 84, 1500, 2100, 351.00, 350.00, 0x0000000000000044\n",
        "00000000:01:00.0, 83, 1700, 2100, 349.00, 350.00, 0x0000000000000000\n",
    )
    sensors = Sensors(smi)
    for _ in range(3):
        sensors.look()
    assert sensors.as_dict() == {
        A: {
            "samples": 3,
            "temperature_max": 84.0,
            "clock_mhz": 1700.0,
            "clock_max_mhz": 2100.0,
            "power_watts": 351.0,
            "power_limit_watts": 350.0,
            "throttled": ["too hot (by the hardware)"],
            "at_power_limit": True,
        }
    }


def test_sensors_of_an_older_driver() -> None:
    smi = Smi(OLD, "00000000:01:00.0, [N/A], 1800, [Not Supported], [N/A], [N/A], [N/A]\n")
    sensors = Sensors(smi)
    sensors.look()
    sensors.look()
    assert [OLD in asked for asked in smi.asked] == [False, True, True], "the other name is tried once"
    seen = sensors.as_dict()[A]
    assert (seen["temperature_max"], seen["clock_mhz"], seen["throttled"]) == (None, 1800.0, [])


def test_without_nvidia_smi_nothing_is_seen() -> None:
    with Sensors(lambda _argv: CommandResult(127, "", "not found"), pace=0.001) as sensors:
        time.sleep(0.01)
    assert sensors.as_dict() == {}


@given(st.text())
def test_no_answer_of_nvidia_smi_is_too_odd(text: str) -> None:
    sensors = Sensors(lambda _argv: CommandResult(0, f"{text}\n00000000:01:00.0,{text},{text},1,2,3,{text}", ""))
    sensors.look()
    assert isinstance(sensors.as_dict(), dict)


odd = st.none() | st.integers() | st.text() | st.lists(st.none() | st.text()) | st.dictionaries(st.text(), st.text())


@given(st.text() | st.dictionaries(st.sampled_from(["steps", "begin", "end", "error", "data"]), odd).map(json.dumps))
def test_no_line_of_a_process_is_too_odd(line: str) -> None:
    account = Account()
    account.take(line)
    assert all(isinstance(name, str) for name in account.left())


class TestStuck:
    """A process that hangs in the kernel: nothing more is tried, since it would hang as well."""

    def host(self, log: list[str]) -> Host:
        def watch(request: Any, seconds: float, again: bool = True) -> Account:
            kind = request["kind"]
            log.append(kind)
            if kind == "devices":
                data = {"outcome": "ok", "addresses": [A, "0000:41:00.0"], "cuda_version": 13000}
                return Account({"devices": data}, ["devices"])
            checked = {"checker": {"outcome": "ok"}, "memory": {"outcome": "hang", "message": "nothing came"}}
            return Account(checked, ["checker", "memory"], stuck=True)

        return Host(watch, lambda: Sensors(lambda _argv: CommandResult(1, "", "")), lambda: [], clock=lambda: 5.0)

    def test_it_ends_there(self) -> None:
        log: list[str] = []
        result = Proof(self.host(log), Request((A, "0000:41:00.0"), nccl="libnccl")).run()
        assert log == ["devices", "memory"]
        assert result["stuck"] is True
        assert result["gpus"][1]["setup"] == {"outcome": "not_tried"}
        assert result["pairs"][0]["transfers"] == []
        assert result["all_reduce"] is None


ASKED = {"gpus": [A], "burn_in_seconds": 60, "environment": {}, "nccl": ""}


class Target:
    """A host with a driver, on which the proof is installed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[str] = []
        self.stale = False
        self.paths = Paths(
            root / NAME,
            root / "opt/proof/p.pyz",
            root / "etc/proof.json",
            str(root / "state"),
            root / "run/said",
            str(root / "proc"),
            str(root),
        )
        (root / "module/nvidia").mkdir(parents=True)
        self.driver("580.178.04", "GPU-a")

    def driver(self, version: str, uuid: str) -> None:
        (self.root / "module/nvidia/version").write_text(f"{version}\n")
        information = self.root / "proc/driver/nvidia/gpus" / A / "information"
        information.parent.mkdir(parents=True, exist_ok=True)
        information.write_text(f"Model: \t\t NVIDIA GeForce RTX 3090\nIRQ:   \t\t 104\nGPU UUID: \t {uuid}\n")

    def __call__(self, command: list[str]) -> tuple[int, str, str]:
        self.calls.append(command[1])
        loaded = "loaded" if self.paths.unit.exists() else "not-found"
        reload = "yes" if self.stale else "no"
        return 0, f"LoadState={loaded}\nActiveState=inactive\nNeedDaemonReload={reload}\n", ""

    def proof(self, request: dict[str, Any] | None = None) -> InstalledProof:
        return InstalledProof(SystemdUnit(NAME, self), ASKED if request is None else request, self.paths)

    def record(self, **more: Any) -> None:
        request = Request.from_dict(json.loads(self.paths.request.read_text()))
        fingerprint = request.fingerprint(self.paths.proc, self.paths.sysfs)
        (self.root / "state").mkdir(exist_ok=True)
        (self.root / "state/gpu_proof.json").write_text(json.dumps({"fingerprint": fingerprint, **more}))


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path)


def test_the_proof_is_installed_once(target: Target) -> None:
    assert not target.proof().is_current()
    target.proof().apply()
    assert target.proof().is_current()
    assert json.loads(target.paths.request.read_text()) == ASKED
    assert "daemon-reload" in target.calls
    assert (target.root / "state").stat().st_mode & 0o777 == 0o750, "systemd wants it before it starts the unit"
    assert not target.proof(ASKED | {"burn_in_seconds": 1}).is_current()


def test_a_result_is_of_this_machine_alone(target: Target) -> None:
    target.proof().apply()
    assert target.proof().result == {}
    target.record(ok=True)
    assert target.proof().result["ok"]
    assert target.proof(ASKED | {"environment": {"NCCL_P2P_DISABLE": "1"}}).result["ok"], "both ways were proved"
    assert target.proof(ASKED | {"environment": {"NCCL_ALGO": "Ring"}}).result == {}
    target.driver("595.91.07", "GPU-a")
    assert target.proof().result == {}
    target.driver("580.178.04", "GPU-b")
    assert target.proof().result == {}
    target.driver("580.178.04", "GPU-a")
    assert target.proof().result["ok"]


def test_a_run_that_was_killed_before_it_told_systemd_is_made_good(target: Target) -> None:
    target.proof().apply()
    target.stale = True
    assert not target.proof().is_current()


def test_an_nccl_that_is_not_asked_for_any_more_goes(target: Target) -> None:
    asked, other, half = (target.root / "opt" / name for name in ("nccl-1", "nccl-2", ".nccl-1.new"))
    for folder in (asked, other, half):
        (folder / "lib").mkdir(parents=True)
    target.proof(ASKED | {"nccl": str(asked)}).apply()
    assert (asked.exists(), other.exists(), half.exists()) == (True, False, False)


def test_all_of_it_goes(target: Target) -> None:
    target.proof().apply()
    target.record(ok=True)
    for folder in ("opt/nccl-1", "opt/.nccl-1.new", "run/said", "opt/other"):
        (target.root / folder).mkdir(parents=True)
    (target.paths.program.parent / ".p.pyz.new").touch()
    assert target.proof({}).exist()
    target.proof({}).remove()
    assert not target.proof({}).exist()
    assert [path.name for path in (target.root / "opt").iterdir()] == ["other"]
    assert [path.name for path in (target.root / "run").iterdir()] == []
    target.proof({}).remove()


@pytest.mark.parametrize("left", ["opt/proof/.p.pyz.new", "opt/.nccl-1.new/x", "run/said/progress.json"])
def test_what_a_killed_run_has_left_is_found(target: Target, left: str) -> None:
    assert not target.proof({}).exist()
    (target.root / left).parent.mkdir(parents=True)
    (target.root / left).touch()
    assert target.proof({}).exist()


def test_an_environment_of_python_holds_nccl(tmp_path: Path) -> None:
    library = tmp_path / "lib/python3.10/site-packages/nvidia/nccl/lib/libnccl.so.2"
    library.parent.mkdir(parents=True)
    library.touch()
    assert Request((A,), nccl=str(tmp_path)).work("rank")["library"] == str(library)
    assert Request((A,), nccl=str(library)).work("rank")["library"] == str(library)

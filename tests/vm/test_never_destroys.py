"""Disks that hold something, or that somebody uses: neither plan nor module nor tier changes a byte of one.

The backing files of the drives are compared from outside, block by block. `pytest -s` prints the table; it is asserted
in any case.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible
import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan import planner

from tests.tools.bed import CHECKOUT
from tests.tools.vm import Machine, NvmeDisk
from tests.unit import hosts
from tests.vm.occupied import AT_REST, CHANGES, IN_USE, SIZE, State
from tests.vm.tier import VmTier

BLOCK = 4096
MODEL = "Samsung SSD 980 PRO 1TB"
PATH = "/srv/llmhost"
CODE = "/opt/never"
AT_LEAST = 50
SWEEP = "/opt/never/bin"
# The first proof finds a blank disk; what writes to it then has come before the second.
LATE_WRITER = """#!/bin/sh
/usr/sbin/wipefs "$@"; status=$?
[ ! -e /tmp/late ] || dd if=/dev/urandom of=$LATE bs=4k count=1 conv=notrunc,fsync status=none
touch /tmp/late
exit $status
"""

Blocks = dict[int, bytes]


def content(path: Path) -> Blocks:
    """Return what a sparse file holds: its blocks that are not all zeros."""
    found: Blocks = {}
    with path.open("rb") as file:
        at = 0
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return found
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            for offset in range(at // BLOCK * BLOCK, end, BLOCK):
                block = os.pread(file.fileno(), BLOCK, offset)
                if block.strip(b"\0"):
                    found[offset] = block
            at = end


def changed_bytes(before: Blocks, after: Blocks) -> int:
    """Return how many bytes differ."""
    zeros = bytes(BLOCK)
    pairs = ((before.get(at, zeros), after.get(at, zeros)) for at in {*before, *after})
    return sum(sum(map(int.__ne__, one, other)) for one, other in pairs if one != other)


@dataclass
class Drive:
    """A drive in a state, and what became of it."""

    state: State
    disk: NvmeDisk
    number: int
    device: str = ""
    before: Blocks = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    plan_says: str = ""
    changed: int = -1

    @property
    def member(self) -> dict[str, Any]:
        """Return the disk as a plan names it."""
        identity = {"serial": self.disk.serial, "model": MODEL, "size_bytes": SIZE, "wwn": None}
        return {"device": self.device, "identity": identity}

    def build(self) -> dict[str, Any]:
        """Return the call that brings it into its state."""
        patches = [(offset, base64.b64encode(data).decode()) for offset, data in self.state.patches]
        return {"script": self.state.script, "device": self.device, "number": self.number, "patches": patches}


@dataclass
class Lab:
    """The machine with all the drives, and its facts."""

    vm: Machine
    drives: list[Drive]
    blank: list[Drive]
    host: dict[str, Any] = field(default_factory=dict)

    def run(self, calls: Sequence[dict[str, Any]]) -> list[Any]:
        """Run calls in the machine."""
        answers: list[Any] = json.loads(self.vm.exec("python3", f"{CODE}/guest.py", stdin=json.dumps(calls)).stdout)
        return answers

    def build(self, drives: Sequence[Drive]) -> None:
        """Bring drives into their states, and read what they hold then."""
        answers = self.run([drive.build() for drive in drives])
        failed = {d.state.name: a["text"] for d, a in zip(drives, answers, strict=True) if a["rc"]}
        assert failed == {}
        self.vm.shell("udevadm settle; sync")
        for drive in drives:
            drive.before = content(self.vm.backing_file(drive.disk))

    def judge(self, drives: Sequence[Drive]) -> None:
        """Count what has changed since."""
        self.vm.shell("sync")
        for drive in drives:
            drive.changed = changed_bytes(drive.before, content(self.vm.backing_file(drive.disk)))


def claim(members: Sequence[Drive], overwrite: bool) -> dict[str, Any]:
    """Return the call of the module that claims disks."""
    arguments = {"kind": "disk", "path": PATH, "devices": [drive.member for drive in members], "lock_timeout": 5}
    arguments |= {"overwrite_unrecognised": overwrite, "raid": None}
    if len(members) > 1:
        arguments["raid"] = {"level": 0, "name": "llmhost-models", "chunk_bytes": 524288}
    return {"module": "claim_disk", "arguments": arguments}


def install(vm: Machine) -> None:
    """Put llmhost's modules, and what of Ansible they stand on, into the machine."""
    package = Path(ansible.__file__).parent
    vm.put(package / "module_utils", f"{CODE}/ansible/module_utils")
    vm.put(package / "release.py", f"{CODE}/ansible/release.py")
    for name in ("module_utils", "modules"):
        vm.put(CHECKOUT / "plugins" / name, f"{CODE}/ansible_collections/llmhost/core/plugins/{name}")
    vm.put(Path(__file__).with_name("guest.py"), f"{CODE}/guest.py")
    vm.write(f"{SWEEP}/wipefs", LATE_WRITER)
    vm.shell(f"chmod 755 {SWEEP}/wipefs; echo 'AUTO -all' >> /etc/mdadm/mdadm.conf")


def drives_of(states: Sequence[State], first: int) -> list[Drive]:
    """Return a drive for each state."""
    return [
        Drive(
            state, NvmeDisk(f"n{number}", SIZE, serial=f"S5GXNX0R{number:03}", model=MODEL, fault=state.fault), number
        )
        for number, state in enumerate(states, first)
    ]


LATE = State("between two proofs", "no test recognises", code="storage.unrecognised_data", overwrite=False)
# A machine has room for 40 drives.
LABS = {"at rest": (AT_REST, ()), "in use": (IN_USE, CHANGES)}


@pytest.fixture(scope="module", params=LABS)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Start a machine with all drives, and build every state that is there before the plan."""
    states, changes = LABS[request.param]
    drives = drives_of(states, 1)
    blank = drives_of((*changes, LATE), len(drives) + 1)
    with Machine("c-never", disks=[drive.disk for drive in (*drives, *blank)]).running() as vm:
        install(vm)
        rows = [row.split() for row in vm.shell("udevadm settle; lsblk -dno SERIAL,PATH").splitlines()]
        paths = {row[0]: row[1] for row in rows if len(row) == 2}
        for drive in (*drives, *blank):
            drive.device = paths[drive.disk.serial]
        made = Lab(vm, drives, blank)
        made.build(drives)
        made.host = made.run([{"module": "host_info", "arguments": {}}])[0]["host"]
        yield made


def plan(lab: Lab, **variables: Any) -> dict[str, Any]:
    """Return the plan of the demo's model on the machine."""
    asked = {"llmhost_model": "demo/nonsense:Q8_0", "llmhost_accelerator": "cpu", **variables}
    made: dict[str, Any] = planner.plan(lab.host, hosts.nonsense(), asked)
    return made


def test_no_plan_takes_one_that_nobody_named(lab: Lab) -> None:
    made = plan(lab, llmhost_claim_disks=True)
    free = {drive.disk.serial for drive in lab.blank}
    taken = {device["identity"]["serial"] for device in made["storage"]["devices"]}
    assert taken
    assert taken <= free
    listed = {disk["serial"]: disk for disk in made["disks"]}
    assert {
        d.state.name: listed[d.disk.serial]["state"] for d in lab.drives if listed[d.disk.serial]["state"] == "blank"
    } == {}


def test_no_plan_takes_one_that_is_named(lab: Lab) -> None:
    for drive in lab.drives:
        named = {"llmhost_storage_devices": drive.disk.serial, "llmhost_claim_disks": True}
        made = plan(lab, **named, llmhost_overwrite_unrecognised=drive.state.overwrite)
        told = [f["message"] for f in planner.errors(made) if f["code"].startswith("storage.")]
        assert told, drive.state.name
        assert made["storage"]["devices"] == [], drive.state.name
        drive.plan_says = told[0]
        assert drive.disk.serial in told[0] or drive.device in told[0], told


def test_the_module_refuses_each_and_changes_nothing(lab: Lab) -> None:
    free = lab.blank[-1]
    calls = [claim([drive], drive.state.overwrite) for drive in lab.drives]
    # A RAID 0 of them all and a blank disk, whose turn would come first.
    *answers, array = lab.run([*calls, claim([free, *lab.drives], False)])
    for drive, answer in zip(lab.drives, answers, strict=True):
        drive.answers = [answer]
    lab.judge(lab.drives)
    assert content(lab.vm.backing_file(free.disk)) == {}
    assert (array["failed"], "Nothing was changed" in array["msg"]) == (True, True)
    assert not any(reason.startswith(f"{free.device}:") for reason in array["reasons"])
    for drive in lab.drives:
        assert_refused(drive)


def test_what_changes_after_the_plan_is_refused(lab: Lab) -> None:
    *drives, late = lab.blank
    lab.build(drives)
    calls = [claim([drive], drive.state.overwrite) for drive in drives]
    sabotage = {"PATH": f"{SWEEP}:{os.environ['PATH']}", "LATE": late.device}
    answers = lab.run([*calls, {**claim([late], False), "environment": sabotage}])
    lab.judge(drives)
    lab.vm.shell("sync")
    late.changed = max(0, len(content(lab.vm.backing_file(late.disk))) - 1)  # the block of whoever came late
    for drive, answer in zip(lab.blank, answers, strict=True):
        drive.answers = [answer]
        assert_refused(drive)


def test_a_name_that_leads_to_another_disk_is_refused(lab: Lab) -> None:
    planned, other = lab.drives[0], lab.drives[1]
    lab.vm.shell(f"ln -sfn {other.device} /dev/elsewhere")
    call = claim([planned], False)
    call["arguments"]["devices"][0]["device"] = "/dev/elsewhere"
    answer = lab.run([call])[0]
    assert (answer["code"], other.disk.serial in answer["msg"]) == ("storage.other_disk", True), answer


def test_the_tier_refuses_them_all(lab: Lab, tmp_path: Path) -> None:
    tier = VmTier(lab.vm, tmp_path)  # type: ignore[arg-type]
    tier.serve_hub()
    named = [drive.disk.serial for drive in lab.drives]
    done = tier.run(llmhost_storage_devices=named, llmhost_claim_disks=True, llmhost_overwrite_unrecognised=True)
    done.says("is not claimed", "stays untouched")
    lab.judge(lab.drives)
    assert {drive.state.name: drive.changed for drive in lab.drives if drive.changed} == {}


def assert_refused(drive: Drive) -> None:
    """Assert that each attempt was refused, in words that name the disk, what was found and a way out."""
    assert drive.changed == 0, drive.state.name
    for answer in drive.answers:
        told = f"{drive.state.name}: {answer}"
        assert answer.get("failed"), told
        assert answer["code"].startswith(drive.state.code), told
        assert re.search(drive.state.says, " ".join(answer["reasons"]), re.IGNORECASE), told
        assert drive.device in answer["msg"], told
        assert "Nothing was changed" in answer["msg"], told


def test_the_machine_is_as_it_was(lab: Lab) -> None:
    assert "llmhost" not in lab.vm.shell("cat /etc/fstab; ls /etc/llmhost /srv/llmhost 2>/dev/null || true")


def test_the_table(lab: Lab) -> None:
    rows = [
        (
            drive.device,
            drive.state.name,
            "; ".join(drive.answers[-1]["reasons"])[:90],
            drive.answers[-1]["code"],
            drive.changed,
        )
        for drive in (*lab.drives, *lab.blank)
    ]
    print(f"\n{'disk':14} {'state':34} {'changed':>7} bytes  {'error':26} found")
    for device, name, found, code, changed in rows:
        print(f"{device:14} {name:34} {changed:>7}        {code:26} {found}")
    assert len(AT_REST) + len(IN_USE) + len(CHANGES) + 1 >= AT_LEAST
    assert {name: changed for _device, name, _found, _code, changed in rows if changed} == {}

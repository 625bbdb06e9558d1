"""Which drives of a real kernel are chosen: their names there, their words in the plan, and names that change."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan import planner
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_table import plan_table

from tests.tools.bed import CHECKOUT
from tests.tools.vm import Machine, NvmeDisk
from tests.unit import hosts

Facts = dict[str, Any]

LIBRARY = "/opt/in-guest"
SHARED = "ansible_collections/llmhost/core/plugins/module_utils"
SAMSUNG = "Samsung SSD 980 PRO 1TB"
STORE = "Amazon EC2 NVMe Instance Storage"

SPARE = NvmeDisk("spare", "2 GiB", serial="S5GXNX0R1", model=SAMSUNG)
LARGER = NvmeDisk("larger", "3 GiB", serial="S5GXNX0R2", model=SAMSUNG)
VOLUMES = NvmeDisk("volumes", "1 GiB", serial="LVM1")
MIRROR = [NvmeDisk(f"mirror{number}", "256 MiB", serial=f"MIRROR{number}") for number in (1, 2)]
NETWORK = NvmeDisk("network", "4 GiB", serial="vol0123", model="Amazon Elastic Block Store")
STORES = [NvmeDisk(f"store{number}", "1 GiB", serial=f"AWS{number}", model=STORE) for number in (1, 2)]

OCCUPY = """
pvcreate -q {volumes} >/dev/null; vgcreate -q group {volumes} >/dev/null; lvcreate -q -n data -L 512M group >/dev/null
mkfs.ext4 -q /dev/group/data; mkdir -p /data; mount /dev/group/data /data
mdadm --create /dev/md/mirror --run --assume-clean --level=1 -n 2 {mirrors} >/dev/null 2>&1
mkswap /dev/md/mirror >/dev/null; swapon /dev/md/mirror
udevadm settle
"""


class Guest:
    """The machine, and what a plan makes of it."""

    def __init__(self, vm: Machine) -> None:
        self.vm = vm

    def facts(self) -> Facts:
        """Return what host_info says."""
        ask = f"PYTHONPATH={LIBRARY} python3 {LIBRARY}/in_guest.py facts {shlex.quote('[]')}"
        facts: Facts = json.loads(self.vm.exec("sh", "-c", ask).stdout)
        return facts

    def plan(self, facts: Facts, **variables: Any) -> Facts:
        """Return the plan for a small model."""
        asked = {"llmhost_model": "a/b", "llmhost_accelerator": "cpu"}
        asked |= {f"llmhost_{name}": value for name, value in variables.items()}
        return planner.plan(facts, hosts.nonsense(), asked)


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    """Return a machine with drives of all kinds, some of them in use."""
    drives = [SPARE, LARGER, VOLUMES, *MIRROR, NETWORK, *STORES]
    with Machine("b-choosing", disks=drives).running() as vm:
        vm.put(CHECKOUT / "plugins/module_utils", f"{LIBRARY}/{SHARED}")
        vm.put(Path(__file__).with_name("in_guest.py"), f"{LIBRARY}/in_guest.py")
        mirrors = " ".join(vm.device(disk) for disk in MIRROR)
        vm.shell(OCCUPY.format(volumes=vm.device(VOLUMES), mirrors=mirrors))
        yield Guest(vm)


def entry(plan: Facts, disk: NvmeDisk) -> Facts:
    """Return what the plan's list says of a drive."""
    found: Facts = next(entry for entry in plan["disks"] if entry["serial"] == disk.serial)
    return found


def codes(plan: Facts) -> list[str]:
    """Return the codes of the errors."""
    return [finding["code"] for finding in plan["findings"] if finding["level"] == "error"]


def test_each_drive_is_told_as_it_is_and_the_largest_of_the_fastest_is_chosen(guest: Guest) -> None:
    facts = guest.facts()
    plan = guest.plan(facts, claim_disks=True)
    print(plan_table(plan, facts))

    assert codes(plan) == []
    assert plan["storage"]["devices"][0]["device"] == "/dev/disk/by-id/nvme-Samsung_SSD_980_PRO_1TB_S5GXNX0R2"
    assert entry(plan, VOLUMES)["use"] == "/data (ext4 on LVM)"
    assert {entry(plan, disk)["use"].partition("md")[0] for disk in MIRROR} == {"swap on RAID 1 "}
    told = {disk.name: entry(plan, disk) for disk in (SPARE, LARGER, NETWORK, *STORES)}
    assert {name: told[name]["state"] for name in told} == dict.fromkeys(told, "blank")
    assert (told["network"]["reach"], told["spare"]["reach"]) == ("network", "local")
    assert (told["store1"]["persistence"], told["spare"]["persistence"]) == ("ephemeral", "persistent")
    system = next(entry for entry in plan["disks"] if "/ (ext4)" in entry["use"])
    assert system["choice"] == "none"


def test_a_claim_is_asked_for_and_instance_stores_are_a_raid(guest: Guest) -> None:
    facts = guest.facts()
    assert codes(guest.plan(facts)) == ["storage.claim_not_allowed"]
    facts["disks"] = [disk for disk in facts["disks"] if disk["serial"].startswith(("AWS", "vol"))]
    raid = guest.plan(facts, claim_disks=True)
    assert [device["identity"]["serial"] for device in raid["storage"]["devices"]] == ["AWS1", "AWS2"]
    assert raid["storage"]["raid"]["level"] == 0
    assert raid["storage"]["ephemeral"]


def test_a_serial_number_means_its_drive_whatever_the_kernel_calls_it(guest: Guest) -> None:
    before = guest.facts()
    names = {disk.name: guest.vm.device(disk) for disk in (SPARE, LARGER)}
    # The one plugged in first gets the lowest number that is free.
    moved = sorted((SPARE, LARGER), key=lambda disk: names[disk.name], reverse=True)
    for disk in moved:
        guest.vm.unplug(disk)
    for disk in moved:
        guest.vm.plug(disk)
        guest.vm.shell("udevadm settle")

    assert {disk.name: guest.vm.device(disk) for disk in moved} != names
    plans = [guest.plan(facts, storage_devices=SPARE.serial) for facts in (before, guest.facts())]
    assert [codes(plan) for plan in plans] == [[], []]
    assert plans[0]["storage"] == plans[1]["storage"]
    assert plans[1]["storage"]["devices"][0]["identity"]["serial"] == SPARE.serial

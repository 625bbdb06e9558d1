"""A RAID 0 by mdadm on a real kernel: made once, finished when killed, up after a reboot, never made over a rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tools.vm import Machine, NvmeDisk
from tests.vm.test_never_destroys import CODE, MODEL, PATH, content, install

SIZE = 256 * 2**20
DISKS = [NvmeDisk(f"raid{n}", SIZE, serial=f"S5RAID{n}", model=MODEL) for n in range(2)]
NAMES = [f"/dev/disk/by-id/nvme-{MODEL.replace(' ', '_')}_{disk.serial}" for disk in DISKS]
RAID = {"level": 0, "name": "llmhost-models", "chunk_bytes": 524288}
# Under emulation on a busy machine udev takes more than the usual 15 s.
OPTIONS = "defaults,noatime,nofail,x-systemd.device-timeout=300s"
WHY = (
    "cat /proc/mdstat; systemctl status --no-pager srv-llmhost.mount || true; lsblk -o NAME,FSTYPE,UUID,MOUNTPOINTS; "
    "journalctl -b --no-pager -o short-monotonic | grep -E 'md127|mdadm|llmhost|raid|Timed out|by.x2duuid' | tail -40"
)
# What stands in the place of a program that dies, and takes the module with it, after its work or before.
DIES = "#!/bin/sh\n{before}kill -KILL $PPID\n"


class Host:
    """The machine, and the module on it."""

    def __init__(self, vm: Machine) -> None:
        self.vm = vm

    def claim(self, **changes: Any) -> dict[str, Any]:
        devices = [
            {"device": name, "identity": {"serial": disk.serial, "model": MODEL, "size_bytes": SIZE}}
            for name, disk in zip(NAMES, DISKS, strict=True)
        ]
        present = {"kind": "disk", "path": PATH, "devices": devices, "raid": RAID, "mount_options": OPTIONS}
        wanted = {**present, "filesystem": "xfs", **changes} if changes.get("state") != "absent" else changes
        calls = json.dumps([{"module": "claim_disk", "arguments": {"lock_timeout": 60, **wanted}}])
        answer: dict[str, Any] = json.loads(self.vm.exec("python3", f"{CODE}/guest.py", stdin=calls).stdout)[0]
        return answer

    def done(self, **changes: Any) -> list[str]:
        answer = self.claim(**changes)
        assert not answer.get("failed"), answer
        actions: list[str] = answer["actions"]
        return actions

    def dies_in(self, program: str, before: str = "") -> None:
        """Run once with a program that dies."""
        self.vm.shell(f"mv /usr/sbin/{program} /usr/sbin/{program}.real")
        self.vm.write(f"/usr/sbin/{program}", DIES.replace("{before}", before))
        self.vm.shell(f"chmod 755 /usr/sbin/{program}")
        assert self.claim().get("failed")
        self.vm.shell(f"mv /usr/sbin/{program}.real /usr/sbin/{program}")

    def ready(self) -> None:
        """Assert what is promised of a claimed array."""
        found = self.vm.shell(f"findmnt -rno SOURCE,FSTYPE,UUID {PATH} || true").split()
        assert found, self.vm.shell(WHY)
        record = json.loads(self.vm.shell("cat /etc/llmhost/state/storage.json"))
        assert (found[1:], record["phase"]) == (["xfs", record["uuid"]], "ready")
        assert f"UUID={record['uuid']} {PATH} xfs {OPTIONS}" in self.vm.shell("cat /etc/fstab")
        assert self.vm.shell("readlink -f /dev/md/llmhost-models").strip() == found[0]
        level = self.vm.shell(f"mdadm --detail --export {found[0]}")
        assert "MD_LEVEL=raid0" in level
        assert "MD_DEVICES=2" in level
        assert f"MD_UUID={grouped(record['array_uuid'])}" in level


def grouped(uuid: str) -> str:
    digits = uuid.replace("-", "")
    return ":".join(digits[start : start + 8] for start in range(0, 32, 8))


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Machine("c-raid", disks=list(DISKS)).running() as vm:
        install(vm)
        vm.shell("sed -i '/^AUTO -all/d' /etc/mdadm/mdadm.conf; udevadm settle")
        yield Host(vm)


def test_a_run_that_dies_before_or_in_between_is_finished(host: Host) -> None:
    host.dies_in("mdadm")
    # The superblock of the first disk only, as when the power goes between two.
    host.dies_in("mkfs.xfs", f"mdadm --stop /dev/md/llmhost-models; mdadm --zero-superblock {NAMES[1]}\n")
    host.dies_in("mkfs.xfs")
    host.dies_in("mkfs.xfs", '$0.real "$@"\n')
    host.done()
    host.ready()
    assert host.done() == []


def test_it_comes_back_after_a_reboot_and_a_power_cut(host: Host) -> None:
    host.vm.shell(f"echo model > {PATH}/model; sync")
    host.vm.reboot()
    host.ready()
    host.vm.power_cut()
    host.vm.start()
    host.vm.wait_for_boot()
    host.ready()
    assert host.vm.shell(f"cat {PATH}/model") == "model\n"
    assert host.done() == []


def test_given_up_and_taken_back(host: Host) -> None:
    host.done(state="absent")
    assert host.vm.shell("cat /proc/mdstat").count("active") == 0
    assert host.vm.shell("ls /etc/mdadm/mdadm.conf.d") == ""
    host.done()  # by its name: the record is gone, as on a host that was installed anew
    host.ready()
    assert host.vm.shell(f"cat {PATH}/model") == "model\n"


def test_nothing_is_made_in_the_place_of_a_disk_that_is_gone(host: Host) -> None:
    host.vm.shell(f"umount {PATH}; mdadm --stop /dev/md/llmhost-models")
    host.vm.unplug(DISKS[1])
    host.vm.shell("sync")
    before = content(file_of(host, 0))
    answer = host.claim()
    assert (answer.get("failed"), answer["code"]) == (True, "storage.disk_missing"), answer
    host.vm.shell("sync")
    assert content(file_of(host, 0)) == before
    host.vm.plug(DISKS[1])
    host.vm.shell("udevadm settle")
    host.done()
    host.ready()


def file_of(host: Host, number: int) -> Path:
    return host.vm.backing_file(DISKS[number])


def test_the_data_goes_only_when_that_is_said(host: Host) -> None:
    host.done(state="absent", remove_data=True)
    host.vm.shell("sync; udevadm settle")
    for name in NAMES:
        assert host.vm.exec("blkid", "-p", name, check=False).returncode == 2
    assert host.done()[0].startswith("make RAID 0")
    host.ready()


def test_ephemeral_disks_that_come_back_empty_are_made_again_by_the_record(host: Host) -> None:
    host.done(ephemeral=True)
    before = host.vm.shell("cat /etc/fstab /etc/llmhost/state/storage.json")
    host.vm.shutdown()
    for number in range(2):
        file = file_of(host, number)
        file.unlink()
        with file.open("wb") as made:
            made.truncate(SIZE)
    host.vm.start()
    assert host.vm.shell(f"findmnt -rno SOURCE {PATH} || true") == ""
    script = (
        "import sys; sys.path.insert(0, '/opt/never')\n"
        "from functools import partial\n"
        "from ansible_collections.llmhost.core.plugins.module_utils.command import run_command\n"
        "from ansible_collections.llmhost.core.plugins.module_utils.host.disks import read_disk\n"
        "from ansible_collections.llmhost.core.plugins.module_utils.lock import hold\n"
        "from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile\n"
        "from ansible_collections.llmhost.core.plugins.module_utils.storage.storage import Host, Storage\n"
        "with hold('storage', 60) as lock:\n"
        "    Storage(Host(lock.run, partial(read_disk, run_command=run_command), StateFile('storage'))).restore()\n"
    )
    host.vm.exec("python3", "-", stdin=script)
    host.ready()
    assert host.vm.shell("cat /etc/fstab /etc/llmhost/state/storage.json") == before

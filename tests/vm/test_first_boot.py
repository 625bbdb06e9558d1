"""The first boot of a cloud's image while it is under way: cloud-init at work, apt held by unattended-upgrades."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.bed.tier import kill
from tests.tools.make_model import PRESETS, write_gguf
from tests.tools.vm import Machine, NvmeDisk
from tests.vm.tier import VmTier

pytestmark = pytest.mark.long

SCRATCH = NvmeDisk("scratch", "256 MiB", serial="AWS0001", model="Amazon EC2 NVMe Instance Storage")
MODELS = NvmeDisk("models", "1 GiB", serial="S5GXNX0R1", model="Samsung SSD 980 PRO 1TB")
BY_ID = "/dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_AWS0001"
MODEL = "/srv/tiny.gguf"
HELD, UPGRADED, GO_ON = "/run/held", "/run/upgraded", "/run/go-on"
# A disk that is made ready at /mnt, a script that goes on until the test lets it end, and then an upgrade that holds
# apt's lock until the test lets that end, too.
USER_DATA = f"""#cloud-config
ssh_authorized_keys: [{{key}}]
disable_root: false
ssh_pwauth: false
disk_setup:
  {BY_ID}: {{table_type: gpt, layout: true, overwrite: false}}
fs_setup:
  - {{label: ephemeral0, filesystem: ext4, device: {BY_ID}, partition: auto, overwrite: false}}
mounts:
  - [{BY_ID}-part1, /mnt, auto, "defaults,nofail", "0", "2"]
write_files:
  - path: /usr/local/bin/unattended-upgrade
    permissions: "0755"
    content: |
      #!/usr/bin/python3
      import fcntl, os, pathlib, time
      file = open("/var/lib/dpkg/lock-frontend", "w")
      fcntl.lockf(file, fcntl.LOCK_EX)
      pathlib.Path("{HELD}").touch()
      while not os.path.exists("{UPGRADED}"):
          time.sleep(1)
  - path: /etc/systemd/system/apt-daily-upgrade.service
    content: |
      [Service]
      Type=oneshot
      ExecStart=/usr/local/bin/unattended-upgrade
runcmd:
  - while [ ! -e {GO_ON} ]; do sleep 1; done
  - systemctl daemon-reload
  - systemctl start --no-block apt-daily-upgrade.service
  - while [ ! -e {HELD} ]; do sleep 1; done
"""

WAITS_FOR_APT = re.compile(
    r"waiting for unattended-upgrade \(pid \d+ of apt-daily-upgrade\.service\) to release apt's lock"
)
# Under emulation a task takes several seconds, and the first boot some minutes.
STEP_SECONDS = 600
WANTED: dict[str, Any] = {
    "llmhost_model": MODEL,
    "llmhost_storage_devices": "auto",
    "llmhost_swap": "0",
    # Making the bundle anew takes a minute under emulation; apt's default sources need none.
    "llmhost_ca_certificates": [],
}


@pytest.fixture(scope="module")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VmTier]:
    """Boot an image that was never booted, and go on as soon as somebody can log in."""
    folder = tmp_path_factory.mktemp("first-boot")
    name = f"first-boot-{os.getpid()}"
    with Machine(name, disks=[SCRATCH, MODELS], pristine=True, user_data=USER_DATA, disk_size="8G").running() as vm:
        write_gguf(folder / "tiny.gguf", PRESETS["tiny"])
        vm.put(folder / "tiny.gguf", MODEL)
        yield VmTier(vm, folder)  # type: ignore[arg-type]


def until(tier: VmTier, process: subprocess.Popen[str], reached: Callable[[], object]) -> None:
    """Wait until the run has come so far; fail when it ends before that."""
    end = time.monotonic() + STEP_SECONDS
    while not reached():
        assert process.poll() is None, f"it ended too early:\n{output(tier)}"
        assert time.monotonic() < end, f"it did not come so far in time:\n{output(tier)}"
        time.sleep(1)


def output(tier: VmTier) -> str:
    """Return what the run has said up to now."""
    return (tier.folder / "output.txt").read_text()


def test_a_plan_waits_for_nothing_and_says_so(tier: VmTier) -> None:
    done = tier.run(playbook="plan", **WANTED)
    assert done.rc == 0, done.text
    assert "facts.cloud_init_running" in done.text
    assert "waiting for" not in done.text
    assert tier.shell("cat /run/cloud-init/result.json 2>/dev/null || true") == ""


def test_the_tier_waits_for_cloud_init_and_for_apt(tier: VmTier) -> None:
    process = tier.start(**WANTED)
    try:
        until(tier, process, lambda: "waiting for cloud-init to end" in output(tier))
        assert tier.shell("ls /etc/llmhost 2>/dev/null || true") == ""
        tier.shell(f"touch {GO_ON}")
        until(tier, process, lambda: WAITS_FOR_APT.search(output(tier)))
        tier.shell(f"touch {UPGRADED}")
        # Lists of packages take minutes under emulation: tests/bed/test_packages.py sees installations to their end.
        until(tier, process, lambda: "update" in tier.shell("ps -o args= -C apt-get || true"))
    finally:
        kill(process)


def test_the_disk_of_cloud_init_is_left_to_it(tier: VmTier) -> None:
    shown = " ".join(output(tier).split())
    assert re.search(r"NVMe Instance Storage, [^;]*ephemeral in use: /mnt \(ext4\), mounted by cloud-init; left", shown)
    assert re.search(r"to be CLAIMED \(serial number S5GXNX0R1\)", shown), shown
    assert tier.shell("findmnt -no SOURCE /srv/llmhost") == tier.vm.device(MODELS)
    assert tier.shell("findmnt -no LABEL /mnt") == "ephemeral0"


def test_the_root_partition_has_grown_into_its_disk(tier: VmTier) -> None:
    assert int(tier.shell("df -B1 --output=size / | tail -n 1")) > 7 * 2**30

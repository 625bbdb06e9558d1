"""Machines that were booted once: the disk after the first boot, and the live state of one that runs.

A machine that starts from a saved state is there in seconds, where booting takes a minute or more under emulation.
QEMU cannot save the state of a machine with NVMe drives, so the state has none: they are plugged in afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.tools.qemu import Qemu, version
from tests.tools.ssh import Ssh
from tests.tools.vm_image.images import (
    CORES,
    DISK,
    FIRST_BOOT_SECONDS,
    MEMORY_MIB,
    SEED,
    Images,
    digest,
    hardware,
    images,
    locked,
    make_seed,
    overlay,
    say,
)

DISK_SIZE = "16G"  # cloud-init grows the filesystem of the image into it
SQUEEZED_MIB = 400
SAVE = "exec:zstd -q -1 -f -o state.zst"
LOAD = "exec:zstd -q -d -c < state.zst"
# A machine that upgrades itself some time after boot makes every test a different one, and what starts a Python
# at each boot, as cloud-init does four times, takes minutes under emulation. `pristine` machines have it all.
USER_DATA = """#cloud-config
ssh_authorized_keys: [{key}]
disable_root: false
ssh_pwauth: false
runcmd:
  - systemctl disable --now apt-daily.timer apt-daily-upgrade.timer update-notifier-download.timer motd-news.timer
  - systemctl mask apt-daily.service apt-daily-upgrade.service
  - systemctl disable networkd-dispatcher.service unattended-upgrades.service
  - systemctl disable grub-common.service grub-initrd-fallback.service e2scrub_reap.service
  - touch /etc/cloud/cloud-init.disabled
"""


@dataclass(frozen=True)
class Saved:
    """Where what machines start from lies."""

    images: Images
    ready: Path
    live: Path  # a folder: disk, state, seed

    @property
    def seed(self) -> Path:
        """Return cloud-init's disc."""
        return self.ready.with_name("seed.iso")


def saved(*, live: bool = True) -> Saved:
    """Return what machines start from, made first where the cache lacks it."""
    kept = images()
    folder = kept.folder / f"ready-{digest(USER_DATA, DISK_SIZE)}"
    arguments = hardware(MEMORY_MIB, CORES, seed=True)
    found = Saved(kept, folder / "ready.qcow2", folder / f"live-{digest(version(), SAVE, *arguments)}")
    with locked():
        if not found.ready.exists():
            _make_ready(found)
        if live and not found.live.exists():
            _make_live(found)
    return found


@contextmanager
def _running(folder: Path, key: Path) -> Iterator[tuple[Qemu, Ssh]]:
    machine = Qemu(hardware(MEMORY_MIB, CORES, seed=True), folder)
    try:
        machine.command("cont")
        connection = Ssh(forwarded_port(machine), key)
        try:
            connection.open(FIRST_BOOT_SECONDS, lambda: machine.alive)
            connection.run("sh", "-c", "cloud-init status --wait; systemctl is-system-running --wait; true")
            yield machine, connection
        finally:
            connection.forget()
    finally:
        if machine.alive:
            machine.kill()


def forwarded_port(machine: Qemu) -> int:
    """Return the loopback port behind which the machine's sshd listens."""
    said = machine.human("info usernet")
    match = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", said)
    assert match, said
    return int(match[1])


def _make_ready(found: Saved) -> None:
    begin = time.monotonic()
    found.ready.parent.mkdir(exist_ok=True)
    say("first boot (minutes under emulation)")
    make_seed(found.seed, USER_DATA.format(key=found.images.public_key))
    work = _work(found)
    try:
        overlay(found.images.pristine, work / DISK, DISK_SIZE)
        with _running(work, found.images.key) as (machine, connection):
            say(f"first boot: cloud-init was done after {time.monotonic() - begin:.0f} s")
            connection.run("sh", "-c", "apt-get clean; rm -rf /tmp/* /var/tmp/*; sync; fstrim -a")
            connection.run("systemctl", "poweroff", check=False)
            machine.wait(300)
        (work / DISK).rename(found.ready)
    finally:
        shutil.rmtree(work)


def _make_live(found: Saved) -> None:
    begin = time.monotonic()
    say("second boot, to save its state")
    work = _work(found)
    try:
        overlay(found.ready, work / DISK)
        with _running(work, found.images.key) as (machine, connection):
            say(f"second boot: ready after {time.monotonic() - begin:.0f} s")
            connection.run("sh", "-c", "sync; echo 3 > /proc/sys/vm/drop_caches")
            # Memory that the guest does not use is given back, so that it is not saved.
            machine.set_balloon(SQUEEZED_MIB << 20)
            machine.set_balloon(MEMORY_MIB << 20)
            connection.run("sh", "-c", "sync; sleep 2")
            connection.close()
            machine.command("stop")
            machine.command("migrate", uri=SAVE)
            machine.wait_until(lambda: _migrated(machine), 300, "saving the state")
        work.rename(found.live)
        size_mib = (found.live / "state.zst").stat().st_size >> 20
        say(f"state of {size_mib} MiB saved after {time.monotonic() - begin:.0f} s")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _migrated(machine: Qemu) -> bool:
    status = machine.command("query-migrate").get("status")
    assert status != "failed", machine.human("info migrate")
    return bool(status == "completed")


def _work(found: Saved) -> Path:
    work = found.ready.with_name(f"work-{os.getpid()}")
    work.mkdir()
    shutil.copy(found.seed, work / SEED)
    return work


if __name__ == "__main__":
    print(saved().live)

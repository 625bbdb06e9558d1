#!/usr/bin/env python3
"""What machines start from that learn to bring a driver: a server with an older kernel and a small archive of its own.

The mirror is asked once, and its packages are kept by what collects them. So no run downloads hundreds of megabytes,
none depends on what the mirror has lost since, and apt under emulation reads a list of dozens, not of 90,000.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.tools.bed import CACHE
from tests.tools.make_model import PRESETS, write_gguf
from tests.tools.qemu import QemuError
from tests.tools.vm import Machine
from tests.tools.vm_image.images import DISK, digest, locked, say, without_comments
from tests.tools.vm_image.states import saved

HERE = Path(__file__).resolve().parent
RECIPE = ("build.sh", "collect.sh")
KEPT = CACHE / "driver-archives"
PLACE = "/srv/archive"
MODEL = "/srv/tiny.gguf"
FIRST, WINDOW, SECOND = "first", "window", "second"
# Signed by nobody, and read as any archive: what apt takes from there it keeps where it keeps all packages.
SOURCE = "deb [trusted=yes] copy:" + PLACE + " views/{view}/"
# An initramfs for every machine there is takes four minutes under emulation, each time.
# The newest kernel boots, so the image's own one goes; the package of a kernel that runs asks before it does.
SETTLE = """
export DEBIAN_FRONTEND=noninteractive
echo 'linux-base linux-base/removing-running-kernel boolean false' | debconf-set-selections
old=$(uname -r)
echo MODULES=dep > /etc/initramfs-tools/conf.d/llmhost-bed
apt-get -qq update
apt-get -qq -y --allow-downgrades install "linux-image-$1" linux-image-virtual llmhost-probe=1
apt-get -qq -y purge "linux-image-$old" "linux-modules-$old" "linux-modules-extra-$old"
echo 'linux-base linux-base/removing-running-kernel boolean true' | debconf-set-selections
apt-get -qq clean
test "$(ls /boot/vmlinuz-*)" = "/boot/vmlinuz-$1"
sync
fstrim -a
"""


@dataclass(frozen=True)
class Archive:
    """The packages, and what they are of."""

    folder: Path
    now: str  # a branch of the driver: 580-server
    next: str
    older: str  # a kernel's release
    newer: str


def archive() -> Archive:
    """Return the packages, fetched first where the cache lacks them (minutes, and root)."""
    kept = KEPT / digest(*(without_comments(HERE / name) for name in RECIPE))
    with locked():
        if not kept.exists():
            _collect(kept)
    return Archive(kept, **json.loads((kept / "about.json").read_text()))


def _collect(kept: Path) -> None:
    begin = time.monotonic()
    kept.parent.mkdir(parents=True, exist_ok=True)
    work = kept.with_name(f"work-{os.getpid()}")
    work.mkdir()
    try:
        environment = {**os.environ, "LLMHOST_CACHE": str(CACHE)}
        done = subprocess.run([HERE / "build.sh", work], check=False, env=environment, stdout=sys.stderr)
        if done.returncode != 0:
            raise QemuError("the packages of the driver could not be fetched; the reason stands above")
        work.rename(kept)
        say(f"packages of the driver fetched in {time.monotonic() - begin:.0f} s")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def disk() -> Path:
    """Return the disk of a machine that runs the older kernel, made first where the cache lacks it."""
    packages, ready = archive(), saved().ready
    made = packages.folder / f"{digest(str(ready), SETTLE, SOURCE)}.qcow2"
    if not made.exists():
        _settle(packages, made)
    return made


def _settle(packages: Archive, made: Path) -> None:
    begin = time.monotonic()
    say("a machine with an older kernel (minutes under emulation)")
    with Machine(f"driver-image-{os.getpid()}").running() as vm:
        vm.put(packages.folder / "debs", f"{PLACE}/debs")
        vm.put(packages.folder / "views", f"{PLACE}/views")
        with tempfile.TemporaryDirectory() as folder:
            write_gguf(Path(folder) / "tiny.gguf", PRESETS["tiny"])
            vm.put(Path(folder) / "tiny.gguf", MODEL)
        offer(vm, FIRST)
        vm.exec("sh", "-euc", SETTLE, "-", packages.older)
        vm.shutdown()
        (vm.folder / DISK).rename(made)
    say(f"made in {time.monotonic() - begin:.0f} s")


def offer(vm: Machine, view: str) -> None:
    """Let apt see what it would be offered at some moment."""
    vm.write("/etc/apt/sources.list", SOURCE.format(view=view) + "\n")


if __name__ == "__main__":
    print(disk())

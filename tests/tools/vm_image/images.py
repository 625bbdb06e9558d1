"""The disk images that machines start from: made once, kept in the cache by what makes them.

pristine.qcow2     a bare Ubuntu 22.04 that was never booted (but once, to install GRUB)
ready.qcow2        the same after its first boot: cloud-init is done, root and ubuntu take the cache's key
live.qcow2, state  the same while it runs, with the live state of the machine beside it (states.py)
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.tools.bed import CACHE, CHECKOUT
from tests.tools.qemu import BINARY, Qemu, QemuError, accelerator

HERE = Path(__file__).resolve().parent
RECIPE = ("build.sh", "provision.sh", "first_boot.sh", "../image/jammy_root.sh")
KEPT = CACHE / "vm-images"
CORES = 2
MEMORY_MIB = 2048
PORTS = 40  # each takes one drive while the machine runs
PORTS_A_SLOT = 8
FIRST_SLOT = 8
FIRST_BOOT_SECONDS = 900
# Relative to the machine's folder, so that a saved state fits every machine.
DISK, SEED, SERIAL_LOG = "disk.qcow2", "seed.iso", "serial.log"

META_DATA = "instance-id: {instance}\nlocal-hostname: {hostname}\n"


def say(text: str) -> None:
    """Tell the person who waits."""
    print(f"vm image: {text}", file=sys.stderr, flush=True)


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a command that must succeed."""
    done = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True, cwd=cwd)
    if done.returncode != 0:
        raise QemuError(f"{command[0]}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())


def overlay(backing: Path, target: Path, size: str = "") -> None:
    """Make a disk that begins as another one, which stays as it is."""
    grown = [size] if size else []
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", backing.resolve(), target, *grown)


def hardware(memory_mib: int, cores: int, *, seed: bool) -> list[str]:
    """Return the arguments for a machine; a saved state fits only a machine with the same ones."""
    arguments = ["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35,vmport=off"]
    arguments += [*accelerator(cores), "-m", str(memory_mib), "-S", "-rtc", "base=utc"]
    arguments += ["-chardev", f"file,id=console,path={SERIAL_LOG},append=on", "-serial", "chardev:console"]
    arguments += ["-blockdev", f"driver=file,filename={DISK},node-name=root-file,cache.no-flush=on,discard=unmap"]
    arguments += ["-blockdev", "driver=qcow2,file=root-file,node-name=root,cache.no-flush=on,discard=unmap"]
    arguments += ["-device", "virtio-blk-pci,drive=root,addr=2,bootindex=1"]
    arguments += ["-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-:22", "-device", "virtio-net-pci,netdev=net,addr=3"]
    arguments += ["-device", "virtio-rng-pci,addr=4", "-device", "virtio-balloon-pci,id=balloon,addr=5"]
    if seed:
        arguments += ["-blockdev", f"driver=file,filename={SEED},node-name=seed,read-only=on"]
        arguments += ["-device", "ide-cd,bus=ide.2,id=cdrom,drive=seed"]
    for port in range(PORTS):
        slot, function = divmod(port, PORTS_A_SLOT)
        place = f"addr={FIRST_SLOT + slot:#x}.{function},multifunction=on,chassis={port + 1}"
        arguments += ["-device", f"pcie-root-port,id=port{port},{place},io-reserve=0,x-speed=16,x-width=4"]
    return arguments


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Let one process at a time make what the cache lacks."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def digest(*parts: str | bytes) -> str:
    """Return a short name for contents."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(hashlib.sha256(part if isinstance(part, bytes) else part.encode()).digest())
    return hashed.hexdigest()[:12]


def make_seed(target: Path, user_data: str, instance: str = "llmhost-vm", hostname: str = "llmhost-vm") -> Path:
    """Make the disc from which cloud-init learns who may log in and what to do."""
    source = target.with_suffix(".seed")
    source.mkdir(parents=True, exist_ok=True)
    (source / "user-data").write_text(user_data)
    (source / "meta-data").write_text(META_DATA.format(instance=instance, hostname=hostname))
    run("genisoimage", "-quiet", "-output", target, "-volid", "cidata", "-joliet", "-rock", source)
    shutil.rmtree(source)
    return target


def without_comments(script: Path) -> str:
    """Return what a script does: to make all images anew takes minutes, and no word of a comment is worth them."""
    return "".join(line for line in script.read_text().splitlines(True) if not line.lstrip().startswith("#"))


@dataclass(frozen=True)
class Images:
    """Where the images lie."""

    folder: Path

    @property
    def key(self) -> Path:
        """Return the private key that root and ubuntu take."""
        return self.folder / "ssh_key"

    @property
    def public_key(self) -> str:
        """Return the public one."""
        return self.key.with_suffix(".pub").read_text().strip()

    @property
    def pristine(self) -> Path:
        """Return the disk that was never booted."""
        return self.folder / "pristine.qcow2"


def images() -> Images:
    """Return the images, made first where the cache lacks them (minutes, and root)."""
    recipe = digest(*(without_comments(HERE / name) for name in RECIPE))
    kept = Images(KEPT / recipe)
    with locked():
        kept.folder.mkdir(exist_ok=True)
        if not kept.key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "llmhost-vm", "-f", kept.key)
        if not kept.pristine.exists():
            _make_pristine(kept)
    return kept


def _make_pristine(kept: Images) -> None:
    work = kept.folder / f"work-{os.getpid()}"
    work.mkdir()
    try:
        begin = time.monotonic()
        environment = {**os.environ, "LLMHOST_CACHE": str(CACHE)}
        done = subprocess.run([HERE / "build.sh", work], check=False, env=environment, stdout=sys.stderr)
        if done.returncode != 0:
            raise QemuError("the image of the machine could not be made; the reason stands above")
        say("installing GRUB, in the image's first boot")
        run("qemu-img", "convert", "-O", "qcow2", work / "disk.raw", work / DISK)
        _install_bootloader(work)
        (work / DISK).rename(kept.pristine)
        say(f"made in {time.monotonic() - begin:.0f} s: {kept.pristine.relative_to(CHECKOUT)}")
    finally:
        shutil.rmtree(work)


def _install_bootloader(work: Path) -> None:
    log = work / SERIAL_LOG
    arguments = hardware(MEMORY_MIB, CORES, seed=False)
    arguments += ["-kernel", str(work / "vmlinuz"), "-initrd", str(work / "initrd.img")]
    arguments += ["-append", "root=LABEL=cloudimg-rootfs rw console=ttyS0 init=/first_boot.sh"]
    machine = Qemu(arguments, work)
    try:
        machine.command("cont")
        machine.wait(FIRST_BOOT_SECONDS)
    finally:
        if machine.alive:
            machine.kill()
    said = log.read_text(errors="replace") if log.exists() else ""
    if "first boot: done" not in said:
        raise QemuError(f"{BINARY}: GRUB could not be installed:\n{said[-3000:]}")

#!/usr/bin/env python3
"""Machines: Ubuntu 22.04 with a kernel, a boot loader and NVMe drives of their own, in QEMU.

    with Machine("name", disks=[NvmeDisk("models", "1 GiB", model="Samsung SSD 980 PRO 1TB")]).running() as vm:
        vm.shell("lsblk"); vm.reboot(); vm.power_cut(); vm.start()

A machine starts from a saved state, with its drives plugged in, unless it is asked to boot (cold=True, pristine=True).
What it leaves when its test fails lies in .cache/vm-logs. It ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.tools.bed import CACHE, parse_size
from tests.tools.qemu import Qemu, QemuError
from tests.tools.ssh import Ssh, SshError
from tests.tools.vm_image.images import CORES, DISK, MEMORY_MIB, PORTS, SEED, SERIAL_LOG, hardware, make_seed, overlay
from tests.tools.vm_image.states import LOAD, Saved, forwarded_port, saved

LOGS = CACHE / "vm-logs"
# Under emulation a boot takes a minute or two on an idle machine, and more on a busy one.
BOOT_SECONDS = 900
PLUG_SECONDS = 120
RESTORE_SECONDS = 180
# Flushing to the disk of this computer would protect from its own end, and no test is about that.
NODE_OPTIONS = {"discard": "unmap", "cache": {"no-flush": True}}


@dataclass
class NvmeDisk:
    """A drive: a sparse file beside the machine's disk. The kernel reads serial, model and firmware from the drive."""

    name: str
    size: str | int
    serial: str = ""  # at most 20 characters
    model: str = "QEMU NVMe Ctrl"  # at most 40
    firmware: str = "1.0"  # at most 8
    fault: str | None = None  # "read", "write", "flush": each one is answered with an I/O error
    block_bytes: int = 512

    def __post_init__(self) -> None:
        """Fill in the serial, and refuse what does not fit into a drive's identity."""
        self.serial = self.serial or f"VM{self.name.upper()}"
        if len(self.serial) > 20 or len(self.model) > 40 or len(self.firmware) > 8:
            raise ValueError(f"{self}: a serial has at most 20 characters, a model 40, a firmware 8")

    @property
    def size_bytes(self) -> int:
        """Return the size of the drive."""
        return self.size if isinstance(self.size, int) else parse_size(self.size)


def sweep(folder: Path) -> None:
    """Remove what machines left whose process was killed."""
    for lock in folder.glob("*/lock"):
        with contextlib.suppress(OSError), lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)


@dataclass
class Machine:
    """One virtual machine. After a power cut or an end, ``start`` boots it again with the same disks."""

    name: str
    disks: list[NvmeDisk] = field(default_factory=list)
    memory: str = f"{MEMORY_MIB} MiB"  # another size than the saved state's means a boot
    cores: int = CORES
    cold: bool = False  # boot, instead of going on from the saved state
    pristine: bool = False  # boot the image that was never booted: cloud-init runs for the first time
    user_data: str = ""  # for cloud-init, with pristine; {key} stands for the public key
    disk_size: str = "16G"  # of the machine's own disk, with pristine
    image: Path | None = None  # boot this disk, which stays as it is

    def __post_init__(self) -> None:
        """Prepare what lives as long as the machine."""
        self._qemu: Qemu | None = None
        self._ssh: Ssh | None = None
        self._lock: IO[str] | None = None
        self._ports: dict[str, int] = {}
        self._nodes_of: dict[str, list[str]] = {}  # drive → its file, then the faults it was given
        self._nodes = 0
        self._used = False

    # -- where ----------------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Return where the machine's disks lie."""
        return CACHE / "vm" / self.name

    def backing_file(self, disk: NvmeDisk | str) -> Path:
        """Return the file that holds a drive's content; look into it after ``sync`` or when the machine is off."""
        return self.folder / f"{disk if isinstance(disk, str) else disk.name}.raw"

    @property
    def serial_log(self) -> Path:
        """Return what the machine wrote on its console."""
        return self.folder / SERIAL_LOG

    @property
    def port(self) -> int:
        """Return the loopback port behind which sshd listens."""
        return self._connection().port

    @property
    def key(self) -> Path:
        """Return the private key that root and ubuntu take."""
        return self._connection().key

    @property
    def qemu(self) -> Qemu:
        """Return the running process."""
        if self._qemu is None or not self._qemu.alive:
            raise QemuError(f"machine {self.name} does not run")
        return self._qemu

    def qemu_runs(self) -> bool:
        """Tell whether the machine is on."""
        return self._qemu is not None and self._qemu.alive

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self, *, wait: bool = True) -> Machine:
        """Bring the machine up, from its saved state the first time; ``wait=False`` does not wait for sshd."""
        if self.qemu_runs():
            return self
        boots = self.cold or self.pristine or self.image is not None or self._used
        boots = boots or self.cores != CORES or parse_size(self.memory) != MEMORY_MIB << 20
        kept = saved(live=not boots)
        if not self._used:
            self._make_disks(kept, boots=boots)
        self._used = True
        self._qemu = self._launch(kept, boots=boots)
        for disk in self.disks:
            self._attach(disk)
        self._name_models(self.disks)
        self._qemu.command("cont")
        if self._ssh is not None:
            self._ssh.forget()
        self._ssh = Ssh(forwarded_port(self._qemu), kept.images.key)
        (self.folder / "ssh_config").write_text(self._ssh.config(self.name))
        if wait:
            self.wait_for_ssh()
        if not boots:
            self._leave_the_past()
        return self

    def wait_for_ssh(self, seconds: float = BOOT_SECONDS) -> None:
        """Wait until the machine takes a connection."""
        self._connection().open(seconds, self.qemu_runs)

    def wait_for_boot(self, seconds: float = BOOT_SECONDS) -> str:
        """Wait until systemd has started what it starts, and return how it judges the machine."""
        done = self._connection().run("systemctl", "is-system-running", "--wait", check=False, timeout=seconds)
        return done.stdout.strip()

    def power_cut(self) -> None:
        """Kill QEMU. What the guest has not yet written to its drives is lost."""
        self.qemu.kill()
        self._connection().close()

    def shutdown(self, seconds: float = 300) -> None:
        """Power off as an administrator would."""
        self.exec("systemctl", "poweroff", check=False)
        self.qemu.wait(seconds)
        self._connection().close()

    def reboot(self, seconds: float = BOOT_SECONDS) -> None:
        """Reboot as an administrator would, and wait for systemd to have started what it starts."""
        before = self.boot_id()
        self.exec("systemctl", "reboot", check=False)
        end = time.monotonic() + seconds
        while True:
            self._connection().close()
            time.sleep(2)
            self.wait_for_ssh(end - time.monotonic())
            with contextlib.suppress(SshError):
                if self.boot_id() != before:
                    break
            if time.monotonic() > end:
                raise QemuError(f"machine {self.name} did not reboot within {seconds:.0f} s")
        self.wait_for_boot()

    def boot_id(self) -> str:
        """Return what differs from boot to boot."""
        return self.shell("cat /proc/sys/kernel/random/boot_id").strip()

    def stop(self, *, keep: bool = False) -> None:
        """End the machine and remove its disks."""
        if self._qemu is not None and self._qemu.alive:
            self._qemu.kill()
        if self._ssh is not None:
            self._ssh.forget()
            self._ssh = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._used = False

    @contextlib.contextmanager
    def running(self) -> Iterator[Machine]:
        """Start the machine, and end it; keep its console's log when the test fails."""
        try:
            yield self.start()
        except BaseException:
            self.keep_logs()
            raise
        finally:
            self.stop()

    def keep_logs(self) -> None:
        """Copy what tells why the machine failed to where it outlives the machine."""
        LOGS.mkdir(parents=True, exist_ok=True)
        for name in (SERIAL_LOG, "qemu.log"):
            if (self.folder / name).exists():
                shutil.copy(self.folder / name, LOGS / f"{self.name}-{name}")

    # -- use ------------------------------------------------------------------------------------------------------

    def exec(
        self, *argv: str, check: bool = True, stdin: str | bytes | None = None, timeout: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root."""
        return self._connection().run(*argv, check=check, stdin=stdin, timeout=timeout)

    def shell(self, script: str, check: bool = True, timeout: float | None = None) -> str:
        """Run a script as root and return what it wrote."""
        return self.exec("sh", "-euc", script, check=check, timeout=timeout).stdout

    def put(self, source: Path, target: str) -> None:
        """Copy a file, or what a directory holds into a directory."""
        if source.is_dir():
            packed = subprocess.run(["tar", "-C", str(source), "-c", "."], check=True, capture_output=True).stdout
            self.exec("sh", "-c", 'mkdir -p "$1" && tar -C "$1" -x --no-same-owner', "-", target, stdin=packed)
        else:
            script = 'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"'
            mode = f"{source.stat().st_mode & 0o777:o}"
            self.exec("sh", "-c", script, "-", target, mode, stdin=source.read_bytes())

    def write(self, target: str, text: str) -> None:
        """Write a file."""
        self.exec("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "-", target, stdin=text)

    def host_variables(self, user: str = "ubuntu") -> dict[str, Any]:
        """Return what Ansible needs to reach the machine, as a user who may sudo without a password."""
        return {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": user,
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        }

    def set_memory(self, size: str | int) -> None:
        """Take memory from the guest, or give it back; never more than it began with."""
        self.qemu.set_balloon(size if isinstance(size, int) else parse_size(size))

    # -- drives ---------------------------------------------------------------------------------------------------

    def device(self, disk: NvmeDisk | str) -> str:
        """Return the path of a drive in the machine, by its serial; fail when it has none."""
        serial = disk if isinstance(disk, str) else disk.serial
        script = 'for c in /sys/class/nvme/*; do [ "$(cat $c/serial | xargs)" != "$1" ] || ls -d $c/nvme*n1; done'
        found = self.exec("sh", "-c", script, "-", serial).stdout.split()
        if len(found) != 1:
            raise QemuError(f"machine {self.name} has {len(found)} drives with serial {serial}")
        return "/dev/" + found[0].rpartition("/")[2]

    def plug(self, disk: NvmeDisk) -> None:
        """Plug a drive in: into the running machine, or for its next start. What its file held, it still holds."""
        self._make_drive(disk)
        self.disks.append(disk)
        if not self.qemu_runs():
            return
        self.qemu.command("stop")
        self._attach(disk)
        self._name_models([disk])
        self.qemu.command("cont")
        self._wait_for_drives()

    def unplug(self, disk: NvmeDisk) -> None:
        """Take a drive out, running or not. Its file stays, for ``plug``."""
        self.disks.remove(disk)
        if not self.qemu_runs():
            return
        self.qemu.command("device_del", id=disk.name)
        self.qemu.wait_for_event("DEVICE_DELETED", lambda data: data.get("device") == disk.name, PLUG_SECONDS)
        for node in reversed(self._nodes_of.pop(disk.name)):
            self.qemu.command("blockdev-del", **{"node-name": node})
        del self._ports[disk.name]

    def set_fault(self, disk: NvmeDisk, fault: str | None) -> None:
        """Let the running machine's drive answer every "read", "write" or "flush" with an I/O error, or work again."""
        disk.fault = fault
        node = self._nodes_of[disk.name][0]
        if fault:
            self._nodes += 1
            rule = {"event": "none", "iotype": fault, "errno": errno.EIO, "once": False}
            layer = {"driver": "blkdebug", "node-name": f"fault{self._nodes}", "image": node, "inject-error": [rule]}
            self.qemu.command("blockdev-add", **layer, **NODE_OPTIONS)
            node = f"fault{self._nodes}"
            self._nodes_of[disk.name].append(node)
        self.qemu.command("qom-set", path=f"/machine/peripheral/{disk.name}", property="drive", value=node)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _connection(self) -> Ssh:
        if self._ssh is None:
            raise QemuError(f"machine {self.name} was not started")
        return self._ssh

    def _make_disks(self, kept: Saved, *, boots: bool) -> None:
        sweep(self.folder.parent)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        # Kept open as long as this process lives: it says that the folder is in use.
        self._lock = (self.folder / "lock.new").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (self.folder / "lock.new").rename(self.folder / "lock")
        if self.pristine:
            overlay(kept.images.pristine, self.folder / DISK, self.disk_size)
        else:
            overlay(self.image or (kept.ready if boots else kept.live / DISK), self.folder / DISK)
        if self.user_data:
            public = kept.images.public_key
            make_seed(
                self.folder / SEED, self.user_data.replace("{key}", public), instance=self.name, hostname=self.name
            )
        else:
            shutil.copy(kept.seed, self.folder / SEED)
        for disk in self.disks:
            self._make_drive(disk)

    def _make_drive(self, disk: NvmeDisk) -> None:
        with self.backing_file(disk).open("ab") as file:
            if file.tell() != disk.size_bytes:
                file.truncate(disk.size_bytes)

    def _launch(self, kept: Saved, *, boots: bool) -> Qemu:
        self._ports = {}
        arguments = hardware(parse_size(self.memory) >> 20, self.cores, seed=True)
        if boots:
            return Qemu(arguments, self.folder)
        (self.folder / "state.zst").symlink_to(kept.live / "state.zst")
        machine = Qemu([*arguments, "-incoming", LOAD], self.folder)
        try:
            machine.wait_until(
                lambda: machine.command("query-status")["status"] != "inmigrate", RESTORE_SECONDS, "restoring the state"
            )
        except QemuError:
            machine.kill()
            raise
        return machine

    def _attach(self, disk: NvmeDisk) -> None:
        port = next(number for number in range(PORTS) if number not in self._ports.values())
        self._nodes += 1
        node = f"drive{self._nodes}"
        file = {"driver": "file", "filename": f"{disk.name}.raw", **NODE_OPTIONS}
        self.qemu.command("blockdev-add", **{"driver": "raw", "node-name": node, "file": file, **NODE_OPTIONS})
        identity: dict[str, Any] = {"id": disk.name, "serial": disk.serial, "drive": node, "bus": f"port{port}"}
        block = {"logical_block_size": disk.block_bytes, "physical_block_size": disk.block_bytes}
        self.qemu.command("device_add", driver="nvme", **identity, **block)
        self._ports[disk.name] = port
        self._nodes_of[disk.name] = [node]
        if disk.fault:
            self.set_fault(disk, disk.fault)

    def _name_models(self, disks: list[NvmeDisk]) -> None:
        self.qemu.name_models({disk.serial: (disk.model, disk.firmware) for disk in disks})

    def _wait_for_drives(self) -> None:
        serials = {disk.serial for disk in self.disks}
        self.qemu.wait_until(lambda: serials <= self._serials(), PLUG_SECONDS, f"drives {sorted(serials)}")
        self.exec("udevadm", "settle")

    def _serials(self) -> set[str]:
        said = self.shell("for n in /sys/class/nvme/*/nvme*n1; do [ ! -e $n ] || cat $n/device/serial; done")
        return set(said.split())

    def _leave_the_past(self) -> None:
        """The state is of the day when it was saved."""
        self.shell(f"date -u -s @{time.time():.0f} >/dev/null; hwclock --systohc --utc")
        self._wait_for_drives()

"""A QEMU process: how it is started, spoken to and ended, and whether KVM works here."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import platform
import re
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

BINARY = "qemu-system-x86_64"
PR_SET_PDEATHSIG = 1
# A boot sector that makes page tables, enters long mode, counts to 200 million (a tenth of a second, or minutes where
# each instruction is emulated) and writes 0x2a to the port of isa-debug-exit, which ends QEMU with (0x2a << 1) | 1.
# There are hypervisors whose KVM runs only kernels made for them: their real mode works, and this never ends there.
PROBE_CODE = bytes.fromhex(
    "fa31c08ed88ec066bf001000000f22df66b9000c00006631c0fc66f3abc7060010032"
    "0c70600200330c706003083000f20e00c200f22e066b9800000c00f3280cc010f300f"
    "01167e7c0f20c0660d010000800f22c066ea5d7c00000800b900c2eb0bffc975fc66b"
    "af400b02aeef4000000000000000000000000009a20000f006e7c0000"
)
PROBE_STATUS = 85
PROBE_DISK_BYTES = 1 << 20
NVME_MODEL = b"QEMU NVMe Ctrl".ljust(40)
SERIAL_BYTES, MODEL_BYTES, FIRMWARE_BYTES = 20, 40, 8
LARGEST_HEAP_MAP = 1 << 30
COMMAND_SECONDS = 60


class QemuError(RuntimeError):
    """QEMU could not do what was asked; the text says why."""


@functools.cache
def version() -> str:
    """Return the version of QEMU, such as 7.2.22."""
    try:
        said = subprocess.run([BINARY, "--version"], check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise QemuError(f"{BINARY} is not here; tools/qemu.sh installs it") from None
    match = re.search(r"version (\S+)", said)
    return match[1] if match else said.strip()


@functools.cache
def kvm_works() -> bool:
    """Tell whether a guest really executes under KVM. A /dev/kvm that opens may still run nothing."""
    if platform.machine() != "x86_64" or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with tempfile.NamedTemporaryFile(suffix=".img") as boot:
        boot.write(PROBE_CODE.ljust(510, b"\0") + b"\x55\xaa")
        boot.flush()
        boot.truncate(PROBE_DISK_BYTES)
        command = [BINARY, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35,accel=kvm"]
        command += ["-cpu", "host", "-m", "64M", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
        command += ["-drive", f"file={boot.name},format=raw,if=ide"]
        try:
            return subprocess.run(command, check=False, capture_output=True, timeout=5).returncode == PROBE_STATUS
        except subprocess.TimeoutExpired:
            return False


def accelerator(cores: int) -> list[str]:
    """Return the arguments that make the guest run as fast as it can here."""
    if kvm_works():
        return ["-accel", "kvm", "-cpu", "host", "-smp", str(cores)]
    return ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(cores)]


def _end_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


class Qemu:
    """One process. It ends with the process that started it, however that one ends."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        version()
        mine, theirs = socket.socketpair()
        command = [BINARY, *arguments, "-chardev", f"socket,id=qmp,fd={theirs.fileno()}"]
        command += ["-mon", "chardev=qmp,mode=control"]
        parent = os.getpid()
        with (folder / "qemu.log").open("a") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                preexec_fn=lambda: _end_with(parent),
            )
        theirs.close()
        self._folder = folder
        self._socket = mine
        self._buffer = b""
        self._events: list[dict[str, Any]] = []
        self._read(30)  # the greeting
        self.command("qmp_capabilities")

    @property
    def alive(self) -> bool:
        """Tell whether the process runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Pull the plug."""
        self.process.kill()
        self.process.wait()
        self._socket.close()

    def wait(self, seconds: float) -> None:
        """Wait for the process to end by itself, which it does when the guest powers off."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise QemuError(f"the machine did not power off within {seconds:.0f} s") from None
        self._socket.close()

    # -- the monitor ----------------------------------------------------------------------------------------------

    def command(self, name: str, /, **arguments: Any) -> Any:
        """Run a command of the monitor."""
        with contextlib.suppress(BrokenPipeError):  # the reason comes with the answer
            self._socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        end = time.monotonic() + COMMAND_SECONDS
        while True:
            message = self._read(end - time.monotonic())
            if "event" in message:
                self._events.append(message)
            elif "error" in message:
                raise QemuError(f"{name} {json.dumps(arguments)}: {message['error']['desc']}")
            else:
                return message["return"]

    def human(self, line: str) -> str:
        """Run a command of the monitor for humans."""
        said: str = self.command("human-monitor-command", **{"command-line": line})
        return said

    def wait_for_event(self, name: str, wanted: Callable[[dict[str, Any]], bool], seconds: float) -> None:
        """Wait for an event whose data is wanted; what came earlier and was not waited for counts."""
        end = time.monotonic() + seconds
        while True:
            for index, event in enumerate(self._events):
                if event["event"] == name and wanted(event.get("data", {})):
                    del self._events[: index + 1]
                    return
            message = self._read(end - time.monotonic())
            self._events.append(message)

    def set_balloon(self, size_bytes: int, seconds: float = 120) -> None:
        """Leave the guest so much of its memory."""
        self.command("balloon", value=size_bytes)
        self.wait_until(
            lambda: bool(self.command("query-balloon")["actual"] == size_bytes),
            seconds,
            f"memory of {size_bytes} bytes",
        )

    def wait_until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Ask again and again."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise QemuError(f"{what}: not within {seconds:.0f} s")
            time.sleep(0.1)

    def _read(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._socket], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise QemuError(f"QEMU said nothing within {seconds:.0f} s")
            try:
                received = self._socket.recv(65536)
            except ConnectionResetError:
                received = b""
            if not received:
                self.process.wait(10)
                log = (self._folder / "qemu.log").read_text(errors="replace")
                raise QemuError(f"QEMU ended with {self.process.returncode}:\n{log[-2000:]}")
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    # -- NVMe models ----------------------------------------------------------------------------------------------

    def name_models(self, models: dict[str, tuple[str, str]]) -> None:
        """Give NVMe controllers a model and firmware, by their serials; the guest must be stopped.

        QEMU's device takes a serial and no model. What the controller will answer to Identify lies ready in QEMU's own
        memory: serial, model, firmware, one after another. That is overwritten, and stays as long as the device does.
        """
        wanted = {serial.encode().ljust(SERIAL_BYTES): value for serial, value in models.items()}
        with open(f"/proc/{self.process.pid}/mem", "r+b", buffering=0) as memory:
            for start, end in self._heap():
                memory.seek(start)
                try:
                    content = memory.read(end - start)
                except OSError:
                    continue  # a guard page
                for found in re.finditer(re.escape(NVME_MODEL), content):
                    serial = content[max(0, found.start() - SERIAL_BYTES) : found.start()]
                    if serial in wanted:
                        model, firmware = wanted.pop(serial)
                        memory.seek(start + found.start())
                        memory.write(model.encode().ljust(MODEL_BYTES) + firmware.encode().ljust(FIRMWARE_BYTES))
        if wanted:
            raise QemuError(f"QEMU {version()} does not keep the model of NVMe drives where it is looked for: {wanted}")

    def _heap(self) -> Iterable[tuple[int, int]]:
        """Return the process's own memory, without what it maps of files and what it gives to the guest as RAM."""
        for line in Path(f"/proc/{self.process.pid}/maps").read_text().splitlines():
            span, access, _, _, inode, *path = line.split()
            start, end = (int(part, 16) for part in span.split("-"))
            if access.startswith("rw") and inode == "0" and end - start < LARGEST_HEAP_MAP and path in ([], ["[heap]"]):
                yield start, end

"""A machine for those who cannot hold one open themselves: molecule's playbooks, and a person with a shell.

vm_hold.py up NAME --drive 'models,2 GiB,Samsung SSD 980 PRO 1TB' --hub DIR --with molecule
vm_hold.py down NAME
vm_hold.py shell NAME

`up` leaves a process behind that holds the machine, and ends with it when told to, when the machine powers off, or when
the process named by --with (the nearest above this one) is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from tests.tools.bed import CACHE, CHECKOUT, BedError, serve_hub
from tests.tools.qemu import QemuError, kvm_works
from tests.tools.ssh import SshError
from tests.tools.vm import Machine, NvmeDisk


def pid_file(name: str) -> Path:
    """Return where the holder of a machine leaves its number."""
    return CACHE / "vm" / f"{name}.pid"


def facts_file(name: str) -> Path:
    """Return where it is said how to reach a machine, in variables of Ansible."""
    return CACHE / "vm" / f"{name}.json"


def _status(pid: int) -> list[str]:
    """Return the fields of a process's status after its name: state, parent …; none when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return []


def _started(pid: int) -> str:
    fields = _status(pid)
    return fields[19] if fields and fields[0] != "Z" else ""


def _words(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    return []


def owner(program: str) -> int:
    """Return the nearest process above this one that runs a program."""
    pid = os.getppid()
    while pid > 1:
        if any(Path(word).name == program for word in _words(pid)[:3]):
            return pid
        fields = _status(pid)
        pid = int(fields[1]) if fields else 0
    raise QemuError(f"no process above this one runs {program}; the machine would have nobody to end with")


def hold(machine: Machine, owner_pid: int | None, hub: Path | None, ready: int) -> None:
    """Start a machine, say so through a pipe, and end it when it is not wanted any more."""
    ended: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        ended.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    owner_start = _started(owner_pid) if owner_pid else ""
    try:
        machine.start()
        if hub:
            serve_hub(machine, hub)
        facts = json.dumps(machine.host_variables())
        facts_file(machine.name).write_text(facts)
        os.write(ready, facts.encode())
    except (QemuError, SshError, BedError) as error:
        machine.keep_logs()
        os.write(ready, json.dumps({"error": str(error)}).encode())
        ended.append(0)
    os.close(ready)
    while not ended and machine.qemu_runs() and (owner_pid is None or _started(owner_pid) == owner_start):
        time.sleep(1)
    machine.keep_logs()
    machine.stop()
    facts_file(machine.name).unlink(missing_ok=True)
    pid_file(machine.name).unlink(missing_ok=True)


def up(machine: Machine, owner_pid: int | None, hub: Path | None) -> dict[str, str]:
    """Start a machine, held by a process in the background, and return how to reach it."""
    down(machine.name)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(reader)
        null = os.open(os.devnull, os.O_RDWR)
        log = os.open(machine.folder.parent / f"{machine.name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number, target in ((0, null), (1, log), (2, log)):
            os.dup2(target, number)
        try:
            hold(machine, owner_pid, hub, writer)
        finally:
            os._exit(0)
    os.close(writer)
    pid_file(machine.name).write_text(str(pid))
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    answer: dict[str, str] = json.loads(said or json.dumps({"error": "the machine's holder ended"}))
    if "error" in answer:
        raise QemuError(answer["error"])
    return answer


def down(name: str) -> None:
    """End a machine that ``up`` started."""
    pid_file(name).parent.mkdir(parents=True, exist_ok=True)
    try:
        pid = int(pid_file(name).read_text())
    except (OSError, ValueError):
        return
    # The number may be another's by now.
    start = _started(pid) if name in _words(pid) else ""
    if start:
        os.kill(pid, signal.SIGTERM)
        while _started(pid) == start:
            time.sleep(0.2)
    pid_file(name).unlink(missing_ok=True)


def shell(machine: Machine) -> None:
    """Let a person in, and end the machine when they leave."""
    with machine.running():
        config = (machine.folder / "ssh_config").relative_to(CHECKOUT)
        how = "KVM" if kvm_works() else "software emulation, ten times slower than this computer"
        print(f"machine {machine.name} runs by {how}. It ends with this command.\n  ssh -F {config} {machine.name}")
        command = ["ssh", "-F", str(config), machine.name]
        if sys.stdin.isatty():
            subprocess.run(command, check=False, cwd=CHECKOUT)
        else:
            with contextlib.suppress(KeyboardInterrupt):
                while machine.qemu_runs():
                    time.sleep(1)


def parse_drive(text: str) -> NvmeDisk:
    """Read 'name,size' or 'name,size,model'."""
    name, size, *model = (part.strip() for part in text.split(",", 2))
    return NvmeDisk(name, size, model=model[0]) if model else NvmeDisk(name, size)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Start and stop virtual machines that are Ubuntu 22.04 servers.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "shell"):
        command = commands.add_parser(name)
        command.add_argument("name")
        command.add_argument("--drive", action="append", default=[], metavar="NAME,SIZE[,MODEL]", type=parse_drive)
        command.add_argument("--image", type=Path, metavar="DISK", help="boot this disk, which stays as it is")
        command.add_argument("--cold", action="store_true", help="boot, instead of going on from the saved state")
        if name == "up":
            command.add_argument("--hub", type=Path, metavar="DIR", help="serve the models in DIR inside it")
            command.add_argument("--with", dest="program", metavar="PROGRAM", help="end with this program")
    commands.add_parser("down").add_argument("name")
    options = parser.parse_args(argv)
    try:
        if options.command == "down":
            down(options.name)
            return 0
        machine = Machine(options.name, disks=options.drive, cold=options.cold, image=options.image)
        if options.command == "shell":
            shell(machine)
        else:
            print(json.dumps(up(machine, owner(options.program) if options.program else None, options.hub)))
    except (QemuError, SshError, BedError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

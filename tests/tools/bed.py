#!/usr/bin/env python3
"""Beds: containers that are small Ubuntu 22.04 servers with systemd. Molecule, the demo and pytest start theirs here.

    with Bed("name", swap=True, loops=True).running() as bed:
        disk = bed.loop_disk("1 GiB")

or, as a command, `bed.py up NAME`. Nothing is privileged: Docker's own capabilities and SYS_ADMIN, which systemd and
mount(8) need. What a bed leaves in the kernel it shares with its host (loop devices, swap) goes when it is taken down.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
CACHE = Path(os.environ.get("LLMHOST_CACHE", CHECKOUT / ".cache"))
BED_DIR = "/srv/bed"  # where a bed sees its directory on the host's real filesystem
LOOP_RULES = ("--device-cgroup-rule", "b 7:* rmw", "--device-cgroup-rule", "c 10:237 rmw")
HUB_PORT = 9696

MAKE_LOOP_NODES = """
[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
for n in $(seq 0 63); do [ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done
"""
ATTACH_LOOP = (
    MAKE_LOOP_NODES
    + """
image=$1 size=$2 link=$3
[ -e "$image" ] || truncate -s "$size" "$image"
device=$(losetup -n -O NAME -j "$image")
[ -n "$device" ] || device=$(losetup -f --show "$image")
mkdir -p "$(dirname "$link")"
ln -sf "$device" "$link"
echo "$device"
"""
)
HUB_UNIT = f"""[Unit]
Description=Loopback hub of the test bed

[Service]
ExecStart=/usr/bin/python3 /srv/hub/loopback_hub.py --root /srv/hub/models --listen 127.0.0.1:{HUB_PORT} \
  --faults-file /srv/hub/faults.json
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""
START_HUB = f"""
systemctl daemon-reload
systemctl enable --quiet loopback-hub
systemctl restart loopback-hub
for i in $(seq 50); do ss -ltn | grep -q ':{HUB_PORT} ' && exit 0; sleep 0.1; done
journalctl -n 20 --no-pager -u loopback-hub
exit 1
"""
# A swap file outlives its container's mounts: only a path inside the container can switch it off.
SWAP_OFF = 'tail -n +2 /proc/swaps | while read -r path rest; do [ ! -f "$path" ] || swapoff "$path"; done'
# Run with the loop devices' backing files in sight, after the mounts on them are gone.
FREE_LOOPS = (
    MAKE_LOOP_NODES
    + f"""
for image in {BED_DIR}/*.img; do
  losetup -n -O NAME -j "$image" | while read -r device; do losetup -d "$device"; done
done
find {BED_DIR} -mindepth 1 -delete
"""
)


class BedError(RuntimeError):
    """A bed could not do what was asked; the text says why."""


def docker(*args: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *args], check=False, capture_output=True, text=True, input=stdin)
    if check and done.returncode != 0:
        raise BedError(f"docker {shlex.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done


def build_image() -> str:
    """The name of the bed image, built first if this daemon lacks it."""
    done = subprocess.run([str(HERE / "image" / "build.sh")], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise BedError("the bed image could not be made; the reason stands above")
    return done.stdout.strip()


def parse_size(text: str) -> int:
    """'1 GiB', '64M' → bytes. Only what beds are given: binary multiples."""
    match = re.fullmatch(r"\s*(\d+)\s*([KMGT]?)(?:i?B)?\s*", text)
    if not match:
        raise ValueError(f"not a size: {text!r}")
    return int(match[1]) << 10 * " KMGT".index(match[2] or " ")


def _digest(script: Path, models: Path) -> str:
    """What tells this hub from another: the program, and the names, sizes and times of the files that it serves."""
    digest = hashlib.sha256(script.read_bytes())
    for path in sorted(models.rglob("*")):
        status = path.stat()
        digest.update(f"{path.relative_to(models)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


class Host(Protocol):
    """A server that a test owns, whatever it is made of."""

    def exec(self, *argv: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]: ...

    def shell(self, script: str, check: bool = True) -> str: ...

    def put(self, source: Path, target: str) -> None: ...

    def write(self, target: str, text: str) -> None: ...


def serve_hub(host: Host, models: Path) -> None:
    """Serve a directory of models (org/repo/file…) to a host from a loopback hub inside it, as a unit."""
    key = _digest(HERE / "loopback_hub.py", models)
    if key in host.exec("sh", "-c", "systemctl is-active -q loopback-hub && cat /srv/hub/key", check=False).stdout:
        return
    host.put(models, "/srv/hub/models")
    host.put(HERE / "loopback_hub.py", "/srv/hub/loopback_hub.py")
    host.write("/etc/systemd/system/loopback-hub.service", HUB_UNIT)
    host.shell(START_HUB)
    host.write("/srv/hub/key", key)


@dataclass
class Bed:
    name: str
    swap: bool = False  # may it switch on a swap file?
    loops: bool = False  # may it use loop devices?
    mounts: dict[str, str] = field(default_factory=dict)  # directory on the host → path in the bed
    network: str = "bridge"

    @property
    def directory(self) -> Path:
        """On a real filesystem, for what overlay refuses (swap files, disk images)."""
        return CACHE / "beds" / self.name

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self) -> Bed:
        """Bring the bed up and wait for systemd. A bed that is up with the same image stays as it is."""
        image = build_image()
        state = self._state()
        if state and state[1] != docker("image", "inspect", "-f", "{{.Id}}", image).stdout.strip():
            self.stop()
            state = None
        if state is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            docker(*self._run_arguments(image))
        elif state[0] != "running":
            docker("start", self.name)
        self._wait_for_systemd()
        return self

    def stop(self) -> None:
        """Remove the container and everything of it that the host's kernel or disk still holds."""
        state = self._state()
        if state and state[0] == "running":
            self.exec("sh", "-c", SWAP_OFF, check=False)
        if state:
            docker("rm", "-f", "-v", self.name)
        if self.directory.is_dir() and any(self.directory.iterdir()):
            self._free_directory()
        shutil.rmtree(self.directory, ignore_errors=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[Bed]:
        try:
            yield self.start()
        finally:
            self.stop()

    # -- use ------------------------------------------------------------------------------------------------------

    def exec(self, *argv: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        interactive = () if stdin is None else ("-i",)
        return docker("exec", *interactive, self.name, *argv, check=check, stdin=stdin)

    def shell(self, script: str, check: bool = True) -> str:
        return self.exec("sh", "-euc", script, check=check).stdout

    def put(self, source: Path, target: str) -> None:
        """Copy a file, or what a directory holds into a directory."""
        whole = source.is_dir()
        self.exec("mkdir", "-p", target if whole else str(Path(target).parent))
        docker("cp", f"{source}/." if whole else str(source), f"{self.name}:{target}")

    def write(self, target: str, text: str) -> None:
        self.exec("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "-", target, stdin=text)

    def put_checkout(self, target: str) -> None:
        """Copy the working tree as git sees it: changes not yet committed too, ignored files not."""
        listed = ["git", "-C", str(CHECKOUT), "ls-files", "-co", "--exclude-standard", "-z"]
        names = subprocess.run(listed, check=True, capture_output=True).stdout
        pack = ["tar", "-C", str(CHECKOUT), "-c", "--owner=0", "--group=0", "--ignore-failed-read", "--null", "-T", "-"]
        packed = subprocess.run(pack, check=True, capture_output=True, input=names).stdout
        self.exec("mkdir", "-p", target)
        subprocess.run(["docker", "cp", "-", f"{self.name}:{target}"], check=True, capture_output=True, input=packed)

    def loop_disk(self, size: str | int, name: str = "disk") -> str:
        """A blank disk: a sparse file on the host's filesystem behind a loop device. Returns the device's path.

        Which loop device is free differs each time: the link /dev/disk/by-id/bed-<name> does not.
        """
        if not self.loops:
            raise BedError(f"bed {self.name} was started without loop devices")
        size_bytes = size if isinstance(size, int) else parse_size(size)
        image = f"{BED_DIR}/{name}.img"
        link = f"/dev/disk/by-id/bed-{name}"
        return self.exec("sh", "-euc", ATTACH_LOOP, "-", image, str(size_bytes), link).stdout.strip()

    def serve_hub(self, models: Path) -> None:
        """Serve a directory of models (org/repo/file…) to the bed from a loopback hub inside it, as a unit."""
        serve_hub(self, models)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _state(self) -> tuple[str, str] | None:
        """(status, image id) of the container, or None where there is none."""
        done = docker("container", "inspect", "-f", "{{.State.Status}} {{.Image}}", self.name, check=False)
        if done.returncode != 0:
            return None
        status, image = done.stdout.split()
        return status, image

    def _run_arguments(self, image: str) -> list[str]:
        arguments = ["run", "-d", "--name", self.name, "--hostname", self.name, "--network", self.network]
        arguments += ["--cgroupns=private", "--cap-add", "SYS_ADMIN", "--stop-signal", "SIGRTMIN+3"]
        arguments += ["--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec"]
        arguments += ["-v", f"{self.directory}:{BED_DIR}", *self._security()]
        for source, target in self.mounts.items():
            Path(source).mkdir(parents=True, exist_ok=True)
            arguments += ["-v", f"{Path(source).resolve()}:{target}"]
        if self.loops:
            arguments += LOOP_RULES
        return [*arguments, image]

    def _security(self) -> list[str]:
        # Docker's AppArmor profile denies every mount(2), and its seccomp filter swapon(2): the second is replaced, and
        # only where it must be, by one that still refuses what reaches beyond the container.
        options: list[str] = []
        if "apparmor" in docker("info", "-f", "{{.SecurityOptions}}").stdout:
            options += ["--security-opt", "apparmor=unconfined"]
        if self.swap:
            options += ["--security-opt", f"seccomp={HERE / 'image' / 'seccomp.json'}"]
        return options

    def _wait_for_systemd(self, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            state = self.exec("systemctl", "is-system-running", check=False).stdout.strip()
            if state in ("running", "degraded"):
                return
            time.sleep(0.2)
        log = docker("logs", "--tail", "20", self.name, check=False)
        raise BedError(f"systemd did not come up in bed {self.name} within {seconds:.0f} s\n{log.stdout}{log.stderr}")

    def _free_directory(self) -> None:
        """What is left there belongs to root, and loop devices may hold it: a short-lived helper sees to both."""
        volume = f"{self.directory}:{BED_DIR}"
        helper = ("--rm", "--cap-add", "SYS_ADMIN", *LOOP_RULES, *self._security(), "-v", volume)
        docker("run", *helper, build_image(), "sh", "-c", FREE_LOOPS)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Start and stop the containers that stand for Ubuntu 22.04 servers.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a bed (again); prints its name and disks as JSON")
    up.add_argument("name")
    up.add_argument("--swap", action="store_true", help="let it switch on swap files")
    up.add_argument("--disk", action="append", default=[], metavar="SIZE", help="give it a blank loop disk")
    up.add_argument("--mount", action="append", default=[], metavar="DIR:PATH", help="show it a directory of the host")
    up.add_argument("--hub", type=Path, metavar="DIR", help="serve the models in DIR from a loopback hub inside it")
    up.add_argument("--checkout", metavar="PATH", help="copy this working tree into it")
    down = commands.add_parser("down", help="remove a bed and what it holds")
    down.add_argument("name")
    options = parser.parse_args(argv)
    try:
        if options.command == "down":
            Bed(options.name).stop()
            return 0
        mounts = dict(mount.split(":", 1) for mount in options.mount)
        bed = Bed(options.name, swap=options.swap, loops=bool(options.disk), mounts=mounts).start()
        disks = [bed.loop_disk(size, f"disk{number}") for number, size in enumerate(options.disk)]
        if options.checkout:
            bed.put_checkout(options.checkout)
        if options.hub:
            bed.serve_hub(options.hub)
    except BedError as error:
        print(f"bed: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"name": bed.name, "disks": disks}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

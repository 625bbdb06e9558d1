"""Swap on a kernel and drives of its own: every filesystem, a reboot, and what a model larger than RAM needs it for."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.model_query import ModelQuery
from ansible_collections.llmhost.core.plugins.module_utils.plan.planner import plan as make_plan

from tests.bed.runtime import stored_archive
from tests.tools.bed import CHECKOUT
from tests.tools.make_model import PRESETS, write_gguf
from tests.tools.vm import Machine, NvmeDisk

MIB, GIB = 2**20, 2**30
STORAGE = "/srv/llmhost"
MODEL = f"{STORAGE}/model.gguf"
LIBRARY = "/opt/in-guest"
SHARED = "ansible_collections/llmhost/core/plugins/module_utils"
ASK = f"PYTHONPATH={LIBRARY} python3 {LIBRARY}/in_guest.py"
DISKS = {name: NvmeDisk(name, "1 GiB", serial=f"SWAP{name.upper()}") for name in ("first", "second")}
STATE = "/etc/llmhost/state/swap.json"
# With less than this the machine itself is out of room; the model is larger than all of it.
LITTLE_MEMORY = 768 * MIB
PORT = 8093
SERVE = (
    f"/opt/llama/bin/llama-server --model {MODEL} --port {PORT} --ctx-size 64 --parallel 1 --threads 2 --fit off "
    "--no-warmup --cache-ram 0 --offline"
)
ANSWER = (
    "import urllib.request, json; body = json.dumps({'prompt': 'a', 'n_predict': 1}).encode(); "
    f"request = urllib.request.Request('http://127.0.0.1:{PORT}/completion', body, "
    "{'Content-Type': 'application/json'}); print(json.load(urllib.request.urlopen(request))['tokens_predicted'])"
)


def swap_plan(path: str, size: int, **changes: Any) -> dict[str, Any]:
    """Return what the plan says of swap."""
    return {"path": path, "size_bytes": size, "priority": 10, "swappiness": 10, **changes}


class Guest:
    """The machine, and what is asked of it."""

    def __init__(self, vm: Machine, model: Path) -> None:
        self.vm = vm
        self._model = ModelQuery(str(model), "main", "").read(lambda: pytest.fail("the model is a file"))

    def plan(self, facts: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the plan for the model, on the filesystem that it lies on."""
        wanted = {"model": "local", "accelerator": "cpu", "context": "2048"}
        wanted |= {"storage_devices": "none", "storage_path": STORAGE}
        made = make_plan(
            facts or self.ask("facts"), self._model, {f"llmhost_{key}": value for key, value in wanted.items()}
        )
        assert [found for found in made["findings"] if found["level"] == "error"] == []
        return made

    def ask(self, name: str, *arguments: Any) -> Any:
        """Return the answer of ``in_guest.py``."""
        return json.loads(self.vm.exec("sh", "-c", f"{ASK} {name} {shlex.quote(json.dumps(arguments))}").stdout)

    def areas(self) -> dict[str, tuple[int, int]]:
        """Return size and priority of the active areas."""
        rows = [line.split() for line in self.vm.shell("tail -n +2 /proc/swaps").splitlines()]
        return {row[0]: (int(row[2]) * 1024, int(row[4])) for row in rows}

    def memory(self, name: str) -> int:
        """Return a figure of /proc/meminfo in bytes."""
        return int(self.vm.shell(f"awk '/^{name}:/ {{print $2}}' /proc/meminfo")) * 1024

    def play(self, folder: Path, plan: dict[str, Any]) -> None:
        """Run the role against the machine as a user does."""
        role = {"name": "Swap", "ansible.builtin.import_role": {"name": "llmhost.core.swap"}}
        (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [role]}]))
        hosts = {self.vm.name: {**self.vm.host_variables(), "ansible_become": True}}
        (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(folder / "hosts.yml")]
        command += ["-e", json.dumps({"llmhost_plan": {"swap": plan["swap"]}}), str(folder / "play.yml")]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, command: str, ready: str, *properties: str) -> str:
        """Run a command as a service until it is ready or ended; return the state that it is in."""
        limits = " ".join(f"-p {text}" for text in properties)
        self.vm.shell("systemctl stop loads 2>/dev/null || true; systemctl reset-failed loads 2>/dev/null || true")
        self.vm.shell(f"systemd-run -q -u loads {limits} -- {command}")
        for _ in range(600):
            state = self.vm.shell("systemctl show -p ActiveState --value loads").strip()
            if state != "active" or self.vm.exec("sh", "-c", ready, check=False).returncode == 0:
                return state
            time.sleep(1)
        raise AssertionError(self.vm.shell("journalctl -q -n 50 -u loads"))

    def serve(self, mode: str) -> str:
        """Load the model and let it answer with one token; return the state of the server."""
        state = self.run(f"{SERVE} --load-mode {mode}", f"curl -fs http://127.0.0.1:{PORT}/health")
        if state == "active":
            assert self.vm.shell(f"python3 -c {shlex.quote(ANSWER)}").strip() == "1"
        return state

    def fill(self, mebibytes: int, *properties: str) -> str:
        """Write to so much memory in a service, which then keeps it; return its state."""
        self.vm.shell("rm -f /run/filled")
        return self.run(f"env {ASK} fill '[{mebibytes}, \"/run/filled\"]'", "test -e /run/filled", *properties)

    def swapped(self) -> int:
        """Return how many bytes of the service are swapped out."""
        return int(self.vm.shell("cat /sys/fs/cgroup/system.slice/loads.service/memory.swap.current"))

    def stop_serving(self) -> int:
        """Stop the service, and return how many bytes of it were swapped out."""
        found = self.swapped()
        self.vm.shell("systemctl stop loads")
        return found

    def unit(self, path: str) -> str:
        """Return how systemd writes a path."""
        return self.vm.shell(f"systemd-escape -p {path}").strip()

    def started(self, unit: str) -> int:
        """Return when a unit became active, in microseconds of this boot."""
        return int(self.vm.shell(f"systemctl show -p ActiveEnterTimestampMonotonic --value {unit}"))

    def facts_overcommit(self) -> tuple[int, int]:
        """Return the kernel's overcommit, and what it was before llmhost set it."""
        facts = self.ask("facts")
        return facts["memory"]["overcommit"], facts["state"]["swap"]["before"]["vm.overcommit_memory"]


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """Start the machine, with a model on a drive of its own, and bring the runtime and the library in."""
    folder = tmp_path_factory.mktemp("model")
    # Half of it is the table of the tokens, of which an answer needs few rows: that half stays swapped out.
    spec = replace(PRESETS["tiny"], words=10000, embedding=8192, heads=4, kv_heads=2, head_dim=64, feed_forward=256)
    write_gguf(folder / "model.gguf", spec, "F32")
    with Machine(f"swap-{os.getpid()}", disks=list(DISKS.values())).running() as vm:
        drive = NvmeDisk("model", "8 GiB", serial="SWAPMODEL")
        make = ["mke2fs", "-q", "-t", "ext4", "-m", "0", "-d", str(folder), str(vm.backing_file(drive)), "8G"]
        subprocess.run(make, check=True)
        vm.plug(drive)
        vm.put(CHECKOUT / "plugins/module_utils", f"{LIBRARY}/{SHARED}")
        vm.put(Path(__file__).with_name("in_guest.py"), f"{LIBRARY}/in_guest.py")
        vm.put(stored_archive(), "/opt/llama.tar.gz")
        vm.shell(
            f"mkdir -p /opt/llama {STORAGE} && tar -C /opt/llama --strip-components 1 -xzf /opt/llama.tar.gz; "
            f"echo {vm.device(drive)} {STORAGE} ext4 defaults,nofail,x-systemd.device-timeout=30s 0 2 >> /etc/fstab; "
            f"systemctl daemon-reload; mount {STORAGE}"
        )
        yield Guest(vm, folder / "model.gguf")


PLACES = {
    "ext4": ("", "mkfs.ext4 -qF", "{first}", "swapfile"),
    "xfs": ("", "mkfs.xfs -qf", "{first}", "swapfile"),
    "btrfs": ("", "mkfs.btrfs -qf", "{first}", "swap/swapfile"),
    "RAID 0": (
        "mdadm --quiet --create /dev/md/t --run --level 0 --raid-devices 2 {first} {second}",
        "mkfs.ext4 -qF",
        "/dev/md/t",
        "swapfile",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_swap_file_is_made_grown_shrunk_made_again_and_taken_away(guest: Guest, place: str) -> None:
    devices = {name: guest.vm.device(disk) for name, disk in DISKS.items()}
    assemble, make, device, name = (text.format(**devices) for text in PLACES[place])
    guest.vm.shell(f"{assemble or 'true'}; {make} {device}; mkdir -p /mnt/t; mount {device} /mnt/t")
    path, sizes = f"/mnt/t/{name}", (64 * MIB, 128 * MIB, 32 * MIB)
    wanted = [swap_plan(path, size) for size in sizes for _ in range(2)]
    answers = guest.ask("swap", *wanted, swap_plan(path, 64 * MIB, ephemeral=True))
    for number, size in enumerate(sizes):
        made, again = answers[2 * number : 2 * number + 2]
        assert (made["refused"], made["areas"]) == ("", {path: [size - 4096, 10]})
        assert made["fstab"] == [path]
        assert again["actions"] == []
    assert answers[-1]["fstab"] == []
    # As after a stop: the disk is empty, and the boot has made the filesystem again.
    guest.vm.shell(f"swapoff {path}; umount /mnt/t; {make} {device}; mount {device} /mnt/t")
    made, again, gone = guest.ask("swap", None, None, swap_plan(path, 0, swappiness=None))
    assert (made["refused"], made["areas"]) == ("", {path: [64 * MIB - 4096, 10]})
    assert again["actions"] == []
    assert gone["areas"] == {}
    left = guest.vm.shell(f"ls -A /mnt/t; ls {STATE} /etc/sysctl.d/60-llmhost.conf 2>/dev/null || true").split()
    assert left in ([], ["lost+found"])
    guest.vm.shell(
        f"umount /mnt/t; [ ! -e /dev/md/t ] || mdadm --quiet --stop /dev/md/t; wipefs -qa {' '.join(devices.values())}"
    )


def test_zram_is_no_room_for_weights_but_counts_for_what_the_kernel_promises(guest: Guest) -> None:
    sparse = f"{STORAGE}/sparse"
    guest.vm.shell(f"truncate -s {guest.memory('MemTotal') + 64 * MIB} {sparse}")
    assert guest.ask("private_mapping", sparse) == "ENOMEM"
    guest.vm.shell(
        "modprobe zram; udevadm settle; echo 256M > /sys/block/zram0/disksize; mkswap /dev/zram0; "
        "swapon -p 100 /dev/zram0"
    )
    facts = guest.ask("facts")
    assert [(area["path"], area["priority"]) for area in facts["memory"]["swaps"]] == [("/dev/zram0", 100)]
    assert guest.ask("private_mapping", sparse) == "mapped"
    guest.vm.shell(f"swapoff /dev/zram0; rm {sparse}")
    # On a machine with so little RAM that the model needs swap, and with zram of several times that.
    facts["memory"]["total_bytes"] = LITTLE_MEMORY
    facts["memory"]["swaps"][0]["size_bytes"] = 4 * GIB
    with_zram = guest.plan(facts)["swap"]
    facts["memory"]["swaps"] = []
    without = guest.plan(facts)["swap"]
    assert (with_zram["priority"], without["priority"]) == (101, 10)
    assert with_zram["size_bytes"] == without["size_bytes"] > 0


def test_a_model_larger_than_ram_loads_with_the_planned_swap_and_not_without(guest: Guest, tmp_path: Path) -> None:
    guest.vm.set_memory(LITTLE_MEMORY)
    ram, size = guest.memory("MemTotal"), int(guest.vm.shell(f"stat -c %s {MODEL}"))
    assert ram < size
    # Copied, as without a map, or mapped privately, as torch maps safetensors: the kernel grants no more than it has.
    assert guest.areas() == {}
    assert guest.serve("none") == "failed"
    assert "allocate" in guest.vm.shell("journalctl -q -u loads")
    assert guest.ask("private_mapping", MODEL) == "ENOMEM"
    # Mapped as a file, it need not be in RAM as a whole.
    assert guest.serve("mmap") == "active"
    guest.stop_serving()

    plan = guest.plan()
    assert (plan["verdict"], plan["runtime"]["memory_swap_max_bytes"]) == ("fits", None)
    guest.play(tmp_path, plan)
    assert guest.areas() == {plan["swap"]["path"]: (plan["swap"]["size_bytes"] - 4096, 10)}
    assert ram + plan["swap"]["size_bytes"] > size
    assert guest.ask("private_mapping", MODEL) == "mapped"
    assert guest.serve("none") == "active"
    assert guest.stop_serving() > 0
    assert guest.plan()["swap"] == plan["swap"]


def test_a_service_swaps_what_the_plan_lets_it(guest: Guest) -> None:
    """The swap of the test before is there. Without a bound a service in a limit swaps; with 0 it never does."""
    assert guest.areas() != {}
    assert guest.fill(96, "MemoryMax=48M") == "active"
    assert guest.swapped() > 0
    assert guest.fill(96, "MemoryMax=48M", "MemorySwapMax=0") == "failed"
    assert guest.fill(96, "MemorySwapMax=0") == "active"
    # The machine as a whole runs out of RAM: others are swapped out.
    guest.ask("fill", guest.memory("MemAvailable") // MIB + 64, None)
    assert guest.memory("SwapFree") < guest.memory("SwapTotal")
    assert guest.swapped() == 0


def test_overcommit_maps_any_file_and_swap_and_settings_outlive_a_reboot(guest: Guest, tmp_path: Path) -> None:
    sparse = f"{STORAGE}/sparse"
    guest.vm.shell(f"truncate -s 8G {sparse}")
    assert guest.ask("private_mapping", sparse) == "ENOMEM"
    plan = guest.plan()
    plan["swap"]["overcommit_memory"] = 1
    guest.play(tmp_path, plan)
    assert guest.ask("private_mapping", sparse) == "mapped"
    guest.vm.set_memory(2 * GIB)

    guest.vm.reboot()

    path = plan["swap"]["path"]
    assert guest.areas() == {path: (plan["swap"]["size_bytes"] - 4096, 10)}
    assert guest.ask("private_mapping", sparse) == "mapped"
    units = [f"{unit}.{kind}" for unit, kind in ((guest.unit(STORAGE), "mount"), (guest.unit(path), "swap"))]
    moments = [guest.started(unit) for unit in [*units, "sysinit.target"]]
    assert moments == sorted(moments)
    assert guest.facts_overcommit() == (1, 0)
    plan["swap"].pop("overcommit_memory")
    kept, gone = guest.ask("swap", plan["swap"], swap_plan(path, 0, swappiness=None))
    assert kept["actions"] != []
    assert (gone["refused"], gone["areas"], gone["fstab"]) == ("", {}, [])
    left = guest.vm.shell(f"ls {STATE} 2>/dev/null || true; cat /proc/sys/vm/overcommit_memory /proc/sys/vm/swappiness")
    assert left.split() == ["0", "60"]

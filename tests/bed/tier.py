"""The whole tier against one bed: playbooks/intermediate.yml as a user runs it, with a real hub inside the bed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tools.bed import CACHE, CHECKOUT, HUB_PORT, Bed
from tests.tools.demo_model import QUANTIZATION, REPO, models_directory

HUB = f"http://127.0.0.1:{HUB_PORT}"
MODEL = f"{REPO}:{QUANTIZATION}"
DISK = "/dev/disk/by-id/bed-models"
KEY_FILE = "/etc/llmhost/credentials/api_key"
PLAN_FILE = "/etc/llmhost/plan.json"
STORAGE = "/srv/llmhost"
USUAL = {
    "llmhost_storage_devices": DISK,
    "llmhost_swap": "64 MiB",
    "llmhost_download_stall_seconds": 4,
    "llmhost_archive_dir": str(CACHE / "archives"),
}

# A PUT of faults, and a GET of the log, from inside: the hub listens on the bed's own loopback.
CALL_HUB = """
import sys, urllib.request
method, path, body = sys.argv[1:]
request = urllib.request.Request(sys.argv[0] and "%s" + path, body.encode() or None, method=method)
print(urllib.request.urlopen(request, timeout=10).read().decode())
""".replace("%s", HUB)

# Everything of the host that llmhost could change. What is left out belongs to the bed and to Ansible itself.
FINGERPRINT = r"""
find /etc /srv /opt /usr/local /var/lib/dpkg /var/lib/apt/lists /var/lib/systemd /var/cache/llmhost* /run/llmhost \
  -xdev \( -path /srv/hub -o -path /srv/bed -o -path '/var/lib/systemd/*/*' \) -prune -o \
  -printf '%p %y %m %U %G %s %l\n' 2>/dev/null | sort
find /etc /srv /opt /usr/local /var/cache/llmhost* /run/llmhost -xdev \( -path /srv/hub -o -path /srv/bed \) -prune -o \
  -type f -print0 2>/dev/null | xargs -0r sha256sum | sort
awk '{print $1, $2, $3, $4}' /proc/mounts | grep -v '/run/credentials' | sort
while read -r path rest; do [ ! -e "$path" ] || echo "$path $rest"; done < /proc/swaps | awk '{print $1, $2, $3, $5}'
sysctl vm.swappiness
systemctl list-units --no-legend --plain --state=active --type=service,mount,swap,timer | awk '{print $1}' | sort
systemctl list-unit-files --no-legend | awk '{print $1, $2}' | sort
ss -Hltn | awk '{print $4}' | sort
"""

# As bare as a bed can become without making it anew: what is downloaded from registries stays.
MAKE_BARE = f"""
systemctl stop llmhost-inference llmhost-model-fetch llmhost-runtime-build 2>/dev/null || true
for file in {STORAGE}/swapfile; do swapoff $file 2>/dev/null || true; done
while mountpoint -q {STORAGE}; do umount {STORAGE}; done
chattr -i {STORAGE} 2>/dev/null || true
rm -rf {STORAGE} /etc/llmhost /etc/llmhost-api /opt/llmhost/[!h]* /run/llmhost /var/cache/llmhost* \\
  /var/cache/private/llmhost* /etc/systemd/system/llmhost-* /etc/systemd/system/*.wants/llmhost-* \\
  /etc/sysctl.d/60-llmhost.conf
sed -i '\\#{STORAGE}#d; /llmhost/d' /etc/fstab
rm -f /usr/local/share/ca-certificates/llmhost* /etc/apt/apt.conf.d/*llmhost*
update-ca-certificates >/dev/null 2>&1 || true
for user in llmhost-inference llmhost-models; do ! id $user >/dev/null 2>&1 || userdel $user; done
systemctl daemon-reload
systemctl reset-failed
[ ! -e {DISK} ] || blkdiscard --force --zeroout {DISK}
"""

# The hub's client, the packages that the roles install, and the lists that tell apt of them.
NO_PACKAGES = """
rm -rf /opt/llmhost
there=$(dpkg-query -W -f '${Package} ' python3-venv python3.10-venv python3-pip-whl 2>/dev/null || true)
[ -z "$there" ] || DEBIAN_FRONTEND=noninteractive apt-get -qq -y purge $there >/dev/null
rm -rf /var/lib/apt/lists/* && touch -d @0 /var/lib/apt/lists
"""


@dataclass(frozen=True)
class Run:
    """How a run of a playbook ended."""

    rc: int
    text: str

    @property
    def changed(self) -> int:
        """Return how many tasks changed the host, by the recap."""
        found = re.findall(r"\bchanged=(\d+)", self.text)
        assert found, f"no host was reached:\n{self.text}"
        return int(found[-1])

    @property
    def changed_tasks(self) -> list[str]:
        """Return the names of the tasks that changed the host."""
        tasks = re.split(r"^TASK \[", self.text, flags=re.MULTILINE)[1:]
        return [task.partition("]")[0] for task in tasks if re.search(r"^changed: ", task, re.MULTILINE)]

    def says(self, *patterns: str) -> None:
        """Assert that the run failed, and that its output matches every pattern; lines may be broken anywhere."""
        assert self.rc != 0, f"nothing failed:\n{self.text}"
        assert "Traceback" not in self.text, self.text
        flat = " ".join(self.text.split())
        for pattern in patterns:
            assert re.search(pattern, flat), f"{pattern!r} is not said:\n{self.text}"


@dataclass
class Tier:
    """A bed as a host of an inventory, with the variables that molecule and the demo use."""

    bed: Bed
    folder: Path
    known: str = ""  # the fingerprint, as long as nobody has changed the host on purpose

    # -- playbooks ------------------------------------------------------------------------------------------------

    def start(self, *options: str, playbook: str = "intermediate", **variables: Any) -> subprocess.Popen[str]:
        """Start a playbook in a process group of its own."""
        inventory = self._inventory()
        command = [str(Path(sys.executable).with_name("ansible-playbook")), f"playbooks/{playbook}.yml"]
        command += ["-i", str(inventory), "-e", json.dumps({**USUAL, **variables}), *options]
        # Into a file: what a killed run leaves running would hold a pipe open.
        with (self.folder / "output.txt").open("w") as output:
            return subprocess.Popen(
                command,
                cwd=CHECKOUT,
                # Unbuffered, so that last_task tells the task that runs now.
                env={**os.environ, "PYTHONUNBUFFERED": "1", "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def wait(self, process: subprocess.Popen[str], timeout: float = 300) -> Run:
        """Wait for the end of a playbook."""
        try:
            rc = process.wait(timeout)
        except subprocess.TimeoutExpired:
            kill(process)
            raise AssertionError(f"no end after {timeout:.0f} s:\n{(self.folder / 'output.txt').read_text()}") from None
        return Run(rc, (self.folder / "output.txt").read_text())

    def last_task(self) -> str:
        """Return the name of the task that the latest run was in."""
        names = re.findall(
            r"^(?:TASK|RUNNING HANDLER) \[(.+)\]", (self.folder / "output.txt").read_text(), re.MULTILINE
        )
        return names[-1] if names else "none"

    def run(self, *options: str, **variables: Any) -> Run:
        """Run a playbook to its end, whatever that is."""
        return self.wait(self.start(*options, **variables))

    def converge(self, *options: str, **variables: Any) -> Run:
        """Run a playbook that must succeed."""
        done = self.run(*options, **variables)
        assert done.rc == 0, done.text
        return done

    def refuse(self, *options: str, says: tuple[str, ...], **variables: Any) -> Run:
        """Run a playbook that must fail with these words and leave the host exactly as it was."""
        before = self.known or self.fingerprint()
        done = self.run(*options, **variables)
        done.says(*says)
        self.known = self.fingerprint()
        assert self.known == before, "\n".join(sorted(set(before.splitlines()) ^ set(self.known.splitlines())))
        return done

    def _inventory(self) -> Path:
        folder = self.folder / "inventory"
        if not folder.is_dir():
            folder.mkdir()
            (folder / "group_vars").symlink_to(CHECKOUT / "inventories/demo/group_vars")
            host = {self.bed.name: None}
            (folder / "hosts.yml").write_text(
                json.dumps({"all": {"children": {"intermediate": {"children": {"beds": {"hosts": host}}}}}})
            )
        return folder

    # -- the host -------------------------------------------------------------------------------------------------

    def shell(self, script: str) -> str:
        """Run a script in the bed and return what it wrote."""
        return self.bed.shell(script).strip()

    def fingerprint(self) -> str:
        """Return the state of the host, a line for each thing."""
        return self.bed.shell(FINGERPRINT)

    def make_bare(self, *, packages: bool) -> None:
        """Take everything away, or all but ``packages``; not by the roles, which are what is tested."""
        self.bed.shell(MAKE_BARE)
        if not packages:
            self.bed.shell(NO_PACKAGES)

    def plan(self) -> str:
        """Return the saved plan."""
        return self.bed.shell(f"cat {PLAN_FILE}")

    def assert_serves(self) -> None:
        """Assert what a user would look at: the answer with the key, the refusal without, and nothing half-done."""
        plan = json.loads(self.plan())
        assert self._models_status("") == "401"
        key = self.shell(f"cat {KEY_FILE}")
        assert self._models_status(key) == "200"
        path = plan["cache"]["model_path"]
        checksum = plan["model"]["files"][0]["sha256"]
        assert self.shell(f"sha256sum < {path}").split()[0] == checksum
        assert self.leftovers() == ""
        assert self.shell("systemctl show -P ActiveState llmhost-model-fetch") != "activating"

    def leftovers(self) -> str:
        """Return temporary and partial files, and those of a killed write; empty on a host that is done."""
        looked_at = f"{STORAGE} /etc/llmhost /opt/llmhost /etc/systemd/system /etc/fstab* /run/llmhost"
        names = " -o ".join(f"-name '{name}'" for name in ("*.incomplete", "*.new", "*.tmp", "*.part*", ".*.new", "*~"))
        return self.shell(f"find {looked_at} \\( {names} \\) -print 2>/dev/null || true")

    def _models_status(self, key: str) -> str:
        ask = (
            "import urllib.request, urllib.error, sys\n"
            "request = urllib.request.Request('http://127.0.0.1:8080/v1/chat/completions', "
            'b\'{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}\', '
            "{'Authorization': 'Bearer ' + sys.argv[1], 'Content-Type': 'application/json'})\n"
            "try: print(urllib.request.urlopen(request, timeout=60).status)\n"
            "except urllib.error.HTTPError as error: print(error.code)\n"
        )
        return self.bed.exec("python3", "-c", ask, key).stdout.strip()

    # -- the hub --------------------------------------------------------------------------------------------------

    @contextmanager
    def faults(self, *faults: dict[str, Any]) -> Iterator[None]:
        """Let the hub misbehave for a while."""
        self.bed.exec("python3", "-c", CALL_HUB, "PUT", "/-/faults", json.dumps(faults))
        try:
            yield
        finally:
            self.bed.exec("python3", "-c", CALL_HUB, "DELETE", "/-/faults", "")

    def forget_requests(self) -> None:
        """Empty the hub's log."""
        self.bed.exec("python3", "-c", CALL_HUB, "DELETE", "/-/log", "")

    def requests(self) -> dict[str, Any]:
        """Return the hub's log."""
        log: dict[str, Any] = json.loads(self.bed.exec("python3", "-c", CALL_HUB, "GET", "/-/log", "").stdout)
        return log


@contextmanager
def started(name: str, folder: Path, models: Path | None = None) -> Iterator[Tier]:
    """Start a bed with a blank disk and a hub, and take it down in the end."""
    with Bed(name, swap=True, loops=True).running() as bed:
        bed.loop_disk("1 GiB", "models")
        bed.serve_hub(models or models_directory())
        yield Tier(bed, folder)


def hub_with(folder: Path) -> Path:
    """Return a directory for a hub that holds the demo's model, to put further repositories into."""
    shutil.copytree(models_directory(), folder, dirs_exist_ok=True)
    return folder


def kill(process: subprocess.Popen[str], *, workers: bool = True) -> None:
    """SIGKILL a run: its process group, and the workers, which ansible-core puts into sessions of their own."""
    family = _descendants(process.pid) if workers else []
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(") ")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found

"""The packages of the roles on a host whose real apt is busy, interrupted, out of date or broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bed.conftest import LOCAL_CERTIFICATES
from tests.tools.bed import CHECKOUT, Bed

# Holds a lock as apt does, under the name of who holds it on a cloud's first boot, for so many seconds.
HOLD = """
cat > /usr/local/bin/unattended-upgrade <<'END'
#!/usr/bin/python3
import fcntl, pathlib, sys, time
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
pathlib.Path("/run/held").touch()
time.sleep(float(sys.argv[2]))
END
chmod 755 /usr/local/bin/unattended-upgrade
rm -f /run/held
systemd-run --quiet --collect --unit=first-boot /usr/local/bin/unattended-upgrade $1 $2
for i in $(seq 100); do [ -e /run/held ] && exit 0; sleep 0.1; done
exit 1
"""
# A package whose installation stands still half way, and a dpkg that is killed there.
CUT_OFF = """
mkdir -p /tmp/slow/DEBIAN
printf 'Package: slow\\nVersion: 1\\nArchitecture: all\\nMaintainer: nobody <n@x>\\nDescription: slow\\n' \
  > /tmp/slow/DEBIAN/control
printf '#!/bin/sh\\n[ -e /run/quick ] || { echo $$ > /run/reached; exec sleep 600; }\\n' > /tmp/slow/DEBIAN/postinst
chmod 755 /tmp/slow/DEBIAN/postinst
dpkg-deb --build /tmp/slow /tmp/slow.deb >/dev/null
rm -f /run/reached /run/quick
dpkg -i /tmp/slow.deb >/dev/null 2>&1 &
for i in $(seq 100); do [ ! -s /run/reached ] || break; sleep 0.1; done
kill -9 $! $(cat /run/reached)
touch /run/quick
dpkg-query -W -f '${Status}' slow
"""


class Apt:
    """The host, and the module run on it as a role would."""

    def __init__(self, bed: Bed, folder: Path) -> None:
        self.bed = bed
        self.folder = folder

    def install(self, *names: str, check: bool = False, **options: Any) -> tuple[int, str]:
        arguments = {"name": list(names), "poll": 1, **options}
        task = {"name": "Install", "llmhost.core.packages": arguments, "check_mode": check}
        (self.folder / "play.yml").write_text(json.dumps([{"hosts": "bed", "gather_facts": False, "tasks": [task]}]))
        host = {"ansible_host": self.bed.name, "ansible_connection": "community.docker.docker"}
        (self.folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"bed": host}}}))
        playbook = str(Path(sys.executable).with_name("ansible-playbook"))
        done = subprocess.run(
            [playbook, "-i", str(self.folder / "hosts.yml"), "-v", str(self.folder / "play.yml")],
            cwd=CHECKOUT,
            env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def status(self, name: str) -> str:
        return self.bed.shell(f"dpkg-query -W -f '${{Status}}' {name} 2>/dev/null || true")

    def hold(self, path: str, seconds: float) -> None:
        self.bed.exec("sh", "-euc", HOLD, "-", path, str(seconds))


@pytest.fixture(scope="module")
def apt_bed() -> Iterator[Bed]:
    with Bed(f"llmhost-packages-{os.getpid()}").running() as started:
        for certificate in LOCAL_CERTIFICATES.glob("*.crt"):
            started.put(certificate, str(certificate))
        started.shell("update-ca-certificates >/dev/null 2>&1")
        yield started


@pytest.fixture
def apt(apt_bed: Bed, tmp_path: Path) -> Iterator[Apt]:
    yield Apt(apt_bed, tmp_path)
    apt_bed.shell("systemctl stop first-boot 2>/dev/null || true")
    apt_bed.shell("for name in bc slow; do dpkg --purge $name >/dev/null 2>&1 || true; done")


def done(text: str) -> list[str]:
    """Return what the module says that it did."""
    actions: list[str] = json.loads(text[text.index("=> {") + 3 : text.rindex("}\n\nPLAY RECAP") + 1])["actions"]
    return actions


@pytest.mark.parametrize(
    "lock",
    ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock"],
)
def test_it_waits_for_whoever_holds_a_lock(apt: Apt, lock: str) -> None:
    apt.hold(lock, 8)
    rc, text = apt.install("bc")
    assert rc == 0, text
    assert re.search(
        r"\[bed\] waiting for unattended-upgrade \(pid \d+ of first-boot\.service\) to release apt's lock", text
    ), text
    assert apt.status("bc") == "install ok installed"


def test_the_wait_has_a_bound(apt: Apt) -> None:
    apt.hold("/var/lib/dpkg/lock-frontend", 600)
    rc, text = apt.install("bc", timeout=2)
    assert rc == 2, text
    assert re.search(r"Still waiting for unattended-upgrade \(pid \d+ .*\) to release apt's lock after 2 s\.", text), (
        text
    )
    assert apt.status("bc") != "install ok installed"


def test_what_is_installed_is_not_waited_for(apt: Apt) -> None:
    apt.hold("/var/lib/dpkg/lock-frontend", 600)
    rc, text = apt.install("dpkg", "libc6", timeout=2)
    assert (rc, "changed=0" in text) == (0, True), text


def test_a_dpkg_that_was_killed(apt: Apt) -> None:
    apt.bed.shell(CUT_OFF)
    assert apt.status("slow") == "install ok half-configured"
    rc, text = apt.install("bc")
    assert rc == 0, text
    assert apt.status("bc") == "install ok installed"
    assert apt.status("slow") == "install ok installed"


def test_no_lists(apt: Apt) -> None:
    apt.bed.shell("rm -rf /var/lib/apt/lists/*")
    rc, text = apt.install("bc")
    assert rc == 0, text
    assert done(text) == ["apt-get update", "apt-get install --no-install-recommends bc"]


def test_old_lists(apt: Apt) -> None:
    """The version that the lists name is no longer at the source: that is an error 404."""
    lists = "$(grep -l '^Package: bc$' /var/lib/apt/lists/*_Packages)"
    apt.bed.shell(f"apt-get clean; sed -i -E 's#^(Filename: pool/main/b/bc/bc)_[^_]+_#\\1_0.0.1_#' {lists}")
    rc, text = apt.install("bc")
    assert rc == 0, text
    install = "apt-get install --no-install-recommends bc"
    assert done(text) == [install, "apt-get update", install, "apt-get update", install]


def test_damaged_lists(apt: Apt) -> None:
    apt.bed.shell("for f in /var/lib/apt/lists/*_Packages; do head -c 3000 /dev/urandom > $f; done")
    rc, text = apt.install("bc")
    assert rc == 0, text
    assert apt.status("bc") == "install ok installed"


def test_what_nobody_has(apt: Apt) -> None:
    rc, text = apt.install("bc-that-nobody-has")
    assert rc == 2, text
    assert "bc-that-nobody-has: not installed, for apt says:" in text
    assert "Unable to locate package" in text
    assert "sources main and universe" in text


def test_check_mode_waits_for_nothing(apt: Apt) -> None:
    apt.hold("/var/lib/dpkg/lock-frontend", 600)
    rc, text = apt.install("bc", check=True, timeout=2)
    assert (rc, "changed=1" in text) == (0, True), text
    assert apt.status("bc") != "install ok installed"

"""The driver on a real kernel, on a machine without a GPU: all of it but the device.

One machine goes through a driver's life, in order: it comes, is left alone by what upgrades itself, moves to a newer
kernel, is upgraded in vain, is upgraded, and goes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bed.tier import Run
from tests.tools.driver_archive.machine import MODEL, SECOND, Archive, archive, disk, offer
from tests.tools.vm import Machine
from tests.vm.tier import VmTier

pytestmark = pytest.mark.long

DRIVER = "../molecule/vm-nvidia/converge"
WANTED: dict[str, Any] = {
    "llmhost_gpus": ["RTX 3090"],
    "llmhost_model": MODEL,
    "llmhost_storage_devices": "none",
    "llmhost_swap": "0",
    "llmhost_ca_certificates": [],
    "llmhost_proxy": {},
}
# What compiles, by any name.
COMPILERS = r"^(dkms|make|gcc(-\d+)?|cpp(-\d+)?|build-essential|nvidia-dkms-.*|linux-headers-.*)$"
# What the kernel writes when the module looks for GPUs and finds none.
LOADS_IN_VAIN = re.compile(
    r"nvidia: (loading out-of-tree module taints kernel|module verification failed)"
    r"|nvidia-nvlink: (Nvlink Core is being initialized, major device number \d+|Unregistered Nvlink Core, .*)"
    r"|NVRM: No NVIDIA GPU found\."
)
# A driver of another branch than ours does not load: only the proof finds that out.
TRAP = "/etc/modprobe.d/trap.conf"
TRAPPED = (
    "install nvidia case $(modinfo -F version nvidia) in {now}.*) modprobe --ignore-install nvidia;; *) exit 3;; esac\n"
)
DRY_RUN = "unattended-upgrade --dry-run --debug 2>&1"


@pytest.fixture(scope="module")
def packages() -> Archive:
    return archive()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VmTier]:
    with Machine(f"llmhost-nvidia-{os.getpid()}", image=disk()).running() as vm:
        yield VmTier(vm, tmp_path_factory.mktemp("nvidia"))  # type: ignore[arg-type]


def run(host: VmTier, playbook: str = DRIVER, **variables: Any) -> Run:
    return host.run(playbook=playbook, **{**WANTED, **variables})


def installed(host: VmTier, pattern: str = "") -> dict[str, str]:
    """Return the packages that are installed, with their versions."""
    rows = host.shell("dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Status}\\n'").splitlines()
    words = [row.split() for row in rows if row.endswith(" installed")]
    return {name: version for name, version, _ in words if re.search(pattern, name)}


def of_driver(host: VmTier) -> dict[str, str]:
    return installed(host, r"nvidia|^linux-image|^linux-modules")


def transactions(host: VmTier) -> int:
    return int(host.shell("grep -c ^Start-Date: /var/log/apt/history.log"))


def assert_modules_fit(host: VmTier, branch: str, kernel: str) -> None:
    """Assert that the kernel that runs takes the module, which misses nothing but a GPU."""
    assert host.shell("uname -r") == kernel
    version = host.shell("modinfo -F version nvidia")
    assert version.startswith(branch.partition("-")[0] + ".")
    for module in ("nvidia", "nvidia_uvm"):
        assert host.shell(f"modinfo -F vermagic {module}").split()[0] == kernel
        assert host.shell(f"modinfo -F version {module}") == version
    assert host.shell("modinfo -F signer nvidia"), "the kernel would refuse it under Secure Boot"
    libraries = host.shell("ls /usr/lib/x86_64-linux-gnu | sed -n 's/^libnvidia-ml[.]so[.]\\([0-9]*[.].*\\)/\\1/p'")
    assert libraries == version
    host.shell("dmesg --clear")
    done = host.bed.exec("modprobe", "nvidia", check=False)
    assert done.returncode != 0
    assert done.stderr.strip() == "modprobe: ERROR: could not insert 'nvidia': No such device"
    said = host.shell("dmesg --notime").splitlines()
    ours = [line for line in said if re.search("(?i)nvidia|nvrm|nouveau|module", line)]
    assert any("No NVIDIA GPU found" in line for line in ours), said
    assert [line for line in ours if not LOADS_IN_VAIN.search(line)] == []


def test_one_transaction_brings_finished_modules_and_no_compiler(host: VmTier, packages: Archive) -> None:
    before, boot = transactions(host), host.vm.boot_id()
    done = run(host)
    assert done.rc == 0, done.text
    assert transactions(host) == before + 1
    there = installed(host)
    assert f"linux-modules-nvidia-{packages.now}-open-{packages.older}" in there
    assert [name for name in there if re.search(COMPILERS, name)] == []
    assert host.vm.boot_id() == boot, "no restart was needed"


def test_the_kernel_takes_the_module_which_misses_nothing_but_a_gpu(host: VmTier, packages: Archive) -> None:
    assert_modules_fit(host, packages.now, packages.older)


def test_another_run_changes_nothing(host: VmTier) -> None:
    assert run(host).changed == 0


def test_holds_alone_keep_apt_from_driver_and_kernel(host: VmTier, packages: Archive) -> None:
    offer(host.vm, SECOND)
    host.shell("apt-get -qq update")
    loose = host.shell("apt-get -s -o APT::Ignore-Hold=true dist-upgrade")
    assert f"Inst nvidia-utils-{packages.now}" in loose, "nothing of the driver is newer: this proves nothing"
    assert f"Inst linux-image-{packages.newer}" in loose
    kept = host.shell("apt-get -s dist-upgrade")
    assert re.findall(r"^Inst (\S+)", kept, re.MULTILINE) == ["llmhost-probe"]


def test_the_blacklist_alone_keeps_unattended_upgrades_from_them(host: VmTier) -> None:
    held = host.shell("apt-mark showhold").split()
    host.shell(f"apt-mark unhold {' '.join(held)}")
    try:
        said = host.shell(DRY_RUN)
    finally:
        host.shell(f"apt-mark hold {' '.join(held)}")
    assert re.search(r"Packages that will be upgraded: llmhost-probe$", said, re.MULTILINE), said


def test_unattended_upgrades_run_and_leave_them_alone(host: VmTier) -> None:
    before = of_driver(host)
    host.shell("unattended-upgrade")
    assert installed(host, "^llmhost-probe$") == {"llmhost-probe": "2"}, "it upgraded nothing: this proves nothing"
    assert of_driver(host) == before


def test_a_newer_kernel_comes_with_its_modules_and_boots_with_them(host: VmTier, packages: Archive) -> None:
    done = run(host, playbook="upgrade_driver")
    assert done.rc == 0, done.text
    assert installed(host, "nvidia-utils")[f"nvidia-utils-{packages.now}"].endswith("+fixed")
    if host.shell("uname -r") == packages.older:
        host.vm.reboot()
    assert_modules_fit(host, packages.now, packages.newer)
    # The plan names the modules for the kernel that runs: of another one since the restart.
    assert [task for task in run(host).changed_tasks if not task.endswith("Save the plan")] == []
    assert run(host).changed_tasks == []


def test_an_upgrade_whose_proof_fails_goes_back(host: VmTier, packages: Archive) -> None:
    before, held = of_driver(host), host.shell("apt-mark showhold")
    host.vm.write(TRAP, TRAPPED.format(now=packages.now.partition("-")[0]))
    done = run(host, playbook="upgrade_driver", llmhost_driver_branch=packages.next)
    host.shell(f"rm {TRAP}")
    done.says("was not upgraded", "It went back to", "which works")
    assert of_driver(host) == before
    assert host.shell("apt-mark showhold") == held
    assert_modules_fit(host, packages.now, packages.newer)


def test_an_upgrade_to_another_branch_brings_all_of_it(host: VmTier, packages: Archive) -> None:
    done = run(host, playbook="upgrade_driver", llmhost_driver_branch=packages.next)
    assert done.rc == 0, done.text
    number = packages.now.partition("-")[0]
    assert [name for name in installed(host, "nvidia") if f"-{number}" in name] == []
    assert_modules_fit(host, packages.next, packages.newer)


def test_removal_leaves_a_machine_that_boots_and_may_use_nouveau(host: VmTier, packages: Archive) -> None:
    assert "blacklist nouveau" in host.shell("modprobe --showconfig")
    done = run(host, playbook="remove")
    assert done.rc == 0, done.text
    assert installed(host, "nvidia") == {}
    assert host.shell("apt-mark showhold") == ""
    host.vm.reboot()
    assert host.shell("uname -r") == packages.newer
    assert host.shell("systemctl --failed --no-legend --plain") == ""
    assert "nouveau" not in host.shell("modprobe --showconfig | grep -E '^(blacklist|alias) nouveau' || true")
    host.shell(f"apt-get -qq -y install linux-modules-extra-{packages.newer}")
    host.shell("modprobe nouveau")
    assert os.path.basename(host.shell("readlink -f /sys/module/nouveau")) == "nouveau"

"""The driver: installed as planned, pinned as one unit, and in use where there is a GPU to use."""

from __future__ import annotations

import re

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.driver.health import NO_DEVICE
from ansible_collections.llmhost.core.plugins.module_utils.driver.kernel_module import KernelModule
from ansible_collections.llmhost.core.plugins.module_utils.driver.settings import PERSISTENCE_UNIT, POWER_UNIT, Paths

from tests.acceptance.expectation import Figure, expect, expect_equal
from tests.acceptance.target import Target

RERUN = "run the tier's playbook again."
UPGRADE = "playbooks/upgrade_driver.yml brings all of it to one version."
FAMILY = r"^(lib)?nvidia-.*[0-9]|^linux-modules-nvidia-"
NODES = ("nvidiactl", "nvidia-uvm", "nvidia0")

pytestmark = pytest.mark.applied("nvidia_driver")


@pytest.fixture
def ours(target: Target) -> None:
    """Leave out what is promised only of a driver that llmhost has installed."""
    if target.slice("nvidia_driver")["source"] == "kept":
        pytest.skip("the driver was there before llmhost: it is kept as it is")


@pytest.fixture
def own_kernel(target: Target) -> None:
    """Leave out what needs modules of one's own."""
    if not target.slice("nvidia_driver")["modules"]:
        pytest.skip("a container has no modules: the driver is that of the machine around it")


@pytest.fixture
def gpu(target: Target) -> None:
    """Leave out what only a GPU shows."""
    if target.plan["gpus_declared"]:
        pytest.skip("the GPUs are declared: they are not in this machine")


def packages(target: Target) -> dict[str, tuple[str, str]]:
    """Return selection and version of each package that is installed as a whole."""
    rows = target.lines("dpkg-query --show --showformat='${Package} ${db:Status-Abbrev} ${Version}\\n'")
    words = [row.split() for row in rows]
    return {name: (status, version) for name, status, version in words if status in ("ii", "hi")}


def module(target: Target, kernel: str) -> KernelModule | None:
    """Return the module of the driver for a kernel."""
    return KernelModule.for_kernel(kernel, lambda argv: target.host.run(" ".join(["%s"] * len(argv)), *argv))


def next_kernel(target: Target) -> str:
    """Return the kernel that boots next: the newest that has modules."""
    return target.lines("ls -1 /boot/vmlinuz-* | sed 's,.*/vmlinuz-,,' | sort -V")[-1]


@pytest.mark.usefixtures("ours")
def test_the_planned_packages_are_installed(target: Target, figure: Figure) -> None:
    part, there = target.slice("nvidia_driver"), packages(target)
    missing = [name for name in part["packages"] if name not in there]
    figure("driver", f"{part['branch']} {part['flavour']}")
    expect(not missing, "packages of the driver", expected=part["packages"], found=f"no {missing}", remedy=RERUN)


@pytest.mark.usefixtures("ours")
def test_driver_and_kernel_are_held(target: Target) -> None:
    there = packages(target)
    wanted = {name for name in there if re.search(FAMILY, name)} | set(target.slice("nvidia_driver")["hold"])
    loose = sorted(name for name in wanted & set(there) if there[name][0] != "hi")
    expect(not loose, "holds", expected="all of the driver and its kernel", found=f"not {loose}", remedy=RERUN)


@pytest.mark.usefixtures("ours")
def test_unattended_upgrades_leave_the_driver_alone(target: Target) -> None:
    listed = target.lines("apt-config dump Unattended-Upgrade::Package-Blacklist")
    patterns = [match[1] for line in listed if (match := re.search(r'"(.+)";$', line))]
    names = [*target.slice("nvidia_driver")["hold"], "nvidia-firmware-580-server-580.178.04"]
    taken = [name for name in names if not any(re.match(pattern, name) for pattern in patterns)]
    expect(not taken, "Unattended-Upgrade::Package-Blacklist", expected=names, found=f"not {taken}", remedy=RERUN)


@pytest.mark.usefixtures("own_kernel")
def test_running_and_next_kernel_have_the_planned_module(target: Target, figure: Figure) -> None:
    part, running = target.slice("nvidia_driver"), target.output("uname", "-r").strip()
    for kernel in sorted({running, next_kernel(target)}):
        found = module(target, kernel)
        remedy = f"{RERUN} {UPGRADE}"
        expect(found is not None, f"module of the driver for {kernel}", expected="one", found="none", remedy=remedy)
        assert found
        figure(f"module for {kernel}", f"{found.version} {found.flavour or ''}".strip())
        fits = found.version.startswith(f"{part['branch'].split('-')[0]}.")
        expect(fits, f"branch for {kernel}", expected=part["branch"], found=found.version, remedy=remedy)
        if part["source"] != "kept":
            expect_equal(f"flavour for {kernel}", expected=part["flavour"], found=found.flavour, remedy=remedy)
        if part["secure_boot"]:
            signed = bool(found.signer)
            expect(
                signed, f"signature for {kernel}", expected="one", found="none", remedy="llmhost_driver_source: ubuntu"
            )


@pytest.mark.usefixtures("own_kernel", "ours")
def test_module_and_library_are_of_one_version(target: Target) -> None:
    names = target.lines("ls -1 /usr/lib/*-linux-gnu/ | grep -E '^libnvidia-ml[.]so[.][0-9]+[.]'")
    found = [name.removeprefix("libnvidia-ml.so.") for name in names]
    loaded = target.lines("cat /sys/module/nvidia/version 2>/dev/null")
    on_disk = module(target, target.output("uname", "-r").strip())
    wanted = loaded or [on_disk.version if on_disk else "none"]
    remedy = f"restart the host, or {UPGRADE}"
    expect_equal("version of libnvidia-ml", expected=wanted, found=found, remedy=remedy)


@pytest.mark.usefixtures("own_kernel")
def test_the_modules_are_loaded_at_boot(target: Target) -> None:
    path = str(Paths().modules)
    found = target.lines(f"grep -v '^#' {path} 2>/dev/null")
    wanted = target.slice("nvidia_driver")["modules"]
    expect_equal(f"modules in {path}", expected=wanted, found=found, remedy=RERUN)


@pytest.mark.usefixtures("ours")
def test_nouveau_stays_away(target: Target) -> None:
    found = target.lines("modprobe --showconfig | grep -E '^blacklist nouveau$'")
    expect(bool(found), "blacklist of nouveau", expected="one", found="none", remedy=RERUN)
    loaded = target.host.run("test -d /sys/module/nouveau").rc == 0
    expect(not loaded, "module nouveau", expected="not loaded", found="loaded", remedy="restart the host.")


@pytest.mark.usefixtures("ours")
def test_the_units_start_with_the_host(target: Target) -> None:
    part = target.slice("nvidia_driver")
    units = [PERSISTENCE_UNIT] if part["persistence"] else []
    units += [POWER_UNIT] if part["power_limit_watts"] else []
    units += ["nvidia-fabricmanager.service"] if part["fabric_manager"] else []
    for unit in units:
        found = target.unit_property("UnitFileState", unit)
        expect_equal(f"start of {unit} at boot", expected="enabled", found=found, remedy=RERUN)


@pytest.mark.usefixtures("own_kernel")
def test_without_its_gpu_the_module_ends_for_that_reason_alone(target: Target) -> None:
    if not target.plan["gpus_declared"]:
        pytest.skip("the GPUs are in this machine")
    answer = target.host.run("modprobe nvidia")
    said = f"{answer.stdout}{answer.stderr}".strip()
    remedy = "journalctl -k -g NVRM says more; a module for another kernel or without a signature ends otherwise."
    expect(NO_DEVICE in said, "modprobe nvidia", expected=NO_DEVICE, found=said or "loaded", remedy=remedy)


@pytest.mark.usefixtures("gpu")
def test_every_gpu_answers(target: Target, figure: Figure) -> None:
    answer = target.host.run("nvidia-smi --list-gpus")
    expect_equal("nvidia-smi ended with", expected=0, found=answer.rc, remedy="journalctl -k -g 'NVRM|Xid'")
    found = [line for line in answer.stdout.splitlines() if line.startswith("GPU ")]
    shown = (
        "grep -lx 0x10de /sys/bus/pci/devices/*/vendor | xargs -rn1 dirname | xargs -rI@ grep -lE '^0x030[02]' @/class"
    )
    wanted = len(target.lines(shown)) if target.slice("nvidia_driver")["modules"] else len(found)
    figure("GPUs", str(len(found)))
    expect_equal("GPUs that the driver drives", expected=wanted, found=len(found), remedy="journalctl -k -g 'NVRM|Xid'")


@pytest.mark.usefixtures("gpu")
def test_the_device_nodes_are_there(target: Target) -> None:
    there = set(target.lines("ls -1 /dev"))
    missing = [f"/dev/{node}" for node in NODES if node not in there]
    if not target.slice("nvidia_driver")["modules"]:
        missing = [node for node in missing if node != "/dev/nvidia0"]  # a container has those that it was given
    expect(not missing, "device nodes", expected=NODES, found=f"no {missing}", remedy="modprobe nvidia-uvm; nvidia-smi")


@pytest.mark.usefixtures("gpu", "ours")
def test_the_gpus_stay_initialised(target: Target) -> None:
    found = set(target.lines("nvidia-smi --query-gpu=persistence_mode --format=csv,noheader"))
    expect_equal("persistence", expected={"Enabled"}, found=found, remedy=f"systemctl status {PERSISTENCE_UNIT}")

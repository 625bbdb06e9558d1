"""The operating system, the machine below it, and what may be done there."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult, run_command
from ansible_collections.llmhost.core.plugins.module_utils.host.capabilities import Capabilities
from ansible_collections.llmhost.core.plugins.module_utils.host.system import (
    Distribution,
    Virtualization,
    parse_os_release,
    read_init,
    read_secure_boot,
)

from tests.unit.machine import Machine

JAMMY = """\
PRETTY_NAME="Ubuntu 22.04.5 LTS"
NAME="Ubuntu"
VERSION_ID="22.04"
VERSION_CODENAME=jammy
ID=ubuntu
ID_LIKE=debian
"""
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
ALL_CAPABILITIES = "000001ffffffffff"
DOCKER_CAPABILITIES = "00000000a80425fb"
DOCKER_WITH_ADMIN = "00000000a82425fb"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_jammy(machine: Machine) -> None:
    machine.write({"etc/os-release": JAMMY})
    distribution, findings = Distribution.from_etc(machine.path("etc"))
    assert distribution == Distribution("ubuntu", "22.04", "jammy", "Ubuntu 22.04.5 LTS")
    assert findings == []


def test_no_os_release_is_a_finding(machine: Machine) -> None:
    distribution, (finding,) = Distribution.from_etc(machine.path("etc"))
    assert distribution.id == "unknown"
    assert finding.code == "facts.os_release_unreadable"


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("A='x y'", {"A": "x y"}),
        ('A="x\\"y\\$"', {"A": 'x"y$'}),
        ("A=", {"A": ""}),
        ("# A=b", {}),
        ("A b", {}),
    ],
)
def test_os_release_quotes(line: str, fields: dict[str, str]) -> None:
    assert parse_os_release(line) == fields


@pytest.mark.parametrize(
    ("vm", "container"), [("none", "none"), ("kvm", "docker"), ("amazon", "none"), ("none", "lxc-libvirt")]
)
def test_systemd_knows_the_machine(machine: Machine, vm: str, container: str) -> None:
    for option, word in (("--vm", vm), ("--container", container)):
        machine.programs[f"systemd-detect-virt {option}"] = CommandResult(int(word == "none"), f"{word}\n", "")
    found, findings = Virtualization.from_host(machine.run_command)
    assert (found, findings) == (Virtualization(vm, container), [])


@pytest.mark.parametrize(
    ("files", "machine_kind", "container"),
    [
        ({}, "none", "none"),
        ({"proc/cpuinfo": "flags\t: fpu hypervisor\n"}, "unknown", "none"),
        ({"proc/cpuinfo": "flags\t: fpu hypervisor\n", "sys/class/dmi/id/sys_vendor": "QEMU\n"}, "qemu", "none"),
        ({"proc/cpuinfo": "flags\t: fpu\n", "sys/class/dmi/id/sys_vendor": "Google\n"}, "none", "none"),
        ({".dockerenv": ""}, "none", "docker"),
        ({"run/.containerenv": ""}, "none", "podman"),
        ({"proc/1/environ": "A=b\0container=lxc\0"}, "none", "lxc"),
    ],
)
def test_marks_tell_without_systemd(machine: Machine, files: dict[str, str], machine_kind: str, container: str) -> None:
    machine.write(files)
    found, (finding,) = Virtualization.from_host(
        machine.run_command, machine.path("sys"), machine.path("proc"), str(machine.root)
    )
    assert found == Virtualization(machine_kind, container)
    assert finding.code == "facts.detect_virt_failed"


@pytest.mark.parametrize(
    ("content", "container", "state"),
    [
        (b"\6\0\0\0\1", False, True),
        (b"\6\0\0\0\0", False, False),
        (b"\6\0", False, None),
        (None, False, False),
        (None, True, None),
    ],
)
def test_secure_boot(machine: Machine, content: bytes | None, container: bool, state: bool | None) -> None:
    if content is not None:
        machine.write({SECURE_BOOT: ""})
        (machine.root / SECURE_BOOT).write_bytes(content)
    assert read_secure_boot(machine.path("sys"), container) is state


def test_secure_boot_that_may_not_be_read_is_not_known(machine: Machine) -> None:
    (machine.root / "sys/firmware/efi").mkdir(parents=True)
    assert read_secure_boot(machine.path("sys")) is None


def capabilities(
    machine: Machine,
    container: str = "none",
    uid: int = 0,
    effective: str = ALL_CAPABILITIES,
    uid_map: str = "0 0 4294967295",
    init: str = "systemd",
) -> dict[str, str]:
    """Return the reasons against each capability."""
    machine.write(
        {
            "proc/self/status": f"Name:\tpython3\nUid:\t1000\t{uid}\t0\t0\nCapEff:\t{effective}\n",
            "proc/self/uid_map": f"         {uid_map}\n",
            "proc/1/comm": f"{init}\n",
            "proc/sys/vm/overcommit_memory": "0\n",
            "run/systemd/system/x": "",
        }
    )
    found = Capabilities.from_proc(container, machine.path("proc"), machine.path("run")).as_dict()
    assert all(fact["able"] is (fact["reason"] == "") for fact in found.values())
    return {name: str(fact["reason"]) for name, fact in found.items() if not fact["able"]}


def test_a_bare_machine_may_do_everything(machine: Machine) -> None:
    assert capabilities(machine) == {}
    assert read_init(machine.path("proc")) == "systemd"


def test_an_ordinary_user_may_do_little(machine: Machine) -> None:
    reasons = capabilities(machine, uid=1000, effective="0000000000000000")
    assert set(reasons) == {"root", "kernel_modules", "swap", "mkfs", "sysctl", "reboot"}
    assert set(reasons.values()) == {"The user is not root; connect as root or use become."}


def test_a_container_without_rights(machine: Machine) -> None:
    reasons = capabilities(machine, "docker", effective=DOCKER_CAPABILITIES, init="bash")
    assert reasons["systemd"] == "Process 1 is bash, not systemd."
    assert reasons["swap"] == reasons["mkfs"] == "This host is a container (docker) without CAP_SYS_ADMIN."
    assert set(reasons) == {"systemd", "kernel_modules", "swap", "mkfs", "reboot"}


def test_a_container_that_may_mount(machine: Machine) -> None:
    assert set(capabilities(machine, "docker", effective=DOCKER_WITH_ADMIN)) == {"kernel_modules", "reboot"}


def test_root_of_a_user_namespace(machine: Machine) -> None:
    reasons = capabilities(machine, "podman", uid_map="0 1000 1")
    assert reasons["swap"] == "Root is an ordinary user outside this user namespace."


def test_no_proc_grants_nothing(tmp_path: Path) -> None:
    found = Capabilities.from_proc("none", str(tmp_path), str(tmp_path)).as_dict()
    assert not any(fact["able"] for fact in found.values())


def test_a_program_that_is_missing_is_a_result() -> None:
    assert run_command(["llmhost-no-such-program"]).rc == 127
    assert run_command(["echo", "a\0b"]).rc == 127
    assert run_command(["sh", "-c", "echo one; echo two >&2; exit 3"]) == (3, "one\n", "two\n")
    assert run_command(["false"]).complaint == "status 1"

"""The operating system: its distribution, kernel and init, and the kind of machine that it runs on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.files import read_text, read_word
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, info, warning

_SECURE_BOOT = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
# What hypervisors write into the firmware's tables, for hosts without systemd-detect-virt.
_VENDORS = (
    ("QEMU", "qemu"),
    ("Amazon EC2", "amazon"),
    ("Google", "google"),
    ("Microsoft Corporation", "microsoft"),
    ("VMware", "vmware"),
    ("innotek", "oracle"),
    ("Xen", "xen"),
)


@dataclass(frozen=True)
class Distribution:
    """The name and version of the distribution."""

    id: str
    version: str
    codename: str
    name: str

    @classmethod
    def from_etc(cls, etc: str = "/etc") -> tuple[Distribution, list[Finding]]:
        """Read os-release."""
        text = read_text(etc, "os-release")
        fields = parse_os_release(text or "")
        findings = []
        if not fields.get("ID"):
            findings.append(
                warning(
                    "facts.os_release_unreadable",
                    f"{etc}/os-release does not tell the distribution.",
                    "llmhost is made for Ubuntu 22.04; install the package base-files there.",
                )
            )
        return (
            cls(
                id=fields.get("ID", "unknown"),
                version=fields.get("VERSION_ID", ""),
                codename=fields.get("VERSION_CODENAME", ""),
                name=fields.get("PRETTY_NAME") or fields.get("NAME", ""),
            ),
            findings,
        )


@dataclass(frozen=True)
class Virtualization:
    """The virtual machine and the container that the system runs in; ``none`` for none."""

    machine: str
    container: str

    @classmethod
    def from_host(
        cls, run_command: RunCommand, sysfs: str = "/sys", proc: str = "/proc", root: str = "/"
    ) -> tuple[Virtualization, list[Finding]]:
        """Ask systemd-detect-virt, and where it is missing read the marks that hypervisors and containers leave."""
        machine, container = _detect(run_command, "--vm"), _detect(run_command, "--container")
        if machine and container:
            return cls(machine, container), []
        finding = info(
            "facts.detect_virt_failed",
            "systemd-detect-virt gives no answer, so the kind of machine is guessed from the firmware and from files.",
            "Install systemd if the guess is wrong.",
        )
        return cls(machine or guess_machine(sysfs, proc), container or guess_container(proc, root)), [finding]


def parse_os_release(text: str) -> dict[str, str]:
    """Return the assignments in os-release; their values may be quoted as in a shell."""
    fields = {}
    for line in text.splitlines():
        match = re.fullmatch(r"\s*([A-Z_][A-Z0-9_]*)=(.*?)\s*", line)
        if match:
            fields[match[1]] = re.sub(r"\\(.)", r"\1", re.sub(r"""^(["'])(.*)\1$""", r"\2", match[2]))
    return fields


def read_init(proc: str = "/proc") -> str:
    """Return the name of process 1."""
    return read_word(proc, "1/comm") or "unknown"


def read_secure_boot(sysfs: str = "/sys", container: bool = False) -> bool | None:
    """Tell whether the firmware lets only signed code run; None when that cannot be read, as in containers."""
    if not os.path.isdir(os.path.join(sysfs, "firmware/efi")):
        return None if container else False
    try:
        with open(os.path.join(sysfs, _SECURE_BOOT), "rb") as variable:
            content = variable.read()
    except OSError:
        return None
    # Four bytes of attributes come before the value.
    return content[4] == 1 if len(content) == 5 else None


def guess_machine(sysfs: str = "/sys", proc: str = "/proc") -> str:
    """Return the hypervisor that the firmware names, ``unknown`` for one that only the processor knows of."""
    names = " ".join(read_word(sysfs, "class/dmi/id", name) for name in ("sys_vendor", "product_name", "bios_vendor"))
    for mark, machine in _VENDORS:
        # Google and Microsoft sell machines of metal too, but not with a hypervisor's processor flag.
        if mark in names and _has_hypervisor(proc):
            return machine
    return "unknown" if _has_hypervisor(proc) else "none"


def guess_container(proc: str = "/proc", root: str = "/") -> str:
    """Return the container manager whose marks are there."""
    environment = (read_text(proc, "1/environ") or "").split("\0")
    named = [entry.removeprefix("container=") for entry in environment if entry.startswith("container=")]
    if named and named[0]:
        return named[0]
    if os.path.exists(os.path.join(root, ".dockerenv")):
        return "docker"
    if os.path.exists(os.path.join(root, "run/.containerenv")):
        return "podman"
    return "none"


def _has_hypervisor(proc: str) -> bool:
    return re.search(r"^flags\s*:.*\bhypervisor\b", read_text(proc, "cpuinfo") or "", re.MULTILINE) is not None


def _detect(run_command: RunCommand, kind: str) -> str:
    """Return one word of systemd-detect-virt, which ends with status 1 when it says ``none``."""
    done = run_command(["systemd-detect-virt", kind])
    answer = done.stdout.strip()
    return answer if done.rc in (0, 1) and re.fullmatch(r"[a-z0-9-]+", answer) else ""

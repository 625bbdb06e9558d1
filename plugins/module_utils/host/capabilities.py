"""What may be done on this host, and why not."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

from ansible_collections.llmhost.core.plugins.module_utils.files import parse_int, read_text
from ansible_collections.llmhost.core.plugins.module_utils.host.system import read_init

_A_SYSCTL = "sys/vm/overcommit_memory"
_CAP_SYS_MODULE = 16
_CAP_SYS_ADMIN = 21
_ALL_USERS = ["0", "0", "4294967295"]


@dataclass(frozen=True)
class Capability:
    """Whether something is possible; if not, ``reason`` is a sentence that says why."""

    able: bool
    reason: str

    @classmethod
    def unless(cls, *obstacles: tuple[bool, str]) -> Capability:
        """Return the capability that the first obstacle that is there takes away."""
        reason = next((sentence for is_there, sentence in obstacles if is_there), "")
        return cls(not reason, reason)


@dataclass(frozen=True)
class Capabilities:
    """The capabilities on which plans depend."""

    root: Capability
    systemd: Capability
    kernel_modules: Capability
    swap: Capability
    mkfs: Capability
    sysctl: Capability
    reboot: Capability

    @classmethod
    def from_proc(cls, container: str, proc: str = "/proc", run: str = "/run") -> Capabilities:
        """Read the rights of this process and what started the host; ``container`` is its kind, or ``none``."""
        process = Process.from_proc(proc)
        init = read_init(proc)
        inside = container != "none"
        box = f"This host is a container ({container})"
        not_root = (not process.is_root, "The user is not root; connect as root or use become.")
        mapped = (process.is_mapped, "Root is an ordinary user outside this user namespace.")
        no_admin = (not process.may(_CAP_SYS_ADMIN), "The process lacks CAP_SYS_ADMIN.")
        no_admin_inside = (inside and not process.may(_CAP_SYS_ADMIN), f"{box} without CAP_SYS_ADMIN.")
        return cls(
            root=Capability.unless(not_root),
            systemd=Capability.unless(
                (init != "systemd", f"Process 1 is {init}, not systemd."),
                (not os.path.isdir(os.path.join(run, "systemd/system")), "systemd is not running: no /run/systemd."),
            ),
            kernel_modules=Capability.unless(
                not_root,
                (inside, f"{box}; its kernel belongs to the machine that it runs on."),
                (not process.may(_CAP_SYS_MODULE), "The process lacks CAP_SYS_MODULE."),
            ),
            swap=Capability.unless(not_root, mapped, no_admin_inside, no_admin),
            mkfs=Capability.unless(not_root, mapped, no_admin_inside, no_admin),
            sysctl=Capability.unless(
                not_root,
                (not os.access(os.path.join(proc, _A_SYSCTL), os.W_OK), f"{proc}/sys cannot be written."),
            ),
            reboot=Capability.unless(
                not_root,
                (inside, f"{box}; a reboot would end it, and not restart its kernel."),
            ),
        )

    def as_dict(self) -> dict[str, dict[str, object]]:
        """Return the plain dict that host_info returns."""
        return asdict(self)


@dataclass(frozen=True)
class Process:
    """The rights of this process."""

    is_root: bool
    is_mapped: bool
    effective: int

    @classmethod
    def from_proc(cls, proc: str = "/proc") -> Process:
        """Read them from /proc/self; what cannot be read is not granted."""
        fields = parse_status(read_text(proc, "self/status") or "")
        uids = fields.get("Uid", "").split()
        return cls(
            is_root=len(uids) > 1 and uids[1] == "0",
            is_mapped=(read_text(proc, "self/uid_map") or "").split() not in ([], _ALL_USERS),
            effective=parse_int(fields.get("CapEff", ""), 16) or 0,
        )

    def may(self, capability: int) -> bool:
        """Tell whether the capability with this number is in effect."""
        return bool(self.effective >> capability & 1)


def parse_status(text: str) -> dict[str, str]:
    """Return the fields of a /proc/PID/status."""
    lines = (line.partition(":") for line in text.splitlines())
    return {key: value.strip() for key, colon, value in lines if colon}

"""What apt would do, judged before it does it: no compiler that nobody asked for, no other branch, nothing lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.driver.wanted import NVIDIA, UBUNTU, Wanted
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error

_INSTALLS = re.compile(r"^Inst ([a-z0-9][a-z0-9+.-]*)(?::\w+)? (?:\[([^\]\s]+)\] )?\(([^\s)]+)", re.MULTILINE)
_REMOVES = re.compile(r"^(?:Remv|Purg) ([a-z0-9][a-z0-9+.-]*)(?::\w+)?(?: \[([^\]\s]+)\])?", re.MULTILINE)

# The packages that make up a driver: its programs and libraries, and its modules for a kernel.
FAMILY = r"^(lib)?nvidia-(?!container)"
KERNEL_FAMILY = r"^linux-(modules|objects|signatures)-nvidia-"
_FAMILY = re.compile(rf"{FAMILY}|{KERNEL_FAMILY}|^xserver-xorg-video-nvidia")
# The package in whose name every one of Ubuntu's drivers says its branch.
_BRANCH = re.compile(r"^nvidia-kernel-common-(\d+(?:-server)?)$")
_COMPILES = re.compile(r"^(dkms|nvidia-dkms-.*)$")


@dataclass(frozen=True)
class Changes:
    """The packages that a transaction brings, changes (from, to) and takes away, with their versions."""

    brought: dict[str, str]
    changed: dict[str, tuple[str, str]]
    removed: dict[str, str]

    @classmethod
    def from_simulation(cls, said: str) -> Changes:
        """Read the output of ``apt-get --simulate``."""
        found = _INSTALLS.findall(said)
        return cls(
            brought={name: version for name, before, version in found if not before},
            changed={name: (before, version) for name, before, version in found if before},
            removed=dict(_REMOVES.findall(said)),
        )

    @property
    def is_empty(self) -> bool:
        """True when everything is as it would be."""
        return not (self.brought or self.changed or self.removed)

    @property
    def is_another_driver(self) -> bool:
        """True when a driver that is installed would become another one."""
        return any(is_of_driver(name) for name in (*self.changed, *self.removed))

    def objections(self, wanted: Wanted) -> Iterator[Finding]:
        """Yield why the transaction must not be made for this plan."""
        yield from self.losses()
        if wanted.source == UBUNTU:
            yield from self._compiler(wanted)
        if wanted.source != NVIDIA:
            yield from self._branch(wanted)

    def losses(self) -> Iterator[Finding]:
        """Yield why packages that would go are not the driver's to take away."""
        lost = sorted(name for name in self.removed if not is_of_driver(name))
        if lost:
            yield error(
                "driver.would_remove",
                f"the driver would take away packages that are none of its own: {', '.join(lost)}.",
                "Remove them yourself if nobody needs them, and run again.",
            )

    def _compiler(self, wanted: Wanted) -> Iterator[Finding]:
        found = sorted(name for name in self.brought if _COMPILES.match(name))
        if found:
            yield error(
                "driver.would_compile",
                f"apt would compile the driver {wanted.branch} on this host ({', '.join(found)}), for it finds no "
                "finished modules for the kernel.",
                "Run again when the package source is complete, or allow it: llmhost_driver_source: ubuntu-dkms.",
            )

    def _branch(self, wanted: Wanted) -> Iterator[Finding]:
        names = (*self.brought, *self.changed)
        found = sorted({match[1] for name in names if (match := _BRANCH.match(name))})
        others = [branch for branch in found if wanted.branch and branch != wanted.branch]
        if others:
            yield error(
                "driver.other_branch",
                f"asked for the driver {wanted.branch}, apt would install {' and '.join(others)}: the packages of the "
                "branch only lead to another one.",
                f"Set llmhost_driver_branch to {others[-1]}, or leave it to the plan.",
            )


def is_of_driver(name: str) -> bool:
    """Tell whether a package is a part of the driver."""
    return bool(_FAMILY.match(name))

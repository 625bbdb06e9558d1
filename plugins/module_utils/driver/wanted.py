"""The driver that the plan wants, as the plan's section "driver" says it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.record import (
    Record,
    flag,
    optional_integer,
    optional_text,
    text,
    texts,
)

OPEN, PROPRIETARY = "open", "proprietary"
# Where the driver comes from: Ubuntu's signed modules, Ubuntu's sources compiled here, NVIDIA's repository, and one
# that was there before llmhost, which is only checked.
UBUNTU, UBUNTU_DKMS, NVIDIA, KEPT = "ubuntu", "ubuntu-dkms", "nvidia", "kept"
TOOLKIT = "nvidia-container-toolkit"


@dataclass(frozen=True)
class Wanted:
    """What is to be installed, what of it is pinned, and how the driver is run.

    The plan's ``version`` is what apt offered when the plan was made. It is no demand: apt may have newer lists since.
    """

    source: str
    branch: str
    flavour: str = OPEN
    packages: tuple[str, ...] = ()
    kernel: str | None = None
    hold: tuple[str, ...] = ()
    persistence: bool = True
    power_limit_watts: int | None = None
    fabric_manager: str | None = None
    container_toolkit: bool = False
    secure_boot: bool = False
    declared: bool = False
    modules: tuple[str, ...] = ("nvidia", "nvidia_uvm")

    @classmethod
    def from_plan(cls, plan: Record) -> Wanted:
        """Read the section "driver" of a plan."""
        return cls(
            source=text(plan, "source", UBUNTU),
            branch=text(plan, "branch"),
            flavour=text(plan, "flavour", OPEN),
            packages=texts(plan, "packages"),
            kernel=optional_text(plan, "kernel"),
            hold=texts(plan, "hold"),
            persistence=flag(plan, "persistence", True),
            power_limit_watts=optional_integer(plan, "power_limit_watts") or None,
            fabric_manager=optional_text(plan, "fabric_manager"),
            container_toolkit=flag(plan, "container_toolkit"),
            secure_boot=flag(plan, "secure_boot"),
            declared=flag(plan, "declared"),
            modules=texts(plan, "modules"),
        )

    @property
    def transaction(self) -> tuple[str, ...]:
        """Return all that is installed at once: a kernel never comes without its modules."""
        toolkit = TOOLKIT if self.container_toolkit else None
        return tuple(dict.fromkeys(filter(None, (self.kernel, *self.packages, self.fabric_manager, toolkit))))

    @property
    def is_ours(self) -> bool:
        """False for a driver that was there before llmhost: it is only checked."""
        return self.source != KEPT

    @property
    def in_container(self) -> bool:
        """True where no module may be loaded: the driver is that of the machine around."""
        return not self.modules

    def packages_for_kernel(self, kernel: str) -> tuple[str, ...]:
        """Return what a kernel needs that comes beside the running one: finished modules, or what compiles them."""
        if self.source == UBUNTU:
            return (f"linux-modules-nvidia-{self.branch}{'-open' if self.flavour == OPEN else ''}-{kernel}",)
        return (f"linux-headers-{kernel}",)

    @property
    def number(self) -> str:
        """Return the number of the branch: 580 of ``580-server``; "" where the plan names none."""
        found = re.match(r"\d+", self.branch)
        return found[0] if found else ""

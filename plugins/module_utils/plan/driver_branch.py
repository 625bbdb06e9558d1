"""Which branch and which kernel modules of NVIDIA's driver: by the generation of the GPUs, and by what apt offers.

Sources: NVIDIA's driver README, "Open Linux Kernel Modules" (open from Turing on, only open from Blackwell on), and its
table of branches: 580 has long-term support until June 2028, and is the last one for Maxwell, Pascal and Volta. What
apt says of the GPUs of a package (``Modaliases``) is no guide: it lists Blackwell for the proprietary modules, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_facts import OPEN, DriverFacts, PackageFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent

LEAST = 580
"""The runtimes are built with CUDA 13, which asks for this branch at least."""

LEAST_KEPT = 525
"""A driver that stays may be as old as CUDA 12 allows: then the plan's ``cuda`` says what is to be had for it."""

PREFERRED = "580-server"
"""The branch with the longest support, as it is built for servers."""

LAST_FOR_OLD = 580

_HEADLESS = "nvidia-headless-no-dkms-"


@dataclass(frozen=True)
class Branch:
    """A branch, such as 580-server, and its kernel modules. ``word`` is how packages of both are named."""

    name: str
    flavour: str

    @property
    def word(self) -> str:
        """580-server-open, or 580-server for the proprietary modules."""
        return self.name + ("-open" if self.flavour == OPEN else "")

    @property
    def number(self) -> int:
        """580."""
        return int(self.name[:3])

    @classmethod
    def from_word(cls, word: str) -> Branch:
        """Read how packages are named."""
        return cls(word.removesuffix("-open"), OPEN if word.endswith("-open") else "proprietary")


def choose_flavour(facts: DriverFacts, intent: Intent) -> tuple[str, list[Finding]]:
    """Return the kernel modules for the GPUs; an error where none drive all of them."""
    too_old = [gpu.name for gpu in facts.gpus if not gpu.flavours]
    if too_old:
        message = f"{', '.join(dict.fromkeys(too_old))}: branch {LEAST} drives Maxwell and newer only."
        return OPEN, [error("driver.gpu_too_old", message, "Remove it, or set llmhost_accelerator: cpu.")]
    possible = facts.flavours
    if not possible:
        new = next(gpu.name for gpu in facts.gpus if OPEN in gpu.flavours)
        old = next(gpu.name for gpu in facts.gpus if gpu.is_old)
        message = f"No driver has kernel modules for both {new} and {old}."
        return OPEN, [error("driver.no_common_flavour", message, "Take one of the two out of the machine.")]
    if intent.driver_flavour and intent.driver_flavour not in possible:
        misfit = next(gpu for gpu in facts.gpus if intent.driver_flavour not in gpu.flavours)
        message = f"llmhost_driver_flavour is {intent.driver_flavour}, whose kernel modules cannot drive {misfit.name}."
        return next(iter(possible)), [error("driver.flavour", message, "Leave llmhost_driver_flavour at auto.")]
    return intent.driver_flavour or (OPEN if OPEN in possible else "proprietary"), []


def choose_branch(facts: DriverFacts, intent: Intent, flavour: str) -> tuple[Branch, list[Finding]]:
    """Return the branch that will result, which need not be the one asked for, and what is to be said of it."""
    packages = facts.packages
    offered = _offered(packages, flavour)
    if intent.driver_branch is None:
        return Branch(_preferred(facts, offered, flavour), flavour), []
    asked = intent.driver_branch
    if not packages.known:
        return Branch(asked if asked.endswith("-server") else f"{asked}-server", flavour), _check_number(facts, asked)
    names = [asked] if asked.endswith("-server") else [f"{asked}-server", asked]
    for name in names:
        word = Branch(name, flavour).word
        result = Branch.from_word(packages.transitional.get(word, word))
        if result.flavour == flavour and result.name in offered:
            return result, [*_replaced(name, result), *_check_number(facts, result.name)]
    others = ", ".join(offered) or "none"
    message = f"llmhost_driver_branch is {asked}; apt on this host has no such branch with {flavour} kernel modules."
    remedy = f"It has {others}. Run apt-get update on the host, or leave llmhost_driver_branch at auto."
    return Branch(PREFERRED, flavour), [error("driver.branch", message, remedy)]


def _offered(packages: PackageFacts, flavour: str) -> list[str]:
    """Return the branches that can be installed with these kernel modules."""
    return _words(packages.candidates, flavour)


def _words(names: Iterable[str], flavour: str) -> list[str]:
    words = [name.removeprefix(_HEADLESS) for name in names if re.match(rf"{_HEADLESS}\d{{3}}(?:-|$)", name)]
    branches = [Branch.from_word(word) for word in words]
    return sorted(branch.name for branch in branches if branch.flavour == flavour and branch.number >= LEAST)


def _preferred(facts: DriverFacts, offered: list[str], flavour: str) -> str:
    """Return the branch that llmhost has installed, as nothing but a deliberate upgrade changes it, else the usual."""
    own = _words(facts.packages.installed, flavour)
    if facts.made and own:
        return own[0]
    if PREFERRED in offered or not offered:
        return PREFERRED
    servers = [name for name in offered if name.endswith("-server")]
    return (servers or offered)[0]


def _replaced(asked: str, result: Branch) -> list[Finding]:
    if asked == result.name:
        return []
    message = f"Ubuntu's packages of branch {asked} are empty and install {result.name}, which is planned."
    return [warning("driver.branch_replaced", message, f"Set llmhost_driver_branch: {result.name}.")]


def _check_number(facts: DriverFacts, name: str) -> list[Finding]:
    number = int(name[:3])
    if number < LEAST:
        message = f"llmhost_driver_branch is {name}; the runtimes are built with CUDA 13 and need {LEAST} at least."
        return [error("driver.branch", message, "Leave llmhost_driver_branch at auto.")]
    old = [gpu.name for gpu in facts.gpus if gpu.is_old]
    if old and number > LAST_FOR_OLD:
        message = f"Branch {name} does not drive {old[0]} any more; {LAST_FOR_OLD} is the last one that does."
        return [error("driver.branch", message, f"Set llmhost_driver_branch: {LAST_FOR_OLD}, or leave it at auto.")]
    return []


def check_lists(facts: DriverFacts, described: bool) -> list[Finding]:
    """Say that apt's lists are not there, which decide about kernel and version."""
    if facts.packages.known or described:
        return []
    message = "apt on this host has no lists of packages yet: the newest kernel of its kind is planned with the driver."
    return [info("driver.no_package_lists", message, "Run apt-get update on the host to see version and kernel here.")]

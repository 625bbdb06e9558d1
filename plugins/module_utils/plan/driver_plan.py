"""The NVIDIA driver of a host: kept where a good one is there, else planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_branch import (
    Branch,
    check_lists,
    choose_branch,
    choose_flavour,
)
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_extras import (
    check_power_limit,
    check_toolkit,
    fabric_manager,
)
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_facts import DriverFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_kept import (
    KEPT,
    check_kept,
    check_replaced,
    is_kept,
)
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_packages import (
    NVIDIA,
    PackageSet,
    nvidia_set,
    ubuntu_set,
)
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_reboot import Reboot, plan_reboot
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import Capability, HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent

MODULES = ("nvidia", "nvidia_uvm")


@dataclass(frozen=True)
class DriverPlan:
    """The plan's ``driver``, what is to be said of it, and why its step is skipped, if it is."""

    section: dict[str, Any] | None
    findings: tuple[Finding, ...] = ()
    why_skipped: str = ""


def plan_driver(
    facts: Mapping[str, Any], host: HostFacts, intent: Intent, accelerator: str, declared: bool, boot_id: str
) -> DriverPlan:
    """Return the plan of the driver. ``boot_id``: that of the machine that runs Ansible."""
    if not host.gpus:
        return DriverPlan(None, (), "this host has no NVIDIA GPU")
    if accelerator != "nvidia" and not declared:
        return DriverPlan(None, (), "the model runs on the CPU")
    there = DriverFacts.from_facts(facts)
    capability = host.capabilities["kernel_modules"]
    foreign = (host.distribution_id, host.codename) != ("ubuntu", "jammy")
    if foreign or (declared and not capability.able):
        there = there.without_apt()
    flavour, findings = choose_flavour(there, intent)
    if is_kept(there, intent) or not (capability.able or declared):
        made = PackageSet(KEPT, (), (), there.version or None)
        branch = Branch(there.version[:3], there.loaded_flavour or flavour)
        findings += check_kept(there, capability)
    else:
        branch, said = choose_branch(there, intent, flavour)
        made, more = nvidia_set(there, branch) if intent.driver_source == NVIDIA else ubuntu_set(there, intent, branch)
        findings += [*said, *more, *check_replaced(there, intent, made.source), *_check_kernel(capability)]
        findings += check_lists(there, host.described or foreign or not capability.able)
    fabric, said = fabric_manager(there, branch, declared or host.described) if made.source != KEPT else (None, [])
    reboot, asked = plan_reboot(there, host, intent, made, boot_id)
    findings += [*said, *asked, *check_power_limit(there, intent), *check_toolkit(there, intent)]
    section = _section(there, intent, branch, made, fabric, reboot, declared)
    return DriverPlan({**section, "modules": list(MODULES) if capability.able or declared else []}, tuple(findings))


def _check_kernel(capability: Capability) -> list[Finding]:
    """Return an error where declared GPUs ask for kernel modules, and there is no kernel to go with them."""
    if capability.able:
        return []
    message = f"The driver of the declared GPUs needs a kernel for its modules: {capability.reason}."
    return [error("driver.no_kernel", message, "Make the image on a virtual machine, which has a kernel of its own.")]


def _section(
    facts: DriverFacts,
    intent: Intent,
    branch: Branch,
    made: PackageSet,
    fabric: str | None,
    reboot: Reboot,
    declared: bool,
) -> dict[str, Any]:
    with_fabric = [fabric] if fabric else []
    return {
        "source": made.source,
        "branch": branch.name,
        "flavour": branch.flavour,
        "packages": [*made.packages, *with_fabric],
        "kernel": made.kernel,
        "hold": sorted([*made.hold, *with_fabric]),
        "version": made.version,
        "reboot": reboot.as_dict(),
        "persistence": True,
        "power_limit_watts": intent.power_limit_watts,
        "fabric_manager": fabric,
        "container_toolkit": intent.container_toolkit,
        "secure_boot": facts.secure_boot,
        "declared": declared,
    }

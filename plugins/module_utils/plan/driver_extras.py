"""What goes with a driver on some hosts: the fabric manager, a power limit, the container toolkit."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, warning
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpu_table import SWITCH
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_branch import Branch
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_facts import DriverFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent

TOOLKIT = "nvidia-container-toolkit"

# Boards with four GPUs join them directly; from eight on there are switches between them, since the A100.
_BOARD = 8
_AMPERE, _BLACKWELL = (8, 0), (10, 0)


def fabric_manager(facts: DriverFacts, branch: Branch, assumed: bool) -> tuple[str | None, list[Finding]]:
    """Return the package of the fabric manager where there are NVSwitches, or where such GPUs are only assumed."""
    on_board = [gpu for gpu in facts.gpus if gpu.fabric == SWITCH and gpu.capability >= _AMPERE]
    if not (facts.nvswitches or (assumed and len(on_board) >= _BOARD)):
        return None, []
    package = f"nvidia-fabricmanager-{branch.number}"
    findings = []
    if not branch.name.endswith("-server") or (facts.packages.known and package not in facts.packages.candidates):
        message = f"NVSwitches need {package}, which goes with the driver {branch.number}-server alone."
        findings.append(error("driver.no_fabric_manager", message, "Leave llmhost_driver_branch at auto."))
    if any(gpu.capability >= _BLACKWELL for gpu in on_board):
        message = "From the B200 on, the fabric manager needs the subnet manager nvlsm, which Ubuntu does not have."
        findings.append(
            warning("driver.nvlsm", message, "Install nvlsm from NVIDIA's repository; it was not tried here.")
        )
    return package, findings


def check_power_limit(facts: DriverFacts, intent: Intent) -> list[Finding]:
    """Return an error for a power limit above what the GPUs take; below their least, the driver refuses it."""
    watts, most = intent.power_limit_watts, facts.most_watts
    if watts is None or most is None or watts <= most:
        return []
    message = f"llmhost_gpu_power_limit is {watts} W; the GPUs of this host take {most} W at most."
    return [error("driver.power_limit", message, f"Set llmhost_gpu_power_limit to {most} or less, or to auto.")]


def check_toolkit(facts: DriverFacts, intent: Intent) -> list[Finding]:
    """Return an error where the container toolkit is asked for and apt does not know it."""
    packages = facts.packages
    if not intent.container_toolkit or not packages.known or TOOLKIT in {**packages.installed, **packages.candidates}:
        return []
    message = f"llmhost_container_toolkit is true; apt on this host knows no {TOOLKIT}, which Ubuntu does not have."
    remedy = "Add NVIDIA's repository of the container toolkit and run apt-get update, or set it to false."
    return [error("driver.no_container_toolkit", message, remedy)]

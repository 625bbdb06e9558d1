"""Whether a driver works only after a reboot, and whether the host may be rebooted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_facts import DriverFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_kept import KEPT
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_packages import PackageSet
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent


@dataclass(frozen=True)
class Reboot:
    """``local``: the host is the machine that runs Ansible, so that the run ends with it."""

    allowed: bool
    needed: bool
    why: str
    local: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the plan's ``driver.reboot``."""
        return asdict(self)


def plan_reboot(
    facts: DriverFacts, host: HostFacts, intent: Intent, made: PackageSet, boot_id: str
) -> tuple[Reboot, list[Finding]]:
    """Return the reboot, and say it where one is needed; a container of the machine that runs Ansible is that, too."""
    local = bool(boot_id) and facts.boot_id == boot_id
    capability = host.capabilities["reboot"]
    consent = not local if intent.allow_reboot is None else intent.allow_reboot
    why = _why(facts, made)
    reboot = Reboot(capability.able and consent, bool(why), why, local)
    if not why or host.described:
        return reboot, []
    if reboot.allowed:
        later = " The run ends with it: start it again when the machine is up." if local else ""
        return reboot, [info("driver.reboot", f"This host is rebooted for its driver: {why}.{later}")]
    message = f"This host needs a reboot for its driver, and is not rebooted by this run: {why}."
    remedy = "The run ends before it. Reboot the host and run again; what was done until then is not done twice."
    if not capability.able:
        return reboot, [warning("driver.reboot_needed", f"{message} {capability.reason}.", remedy)]
    reason = " It is the machine that runs Ansible." if local else " llmhost_allow_reboot is false."
    remedy += " llmhost_allow_reboot: true lets the run do it."
    return reboot, [warning("driver.reboot_needed", message + reason, remedy)]


def _why(facts: DriverFacts, made: PackageSet) -> str:
    if made.source == KEPT:
        if facts.loaded and facts.library and facts.loaded != facts.library and facts.on_disk == facts.library:
            return f"{facts.loaded} is loaded and {facts.library} is installed"
        return "nouveau has the GPU" if facts.nouveau and not facts.loaded and facts.on_disk else ""
    if made.release and made.release != facts.release:
        return f"its modules go with kernel {made.release}, and {facts.release} is running"
    if facts.loaded and made.version and facts.loaded != made.version:
        return f"driver {facts.loaded} is loaded"
    return "nouveau has the GPU" if facts.nouveau else ""

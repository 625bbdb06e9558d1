"""Whether the driver that is there is good enough, as on many images of clouds: then it is checked, and not touched."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_branch import LAST_FOR_OLD, LEAST, LEAST_KEPT
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_facts import DriverFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import Capability
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent

KEPT = "kept"

_ORIGINS = {
    "nvidia": ("packages that are not Ubuntu's", "apt-get purge of its packages"),
    "runfile": ("NVIDIA's installer", "nvidia-uninstall"),
    "none": ("no package", "the way it was installed"),
}


def is_kept(facts: DriverFacts, intent: Intent) -> bool:
    """Tell whether the driver stays that is there. One that llmhost has installed is no other's to keep."""
    if intent.driver_source == KEPT:
        return True
    if facts.made or intent.driver_source not in ("auto", facts.packages.source):
        return False
    if intent.driver_source == "ubuntu":
        return False
    return not why_unfit(facts, intent) and facts.library in (facts.loaded, facts.on_disk)


def why_unfit(facts: DriverFacts, intent: Intent) -> str:
    """Return in words why the driver that is there cannot serve; nothing for one that can."""
    if not facts.library or not facts.version[:3].isdigit():
        return "it is not whole"
    number, asked = int(facts.version[:3]), intent.driver_branch
    if number < LEAST:
        return f"the runtimes are built with CUDA 13 and need branch {LEAST} at least"
    if number > LAST_FOR_OLD and any(gpu.is_old for gpu in facts.gpus):
        return f"{LAST_FOR_OLD} is the last branch for {next(gpu.name for gpu in facts.gpus if gpu.is_old)}"
    if asked and int(asked[:3]) != number:
        return f"llmhost_driver_branch is {asked}"
    flavour = facts.loaded_flavour
    if flavour and flavour not in facts.flavours:
        return f"its kernel modules are {flavour}"
    if flavour and intent.driver_flavour not in (None, flavour):
        return f"llmhost_driver_flavour is {intent.driver_flavour}"
    return ""


def check_kept(facts: DriverFacts, capability: Capability) -> list[Finding]:
    """Return what is to be said of a driver that is not installed by llmhost."""
    if not capability.able and not facts.loaded:
        message = f"No NVIDIA driver is loaded, and it cannot be from here: {capability.reason}."
        remedy = "Install the driver on the machine that this host runs on, and hand its GPUs in."
        return [error("driver.not_loaded", message, remedy)]
    if not facts.version:
        message = "llmhost_driver_source is kept; this host has no NVIDIA driver."
        return [error("driver.none_to_keep", message, "Install one, or set llmhost_driver_source: auto.")]
    if facts.version[:3].isdigit() and int(facts.version[:3]) < LEAST_KEPT:
        message = f"The driver {facts.version} is kept; the oldest CUDA of the runtimes needs {LEAST_KEPT} at least."
        remedy = "Upgrade it on the machine itself." if not capability.able else "Set llmhost_driver_source: auto."
        return [error("driver.too_old", message, remedy)]
    message = f"The driver {facts.version} that is there is good enough: it is kept as it is, and only checked."
    remedy = "Nothing holds it: an upgrade of the system may change it. llmhost_driver_source: ubuntu takes it over."
    return [info("driver.kept", message, "" if not capability.able else remedy)]


def check_replaced(facts: DriverFacts, intent: Intent, source: str) -> list[Finding]:
    """Return what becomes of a driver that is there and not kept; packages of two makers do not go together."""
    if facts.made or not (facts.version or facts.packages.source != "none"):
        return []
    version = facts.version or "of an unknown version"
    why = why_unfit(facts, intent) or f"llmhost_driver_source is {intent.driver_source}"
    wanted = "nvidia" if source == "nvidia" else "ubuntu"
    if facts.packages.source == wanted:
        if not facts.loaded or not why_unfit(facts, intent):
            return []
        return [warning("driver.replaced", f"The driver {version} is replaced: {why}.", "Stop what uses the GPUs.")]
    if facts.packages.source == "ubuntu":
        origin, way = "Ubuntu's packages", "apt-get purge of its packages"
    else:
        origin, way = _ORIGINS.get(facts.packages.source, _ORIGINS["none"])
    message = f"The driver {version} cannot stay, for {why}; it came from {origin}, which do not go with those planned."
    return [error("driver.foreign", message, f"Remove it first ({way}) and reboot, or upgrade it there and keep it.")]

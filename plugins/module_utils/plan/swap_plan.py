"""How much swap the host gets: none, when the model fits in RAM."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB, format_gib, round_down, round_up

SWAPPINESS = 10
"""Swap stands in for RAM that is missing; it shall not push out what is in use."""

# The kernel swaps to a file only where it can know its blocks beforehand. On btrfs that needs a file made for it.
_FILESYSTEMS = ("ext3", "ext4", "xfs")


@dataclass(frozen=True)
class SwapPlan:
    """The swap file to make; ``skip_reason`` says why this host can have none."""

    size_bytes: int
    skip_reason: str
    findings: tuple[Finding, ...] = ()


def other_swap(host: HostFacts, own_path: str) -> int:
    """Return the swap that the host has beside the file that llmhost makes."""
    return sum(swap.size_bytes for swap in host.swaps if swap.path != own_path)


def why_impossible(host: HostFacts, filesystem: str) -> str:
    """Return why this host cannot swap to a file on that kind of filesystem, or nothing."""
    capability = host.capabilities["swap"]
    if not capability.able:
        return f"this host cannot use a swap file: {capability.reason}"
    if filesystem and filesystem not in _FILESYSTEMS:
        return f"{filesystem} cannot hold a swap file; {', '.join(_FILESYSTEMS)} can"
    return ""


def budget(host: HostFacts, intent: Intent, filesystem: str, own_path: str) -> int:
    """Return the most swap that may stand in for RAM: what is there, and what may be made."""
    most = min(intent.swap_max_bytes, intent.swap_max_bytes if intent.swap_bytes is None else intent.swap_bytes)
    # A file made in steps of 1 GiB must still fit under the maximum.
    made = round_down(most, GIB) if intent.swap_bytes is None else most
    return other_swap(host, own_path) + (0 if why_impossible(host, filesystem) else made)


def plan_swap(host: HostFacts, intent: Intent, missing_bytes: int, filesystem: str, own_path: str) -> SwapPlan:
    """Size the swap file for RAM that is missing. Whether that is enough is the verdict's business, not this one's."""
    findings = []
    if intent.swap_bytes is not None and intent.swap_bytes > intent.swap_max_bytes:
        wanted, most = format_gib(intent.swap_bytes), format_gib(intent.swap_max_bytes)
        message = f"llmhost_swap is {wanted}; llmhost_swap_max allows {most}."
        findings.append(error("swap.over_maximum", message, "Raise llmhost_swap_max, or lower llmhost_swap."))
    lacking = max(0, missing_bytes - other_swap(host, own_path))
    impossible = why_impossible(host, filesystem)
    if impossible:
        if intent.swap_bytes:
            remedy = "Set llmhost_swap: auto to be asked only where swap is possible."
            findings.append(info("swap.skipped", f"No swap of {format_gib(intent.swap_bytes)}: {impossible}.", remedy))
        return SwapPlan(0, impossible, tuple(findings))
    if intent.swap_bytes is None:
        size = min(round_up(lacking, GIB), round_down(intent.swap_max_bytes, GIB))
    else:
        size = round_down(min(intent.swap_bytes, intent.swap_max_bytes), MIB)
    if lacking and size >= lacking:
        message = f"The model needs {format_gib(missing_bytes)} more than this host's RAM; swap stands in for it."
        findings.append(
            warning("swap.needed", message, "Expect slow answers. Add RAM, or choose a smaller quantisation.")
        )
    return SwapPlan(size, "", tuple(findings))

"""How much swap the host gets: none, when the model fits in RAM; and what the kernel must be told of its memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.host import btrfs
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts, Swap
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB, format_gib, round_down, round_up
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import DOES_NOT_FIT, Fit
from ansible_collections.llmhost.core.plugins.module_utils.sizing.host_memory import HostMemory

SWAPPINESS = 10
"""Swap stands in for RAM that is missing; it shall not push out what is in use."""

# The kernel swaps to a file only where it can know its blocks beforehand. On btrfs that needs a file made for it.
_FILESYSTEMS = ("btrfs", "ext3", "ext4", "xfs")
_PRIORITY, _HIGHEST_PRIORITY = 10, 32767


@dataclass(frozen=True)
class SwapPlan:
    """The swap file to make; ``skip_reason`` says why this host can have none.

    ``overcommit_memory`` is the value of the sysctl to set, None where it stays as it is.
    """

    size_bytes: int
    skip_reason: str
    findings: tuple[Finding, ...] = ()
    priority: int = _PRIORITY
    overcommit_memory: int | None = None

    def as_dict(self, path: str, ephemeral: bool) -> dict[str, Any]:
        """Return the plan's ``swap``."""
        return {
            "size_bytes": self.size_bytes,
            "path": path,
            "swappiness": SWAPPINESS,
            "priority": self.priority,
            "overcommit_memory": self.overcommit_memory,
            "ephemeral": ephemeral,
        }

    def why_skipped(self, host: HostFacts) -> str:
        """Return why there is nothing to do, not even a setting to set or to take back; or nothing."""
        return "" if self.overcommit_memory is not None or host.swap_state else self.skip_reason


def all_swap(host: HostFacts, own_path: str) -> int:
    """Return the swap that the host has beside the file that llmhost makes, or made where models were before."""
    return sum(swap.size_bytes for swap in _others(host, own_path))


def other_swap(host: HostFacts, own_path: str) -> int:
    """Return the part of it that can stand in for RAM.

    zram is none: it is RAM that holds compressed pages, and weights, the more so quantised ones, hardly compress.
    """
    return sum(swap.size_bytes for swap in _others(host, own_path) if not swap.compressed)


def why_impossible(host: HostFacts, filesystem: str, own_path: str) -> str:
    """Return why this host cannot swap to a file on that kind of filesystem, or nothing."""
    capability = host.capabilities["swap"]
    if not capability.able:
        return f"this host cannot use a swap file: {capability.reason}"
    if filesystem and filesystem not in _FILESYSTEMS:
        return f"{filesystem} cannot hold a swap file; {', '.join(_FILESYSTEMS)} can"
    there = host.filesystem_of(own_path)
    if filesystem == "btrfs" and there is not None:
        return btrfs.obstacle(there.btrfs_devices, there.btrfs_profiles)
    return ""


def budget(host: HostFacts, intent: Intent, filesystem: str, own_path: str) -> int:
    """Return the most swap that may stand in for RAM: what is there, and what may be made."""
    most = min(intent.swap_max_bytes, intent.swap_max_bytes if intent.swap_bytes is None else intent.swap_bytes)
    # A file made in steps of 1 GiB must still fit under the maximum.
    made = round_down(most, GIB) if intent.swap_bytes is None else most
    return other_swap(host, own_path) + (0 if why_impossible(host, filesystem, own_path) else made)


def plan_swap(host: HostFacts, intent: Intent, missing_bytes: int, filesystem: str, own_path: str) -> SwapPlan:
    """Size the swap file for RAM that is missing. Whether that is enough is the verdict's business, not this one's."""
    findings = []
    if intent.swap_bytes is not None and intent.swap_bytes > intent.swap_max_bytes:
        wanted, most = format_gib(intent.swap_bytes), format_gib(intent.swap_max_bytes)
        message = f"llmhost_swap is {wanted}; llmhost_swap_max allows {most}."
        findings.append(error("swap.over_maximum", message, "Raise llmhost_swap_max, or lower llmhost_swap."))
    lacking = max(0, missing_bytes - other_swap(host, own_path))
    impossible = why_impossible(host, filesystem, own_path)
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
    return SwapPlan(size, "", tuple(findings), _priority(host, own_path))


def with_overcommit(swap: SwapPlan, host: HostFacts, need: HostMemory) -> SwapPlan:
    """Return the plan with what the kernel must be told before the files can be loaded."""
    value = need.overcommit_memory
    if value is None:
        return swap
    ram, now = format_gib(host.machine_memory_bytes), host.overcommit
    if need.largest_mapping_bytes:
        size = format_gib(need.largest_mapping_bytes)
        refused = f"The largest file of the model has {size} and is mapped as a whole"
    else:
        refused = f"The model takes {format_gib(need.peak_bytes)} of RAM"
    message = f"{refused}, which the kernel refuses with {ram} of RAM and vm.overcommit_memory {now}."
    capability = host.capabilities["sysctl"]
    if not capability.able:
        remedy = f"Set vm.overcommit_memory to {value} on the machine itself; from here it is not possible: "
        found = warning("memory.overcommit", message, f"{remedy}{capability.reason}.")
        return replace(swap, findings=(*swap.findings, found))
    message += f" It is set to {value}: what is mapped is only read, so swap of that size would stay unused."
    # 2 is nobody's default: somebody chose that no more memory is promised than there is.
    level = warning if now == 2 else info
    found = level("memory.overcommit", message, "To keep it as it is, add RAM, or swap with llmhost_swap.")
    return replace(swap, overcommit_memory=value, findings=(*swap.findings, found))


def service_swap(fit: Fit, intent: Intent) -> int | None:
    """Return how much of the service may be swapped out, None for any amount.

    A model that fits in RAM is never swapped, whatever swap the host has: an answer would wait for the disk. Swap that
    stands in for RAM, or that the user asked for, is there to be used.
    """
    return None if fit.verdict == DOES_NOT_FIT or fit.ram_missing_bytes or intent.swap_bytes else 0


def _others(host: HostFacts, own_path: str) -> list[Swap]:
    return [swap for swap in host.swaps if swap.path not in (own_path, host.swap_state.get("path"))]


def _priority(host: HostFacts, own_path: str) -> int:
    """Return a priority above that of zram, which would fill RAM with weights that it cannot compress."""
    above = [swap.priority + 1 for swap in _others(host, own_path) if swap.compressed]
    return min(max(_PRIORITY, *above, 0), _HIGHEST_PRIORITY)

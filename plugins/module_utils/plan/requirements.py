"""What a tier asks of a host, and what of it this host lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent
from ansible_collections.llmhost.core.plugins.module_utils.size import SizeError, format_gib, parse_size

_SUPPORTED = ("ubuntu", "22.04")
# A filesystem is a little smaller than the disk below it: tables, journal, reserved blocks.
_FILESYSTEM_SHARE = 0.92


def check_platform(host: HostFacts) -> list[Finding]:
    """Return an error for each thing without which llmhost cannot work on any tier."""
    findings = []
    if (host.distribution_id, host.distribution_version) != _SUPPORTED:
        message = f"This host runs {host.distribution_name}; llmhost works on Ubuntu 22.04."
        findings.append(error("platform.distribution", message, "Install Ubuntu 22.04 LTS, or choose another host."))
    if not host.capabilities["root"].able:
        message = f"llmhost needs root on the host: {host.capabilities['root'].reason}."
        findings.append(error("platform.not_root", message, "Connect as root, or as a user with sudo (become: true)."))
    if not host.capabilities["systemd"].able:
        message = f"llmhost runs its services with systemd: {host.capabilities['systemd'].reason}."
        remedy = "Boot the host with systemd, or start the container with /sbin/init as its first process."
        findings.append(error("platform.no_systemd", message, remedy))
    if host.machine != "x86_64":
        message = f"This host is {host.machine}; this release builds its runtime for x86_64 only."
        findings.append(error("platform.architecture", message, "Choose an x86_64 host."))
    return findings


def check_requirements(host: HostFacts, intent: Intent, on_cpu: bool) -> list[Finding]:
    """Compare the host with its tier: an error for every requirement that is not met, so that all are seen at once."""
    wanted = intent.requirements
    sizes, findings = _sizes(wanted)
    tier = intent.tier
    findings += _check_gpus(host, wanted, sizes, tier, on_cpu)
    if host.memory_bytes < sizes["ram"]:
        message = f"Tier {tier} asks for {wanted['ram']} of RAM; this host has {format_gib(host.memory_bytes)}."
        findings.append(error("requirements.ram", message, _remedy("ram", host.memory_bytes)))
    disk = _largest_disk(host)
    if disk < sizes["disk"]:
        has = f"the largest on this host has {format_gib(disk)}" if disk else "this host has none"
        message = f"Tier {tier} asks for {wanted['disk']} of fast local disk; {has}."
        findings.append(error("requirements.disk", message, _remedy("disk", disk)))
    return findings + _check_distribution(host, wanted, tier) + _check_cpu(host, wanted, tier)


def _check_gpus(
    host: HostFacts, wanted: Mapping[str, Any], sizes: Mapping[str, int], tier: str, on_cpu: bool
) -> list[Finding]:
    count = record.integer(wanted, "gpus")
    if not count and not sizes["vram"]:
        return []
    asked = f"{count} NVIDIA GPU{'s' if count != 1 else ''} with {wanted.get('vram', 'any')} of VRAM in all"
    if on_cpu:
        message = f"Tier {tier} is meant for {asked}; the model runs on the CPU, as llmhost_accelerator asks."
        return [info("requirements.gpu_waived", message, "Expect far fewer tokens per second than the tier promises.")]
    if not host.gpus:
        message = f"Tier {tier} asks for {asked}; this host has no NVIDIA GPU."
        remedy = "Add the GPU, choose another host, or set llmhost_accelerator: cpu to serve from the CPU, slower."
        return [error("accelerator.no_gpu", message, remedy)]
    findings = []
    if len(host.gpus) < count:
        message = f"Tier {tier} asks for {asked}; this host has {len(host.gpus)}: {_names(host)}."
        remedy = f"Add {count - len(host.gpus)} GPU(s), or choose a tier that asks for {len(host.gpus)}."
        findings.append(error("requirements.gpus", message, remedy))
    if host.vram_bytes < sizes["vram"]:
        has = f"{format_gib(host.vram_bytes)}: {_names(host)}"
        message = f"Tier {tier} asks for {wanted['vram']} of VRAM; this host has {has}."
        findings.append(error("requirements.vram", message, _remedy("vram", host.vram_bytes)))
    lanes = record.integer(record.section(wanted, "gpu_link"), "lanes")
    narrow = [gpu for gpu in host.gpus if 0 < gpu.lanes < lanes]
    if narrow:
        has = ", ".join(f"{gpu.name} has {gpu.lanes}" for gpu in narrow)
        message = f"Tier {tier} asks for {lanes} PCI Express lanes for each GPU; {has}."
        remedy = "Move the GPU to a wider slot. With NVLink, or with layers split between GPUs, it matters less."
        findings.append(warning("requirements.gpu_lanes", message, remedy))
    return findings


def _check_distribution(host: HostFacts, wanted: Mapping[str, Any], tier: str) -> list[Finding]:
    distribution = record.section(wanted, "distribution")
    identity = record.text(distribution, "id", host.distribution_id)
    version = str(distribution.get("version", host.distribution_version))
    if (identity, version) in (_SUPPORTED, (host.distribution_id, host.distribution_version)):
        return []  # Ubuntu 22.04 itself is checked for every tier
    message = f"Tier {tier} asks for {identity} {version}; this host runs {host.distribution_name}."
    return [error("requirements.distribution", message, "Install that distribution, or correct llmhost_requirements.")]


def _check_cpu(host: HostFacts, wanted: Mapping[str, Any], tier: str) -> list[Finding]:
    """An older CPU is slow, not wrong: a warning. An unknown vendor is not judged."""
    rule = record.section(record.section(wanted, "cpu"), host.cpu.vendor)
    if not rule:
        return []
    family, models = record.integer(rule, "family"), rule.get("models")
    newer = host.cpu.family > family
    listed = host.cpu.family == family and (not isinstance(models, (list, tuple)) or host.cpu.model in models)
    if newer or listed:
        return []
    message = (
        f"{host.cpu.name} (family {host.cpu.family}, model {host.cpu.model}) is older than the generation "
        f"tier {tier} is meant for (family {family})."
    )
    return [warning("requirements.cpu", message, "It works; loading and prompt processing are slower.")]


def _largest_disk(host: HostFacts) -> int:
    """The largest place for models: whole local disks by their own size, mounted filesystems by that of their disk."""
    disks = [
        disk.size_bytes
        for disk in host.disks
        if disk.type == "disk" and not (disk.removable or disk.network or disk.read_only or disk.turns)
    ]
    mounted = [
        int(filesystem.size_bytes / _FILESYSTEM_SHARE)
        for filesystem in host.filesystems
        if not (filesystem.network or filesystem.read_only or filesystem.turns)
    ]
    return max(disks + mounted, default=0)


def _sizes(wanted: Mapping[str, Any]) -> tuple[dict[str, int], list[Finding]]:
    sizes, findings = {}, []
    for name in ("vram", "ram", "disk"):
        try:
            sizes[name] = parse_size(wanted.get(name, 0))
        except SizeError as reason:
            sizes[name] = 0
            remedy = "Correct llmhost_requirements in the inventory."
            findings.append(error("variable.invalid", f"llmhost_requirements.{name}: {reason}.", remedy))
    return sizes, findings


def _names(host: HostFacts) -> str:
    return ", ".join(gpu.name for gpu in host.gpus)


def _remedy(name: str, has_bytes: int) -> str:
    kinds = {"ram": "RAM", "disk": "disk", "vram": "VRAM"}
    lower = f", or set llmhost_requirements.{name} to {format_gib(has_bytes)} or less" if has_bytes else ""
    return f"Add {kinds[name]}, or choose a larger host{lower}."

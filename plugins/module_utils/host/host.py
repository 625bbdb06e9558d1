"""Everything that host_info knows of a machine, gathered in one pass."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.files import read_text, read_word
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, warning
from ansible_collections.llmhost.core.plugins.module_utils.host import system
from ansible_collections.llmhost.core.plugins.module_utils.host.capabilities import Capabilities
from ansible_collections.llmhost.core.plugins.module_utils.host.cgroup import Limits
from ansible_collections.llmhost.core.plugins.module_utils.host.cloud import Cloud
from ansible_collections.llmhost.core.plugins.module_utils.host.cloud_init import CloudInit
from ansible_collections.llmhost.core.plugins.module_utils.host.cpu import Cpu
from ansible_collections.llmhost.core.plugins.module_utils.host.disks import read_disks
from ansible_collections.llmhost.core.plugins.module_utils.host.filesystems import read_filesystems
from ansible_collections.llmhost.core.plugins.module_utils.host.gpu import judge_memory, read_gpus
from ansible_collections.llmhost.core.plugins.module_utils.host.lsblk import BlockDevice, LsblkError, list_block_devices
from ansible_collections.llmhost.core.plugins.module_utils.host.memory import Memory
from ansible_collections.llmhost.core.plugins.module_utils.host.nvidia import read_nvidia, told_by_driver, unseen_gpus
from ansible_collections.llmhost.core.plugins.module_utils.host.nvidia_packages import read_packages
from ansible_collections.llmhost.core.plugins.module_utils.host.sockets import read_listeners

SCHEMA = 1

STATES = ("storage", "swap", "models", "inference", "driver")
PROOF = "gpu_proof"


def read_host(
    run_command: RunCommand,
    root: str = "/",
    uname: Callable[[], os.uname_result] = os.uname,
    affinity: Callable[[], int | None] = lambda: len(os.sched_getaffinity(0)),
    now: Callable[[], float] = time.time,
    asked: bool = False,
) -> dict[str, Any]:
    """Return the facts of the machine whose files are at ``root``. Nothing is changed, and nothing raises.

    ``asked``: what concerns NVIDIA's driver is looked at even where there is no GPU.
    """
    proc, sysfs, etc, dev, run = (os.path.join(root, name) for name in ("proc", "sys", "etc", "dev", "run"))
    limits = Limits.from_sysfs(sysfs, proc)
    distribution, distribution_findings = system.Distribution.from_etc(etc)
    virtualization, virtualization_findings = system.Virtualization.from_host(run_command, sysfs, proc, root)
    # Before the disks, which it may be dividing: what is said of it is true of them too.
    cloud_init = CloudInit.from_host(root, run_command)
    cloud = Cloud.from_host(root, now, virtualization.container)
    devices, device_findings = _block_devices(run_command)
    disks, disk_findings = read_disks(devices, run_command, sysfs, proc, dev, cloud=cloud.name)
    filesystems, filesystem_findings = read_filesystems(devices, sysfs, proc)
    cpu, cpu_findings = Cpu.from_proc(sysfs, proc, affinity(), limits.cpus)
    memory, memory_findings = Memory.from_proc(proc, limits.memory_bytes)
    gpus = read_gpus(sysfs)
    listeners, listener_findings = read_listeners(proc, etc)
    state, state_findings = read_state(os.path.join(etc, "llmhost/state"))
    kernel = uname()
    secure_boot = system.read_secure_boot(sysfs, virtualization.container != "none")
    nvidia, nvidia_findings = read_nvidia(
        run_command,
        root,
        gpus,
        kernel=kernel.release,
        container=virtualization.container != "none",
        secure_boot=secure_boot is True,
        asked=asked,
    )
    if nvidia is not None:
        nvidia["packages"] = read_packages(run_command, root, kernel.release, now)
    gpu_facts = [told_by_driver(gpu.as_dict(), nvidia) for gpu in [*gpus, *unseen_gpus(gpus, nvidia)]]
    return {
        "schema": SCHEMA,
        "distribution": asdict(distribution),
        "kernel": {
            "release": kernel.release,
            "architecture": kernel.machine,
            "boot_id": read_word(proc, "sys/kernel/random/boot_id"),
        },
        "init": system.read_init(proc),
        "virtualization": asdict(virtualization),
        "cloud": {
            **cloud.as_dict(),
            "init": cloud_init.as_dict(),
        },
        "secure_boot": secure_boot,
        "capabilities": Capabilities.from_proc(virtualization.container, proc, run).as_dict(),
        "cpu": cpu.as_dict(),
        "memory": memory.as_dict(),
        "filesystems": [filesystem.as_dict() for filesystem in filesystems],
        "disks": [disk.as_dict() for disk in disks],
        "gpus": gpu_facts,
        "nvidia": nvidia,
        "proof": state.pop(PROOF) or None,
        "listening": [listener.as_dict() for listener in listeners],
        "state": state,
        "findings": _as_dicts(
            distribution_findings,
            virtualization_findings,
            cloud_init.findings,
            device_findings,
            disk_findings,
            filesystem_findings,
            cpu_findings,
            memory_findings,
            judge_memory(gpu_facts),
            nvidia_findings,
            listener_findings,
            state_findings,
        ),
    }


def read_state(directory: str) -> tuple[dict[str, dict[str, Any]], list[Finding]]:
    """Return what the roles recorded that they made on this host; a record that is absent is empty."""
    state: dict[str, dict[str, Any]] = {}
    findings = []
    for name in (*STATES, PROOF):
        path = os.path.join(directory, f"{name}.json")
        record: Any = {}
        if os.path.lexists(path):
            try:
                record = json.loads(read_text(path) or "")
            except (ValueError, RecursionError):
                record = None
        if not isinstance(record, dict):
            findings.append(
                warning(
                    "facts.state_unreadable",
                    f"{path} is no JSON object that this user may read, so what llmhost made here is not known.",
                    "Become root; if the file is damaged, remove it and run the playbook again.",
                )
            )
        state[name] = record if isinstance(record, dict) else {}
    return state, findings


def _block_devices(run_command: RunCommand) -> tuple[list[BlockDevice], list[Finding]]:
    try:
        return list_block_devices(run_command), []
    except LsblkError as reason:
        return [], [
            warning(
                "facts.lsblk_failed",
                f"The disks are not known: {reason}.",
                "Install util-linux 2.37 or newer, or let the models lie on a filesystem that is already there.",
            )
        ]


def _as_dicts(*groups: Iterable[Finding]) -> list[dict[str, str]]:
    return [finding.as_dict() for group in groups for finding in group]

"""What a person should know of the disks that are claimed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, warning
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk import Disk
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.own_disks import is_begun, is_recorded


def check_claimed(host: HostFacts, disks: Sequence[Disk], overwrite: bool) -> Iterator[Finding]:
    """Yield what there is to say; ``overwrite`` allows the loss of data that no test recognises.

    Each is true before the claim and after it, so that the plan stays the same.
    """
    fleeting = [disk for disk in disks if disk.ephemeral]
    if fleeting:
        message = f"{_list(fleeting)} ({fleeting[0].model}) loses its data when the machine is stopped."
        remedy = "The model is downloaded again then. Name another disk in llmhost_storage_devices to keep it."
        yield warning("storage.ephemeral", message, remedy)
    held = [disk for disk in disks if overwrite and _held_unrecognised(disk, host)]
    if held:
        message = (
            f"Until it is claimed, {_list(held)} holds data without a signature, as of plain dm-crypt or of a "
            "database. llmhost_storage_devices names it and llmhost_overwrite_unrecognised is true, so a filesystem "
            "takes the place of that data."
        )
        yield warning("storage.unrecognised_data", message, "If the data is needed, name another disk before the run.")
    if len({(disk.model, disk.size_bytes) for disk in disks}) > 1:
        message = (
            f"{_list(disks)} are not equal: what is larger or faster than the others is of little use in a RAID 0."
        )
        yield warning("storage.raid_unequal", message, "Name disks of one model and size.")
    for disk in disks:
        yield from _check_link(host, disk)


def _check_link(host: HostFacts, disk: Disk) -> Iterator[Finding]:
    """The ports of a virtual machine are its hypervisor's invention, and say nothing of the machine below."""
    link = disk.link
    if link is None or host.virtual or not link.is_narrowed:
        return
    message = f"{disk.stable_path} ({disk.model or 'no model'}) runs at {link.words}, so that models load more slowly."
    if link.lanes < link.own_lanes:
        remedy = "Give it a slot with more lanes: another one, or the same with its bifurcation set in the firmware"
        remedy += " (a slot may share lanes with another, or with SATA ports)."
    else:
        remedy = "Move it to a slot of a newer PCI Express generation, or raise the slot's speed in the firmware."
    yield warning("storage.slow_link", message, remedy)


def _held_unrecognised(disk: Disk, host: HostFacts) -> bool:
    """Whether the disk holds data of unknown origin, or did when it was claimed; half a filesystem is our own."""
    if not is_recorded(disk, host):
        return disk.unrecognised_data
    recorded = record.flag(host.storage_state, "unrecognised_data")
    return recorded or (disk.blank and disk.unrecognised_data and not is_begun(host))


def _list(disks: Sequence[Disk]) -> str:
    return ", ".join(disk.stable_path for disk in disks)

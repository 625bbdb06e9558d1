"""Where the disks of clouds and of machines at home are, and whether they last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.host.disks import read_disks
from ansible_collections.llmhost.core.plugins.module_utils.host.lsblk import list_block_devices
from ansible_collections.llmhost.core.plugins.module_utils.host.signatures import Look

from tests.unit.machine import NOTHING_FOUND, Machine, lsblk

SCSI = {"kname": "sdb", "tran": None}
VIRTIO = {"kname": "vdb", "tran": "virtio", "model": None, "serial": None}

LASTING_HERE = (False, False)
EPHEMERAL_HERE = (True, False)
LASTING_AFAR = (False, True)

# Cloud, disk, links below /dev/disk, and what it is: ephemeral, network.
DISKS: list[tuple[str, dict[str, Any], list[str], tuple[bool, bool]]] = [
    ("aws", {"model": "Amazon EC2 NVMe Instance Storage        "}, [], EPHEMERAL_HERE),
    ("aws", {"model": "Amazon Elastic Block Store              "}, [], LASTING_AFAR),
    ("aws", {"kname": "xvdb", "tran": None, "model": None}, [], LASTING_AFAR),
    ("gcp", {"model": "nvme_card"}, ["by-id/google-local-nvme-ssd-0"], EPHEMERAL_HERE),
    ("gcp", {"model": "nvme_card0"}, [], EPHEMERAL_HERE),
    ("gcp", {"model": "a new name"}, ["by-id/google-local-nvme-ssd-0"], EPHEMERAL_HERE),
    ("gcp", {"model": "nvme_card-pd"}, ["by-id/google-persistent-disk-1"], LASTING_AFAR),
    ("gcp", {**SCSI, "model": "EphemeralDisk", "vendor": "Google"}, ["by-id/google-local-ssd-0"], EPHEMERAL_HERE),
    ("gcp", {**SCSI, "model": "PersistentDisk", "vendor": "Google"}, [], LASTING_AFAR),
    ("azure", {"model": "Microsoft NVMe Direct Disk"}, [], EPHEMERAL_HERE),
    ("azure", {"model": "Microsoft NVMe Direct Disk v2           "}, ["azure/local/by-index/1"], EPHEMERAL_HERE),
    ("azure", {"model": "MSFT NVMe Accelerator v1.0"}, ["azure/data/by-lun/0"], LASTING_AFAR),
    ("azure", {**SCSI, "model": "Virtual Disk", "vendor": "Msft"}, ["azure/resource"], EPHEMERAL_HERE),
    ("azure", {**SCSI, "model": "Virtual Disk", "vendor": "Msft"}, ["cloud/azure_resource"], EPHEMERAL_HERE),
    ("azure", {**SCSI, "model": "Virtual Disk", "vendor": "Msft"}, ["azure/scsi1/lun0"], LASTING_AFAR),
    ("azure", {**SCSI, "model": "Virtual Disk", "vendor": "Msft"}, [], LASTING_AFAR),
    ("none", {**SCSI, "model": "Virtual Disk", "vendor": "Msft"}, [], LASTING_HERE),  # Hyper-V at home
    ("oracle", {**SCSI, "model": "BlockVolume", "vendor": "ORACLE"}, [], LASTING_AFAR),
    ("oracle", {**SCSI, "tran": "iscsi", "model": "BlockVolume"}, [], LASTING_AFAR),
    ("oracle", {"model": "INTEL SSDPE2KE064T8"}, [], LASTING_HERE),  # DenseIO keeps its disks while it is stopped
    ("alibaba", VIRTIO, [], LASTING_AFAR),
    ("digitalocean", {**SCSI, "model": "Volume", "vendor": "DO"}, ["by-id/scsi-0DO_Volume_models"], LASTING_AFAR),
    ("hetzner", {**SCSI, "model": "Volume", "vendor": "HC"}, ["by-id/scsi-0HC_Volume_1234"], LASTING_AFAR),
    ("none", {**SCSI, "model": "Volume", "vendor": "HC"}, ["by-id/scsi-0HC_Volume_1234"], LASTING_AFAR),
    ("akamai", {**SCSI, "model": "Volume", "vendor": "Linode"}, ["by-id/scsi-0Linode_Volume_m"], LASTING_AFAR),
    ("hetzner", {"model": "SAMSUNG MZVL2512HCJQ-00B00"}, [], LASTING_HERE),  # a rented machine of metal
    ("openstack", VIRTIO, [], LASTING_AFAR),
    ("none", VIRTIO, [], LASTING_HERE),
    ("none", {"kname": "sda", "tran": None, "model": "QEMU HARDDISK", "vendor": "QEMU"}, [], LASTING_HERE),
    ("none", {"model": "QEMU NVMe Ctrl"}, [], LASTING_HERE),
    ("none", {"model": "Samsung SSD 990 PRO 1TB"}, [], LASTING_HERE),
    ("none", {"kname": "sda", "model": "ST16000NM001G", "tran": "sata", "rota": True}, [], LASTING_HERE),
    ("none", {"kname": "sda", "model": None, "tran": "iscsi"}, [], LASTING_AFAR),
    ("none", {"kname": "sda", "model": "LUN C-Mode", "tran": "fc"}, [], LASTING_AFAR),
    ("none", {"kname": "nbd0", "model": None, "tran": None}, [], LASTING_AFAR),
    ("none", {"kname": "rbd0", "model": None, "tran": None}, [], LASTING_AFAR),
]


def title(case: tuple[str, dict[str, Any], list[str], tuple[bool, bool]]) -> str:
    cloud, device, links, _ = case
    return " ".join([cloud, device.get("kname", "nvme0n1"), str(device.get("model")).strip(), *links])


@pytest.mark.parametrize("case", DISKS, ids=title)
def test_disks_are_classified(tmp_path: Path, case: tuple[str, dict[str, Any], list[str], tuple[bool, bool]]) -> None:
    cloud, device, links, (ephemeral, network) = case
    machine = Machine(tmp_path, {**NOTHING_FOUND, "lsblk": lsblk(device)})
    name = device.get("kname", "nvme0n1")
    machine.write({f"dev/{name}": "", "dev/disk/by-id/ata-other-part1": ""})
    for link in links:
        machine.link(f"dev/disk/{link}", "../" * link.count("/") + f"../{name}")
    sysfs, proc, dev = (machine.path(part) for part in ("sys", "proc", "dev"))
    devices = list_block_devices(machine.run_command)
    ((disk,), _) = read_disks(devices, machine.run_command, sysfs, proc, dev, lambda _: Look(), cloud)

    assert (disk.ephemeral, disk.network) == (ephemeral, network)

"""Where a disk is and whether it lasts: clouds name their disks by model, vendor or a link, never by the transport."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from ansible_collections.llmhost.core.plugins.module_utils.files import link_name
from ansible_collections.llmhost.core.plugins.module_utils.host.lsblk import BlockDevice

# What a machine loses when it stops:
_EPHEMERAL_MODEL = re.compile(
    r"Amazon EC2 NVMe Instance Storage"
    r"|nvme_card\d*|EphemeralDisk"  # Google
    r"|Microsoft NVMe Direct Disk( v\d+)?"
)
_EPHEMERAL_LINK = re.compile(
    r"google-local-.*"
    r"|azure/resource|azure/local/.*|cloud/azure_resource"
)
# What lies across a network, though it shows as a local NVMe or SCSI disk:
_NETWORK_MODEL = re.compile(
    r"Amazon Elastic Block Store"
    r"|nvme_card-pd|PersistentDisk"  # Google
    r"|MSFT NVMe Accelerator v[\d.]+"  # Azure
    r"|BlockVolume"  # Oracle
    r"|Alibaba Cloud Elastic Block Storage"
    r"|b_ssd|sbs|Scaleway SBS.*"
)
_NETWORK_LINK = re.compile(
    r"azure/(os|root|data/.*|scsi[01]/.*)|scsi-0(DO_Volume|HC_Volume|Linode_Volume|SCW_(b_ssd|sbs))[-_].*"
)
_NETWORK_NAME = re.compile(r"(nbd|rbd|drbd)\d+$")
_NETWORK_TRANSPORTS = frozenset({"iscsi", "fc", "fcoe"})
# NVMe over Fabrics shows as nvme in lsblk; the controller tells the fabric.
_NVME_FABRICS = frozenset({"fc", "rdma", "tcp"})
# Virtual disks. In a cloud they are volumes of its storage unless something above says that they are not.
_VIRTUAL_NAME = re.compile(r"(vd|xvd)[a-z]+$")
_VIRTUAL_VENDORS = frozenset({"QEMU", "Msft", "ORACLE", "DO", "HC", "Linode", "SCW", "ATA-QEMU", "VMware", "Xen"})
_NO_CLOUD = "none"


def is_ephemeral(model: str, links: Iterable[str]) -> bool:
    """Tell whether a cloud takes the disk away, with what is on it, when the machine stops.

    ``links`` are names in /dev/disk/by-id and paths below /dev/disk that lead to it.
    """
    return _EPHEMERAL_MODEL.fullmatch(model) is not None or any(map(_EPHEMERAL_LINK.fullmatch, links))


def is_network(device: BlockDevice, links: Iterable[str], fabric: str, cloud: str = _NO_CLOUD) -> bool:
    """Tell whether the disk is reached over a network, whatever it calls itself."""
    links = list(links)
    return (
        device.transport in _NETWORK_TRANSPORTS
        or fabric in _NVME_FABRICS
        or _NETWORK_NAME.match(device.name) is not None
        or _NETWORK_MODEL.fullmatch(device.model) is not None
        or any(map(_NETWORK_LINK.fullmatch, links))
        or (cloud != _NO_CLOUD and _is_virtual(device) and not is_ephemeral(device.model, links))
    )


def _is_virtual(device: BlockDevice) -> bool:
    named = device.transport == "virtio" or _VIRTUAL_NAME.match(device.name) is not None
    return named or device.vendor in _VIRTUAL_VENDORS


def cloud_links(directory: str, name: str) -> list[str]:
    """Return the links in a cloud's own directories below ``directory`` that lead to the device, relative to it."""
    found = []
    for cloud in ("azure", "cloud"):
        for place, _, files in os.walk(os.path.join(directory, cloud)):
            links = (os.path.join(place, file) for file in files if link_name(place, file) == name)
            found += [os.path.relpath(link, directory) for link in links]
    return sorted(found)

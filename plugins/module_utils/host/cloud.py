"""The cloud that a machine belongs to: its name, the age of this instance, and what its tools have mounted.

Read from the firmware's tables and from what cloud-init leaves behind; no metadata service is asked.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.files import link_name, list_names, read_text, read_word
from ansible_collections.llmhost.core.plugins.module_utils.host.mounts import Mount, Mounts
from ansible_collections.llmhost.core.plugins.module_utils.storage.fstab import Fstab

NONE = "none"
FRESH_SECONDS = 24 * 3600
# Clocks of machines that have just been started are a little off at times; one that is far off proves nothing.
SKEW_SECONDS = 300

_DMI = ("sys_vendor", "product_name", "chassis_asset_tag", "chassis_vendor", "bios_version")
# Field of the firmware's tables, its text as a whole, cloud. Hyper-V at home differs from Azure by the tag alone.
_FIRMWARE = (
    ("sys_vendor", r"Amazon EC2", "aws"),
    ("bios_version", r".*\.amazon", "aws"),
    ("product_name", r"Google Compute Engine", "gcp"),
    ("chassis_asset_tag", r"7783-7084-3265-9085-8269-3286-77", "azure"),
    ("chassis_asset_tag", r"OracleCloud\.com", "oracle"),
    ("product_name", r"Alibaba Cloud ECS", "alibaba"),
    ("sys_vendor", r"Akamai|Linode", "akamai"),
    ("sys_vendor", r"DigitalOcean", "digitalocean"),
    ("product_name", r"Exoscale.*", "exoscale"),
    ("sys_vendor", r"Hetzner", "hetzner"),
    ("chassis_asset_tag", r"HUAWEICLOUD", "huawei"),
    ("product_name", r"OpenStack (Nova|Compute)", "openstack"),
    ("chassis_asset_tag", r"OpenTelekomCloud|SAP CCloud VM|Samsung Cloud Platform", "openstack"),
    ("sys_vendor", r"Scaleway", "scaleway"),
    ("sys_vendor", r"Tencent Cloud", "tencent"),
    ("sys_vendor", r"UpCloud", "upcloud"),
    ("sys_vendor", r"Vultr", "vultr"),
)
# What cloud-init calls them. Seeds on a disk (nocloud, configdrive), maas, lxd and vmware are no clouds here: disks
# of such machines may have been somebody's before.
_CLOUD_INIT = {
    "aliyun": "alibaba",
    "gce": "gcp",
    "ibm": "ibm",
    "ibmcloud": "ibm",
    "outscale": "outscale",
    "cloudstack": "cloudstack",
    **{cloud: cloud for _, _, cloud in _FIRMWARE},
}

_AZURE_DISK = re.compile(r"/dev/disk/(cloud/azure_resource|azure/resource)(-part\d+)?")
# Azure's tools leave this on a disk whose data they will lose.
_LOSS_WARNING = "DATALOSS_WARNING_README.txt"
_DLAMI = "/opt/dlami/nvme"


@dataclass(frozen=True)
class Made:
    """A mount point or a swap area of the host that a tool of its cloud made; ``ephemeral``: it may come back empty."""

    path: str
    by: str
    ephemeral: bool


@dataclass(frozen=True)
class Cloud:
    """Where the machine was rented; ``fresh`` means that this instance was first booted less than a day ago."""

    name: str
    fresh: bool
    first_boot: int | None
    mounts: list[Made]
    swaps: list[Made]

    @classmethod
    def from_host(cls, root: str, now: Callable[[], float], container: str = NONE) -> Cloud:
        """Read the firmware's tables and the files of cloud-init and of Azure's agent below ``root``.

        A container shows the firmware of the machine below it, and is never fresh: those disks are not its own.
        """
        name = read_name(os.path.join(root, "sys"), os.path.join(root, "run"))
        first_boot = read_first_boot(os.path.join(root, "var"))
        age = None if first_boot is None else now() - first_boot
        young = age is not None and -SKEW_SECONDS <= age < FRESH_SECONDS
        makers = list(_makers(root))
        return cls(
            name=name,
            fresh=young and name != NONE and container == NONE,
            first_boot=first_boot,
            mounts=[made for mount in _mounts(root) if (made := _maker_of(mount, makers, root))],
            swaps=[made for path in _swaps(root) if (made := _maker_of_swap(path, makers))],
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the plain dict that host_info returns."""
        return asdict(self)


def read_name(sysfs: str = "/sys", run: str = "/run") -> str:
    """Return the cloud that the firmware names, else the one that cloud-init got its data from, else ``none``."""
    firmware = {field: read_word(sysfs, "class/dmi/id", field) for field in _DMI}
    for field, text, cloud in _FIRMWARE:
        if re.fullmatch(text, firmware[field]):
            return cloud
    # Regions with rules of their own are told by an ending: aws-gov, azure-china.
    called = re.sub(r"-(gov|china)$", "", read_cloud_id(run))
    return _CLOUD_INIT.get(called, NONE)


def read_cloud_id(run: str = "/run") -> str:
    """Return what cloud-init calls the source of its data, or "" where it did not run."""
    word = read_word(run, "cloud-init/cloud-id")
    if word:
        return word
    try:
        data = json.loads(read_text(run, "cloud-init/instance-data.json") or "")
        said = data["v1"]["cloud_id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return said if isinstance(said, str) else ""


def read_first_boot(var: str = "/var") -> int | None:
    """Return when this instance was first booted, in seconds of the epoch; None where cloud-init does not tell.

    cloud-init marks what it does once for each instance, in a directory that an image made of a disk does not share
    with the instances made of the image.
    """
    instance = link_name(var, "lib/cloud/instance")
    if not instance:
        return None
    marks = os.path.join(var, "lib/cloud/instances", instance, "sem")
    times = []
    for name in list_names(marks):
        try:
            times.append(int(os.stat(os.path.join(marks, name)).st_mtime))
        except (OSError, ValueError):
            continue
    return min(times, default=None)


def parse_waagent(text: str) -> tuple[str, str]:
    """Return where Azure's agent mounts the temporary disk and where its swap file is; "" for what it leaves alone."""
    settings = dict(re.findall(r"^\s*(ResourceDisk\.\w+)\s*=\s*(.*?)\s*(?:#.*)?$", text, re.MULTILINE))
    if settings.get("ResourceDisk.Format", "n").lower() != "y":
        return "", ""
    mountpoint = settings.get("ResourceDisk.MountPoint") or "/mnt/resource"
    swaps = settings.get("ResourceDisk.EnableSwap", "n").lower() == "y"
    return mountpoint, os.path.join(mountpoint, "swapfile") if swaps else ""


def _makers(root: str) -> Iterator[Made]:
    """Yield what the settings on the host say that tools of the cloud mount."""
    mountpoint, swap = parse_waagent(read_text(root, "etc/waagent.conf") or "")
    for path in filter(None, (mountpoint, swap)):
        yield Made(path, "WALinuxAgent", ephemeral=True)
    yield Made(_DLAMI, "the AWS Deep Learning AMI", ephemeral=True)
    for entry in Fstab(read_text(root, "etc/fstab") or "").entries:
        if "comment=cloudconfig" not in entry.options.split(","):
            continue
        # cloud-init's own place for a cloud's temporary disk is /mnt; elsewhere it mounts what its user named.
        temporary = entry.target == "/mnt" or _AZURE_DISK.fullmatch(entry.source) is not None
        swap_area = entry.fstype == "swap"
        yield Made(entry.source if swap_area else entry.target, "cloud-init", temporary and not swap_area)


def _maker_of(mount: Mount, makers: Sequence[Made], root: str) -> Made | None:
    found = next((made for made in makers if made.path == mount.target), None)
    if found or not mount.source.startswith("/dev/"):
        return found
    warned = os.path.exists(os.path.join(root, mount.target.lstrip("/"), _LOSS_WARNING))
    return Made(mount.target, "Azure", ephemeral=True) if warned else None


def _maker_of_swap(path: str, makers: Sequence[Made]) -> Made | None:
    found = next((made for made in makers if made.path == path), None)
    below = next((made for made in makers if made.ephemeral and path.startswith(made.path.rstrip("/") + "/")), None)
    return found or (Made(path, below.by, ephemeral=True) if below else None)


def _mounts(root: str) -> list[Mount]:
    mounts = Mounts.from_mountinfo(read_text(root, "proc/self/mountinfo") or "")
    return list({mount.target: mount for mount in mounts.mounts}.values())


def _swaps(root: str) -> list[str]:
    return [line.split()[0] for line in (read_text(root, "proc/swaps") or "").splitlines()[1:] if line.strip()]

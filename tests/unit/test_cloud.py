"""Which cloud a machine belongs to, whether its instance is new, and what the cloud's tools have mounted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.host.cloud import (
    Cloud,
    Made,
    parse_waagent,
    read_first_boot,
    read_name,
)
from ansible_collections.llmhost.core.plugins.module_utils.host.host import read_host
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk_list import disk_list
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import read_intent
from ansible_collections.llmhost.core.plugins.module_utils.plan.storage_plan import plan_storage

from tests.unit.hosts import GIB, filesystem
from tests.unit.machine import NOTHING_FOUND, Machine, block_device, lsblk

NOW = 1_800_000_000
HOUR = 3600
ROOT_MOUNT = "20 1 259:1 / / rw - ext4 /dev/nvme0n1p1 rw\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.write({"proc/self/mountinfo": ROOT_MOUNT, "proc/swaps": "heading\n"})
    return made


def firmware(**fields: str) -> dict[str, str]:
    return {f"sys/class/dmi/id/{name}": f"{text}\n" for name, text in fields.items()}


def instance(machine: Machine, name: str, *ages: float) -> None:
    """Let cloud-init have done things on this instance so many seconds ago."""
    machine.link("var/lib/cloud/instance", f"/var/lib/cloud/instances/{name}")
    for number, age in enumerate(ages):
        mark = f"var/lib/cloud/instances/{name}/sem/config_{number}"
        machine.write({mark: "12: when\n"})
        os.utime(machine.path(mark), (NOW - age, NOW - age))


def look(machine: Machine, container: str = "none") -> Cloud:
    return Cloud.from_host(str(machine.root), lambda: NOW, container)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"sys_vendor": "Amazon EC2", "product_name": "g5.2xlarge"}, "aws"),
        ({"sys_vendor": "Amazon EC2", "product_name": "p4d.24xlarge", "chassis_asset_tag": "Amazon EC2"}, "aws"),
        ({"sys_vendor": "Xen", "product_name": "HVM domU", "bios_version": "4.11.amazon"}, "aws"),
        ({"sys_vendor": "Google", "product_name": "Google Compute Engine"}, "gcp"),
        (
            {
                "sys_vendor": "Microsoft Corporation",
                "product_name": "Virtual Machine",
                "chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77",
            },
            "azure",
        ),
        ({"sys_vendor": "QEMU", "chassis_asset_tag": "OracleCloud.com"}, "oracle"),
        ({"sys_vendor": "Alibaba Cloud", "product_name": "Alibaba Cloud ECS"}, "alibaba"),
        ({"sys_vendor": "DigitalOcean", "product_name": "Droplet"}, "digitalocean"),
        ({"sys_vendor": "Hetzner", "product_name": "vServer"}, "hetzner"),
        ({"sys_vendor": "OpenStack Foundation", "product_name": "OpenStack Nova"}, "openstack"),
        ({"sys_vendor": "Scaleway", "product_name": "SCW-GPU-3070-S"}, "scaleway"),
        ({"sys_vendor": "Vultr", "product_name": "VC2"}, "vultr"),
        # Hyper-V in an office, a virtual machine and a workstation at home, a laptop of Google's.
        ({"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine"}, "none"),
        ({"sys_vendor": "QEMU", "product_name": "Standard PC (Q35 + ICH9, 2009)"}, "none"),
        ({"sys_vendor": "ASUS", "product_name": "System Product Name", "bios_version": "4021"}, "none"),
        ({"sys_vendor": "Google", "product_name": "Eve"}, "none"),
        ({}, "none"),
    ],
)
def test_firmware_names_the_cloud(machine: Machine, fields: dict[str, str], name: str) -> None:
    machine.write(firmware(**fields))
    assert look(machine).name == name


@pytest.mark.parametrize(
    ("cloud_id", "name"),
    [
        ("aws", "aws"),
        ("aws-china", "aws"),
        ("azure", "azure"),
        ("azure-gov", "azure"),
        ("gce", "gcp"),
        ("oracle", "oracle"),
        ("openstack", "openstack"),
        ("vultr", "vultr"),
        *((source, "none") for source in ("nocloud", "configdrive", "maas", "lxd", "vmware", "none", "unknown", "")),
    ],
)
def test_cloud_init_names_the_cloud(machine: Machine, cloud_id: str, name: str) -> None:
    machine.write({"run/cloud-init/cloud-id": f"{cloud_id}\n"})
    assert look(machine).name == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"v1": {"cloud_id": "gce", "instance_id": "i"}}', "gcp"),
        *((text, "none") for text in ("", "{", "[]", '{"v1": 1}', '{"v1": {"cloud_id": ["aws"]}}', "[" * 100_000)),
    ],
)
def test_cloud_init_without_a_cloud_id(machine: Machine, text: str, name: str) -> None:
    machine.write({"run/cloud-init/instance-data.json": text})
    assert read_name(machine.path("sys"), machine.path("run")) == name


@pytest.mark.parametrize(
    ("ages", "fresh"),
    [
        ((0.0,), True),
        ((23 * HOUR,), True),
        ((24 * HOUR,), False),
        ((100 * 24 * HOUR,), False),
        # What was done last does not matter: each boot does something.
        ((30 * HOUR, 60), False),
        # A clock that was a little ahead at boot, and one that knew nothing.
        ((-60,), True),
        ((-HOUR,), False),
        ((NOW - 60,), False),
        ((), False),
    ],
)
def test_age_of_the_instance(machine: Machine, ages: tuple[float, ...], fresh: bool) -> None:
    machine.write(firmware(sys_vendor="Amazon EC2"))
    instance(machine, "i-0abc", *ages)
    assert look(machine).fresh is fresh
    assert look(machine).first_boot == (NOW - int(max(ages)) if ages else None)


def test_an_image_made_of_an_old_instance_is_fresh(machine: Machine) -> None:
    machine.write(firmware(sys_vendor="Amazon EC2"))
    machine.write({"var/lib/cloud/instances/i-0old/sem/config_ssh": ""})
    os.utime(machine.path("var/lib/cloud/instances/i-0old/sem/config_ssh"), (0, 0))
    instance(machine, "i-0new", HOUR)
    assert look(machine).fresh


def test_nothing_is_fresh_without_cloud_init(machine: Machine) -> None:
    machine.write(firmware(sys_vendor="Amazon EC2"))
    assert read_first_boot(machine.path("var")) is None
    assert not look(machine).fresh


def test_a_server_at_home_is_never_fresh(machine: Machine) -> None:
    # Ubuntu's installer leaves cloud-init with a seed on the disk.
    machine.write({**firmware(sys_vendor="Dell Inc."), "run/cloud-init/cloud-id": "nocloud\n"})
    instance(machine, "iid-datasource-none", HOUR)
    assert (look(machine).name, look(machine).fresh) == ("none", False)


def test_a_container_is_never_fresh(machine: Machine) -> None:
    machine.write(firmware(sys_vendor="Amazon EC2"))
    instance(machine, "i-0abc", HOUR)
    assert look(machine, "lxc") == Cloud("aws", False, NOW - HOUR, [], [])


CLOUD_INIT_AZURE = (
    "/dev/disk/cloud/azure_resource-part1 /mnt auto "
    "defaults,nofail,x-systemd.after=cloud-init.service,_netdev,comment=cloudconfig 0 2\n"
)
CLOUD_INIT_AWS = (
    "/dev/xvdb /mnt auto defaults,nofail,x-systemd.requires=cloud-init.service,_netdev,comment=cloudconfig 0 2\n"
)


@pytest.mark.parametrize(
    ("files", "mounted", "made"),
    [
        ({"etc/fstab": CLOUD_INIT_AWS}, ("/dev/xvdb", "/mnt"), [Made("/mnt", "cloud-init", True)]),
        ({"etc/fstab": CLOUD_INIT_AZURE}, ("/dev/sdb1", "/mnt"), [Made("/mnt", "cloud-init", True)]),
        (
            {"etc/fstab": CLOUD_INIT_AZURE.replace(" /mnt ", " /scratch ")},
            ("/dev/sdb1", "/scratch"),
            [Made("/scratch", "cloud-init", True)],
        ),
        # cloud-init mounts what its user names, too: that disk is not the cloud's temporary one.
        (
            {"etc/fstab": "/dev/nvme1n1 /data ext4 defaults,nofail,comment=cloudconfig 0 2\n"},
            ("/dev/nvme1n1", "/data"),
            [Made("/data", "cloud-init", False)],
        ),
        ({"etc/fstab": "/dev/nvme1n1 /mnt ext4 defaults 0 2\n"}, ("/dev/nvme1n1", "/mnt"), []),
        ({"etc/fstab": CLOUD_INIT_AWS}, ("/dev/nvme1n1", "/data"), []),
        (
            {"etc/waagent.conf": "ResourceDisk.Format=y\nResourceDisk.MountPoint=/mnt/resource\n"},
            ("/dev/sdb1", "/mnt/resource"),
            [Made("/mnt/resource", "WALinuxAgent", True)],
        ),
        ({"etc/waagent.conf": "ResourceDisk.Format=n\n"}, ("/dev/sdb1", "/mnt/resource"), []),
        (
            {"mnt/DATALOSS_WARNING_README.txt": "WARNING: THIS IS A TEMPORARY DISK.\n"},
            ("/dev/sdb1", "/mnt"),
            [Made("/mnt", "Azure", True)],
        ),
        ({"mnt/DATALOSS_WARNING_README.txt": "a copy\n"}, ("server:/export", "/mnt"), []),
        (
            {},
            ("/dev/mapper/vg.01-lv_ephemeral", "/opt/dlami/nvme"),
            [Made("/opt/dlami/nvme", "the AWS Deep Learning AMI", True)],
        ),
        ({}, ("/dev/nvme1n1", "/opt/other"), []),
    ],
)
def test_what_the_tools_of_a_cloud_mounted(
    machine: Machine, files: dict[str, str], mounted: tuple[str, str], made: list[Made]
) -> None:
    source, target = mounted
    mount = f"21 20 259:2 / {target} rw - ext4 {source} rw\n"
    machine.write({**files, "proc/self/mountinfo": ROOT_MOUNT + mount})
    assert look(machine).mounts == made


@pytest.mark.parametrize(
    ("files", "path", "made"),
    [
        (
            {"etc/waagent.conf": "ResourceDisk.Format=y\nResourceDisk.MountPoint=/mnt\nResourceDisk.EnableSwap=y\n"},
            "/mnt/swapfile",
            [Made("/mnt/swapfile", "WALinuxAgent", True)],
        ),
        # Swap that somebody put on the cloud's temporary disk goes with it.
        ({"etc/fstab": CLOUD_INIT_AZURE}, "/mnt/swap.img", [Made("/mnt/swap.img", "cloud-init", True)]),
        (
            {"etc/fstab": "/swap.img none swap sw,comment=cloudconfig 0 0\n"},
            "/swap.img",
            [Made("/swap.img", "cloud-init", False)],
        ),
        ({"etc/fstab": "/swap.img none swap sw 0 0\n"}, "/swap.img", []),
        ({"etc/fstab": CLOUD_INIT_AZURE}, "/mntx/swap.img", []),
    ],
)
def test_swap_of_the_tools_of_a_cloud(machine: Machine, files: dict[str, str], path: str, made: list[Made]) -> None:
    machine.write({**files, "proc/swaps": f"heading\n{path} file 1024 0 -2\n"})
    assert look(machine).swaps == made


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("", ("", "")),
        ("ResourceDisk.Format=y\n", ("/mnt/resource", "")),
        ("ResourceDisk.Format=Y\nResourceDisk.EnableSwap=n\nResourceDisk.MountPoint=/mnt # here\n", ("/mnt", "")),
        ("ResourceDisk.Format=y\nResourceDisk.EnableSwap=y\n", ("/mnt/resource", "/mnt/resource/swapfile")),
        ("# ResourceDisk.Format=y\nResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=2048\n", ("", "")),
    ],
)
def test_settings_of_azures_agent(text: str, places: tuple[str, str]) -> None:
    assert parse_waagent(text) == places


# --- Whole images of clouds: from their files to what the plan says of their disks

STORE, VOLUME = "Amazon EC2 NVMe Instance Storage", "Amazon Elastic Block Store"


def part(kname: str, point: str | None, **fields: Any) -> dict[str, Any]:
    return block_device(kname, type="part", fstype="ext4", model=None, serial=None, mountpoints=[point], **fields)


def system_disk(kname: str, **fields: Any) -> dict[str, Any]:
    return {"kname": kname, "pttype": "gpt", "children": [part(f"{kname}p1", "/")], **fields}


DLAMI = (
    firmware(sys_vendor="Amazon EC2"),
    [
        system_disk("nvme0n1", model=VOLUME),
        {
            "kname": "nvme1n1",
            "model": STORE,
            "fstype": "LVM2_member",
            "children": [part("dm-0", "/opt/dlami/nvme", path="/dev/mapper/vg.01-lv_ephemeral")],
        },
    ],
    "/dev/mapper/vg.01-lv_ephemeral /opt/dlami/nvme",
)
AZURE = (
    {**firmware(chassis_asset_tag="7783-7084-3265-9085-8269-3286-77"), "etc/fstab": CLOUD_INIT_AZURE},
    [
        system_disk("sda", model="Virtual Disk", tran=None),
        {"kname": "sdb", "model": "Virtual Disk", "tran": None, "pttype": "dos", "children": [part("sdb1", "/mnt")]},
    ],
    "/dev/sdb1 /mnt",
)
AGENT = (
    {
        **firmware(chassis_asset_tag="7783-7084-3265-9085-8269-3286-77"),
        "etc/waagent.conf": "ResourceDisk.Format=y\nResourceDisk.MountPoint=/mnt/resource\nResourceDisk.EnableSwap=y\n",
        "proc/swaps": "heading\n/mnt/resource/swapfile file 2097148 0 -2\n",
    },
    [
        system_disk("sda", model="Virtual Disk", tran=None),
        {
            **{"kname": "sdb", "model": "Virtual Disk", "tran": None, "pttype": "dos"},
            "children": [part("sdb1", "/mnt/resource")],
        },
    ],
    "/dev/sdb1 /mnt/resource",
)


@pytest.mark.parametrize(
    ("image", "name", "use"),
    [
        pytest.param(DLAMI, "nvme1n1", "mounted by the AWS Deep Learning AMI", id="dlami"),
        pytest.param(AZURE, "sdb", "mounted by cloud-init", id="azure"),
        pytest.param(AGENT, "sdb", "mounted by WALinuxAgent", id="azure, agent"),
    ],
)
def test_a_disk_of_the_clouds_tools_is_theirs_even_on_a_fresh_machine(
    machine: Machine, image: tuple[dict[str, str], list[dict[str, Any]], str], name: str, use: str
) -> None:
    files, devices, mount = image
    source, target = mount.split()
    machine.programs = {**NOTHING_FOUND, "lsblk": lsblk(*devices)}
    machine.write({f"dev/{device['kname']}": "" for device in devices})
    machine.write({**files, "proc/self/mountinfo": f"{ROOT_MOUNT}21 20 8:17 / {target} rw - ext4 {source} rw\n"})
    instance(machine, "i-0abc", HOUR)
    found = read_host(machine.run_command, str(machine.root), now=lambda: NOW)
    assert found["cloud"]["fresh"]

    # A directory there may be used, and is known to come back empty.
    found["filesystems"] = [filesystem("/", 20 * GIB), filesystem(target, 900 * GIB, device=source)]
    facts = HostFacts.from_facts(found)
    intent, _ = read_intent({"llmhost_model": "a/b", "llmhost_storage_path": f"{target}/llmhost"})
    plan = plan_storage(facts, intent, 20 * GIB)
    assert (plan.disks, plan.path, plan.ephemeral) == ((), f"{target}/llmhost", True)
    (entry,) = [entry for entry in disk_list(facts, intent, plan, 20 * GIB) if entry["path"].endswith(name)]
    assert (entry["state"], entry["choice"]) == ("in_use", "none")
    assert entry["use"].startswith(target)
    assert entry["use"].endswith(use)

"""Where the models go, on disks of real machines: what is claimed, what is left alone, and what must be asked."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk_list import disk_list
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import read_intent
from ansible_collections.llmhost.core.plugins.module_utils.plan.storage_plan import StoragePlan, plan_storage
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit import hosts
from tests.unit.hosts import GIB, Facts

NEED = 20 * GIB
TB = 10**12
IN_USE = {"blank": False, "not_blank": ["it has a partition table (gpt)"], "partition_table": "gpt"}


def nvme(number: int, size_bytes: int = TB, serial: str = "", **fields: Any) -> Facts:
    """A blank NVMe disk of a desk machine, but for the fields given."""
    serial = serial or f"S{number}"
    return hosts.disk(
        f"/dev/nvme{number}n1",
        size_bytes,
        serial=serial,
        model=fields.pop("model", "Samsung SSD 980 PRO 1TB"),
        by_id=fields.pop("by_id", [f"/dev/disk/by-id/nvme-Disk_{serial}"]),
        **fields,
    )


def used(disk: Facts, use: str = "", **fields: Any) -> Facts:
    return {**disk, **IN_USE, "use": use, **fields}


def link(lanes: int, speed: float, own_lanes: int = 4, own_speed: float = 16.0, **fields: Any) -> Facts:
    """The link of a disk in a slot that allows that speed; an idle disk runs it at 2.5 GT/s."""
    return {
        "current_width": lanes,
        "max_width": own_lanes,
        "current_speed_gts": 2.5,
        "max_speed_gts": own_speed,
        "upstream_max_width": 16,
        "upstream_max_speed_gts": speed,
        **fields,
    }


def cloud(name: str = "aws", fresh: bool = True, mounts: list[Facts] | None = None) -> Facts:
    return {"name": name, "fresh": fresh, "first_boot": 0, "mounts": mounts or [], "swaps": []}


def machine(*disks: Facts, **fields: Any) -> Facts:
    """A machine with these disks, and a system with little room on another one."""
    usual = {"filesystems": [hosts.filesystem("/", 30 * GIB, available_bytes=10 * GIB)], "disks": list(disks)}
    return hosts.workstation(**{**usual, **fields})


def decide(host: Facts, need: int = NEED, /, **variables: Any) -> tuple[StoragePlan, list[Facts]]:
    """The storage and the list of disks."""
    asked = {f"llmhost_{name}": value for name, value in {"model": "a/b", **variables}.items()}
    intent, findings = read_intent(asked)
    assert findings == []
    facts = HostFacts.from_facts(host)
    plan = plan_storage(facts, intent, need)
    return plan, disk_list(facts, intent, plan, need)


def chosen(host: Facts, need: int = NEED, /, **variables: Any) -> list[str]:
    """The kernel's names of the disks that are chosen where a claim is allowed."""
    return [disk.name for disk in decide(host, need, **{"claim_disks": True, **variables})[0].disks]


def codes(host: Facts, need: int = NEED, /, **variables: Any) -> list[str]:
    """The codes of the errors."""
    return [finding.code for finding in decide(host, need, **variables)[0].findings if finding.level == "error"]


def claimed(host: Facts, plan: StoragePlan, **fields: Any) -> Facts:
    """The same host after the disks were claimed."""
    done = copy.deepcopy(host)
    made = {"blank": False, "not_blank": ["it has a signature"], "uuid": "1234", "unrecognised_data": False}
    kind = {"filesystem": "linux_raid_member", "label": "any:llmhost-models", "uuid": "aa-bb"}
    single = {"filesystem": plan.filesystem, "label": "llmhost-models", "mountpoints": [plan.path]}
    for disk in done["disks"]:
        if any(disk["path"] == taken.path for taken in plan.disks):
            disk |= {**made, **(kind if len(plan.disks) > 1 else single)}
    storage = plan.as_dict(NEED)
    keys = ("kind", "path", "devices", "filesystem", "label", "ephemeral", "raid")
    state = {key: storage[key] for key in keys} | {"uuid": "1234", "array_uuid": "aabb", "phase": "ready"}
    done["state"]["storage"] = {**state, **fields}
    return done


# --- Real machines: disks, and which of them are chosen where a claim is allowed

SYSTEM = used(nvme(0, 500 * 10**9, "ROOT"), "/boot/efi (vfat), / (ext4)")
EBS: Facts = {"model": "Amazon Elastic Block Store", "network": True}
STORE: Facts = {"model": "Amazon EC2 NVMe Instance Storage", "ephemeral": True}
LOCAL_SSD: Facts = {"serial": "nvme_card", "ephemeral": True}
WINDOWS = used(nvme(1), "vfat SYSTEM, not mounted, a partition (Microsoft reserved), Windows (ntfs)")


def local_ssd(number: int) -> Facts:
    """One of Google's local disks: namespaces of one controller, which all say the same serial number."""
    wwn = f"nvme.1ae0-6e766d655f63617264-0000000{number}"
    links = [f"/dev/disk/by-id/nvme-{wwn}", f"/dev/disk/by-id/google-local-nvme-ssd-{number - 1}"]
    path = f"/dev/nvme0n{number}"
    return hosts.disk(path, 375 * GIB, by_id=links, wwn=wwn, model="nvme_card", **LOCAL_SSD)


MACHINES: dict[str, tuple[Facts, list[str]]] = {
    "nothing but the system": (machine(SYSTEM), []),
    "one spare disk": (machine(SYSTEM, nvme(1)), ["nvme1n1"]),
    "several, the fastest link": (
        machine(SYSTEM, nvme(1, pcie=link(4, 8.0)), nvme(2, pcie=link(4, 16.0)), nvme(3, pcie=link(2, 16.0))),
        ["nvme2n1"],
    ),
    "an idle link is no slow one": (
        machine(SYSTEM, nvme(1, pcie=link(4, 16.0, current_speed_gts=2.5)), nvme(2, pcie=link(4, 8.0, own_speed=8.0))),
        ["nvme1n1"],
    ),
    "a fast disk in a slow slot": (
        machine(SYSTEM, nvme(1, pcie=link(4, 5.0, own_speed=32.0)), nvme(2, pcie=link(4, 16.0))),
        ["nvme2n1"],
    ),
    "equal links, the larger": (machine(SYSTEM, nvme(1), nvme(2, 2 * TB)), ["nvme2n1"]),
    "a large disk without the link before a small one with": (
        machine(SYSTEM, nvme(1, 10 * GIB, pcie=link(4, 16.0)), nvme(2)),
        ["nvme2n1"],
    ),
    "nvme before sata and virtio": (
        machine(
            hosts.disk("/dev/sda", 4 * TB, transport="sata"),
            hosts.disk("/dev/vdb", 4 * TB, transport="virtio", by_id=[], by_path=["/dev/disk/by-path/pci-0"]),
            nvme(1),
        ),
        ["nvme1n1"],
    ),
    "a sata ssd where nothing else is": (machine(SYSTEM, hosts.disk("/dev/sda", TB, transport="sata")), ["sda"]),
    "a disk that turns": (machine(SYSTEM, hosts.disk("/dev/sda", TB, transport="sata", rotational=True)), []),
    "a stick": (machine(SYSTEM, hosts.disk("/dev/sda", TB, transport="usb")), []),
    "windows on the other disk": (machine(SYSTEM, WINDOWS), []),
    "windows, and a spare disk": (machine(SYSTEM, WINDOWS, nvme(2)), ["nvme2n1"]),
    "persistent disks are no raid of themselves": (machine(SYSTEM, nvme(1), nvme(2), nvme(3)), ["nvme1n1"]),
    "an lvm, a raid, a zpool": (
        machine(
            used(nvme(1), "/ (ext4 on LVM)"),
            used(nvme(2), "/data (ext4 on RAID 1 md0)"),
            used(nvme(3), "ZFS tank"),
            used(nvme(4), "LUKS"),
            used(nvme(5), "bcache"),
            used(hosts.disk("/dev/sdb", TB), "mpatha on multipath"),
        ),
        [],
    ),
    "a disk held by a device without a name": (
        machine(nvme(1, blank=False, not_blank=["other devices stand on it (dm-3)"], holders=["dm-3"])),
        [],
    ),
    "a disk with a backup gpt alone": (
        machine(nvme(1, blank=False, not_blank=["it holds a partition table (signature gpt at byte 1000204885504)"])),
        [],
    ),
    "aws, a volume and two instance stores": (
        machine(
            used(nvme(0, 100 * GIB, "vol1", **EBS), "/ (ext4)"),
            nvme(1, 600 * 10**9, "AWS1", **STORE),
            nvme(2, 600 * 10**9, "AWS2", **STORE),
            cloud=cloud(),
        ),
        ["nvme1n1", "nvme2n1"],
    ),
    "aws, one instance store": (
        machine(nvme(0, 100 * GIB, "vol1", **EBS), nvme(1, 600 * 10**9, "AWS1", **STORE), cloud=cloud()),
        ["nvme1n1"],
    ),
    "aws, a blank volume": (machine(nvme(1, TB, "vol2", **EBS), cloud=cloud()), []),
    "aws, stores under lvm by its image": (
        machine(used(nvme(1, TB, "AWS1", **STORE), "/opt/dlami/nvme (ext4 on LVM)"), cloud=cloud()),
        [],
    ),
    "gcp, four local disks and a volume": (
        machine(
            used(nvme(7, 50 * GIB, "boot", model="nvme_card-pd", network=True), "/ (ext4)"),
            *(local_ssd(number) for number in (1, 2, 3, 4)),
            cloud=cloud("gcp"),
        ),
        ["nvme0n1", "nvme0n2", "nvme0n3", "nvme0n4"],
    ),
    "gcp, local disks with numbers in their model": (
        machine(
            nvme(0, 375 * GIB, "a", model="nvme_card0", ephemeral=True),
            nvme(1, 375 * GIB, "b", model="nvme_card1", ephemeral=True),
            cloud=cloud("gcp"),
        ),
        ["nvme0n1", "nvme1n1"],
    ),
    "azure v5, the temporary disk on /mnt": (
        machine(
            hosts.disk("/dev/sda", 30 * GIB, network=True, transport=None, **IN_USE),
            used(hosts.disk("/dev/sdb", 300 * GIB, ephemeral=True, transport=None), "/mnt (ext4)"),
            cloud=cloud("azure"),
        ),
        [],
    ),
    "azure v6, raw local disks": (
        machine(
            used(nvme(0, 30 * GIB, "os", model="MSFT NVMe Accelerator v1.0", network=True), "/ (ext4)"),
            nvme(1, 440 * GIB, "d1", model="Microsoft NVMe Direct Disk v2", ephemeral=True),
            nvme(2, 440 * GIB, "d2", model="Microsoft NVMe Direct Disk v2", ephemeral=True),
            cloud=cloud("azure"),
        ),
        ["nvme1n1", "nvme2n1"],
    ),
    "oracle, dense i/o": (
        machine(
            used(hosts.disk("/dev/sda", 50 * GIB, network=True, transport=None), "/ (ext4)"),
            nvme(0, 6 * TB, "o1", model="INTEL SSDPE2KE064T8"),
            nvme(1, 6 * TB, "o2", model="INTEL SSDPE2KE064T8"),
            cloud=cloud("oracle"),
        ),
        ["nvme0n1"],
    ),
    "a cloud's virtual volume": (
        machine(hosts.disk("/dev/vdb", TB, transport="virtio", network=True), cloud=cloud("openstack")),
        [],
    ),
    "a lasting disk before a fleeting one": (
        machine(nvme(1, TB, ephemeral=True, pcie=link(4, 32.0)), nvme(2, TB, pcie=link(4, 8.0))),
        ["nvme2n1"],
    ),
    "a small and a large pair of stores": (
        machine(
            nvme(1, 100 * GIB, **STORE),
            nvme(2, 100 * GIB, **STORE),
            nvme(3, 900 * GIB, **STORE),
            nvme(4, 900 * GIB, **STORE),
        ),
        ["nvme3n1", "nvme4n1"],
    ),
    "a container sees the disks of its machine": (
        machine(nvme(1), virtualization={"machine": "none", "container": "lxc"}),
        [],
    ),
    "no name that lasts": (machine(nvme(1, by_id=[], by_path=[])), []),
    "a name by its place": (machine(nvme(1, by_id=[], by_path=["/dev/disk/by-path/pci-1"])), ["nvme1n1"]),
    "twins": (machine(nvme(1, serial="0000"), nvme(2, serial="0000")), []),
    "twins with names of their own": (
        machine(
            nvme(1, serial="0000", wwn="eui.01", by_id=["/dev/disk/by-id/nvme-eui.01", "/dev/disk/by-id/nvme-Disk_0"]),
            nvme(2, 2 * TB, serial="0000", wwn="eui.02", by_id=["/dev/disk/by-id/nvme-eui.02"]),
        ),
        ["nvme2n1"],
    ),
    "one serial number of two makers": (
        machine(nvme(1, serial="1", model="A"), nvme(2, serial="1", model="B")),
        ["nvme1n1"],
    ),
}


@pytest.mark.parametrize("name", MACHINES)
def test_the_disks_of_real_machines(name: str) -> None:
    host, expected = MACHINES[name]
    assert chosen(host) == expected


@pytest.mark.parametrize("name", MACHINES)
def test_the_list_says_why_of_each_disk(name: str) -> None:
    host, expected = MACHINES[name]
    _, disks = decide(host, claim_disks=True)
    for disk in disks:
        assert disk["reason"]
        assert disk["choice"] == ("claim" if disk["path"].rpartition("/")[2] in expected else "none")
        assert (disk["use"] == "") == (disk["state"] == "blank")


@pytest.mark.parametrize("name", [name for name, (_, expected) in MACHINES.items() if expected])
def test_disks_are_named_by_what_lasts(name: str) -> None:
    plan, _ = decide(MACHINES[name][0], claim_disks=True)
    devices = [entry["device"] for entry in plan.as_dict(NEED)["devices"]]
    assert len(set(devices)) == len(plan.disks)
    assert all(device.startswith(("/dev/disk/by-id/", "/dev/disk/by-path/")) for device in devices)


def test_equal_lasting_disks_are_put_together_where_no_single_one_has_the_room() -> None:
    host = machine(SYSTEM, *(nvme(number) for number in range(1, 6)), nvme(6, 900 * 10**9))
    plan, disks = decide(host, int(2.5 * TB), claim_disks=True)

    assert [disk.name for disk in plan.disks] == ["nvme1n1", "nvme2n1", "nvme3n1"]
    assert plan.as_dict(NEED)["raid"] == {"level": 0, "name": "llmhost-models", "chunk_bytes": 524288}
    assert "no single disk has room" in next(disk["reason"] for disk in disks if disk["choice"] == "claim")
    assert chosen(machine(nvme(1), nvme(2, model="Other")), int(1.5 * TB)) == []


def test_a_network_disk_is_in_no_raid_of_itself() -> None:
    pair = [nvme(number, TB, f"vol{number}", **EBS) for number in (1, 2)]
    assert chosen(machine(*pair)) == []
    assert chosen(machine(*pair), storage_devices="vol1,vol2") == ["nvme1n1", "nvme2n1"]


def test_instance_stores_are_announced_as_ephemeral() -> None:
    plan, disks = decide(MACHINES["aws, a volume and two instance stores"][0])

    assert plan.ephemeral
    assert [finding.code for finding in plan.findings] == ["storage.ephemeral"]
    told = {disk["path"]: (disk["persistence"], disk["reach"]) for disk in disks}
    assert told["/dev/nvme0n1"] == ("persistent", "network")
    assert told["/dev/nvme1n1"] == ("ephemeral", "local")


# --- Consent


SPARE = machine(SYSTEM, nvme(1, serial="S5GX"))


@pytest.mark.parametrize(
    ("host", "variables", "expected"),
    [
        (SPARE, {}, ["storage.claim_not_allowed"]),
        (SPARE, {"claim_disks": True}, []),
        (SPARE, {"claim_disks": "true"}, []),
        (SPARE, {"claim_disks": "auto", "storage_devices": "S5GX"}, []),
        (SPARE, {"storage_devices": ["/dev/disk/by-id/nvme-Disk_S5GX"]}, []),
        (SPARE, {"storage_devices": "nvme-Disk_S5GX"}, []),
        (SPARE, {"storage_devices": "/dev/nvme1n1"}, ["storage.claim_not_allowed"]),
        (SPARE, {"storage_devices": "nvme1n1"}, ["storage.claim_not_allowed"]),
        (SPARE, {"storage_devices": "/dev/nvme1n1", "claim_disks": True}, []),
        (SPARE, {"storage_devices": "S5GX", "claim_disks": False}, ["storage.claim_forbidden"]),
        ({**SPARE, "cloud": cloud(fresh=True)}, {}, []),
        ({**SPARE, "cloud": cloud(fresh=False)}, {}, ["storage.claim_not_allowed"]),
        ({**SPARE, "cloud": cloud("none", fresh=False)}, {}, ["storage.claim_not_allowed"]),
        ({**SPARE, "hardware": "1 TB NVMe"}, {}, []),
    ],
)
def test_a_claim_needs_a_word(host: Facts, variables: Facts, expected: list[str]) -> None:
    plan, disks = decide(host, **variables)

    assert [finding.code for finding in plan.findings if finding.level == "error"] == expected
    assert [disk.name for disk in plan.disks] == ["nvme1n1"]  # shown, also where it is not allowed
    assert [disk["choice"] for disk in disks] == ["none", "claim"]


def test_the_question_shows_the_disk_and_three_ways_on() -> None:
    (asked,) = decide(SPARE)[0].findings
    assert "/dev/disk/by-id/nvme-Disk_S5GX (Samsung SSD 980 PRO 1TB, 931.3 GiB) would be claimed" in asked.message
    for way in ("llmhost_claim_disks: true", "llmhost_storage_devices: S5GX", "llmhost_claim_disks: false"):
        assert way in asked.remedy


def test_without_a_claim_there_is_a_directory() -> None:
    roomy = {**SPARE, "filesystems": [hosts.filesystem("/", 500 * GIB)]}
    plan, _ = decide(roomy, claim_disks=False)
    assert (plan.disks, plan.path) == ((), "/srv/llmhost")
    assert [(finding.level, finding.code) for finding in plan.findings] == [("info", "storage.directory")]
    assert plan == decide(roomy, storage_devices="none")[0]


def test_what_is_ours_needs_no_word() -> None:
    plan, _ = decide(SPARE, claim_disks=True)
    done = claimed(SPARE, plan)
    labelled = {**done, "state": {"storage": {}}}

    for host, variables in (
        (done, {}),
        (done, {"claim_disks": False}),
        (labelled, {}),
        (labelled, {"claim_disks": False}),
    ):
        again, disks = decide(host, **variables)
        assert codes(host, **variables) == []
        assert [disk.name for disk in again.disks] == ["nvme1n1"]
        assert (disks[1]["state"], disks[1]["choice"]) == ("ours", "keep")


# --- Names that the user gave


@pytest.mark.parametrize(
    ("disks", "names", "code", "says"),
    [
        ([nvme(1)], "S9", "storage.disk_unknown", "no disk S9"),
        ([nvme(1)], ["S1", "/dev/disk/by-id/nvme-Disk_S1"], "storage.disk_twice", "the same disk, /dev/nvme1n1"),
        ([nvme(1), nvme(2)], ["S1", "S1"], "storage.disk_twice", "the same disk"),
        ([nvme(1, serial="0"), nvme(2, serial="0")], "0", "storage.disk_ambiguous", "2 disks are called 0"),
        ([nvme(1, serial="0"), nvme(2, serial="0")], "/dev/nvme1n1", "storage.disk_ambiguous", "2 disks are called"),
        (
            [used(nvme(1), contents=[{"name": "nvme1n1p3", "path": "/dev/nvme1n1p3"}])],
            "/dev/nvme1n1p3",
            "storage.disk_unknown",
            "a part of /dev/nvme1n1",
        ),
        ([WINDOWS], "S1", "storage.disk_not_blank", "it has a partition table (gpt)"),
        ([nvme(1, blank=False)], "S1", "storage.disk_not_blank", "not every test"),
        ([nvme(1, read_only=True)], "S1", "storage.disk_not_blank", "it is read-only"),
        ([nvme(1, unrecognised_data=True)], "S1", "storage.unrecognised_data", "data without a signature"),
        ([nvme(1, unrecognised_data=True, remains="an ext4")], "S1", "storage.remains", "the remains of an ext4"),
        ([nvme(1, GIB)], "S1", "storage.disk_too_small", "20.0 GiB"),
        ([nvme(1), WINDOWS | {"path": "/dev/nvme2n1", "serial": "S2"}], ["S1", "S2"], "storage.disk_not_blank", "gpt"),
    ],
)
def test_a_name_that_does_not_mean_one_blank_disk(disks: list[Facts], names: Any, code: str, says: str) -> None:
    plan, listed = decide(machine(*disks), storage_devices=names)

    assert plan.disks == ()
    assert [finding.code for finding in plan.findings] == [code]
    assert says in plan.findings[0].message
    assert plan.findings[0].remedy
    assert {disk["choice"] for disk in listed} == {"none"}


def test_overwriting_is_for_named_disks_and_not_for_remains() -> None:
    raw = nvme(1, unrecognised_data=True)
    assert chosen(machine(raw), overwrite_unrecognised=True) == []
    assert chosen(machine(raw), storage_devices="S1", overwrite_unrecognised=True) == ["nvme1n1"]
    remains = {**raw, "remains": "an ext4 superblock"}
    assert codes(machine(remains), storage_devices="S1", overwrite_unrecognised=True) == ["storage.remains"]
    used_one = used(nvme(1), "/ (ext4)")
    assert codes(machine(used_one), storage_devices="S1", overwrite_unrecognised=True) == ["storage.disk_not_blank"]


def test_several_names_are_a_raid() -> None:
    host = machine(nvme(1), nvme(2, 2 * TB, model="Other"), nvme(3))
    plan, _ = decide(host, storage_devices=["S3", "S1"])

    assert [disk.name for disk in plan.disks] == ["nvme1n1", "nvme3n1"]
    assert plan.findings == ()
    unequal, _ = decide(host, storage_devices="S1, S2")
    assert [finding.code for finding in unequal.findings] == ["storage.raid_unequal"]


def test_the_old_variable_says_what_it_is_called_now() -> None:
    _, findings = read_intent({"llmhost_model": "a/b", "llmhost_storage_disk": "S1"})
    assert [finding.code for finding in findings] == ["variable.renamed"]
    assert "llmhost_storage_devices" in findings[0].message


@pytest.mark.parametrize("value", [7, True, [7], {"a": 1}, "", [], [""], ",", None])
def test_names_that_are_none(value: Any) -> None:
    intent, findings = read_intent({"llmhost_model": "a/b", "llmhost_storage_devices": value})
    assert [finding.code for finding in findings] == ["variable.invalid"]
    assert intent.storage_devices is None


# --- A host that has its disks


RAID = MACHINES["aws, a volume and two instance stores"][0]


@pytest.mark.parametrize("host", [SPARE, RAID], ids=["a disk", "a raid"])
def test_a_second_run_gives_the_same_plan(host: Facts) -> None:
    plan, _ = decide(host, claim_disks=True)
    done = claimed(host, plan)
    again, _ = decide(done, claim_disks=True)
    last, disks = decide(done, claim_disks=True)

    assert again.as_dict(NEED) == plan.as_dict(NEED)
    assert again.findings == plan.findings
    assert again == last
    assert [disk["choice"] for disk in disks if disk["state"] == "ours"] == ["keep"] * len(plan.disks)


def test_a_record_of_an_older_release_is_read() -> None:
    plan, _ = decide(SPARE, claim_disks=True)
    (device,) = plan.as_dict(NEED)["devices"]
    done = claimed(SPARE, plan)
    old = {key: value for key, value in done["state"]["storage"].items() if key != "devices"} | device
    done["state"]["storage"] = old
    done["disks"][1]["uuid"] = None

    assert [disk.name for disk in decide(done)[0].disks] == []
    done["state"]["storage"]["phase"] = "formatting"
    assert [disk.name for disk in decide(done)[0].disks] == ["nvme1n1"]


def test_the_members_of_an_array_are_known_by_its_name() -> None:
    plan, _ = decide(RAID)
    host = claimed(RAID, plan)
    host["state"]["storage"] = {}
    again, _ = decide({**host, "cloud": cloud(fresh=False)})

    assert [disk.name for disk in again.disks] == ["nvme1n1", "nvme2n1"]
    assert (again.kept, again.findings) == (True, plan.findings)


def test_a_disk_that_is_gone_is_named() -> None:
    plan, _ = decide(RAID)
    host = claimed(RAID, plan)
    del host["disks"][2]
    missing, _ = decide(host)

    assert [finding.code for finding in missing.findings] == ["storage.disk_missing"]
    assert missing.findings[0].message.startswith("/dev/disk/by-id/nvme-Disk_AWS2 was")


def test_instance_stores_of_another_machine_take_the_place_of_those_that_are_gone() -> None:
    plan, _ = decide(RAID)
    host = claimed(RAID, plan) | {"cloud": cloud(fresh=False)}
    host["disks"][1:] = [nvme(number, 600 * 10**9, f"NEW{number}", **STORE) for number in (1, 2)]
    assert [disk.serial for disk in decide(host)[0].disks] == ["NEW1", "NEW2"]
    assert codes(host) == []

    host["disks"][1:] = [nvme(1, 600 * 10**9, "NEW1", model="Another", ephemeral=True)]
    assert codes(host) == ["storage.claim_not_allowed"]
    host["disks"][1:] = [used(nvme(1, 600 * 10**9, "NEW1", **STORE), "/data (ext4)")]
    assert decide(host)[0].disks == ()


def test_stores_that_came_back_empty_are_claimed_once_more() -> None:
    plan, _ = decide(RAID)
    host = copy.deepcopy(RAID) | {"cloud": cloud(fresh=False)}
    host["state"]["storage"] = claimed(RAID, plan)["state"]["storage"]
    again, disks = decide(host)

    assert again.as_dict(NEED) == plan.as_dict(NEED)
    assert [finding.level for finding in again.findings] == ["warning"]
    assert [disk["choice"] for disk in disks] == ["none", "claim", "claim"]


@pytest.mark.parametrize("now", [{"filesystem": "xfs", "uuid": "other"}, {"uuid": None, "filesystem": "ntfs"}])
def test_a_claimed_disk_that_somebody_else_uses_now_is_left_to_them(now: Facts) -> None:
    plan, _ = decide(SPARE, claim_disks=True)
    host = claimed(SPARE, plan)
    host["disks"][1] |= {**now, "label": None, "use": "Windows (ntfs)"}

    for variables in ({}, {"storage_devices": "S5GX", "overwrite_unrecognised": True, "claim_disks": True}):
        refused, disks = decide(host, **variables)
        assert [finding.code for finding in refused.findings] == ["storage.disk_not_blank"]
        assert "Windows (ntfs)" in refused.findings[0].message
        assert (refused.disks, disks[1]["state"]) == ((), "in_use")


def test_other_disks_are_not_claimed_beside_those_with_the_models() -> None:
    plan, _ = decide(SPARE, claim_disks=True)
    host = claimed(SPARE, plan)
    host["disks"].append(nvme(2))

    assert codes(host, storage_devices="S2") == ["storage.disk_in_use"]
    assert codes(host, storage_devices=["S2", "S5GX"]) == ["storage.disk_in_use"]
    assert codes(host, storage_devices="none") == ["storage.disk_in_use"]
    assert "the models of this host lie on" in decide(host, storage_devices="S2")[0].findings[0].message
    assert chosen(host, storage_devices="S5GX") == ["nvme1n1"]
    host["state"]["storage"]["phase"] = "formatting"
    assert "did not finish its work on" in decide(host, storage_devices="S2")[0].findings[0].message


def test_a_model_that_outgrows_its_disk_is_an_error() -> None:
    plan, _ = decide(SPARE, claim_disks=True)
    assert codes(claimed(SPARE, plan), 2 * TB) == ["storage.disk_too_small"]


# --- Links


@pytest.mark.parametrize(
    ("pcie", "words", "remedy"),
    [
        (link(4, 16.0), "PCIe 4.0 x4", ""),
        (link(4, 32.0), "PCIe 4.0 x4", ""),
        (link(4, 8.0), "PCIe 3.0 x4 of 4.0 x4", "newer PCI Express generation"),
        (link(2, 8.0), "PCIe 3.0 x2 of 4.0 x4", "more lanes"),
        (link(1, 16.0), "PCIe 4.0 x1 of 4.0 x4", "bifurcation"),
        (link(4, 16.0, own_speed=8.0), "PCIe 3.0 x4", ""),
        ({"max_width": 4, "max_speed_gts": 16.0}, "PCIe 4.0 x4", ""),
        ({"current_width": 4, "current_speed_gts": 8.0}, "PCIe 3.0 x4", ""),
        ({"current_width": 4}, "NVMe", ""),
        ({"max_speed_gts": 16.0}, "NVMe", ""),
        (None, "NVMe", ""),
    ],
)
def test_a_link_below_that_of_its_disk_is_told(pcie: Facts | None, words: str, remedy: str) -> None:
    plan, disks = decide(machine(nvme(1, pcie=pcie)), claim_disks=True)

    assert disks[0]["link"] == words
    assert [finding.code for finding in plan.findings] == (["storage.slow_link"] if remedy else [])
    assert all(words in finding.message and remedy in finding.remedy for finding in plan.findings)


def test_the_ports_of_a_virtual_machine_say_nothing() -> None:
    host = machine(nvme(1, pcie=link(1, 2.5)), virtualization={"machine": "kvm", "container": "none"})
    assert decide(host, claim_disks=True)[0].findings == ()


def test_only_the_disk_of_the_models_is_judged_by_its_link() -> None:
    host = machine(SYSTEM | {"pcie": link(1, 2.5)}, nvme(1, pcie=link(4, 16.0)))
    assert decide(host, claim_disks=True)[0].findings == ()


# --- A directory on a disk that is lost


def test_the_temporary_disk_of_azure_is_a_directory_where_nothing_else_has_the_room() -> None:
    mounted = {"mountpoints": ["/mnt"], "name": "sdb1", "path": "/dev/sdb1", "filesystem": "ext4"}
    resource = used(hosts.disk("/dev/sdb", 300 * GIB, transport=None), "/mnt (ext4)", contents=[mounted])
    mnt = hosts.filesystem("/mnt", 290 * GIB, device="/dev/sdb1")
    by_tool = cloud("azure", mounts=[{"path": "/mnt", "by": "cloud-init", "ephemeral": True}])
    for disk, said in (({**resource, "ephemeral": True}, cloud("azure")), (resource, by_tool)):
        host = machine(disk, cloud=said)
        host["filesystems"].append(mnt)
        plan, disks = decide(host)
        assert (plan.path, plan.ephemeral, plan.disks) == ("/mnt/llmhost", True, ())
        assert [finding.code for finding in plan.findings] == ["storage.directory", "storage.ephemeral"]
        assert disks[0]["use"] == "/mnt (ext4)" + (", mounted by cloud-init" if said is by_tool else "")

    host["filesystems"][0] = hosts.filesystem("/", 250 * GIB)
    plan, _ = decide(host)
    assert (plan.path, plan.ephemeral) == ("/srv/llmhost", False)


# --- What holds for every machine

SIZES = st.sampled_from([GIB, 100 * GIB, TB, 2 * TB])
FLAGS = st.booleans()


@st.composite
def any_disk(draw: st.DrawFn) -> Facts:
    number = draw(st.integers(0, 40))
    serial = draw(st.sampled_from(["", "0000", f"S{number}", f"S{number}"]))
    reasons = ["it has a signature (ext4)"] * (draw(st.integers(0, 3)) == 0)
    links = [f"/dev/disk/by-id/nvme-Disk_{serial}"] if serial and draw(FLAGS) else []
    return nvme(
        number,
        draw(SIZES),
        serial or "x",
        by_id=links,
        by_path=[f"/dev/disk/by-path/pci-{number}"] if draw(FLAGS) else [],
        wwn=draw(st.sampled_from(["", f"eui.{number}"])),
        model=draw(st.sampled_from(["A", "B", "Amazon EC2 NVMe Instance Storage"])),
        blank=not reasons and draw(st.integers(0, 9)) > 0,
        not_blank=reasons,
        use="/data (ext4)" if reasons else "",
        filesystem="ext4" if draw(FLAGS) and reasons else None,
        unrecognised_data=draw(st.integers(0, 4)) == 0,
        remains=draw(st.sampled_from(["", "", "", "an ext4 superblock"])),
        ephemeral=draw(FLAGS),
        network=draw(st.integers(0, 4)) == 0,
        read_only=draw(st.integers(0, 9)) == 0,
        transport=draw(st.sampled_from(["nvme", "nvme", "sata", "usb"])),
        pcie=draw(st.sampled_from([None, link(4, 16.0), link(2, 8.0)])),
    ) | {"serial": serial}


MACHINE = st.lists(any_disk(), max_size=6, unique_by=lambda disk: disk["path"]).map(lambda disks: machine(*disks))
WORDS = st.fixed_dictionaries(
    {},
    optional={
        "claim_disks": st.sampled_from(["auto", True, False]),
        "storage_devices": st.sampled_from(["auto", "none", "S1", "S2,S3", "/dev/nvme4n1", "0000"]),
        "overwrite_unrecognised": FLAGS,
    },
)
NEEDS = st.sampled_from([GIB, 50 * GIB, int(1.5 * TB), 5 * TB])


@settings(max_examples=300, deadline=None)
@given(MACHINE, WORDS, NEEDS)
def test_only_blank_disks_are_ever_claimed(host: Facts, words: Facts, need: int) -> None:
    plan, disks = decide(host, need, **words)
    refused = any(finding.level == "error" for finding in plan.findings)
    facts = {disk["path"]: disk for disk in host["disks"]}
    for disk in plan.disks:
        seen = facts[disk.path]
        assert seen["blank"]
        assert not any(seen[against] for against in ("not_blank", "filesystem", "read_only", "remains"))
        named = any(disk.is_called(name) for name in words.get("storage_devices", "").split(","))
        assert not seen["unrecognised_data"] or (named and words["overwrite_unrecognised"])
        assert named or not (seen["network"] or seen["transport"] == "usb")
        if not refused and "claim_disks" not in words:
            assert any(disk.is_known_as(name) for name in words["storage_devices"].split(","))
        assert refused or words.get("claim_disks") is not False
    assert not plan.disks or sum(disk.size_bytes for disk in plan.disks) >= need
    assert {disk["path"] for disk in disks if disk["choice"] != "none"} == {disk.path for disk in plan.disks}


@settings(max_examples=200, deadline=None)
@given(MACHINE, WORDS, NEEDS, st.randoms(use_true_random=False))
def test_the_order_of_the_disks_does_not_matter(host: Facts, words: Facts, need: int, random: Any) -> None:
    shuffled = copy.deepcopy(host)
    random.shuffle(shuffled["disks"])

    one, listed = decide(host, need, **words)
    other, also_listed = decide(shuffled, need, **words)
    assert (one.as_dict(need), listed) == (other.as_dict(need), also_listed)


@settings(max_examples=200, deadline=None)
@given(MACHINE, WORDS, NEEDS)
def test_a_claimed_host_keeps_its_plan(host: Facts, words: Facts, need: int) -> None:
    plan, _ = decide(host, need, **words)
    if not plan.disks or any(finding.level == "error" for finding in plan.findings):
        return
    unrecognised = any(disk.unrecognised_data for disk in plan.disks)
    again, _ = decide(claimed(host, plan, unrecognised_data=unrecognised), need, **words)

    assert again.as_dict(need) == plan.as_dict(need)
    assert again.findings == plan.findings


@settings(max_examples=200, deadline=None)
@given(st.lists(any_disk(), min_size=1, max_size=6, unique_by=lambda disk: disk["path"]), st.permutations(range(6)))
def test_a_serial_number_means_its_disk_whatever_the_kernel_calls_it(disks: list[Facts], order: list[int]) -> None:
    wanted = nvme(50, 3 * TB, "WANTED", model="Mine")
    before = [*disks, wanted]
    after = copy.deepcopy(before)
    for place, disk in enumerate(after):
        number = 60 + (order[place] if place < 6 else 50)
        disk |= {"path": f"/dev/nvme{number}n1", "name": f"nvme{number}n1"}

    plans = [decide(machine(*found), storage_devices="WANTED")[0] for found in (before, after)]
    assert [[disk.serial for disk in plan.disks] for plan in plans] == [["WANTED"], ["WANTED"]]
    assert plans[0].as_dict(NEED) == plans[1].as_dict(NEED)

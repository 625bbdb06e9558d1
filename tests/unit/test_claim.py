"""Which disks may become ours: the decision, by tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.host.disks import Disk
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import Decision, Found, RefusedError, decide
from ansible_collections.llmhost.core.plugins.module_utils.storage.claimed import Identity, Member, Record, same_uuid
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.storage_machine import (
    ARRAY_UUID,
    DEVICE,
    DEVICES,
    OTHER,
    RAID,
    UUID,
    array,
    claim,
    disk,
    members,
    nothing,
    part_of_array,
)

BLANK = disk()
LABELLED = disk(filesystem="ext4", label="llmhost-models", uuid=UUID, not_blank=["it has a signature (ext4)"])
FOREIGN = disk(filesystem="ext4", label="data", uuid=OTHER, not_blank=["it has a signature (ext4)", "it is mounted"])


def record(**changes: Any) -> Record:
    made = Record("disk", UUID, members(), None, "/srv/llmhost", "ext4", "llmhost-models")
    return replace(made, **changes)


def by_name(device: str, serial: str = "S1") -> tuple[Member, ...]:
    return (Member(device, Identity(serial, size_bytes=10**12)),)


BEGUN = record(phase="formatting")
RAW = disk(unrecognised_data=True)
MISSING = nothing(DEVICE)
REMAINS = replace(RAW, remains="a superblock of XFS at byte 99")


@pytest.mark.parametrize(
    ("found", "before", "decision"),
    [
        (BLANK, Record(), Decision("make", "ext4", None)),
        (BLANK, record(), Decision("make", "ext4", None)),
        (BLANK, BEGUN, Decision("make", "ext4", UUID)),
        (BLANK, replace(BEGUN, filesystem="xfs"), Decision("make", "ext4", None)),
        (BLANK, replace(BEGUN, devices=by_name(DEVICE, "S2")), Decision("make", "ext4", None)),
        (LABELLED, Record(), Decision("keep", "ext4", UUID)),
        (LABELLED, BEGUN, Decision("finish", "ext4", UUID)),
        (LABELLED, replace(BEGUN, uuid=OTHER), Decision("keep", "ext4", UUID)),
        (replace(LABELLED, label="renamed"), record(), Decision("keep", "ext4", UUID)),
        (replace(LABELLED, filesystem="xfs", label="llmhost-mode"), Record(), Decision("keep", "xfs", UUID)),
        # Half a filesystem of ours reads as data that no test recognises, or shows a copy of its superblock.
        (RAW, BEGUN, Decision("make", "ext4", UUID)),
        (REMAINS, BEGUN, Decision("make", "ext4", UUID)),
        (REMAINS, replace(BEGUN, phase="wiping"), Decision("make", "ext4", UUID)),
        (LABELLED, replace(BEGUN, phase="wiping"), Decision("finish", "ext4", UUID)),
    ],
)
def test_decides(found: Disk, before: Record, decision: Decision) -> None:
    assert decide(claim(), Found((found,)), before) == decision


@pytest.mark.parametrize(
    ("found", "before", "code", "says"),
    [
        (FOREIGN, Record(), "storage.not_blank", "it has a signature (ext4); it is mounted"),
        (FOREIGN, BEGUN, "storage.not_blank", "signature"),
        (FOREIGN, record(), "storage.not_blank", "signature"),
        (replace(LABELLED, partition_table="gpt"), Record(), "storage.not_blank", "signature"),
        (replace(LABELLED, filesystem="btrfs"), Record(), "storage.not_blank", "signature"),
        (disk(1, serial="S2"), Record(), "storage.other_disk", "its serial is S2, not S1"),
        (disk(size_bytes=5), Record(), "storage.other_disk", "its size is 5, not 1000000000000"),
        (disk(model=""), Record(), "storage.other_disk", "its model is unknown, not Fast Disk"),
        (replace(LABELLED, serial="S2"), Record(), "storage.other_disk", "S2"),
        (MISSING, Record(), "storage.disk_missing", "there is no such block device"),
        (RAW, Record(), "storage.unrecognised_data", "holds data that no test recognises"),
        (REMAINS, Record(), "storage.remains", "the remains of something: a superblock of XFS at byte 99"),
        (RAW, record(), "storage.unrecognised_data", "llmhost_overwrite_unrecognised: true"),
        (RAW, replace(BEGUN, devices=by_name("/dev/nvme7n1")), "storage.unrecognised_data", "blkdiscard"),
        (RAW, replace(BEGUN, devices=by_name(DEVICE, "S2")), "storage.unrecognised_data", "blkdiscard"),
    ],
)
def test_refuses(found: Disk, before: Record, code: str, says: str) -> None:
    with pytest.raises(RefusedError, match="Nothing was changed") as refusal:
        decide(claim(), Found((found,)), before)
    assert refusal.value.code == code
    assert says in str(refusal.value)
    assert DEVICE in str(refusal.value)
    assert refusal.value.reasons


def test_data_without_a_signature_goes_only_when_the_plan_allows_it() -> None:
    allowed = claim(overwrite_unrecognised=True)
    assert decide(allowed, Found((RAW,)), Record()) == Decision("make", "ext4", None)
    with pytest.raises(RefusedError, match="signature"):
        decide(allowed, Found((FOREIGN,)), Record())
    with pytest.raises(RefusedError, match="superblock of XFS"):
        decide(allowed, Found((REMAINS,)), Record())


@pytest.mark.parametrize("told", [{}, {"unrecognised_data": True}])
def test_a_record_survives_its_file(told: dict[str, Any]) -> None:
    begun = replace(BEGUN, raid=RAID, tuning={"scheduler": "none"}, **told)
    assert Record.from_dict(json.loads(json.dumps(begun.as_dict()))) == begun
    assert Record.from_dict({"kind": 3, "identity": "no", "devices": "x", "raid": 3, "tuning": []}) == Record()


def test_the_record_of_an_older_release_is_read() -> None:
    old = {
        "kind": "disk",
        "uuid": UUID,
        "device": DEVICE,
        "identity": {"serial": "S1"},
        "path": "/srv",
        "phase": "ready",
    }
    assert Record.from_dict(old).devices == (Member(DEVICE, Identity("S1")),)
    assert Record.from_dict(old).is_of([BLANK])


def test_an_ephemeral_disk_that_came_back_empty_gets_the_uuid_of_before() -> None:
    before = record(ephemeral=True)
    assert decide(claim(ephemeral=True), Found((BLANK,)), before) == Decision("make", "ext4", UUID)
    assert decide(claim(), Found((BLANK,)), before).uuid is None
    assert decide(claim(ephemeral=True), Found((BLANK,)), record()).uuid is None


PAIR = (disk(1), disk(2))
OURS = (part_of_array(1), part_of_array(2))
HELD = tuple(replace(member, holders=["md127"], children=["md127"]) for member in OURS)
RUNNING = array(filesystem="ext4", uuid=UUID, label="llmhost-models")
KNOWN = replace(record(), devices=members(2), array_uuid=ARRAY_UUID, raid=RAID)
HALF = replace(KNOWN, phase="formatting")
NEW = Decision("make", "ext4", None, "create", None)
AGAIN = Decision("make", "ext4", UUID, "create", ARRAY_UUID)


@pytest.mark.parametrize(
    ("found", "before", "decision"),
    [
        (Found(PAIR), Record(), NEW),
        (Found(PAIR), KNOWN, NEW),
        (Found(PAIR), HALF, AGAIN),
        # mdadm died after the first disk, or before the array ran; a torn superblock reads as data.
        (Found((OURS[0], disk(2))), HALF, AGAIN),
        (Found((OURS[0], disk(2, unrecognised_data=True))), HALF, AGAIN),
        (Found(OURS), HALF, AGAIN),
        (Found(OURS, idle=("md127",)), HALF, AGAIN),
        (Found(HELD, array()), HALF, Decision("make", "ext4", UUID, "", ARRAY_UUID)),
        (Found(HELD, RUNNING), HALF, Decision("finish", "ext4", UUID, "", ARRAY_UUID)),
        (Found(HELD, RUNNING), KNOWN, Decision("keep", "ext4", UUID, "", ARRAY_UUID)),
        (Found(tuple(reversed(HELD)), RUNNING), KNOWN, Decision("keep", "ext4", UUID, "", ARRAY_UUID)),
        (Found(HELD, RUNNING), Record(), Decision("keep", "ext4", UUID, "", ARRAY_UUID)),
        (Found(OURS), KNOWN, Decision("keep", "ext4", UUID, "assemble", ARRAY_UUID)),
        (Found(OURS), Record(), Decision("keep", "ext4", None, "assemble", ARRAY_UUID)),
        (Found(OURS, idle=("md127",)), KNOWN, Decision("keep", "ext4", UUID, "assemble", ARRAY_UUID)),
    ],
)
def test_decides_on_an_array(found: Found, before: Record, decision: Decision) -> None:
    named = members(2) if found.disks[0].serial == "S1" else tuple(reversed(members(2)))
    assert decide(claim(disks=2, members=named), found, before) == decision


FOREIGN_PART = part_of_array(2, uuid=OTHER, label="theirs:0")


@pytest.mark.parametrize(
    ("found", "before", "code", "says"),
    [
        (Found((disk(1), FOREIGN)), Record(), "storage.other_disk", "its serial is S1, not S2"),
        (
            Found((disk(1), disk(2, not_blank=["it is mounted"]))),
            Record(),
            "storage.not_blank",
            "Disk_S2: it is mounted",
        ),
        (Found((disk(1), FOREIGN_PART)), Record(), "storage.not_blank", "signature of a RAID"),
        (Found((disk(1), disk(2, unrecognised_data=True))), Record(), "storage.unrecognised_data", "Disk_S2 holds"),
        (Found((disk(1), nothing(DEVICES[1]))), Record(), "storage.disk_missing", "there: " + DEVICES[0]),
        (Found((OURS[0], nothing(DEVICES[1]))), KNOWN, "storage.disk_missing", "there is no such block device"),
        (Found((OURS[0], nothing(DEVICES[1]))), HALF, "storage.disk_missing", "with all of its disks only"),
        # A blank disk in the place of a lost one: nothing is made over what is left.
        (Found((OURS[0], disk(2))), KNOWN, "storage.array_incomplete", "Disk_S2 does not"),
        (Found((OURS[0], disk(2))), Record(), "storage.array_incomplete", "Disk_S1 belongs to it"),
        (Found((OURS[0], FOREIGN_PART)), KNOWN, "storage.array_incomplete", "Disk_S2 does not"),
        (Found((OURS[0], FOREIGN_PART)), HALF, "storage.not_blank", "signature of a RAID"),
        (Found((OURS[0], part_of_array(2, uuid=OTHER))), Record(), "storage.array_incomplete", "2 arrays"),
        (Found(HELD, RUNNING, others=("nvme3n1",)), KNOWN, "storage.array_incomplete", "nvme3n1 too"),
        (Found(HELD, array()), KNOWN, "storage.not_blank", "holds no filesystem"),
        (Found(HELD, array(filesystem="xfs", label="data")), KNOWN, "storage.not_blank", "holds xfs"),
        (Found(HELD, array(filesystem="xfs", label="data")), HALF, "storage.not_blank", "holds xfs"),
        (Found(HELD, array(partition_table="gpt")), HALF, "storage.not_blank", "holds gpt"),
        (Found(HELD, array(holders=["dm-0"])), HALF, "storage.not_blank", "holds dm-0"),
        (Found((disk(1), disk(1))), Record(), "storage.disk_twice", "named twice"),
    ],
)
def test_refuses_an_array(found: Found, before: Record, code: str, says: str) -> None:
    named = members(2) if code != "storage.disk_twice" else by_name(DEVICE) * 2
    with pytest.raises(RefusedError, match="Nothing was changed") as refusal:
        decide(claim(disks=2, members=named, overwrite_unrecognised=False), found, before)
    assert (refusal.value.code, says in str(refusal.value)) == (code, True), str(refusal.value)


def test_a_member_of_our_array_is_no_disk_by_itself() -> None:
    with pytest.raises(RefusedError, match="signature of a RAID"):
        decide(claim(), Found((part_of_array(),)), KNOWN)


PARTS = st.sampled_from([disk(1), RAW, REMAINS, FOREIGN, LABELLED, OURS[0], FOREIGN_PART])
BEFORE = st.sampled_from(
    [Record(), record(), BEGUN, KNOWN, HALF, record(ephemeral=True), replace(HALF, phase="wiping")]
)


@given(st.lists(PARTS, min_size=1, max_size=2), BEFORE, st.booleans(), st.booleans())
def test_nothing_is_made_of_a_disk_that_is_neither_blank_nor_announced(
    found: Sequence[Disk], before: Record, overwrite: bool, ephemeral: bool
) -> None:
    disks = tuple(replace(part, serial=f"S{n}", wwn=f"eui.{n}", name=f"nvme{n}n1") for n, part in enumerate(found, 1))
    wanted = claim(disks=len(disks), members=members(len(disks)), overwrite_unrecognised=overwrite, ephemeral=ephemeral)
    try:
        decision = decide(wanted, Found(disks), before)
    except RefusedError:
        return
    announced = before.phase != "ready" and before.is_of(disks)
    for one in disks:
        known = one.uuid in (before.uuid, before.array_uuid)
        blank = one.blank and not one.remains and (overwrite or not one.unrecognised_data)
        assert decision.action == "keep" or blank or (announced and (known or one.blank))


@pytest.mark.parametrize(("one", "other", "same"), [("a-B", "AB", True), ("a:b", "a-c", False), (None, None, False)])
def test_uuids_are_compared_by_their_digits(one: str | None, other: str | None, same: bool) -> None:
    assert same_uuid(one, other) is same

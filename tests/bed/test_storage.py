"""model_storage on real block devices: what it claims, what it never touches, and what it makes of a killed run."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.bed import signatures
from tests.bed.conftest import BLANK_FSTAB, Target

SIZE = 80 * 2**20
DISK = "/dev/disk/by-id/bed-disk"
PATH = "/srv/llmhost"
STATE = "/etc/llmhost/state/storage.json"
TASKS_OF_A_RUN_WITHOUT_CHANGE = 2


def disk_of(size: int, device: str = DISK, **identity: Any) -> dict[str, Any]:
    return {"device": device, "identity": {"serial": None, "model": None, "wwn": None, "size_bytes": size, **identity}}


def disk_plan(size: int = SIZE, **changes: Any) -> dict[str, Any]:
    plan = {
        "kind": "disk",
        "path": PATH,
        "devices": [disk_of(size)],
        "raid": None,
        "filesystem": "ext4",
        "label": "llmhost-models",
        "mount_options": "defaults,noatime,nofail,x-systemd.device-timeout=30s",
        "ephemeral": False,
        "tuning": None,
        "overwrite_unrecognised": False,
        "need_bytes": 0,
    }
    return {"storage": {**plan, **changes}}


@pytest.fixture
def storage(target: Target) -> Target:
    """Return a host with one blank disk, which its plan names."""
    target.bed.loop_disk(SIZE)
    target.plan = disk_plan()
    return target


def digest(target: Target) -> str:
    return target.shell(f"sync; sha256sum < {DISK}")


def mounted(target: Target) -> str:
    return target.shell(f"findmnt -rn -o FSTYPE,OPTIONS {PATH} || true")


def uuid(target: Target) -> str:
    return target.shell(f"blkid -p -s UUID -o value {DISK}")


def assert_ready(target: Target, filesystem: str = "ext4") -> None:
    """Assert everything that the role promises of a claimed disk."""
    state = json.loads(target.read(STATE))
    assert (state["uuid"], state["filesystem"], state["phase"]) == (uuid(target), filesystem, "ready")
    assert mounted(target).startswith(f"{filesystem} rw,noatime")
    lines = target.read("/etc/fstab")
    assert lines.startswith(BLANK_FSTAB)
    assert lines.count(PATH) == 1
    assert lines.endswith(f"0 {2 if filesystem == 'ext4' else 0}\n")
    assert f"UUID={state['uuid']} {PATH} {filesystem} defaults,noatime,nofail,x-systemd.device-timeout=30s" in lines
    assert target.shell(f"stat -c %a {STATE} /etc/llmhost") == "640\n750"
    assert target.shell(f"echo model > {PATH}/file; cat {PATH}/file") == "model"


def test_a_blank_disk_is_claimed_once(storage: Target) -> None:
    assert storage.succeed("model_storage").changed == 1
    assert_ready(storage)
    again = storage.succeed("model_storage")
    assert (again.changed, again.executed) == (0, TASKS_OF_A_RUN_WITHOUT_CHANGE)
    assert "file" in storage.shell(f"ls {PATH}")


def test_the_directory_under_the_mount_is_sealed(storage: Target) -> None:
    storage.succeed("model_storage")
    storage.shell(f"umount {PATH}")
    assert storage.shell(f"stat -c %a:%U {PATH}") == "0:root"
    assert storage.succeed("model_storage").actions == [f"mount {DISK} on {PATH}"]


def test_check_mode_writes_nothing(storage: Target) -> None:
    before = digest(storage)
    outcome = storage.succeed("model_storage", "--check")
    assert outcome.changed == 1
    assert outcome.actions[0] == f"make an ext4 filesystem on {DISK}"
    assert digest(storage) == before
    assert storage.shell(f"ls -d /etc/llmhost {PATH} 2>/dev/null || true") == ""
    assert storage.read("/etc/fstab") == BLANK_FSTAB


def test_xfs_and_its_tools(storage: Target) -> None:
    storage.shell("losetup -d $(readlink -f /dev/disk/by-id/bed-disk); rm /srv/bed/disk.img")
    storage.bed.loop_disk(400 * 2**20)
    storage.plan = disk_plan(400 * 2**20, filesystem="xfs")
    storage.succeed("model_storage")
    assert_ready(storage, "xfs")
    assert storage.shell(f"blkid -p -s LABEL -o value {DISK}") == "llmhost-mode"
    again = storage.succeed("model_storage")
    assert (again.changed, again.executed) == (0, TASKS_OF_A_RUN_WITHOUT_CHANGE)


def test_a_directory_is_made_once(storage: Target) -> None:
    storage.plan = disk_plan(kind="directory", devices=[], filesystem=None)
    assert storage.succeed("model_storage", "--check").changed == 1
    assert storage.succeed("model_storage").changed == 1
    assert storage.succeed("model_storage").changed == 0
    assert storage.shell(f"stat -c %a:%U {PATH}") == "755:root"
    storage.succeed("model_storage", entry="remove")
    assert storage.shell(f"ls -d {PATH} 2>/dev/null || true") == ""


def patched(patches: list[signatures.Patch]) -> Callable[[Target], None]:
    def apply(target: Target) -> None:
        text = json.dumps([(offset, base64.b64encode(data).decode()) for offset, data in patches])
        script = (
            "import base64, json, sys\n"
            f"with open('{DISK}', 'r+b') as disk:\n"
            "    for offset, data in json.load(sys.stdin):\n"
            "        disk.seek(offset)\n"
            "        disk.write(base64.b64decode(data))\n"
        )
        target.bed.exec("python3", "-c", script, stdin=text)

    return apply


def scripted(script: str) -> Callable[[Target], None]:
    def apply(target: Target) -> None:
        target.shell(script.replace("DISK", DISK))

    return apply


MKFS = "mkfs.ext4 -q -L data -E lazy_itable_init=0 DISK"

OCCUPIED = {
    "ext4": (scripted(MKFS), "ext4"),
    "mounted": (scripted(f"{MKFS} && mount -o ro DISK /mnt"), "mounted"),
    "swap area": (scripted("mkswap -q DISK || mkswap DISK"), "swap"),
    "used as swap": (scripted("mkswap DISK && swapon DISK"), "in use as swap"),
    "two at once": (scripted(f"{MKFS} && dd if=DISK of=/tmp/sb bs=1024 skip=1 count=1 2>/dev/null && mkswap -f DISK && "
                             "dd if=/tmp/sb of=DISK bs=1024 seek=1 conv=notrunc 2>/dev/null"), "signature"),
    "GPT": (patched(signatures.gpt(SIZE)), "partition table"),
    "MBR": (patched(signatures.mbr()), "partition table"),
    "LVM2": (patched(signatures.lvm(SIZE)), "LVM"),
    "md": (patched(signatures.md()), "RAID"),
    "LUKS": (patched(signatures.luks()), "LUKS"),
    "ZFS": (patched(signatures.zfs()), "ZFS"),
}  # fmt: skip


@pytest.mark.parametrize("case", OCCUPIED)
def test_a_disk_of_somebody_else_is_never_touched(storage: Target, case: str) -> None:
    occupy, reason = OCCUPIED[case]
    occupy(storage)
    before = digest(storage)
    for options in (["--check"], []):
        failure = storage.play("model_storage", *options).failure
        assert failure["code"] == "storage.not_blank"
        assert reason in " ".join(failure["reasons"]), failure["reasons"]
        assert "Nothing was changed" in failure["msg"]
    assert digest(storage) == before
    assert storage.read("/etc/fstab") == BLANK_FSTAB
    assert storage.shell(f"ls -d /etc/llmhost {PATH} 2>/dev/null || true") == ""


@pytest.mark.parametrize("offset", [0, SIZE - 2**20, SIZE - 1])
def test_data_without_a_signature_goes_only_when_the_plan_allows_it(storage: Target, offset: int) -> None:
    patched([(offset, b"x")])(storage)
    before = digest(storage)
    assert storage.play("model_storage").failure["code"] == "storage.unrecognised_data"
    assert digest(storage) == before
    storage.plan = disk_plan(overwrite_unrecognised=True)
    storage.succeed("model_storage")
    assert_ready(storage)
    assert json.loads(storage.read(STATE))["unrecognised_data"] is True
    assert storage.succeed("model_storage").changed == 0


@pytest.mark.parametrize(
    ("named", "code", "says"),
    [
        (disk_of(SIZE, serial="S-OTHER"), "storage.other_disk", "its serial is unknown"),
        (disk_of(SIZE + 512), "storage.other_disk", f"its size is {SIZE}"),
        (disk_of(SIZE, "/dev/disk/by-id/gone"), "storage.disk_missing", "there is no such block device"),
        (disk_of(SIZE, "/etc/fstab"), "storage.disk_missing", "there is no such block device"),
    ],
)
def test_another_disk_than_planned_is_refused(storage: Target, named: dict[str, Any], code: str, says: str) -> None:
    before = digest(storage)
    storage.plan["storage"]["devices"] = [named]
    failure = storage.play("model_storage").failure
    assert failure["code"] == code
    assert says in failure["msg"]
    assert digest(storage) == before
    assert storage.read("/etc/fstab") == BLANK_FSTAB


def test_a_filesystem_whose_beginning_was_wiped_is_never_touched(storage: Target) -> None:
    # Copies of the superblock outlive it, and libblkid does not look for them.
    storage.shell(f"{MKFS} -b 1024; dd if=/dev/zero of=DISK bs=1M count=4 conv=fsync 2>/dev/null".replace("DISK", DISK))
    storage.plan = disk_plan(overwrite_unrecognised=True)
    before = digest(storage)
    failure = storage.play("model_storage").failure
    assert (failure["code"], "superblock of ext2, ext3 or ext4" in failure["msg"]) == ("storage.remains", True)
    assert digest(storage) == before


BACKGROUND = "sleep 600 >/dev/null 2>&1 & echo $! > /tmp/user"
USERS = {
    "a process that reads it": (BACKGROUND.replace("600", "600 3<DISK"), "the process sleep"),
    "a process that writes to it": (BACKGROUND.replace("600", "600 3<>DISK"), "the process sleep"),
    "another mount namespace": (
        f"{MKFS}; unshare -m sh -c 'mount -o ro DISK /mnt; exec sleep 600' >/dev/null 2>&1 & echo $! > /tmp/user; "
        "sleep 1",
        "in a mount namespace of its own",
    ),
}


@pytest.mark.parametrize("case", USERS)
def test_a_disk_that_somebody_has_open_is_never_touched(storage: Target, case: str) -> None:
    script, says = USERS[case]
    storage.shell(script.replace("DISK", DISK))
    before = digest(storage)
    failure = storage.play("model_storage").failure
    unchanged = digest(storage) == before
    storage.shell("kill $(cat /tmp/user)")
    assert (failure["code"], says in failure["msg"], unchanged) == ("storage.not_blank", True, True), failure["msg"]


def test_files_under_the_mount_point_are_not_hidden(storage: Target) -> None:
    storage.shell(f"mkdir -p {PATH}; echo precious > {PATH}/file")
    before = digest(storage)
    assert storage.play("model_storage").failure["code"] == "storage.path_taken"
    assert (digest(storage), storage.read(f"{PATH}/file")) == (before, "precious\n")


def test_a_labelled_disk_is_taken_as_it_is(storage: Target) -> None:
    storage.succeed("model_storage")
    storage.shell(f"echo kept > {PATH}/model; umount {PATH}; rm -r /etc/llmhost")
    storage.bed.write("/etc/fstab", BLANK_FSTAB)
    before = uuid(storage)
    storage.plan = disk_plan(filesystem="xfs")
    assert f"mount {DISK} on {PATH}" in storage.succeed("model_storage").actions
    assert uuid(storage) == before
    assert storage.read(f"{PATH}/model") == "kept\n"


def test_removal_keeps_the_models_and_the_disk_comes_back(storage: Target) -> None:
    storage.succeed("model_storage")
    storage.shell(f"echo kept > {PATH}/model")
    assert storage.succeed("model_storage", "--check", entry="remove").changed == 1
    assert mounted(storage) != ""
    assert storage.succeed("model_storage", entry="remove").changed == 1
    assert storage.read("/etc/fstab") == BLANK_FSTAB
    assert storage.shell(f"ls -d {PATH} {STATE} 2>/dev/null || true") == ""
    assert storage.succeed("model_storage", entry="remove").changed == 0
    storage.succeed("model_storage")
    assert storage.read(f"{PATH}/model") == "kept\n"


def test_removal_of_the_data_must_be_named(storage: Target) -> None:
    storage.succeed("model_storage")
    storage.succeed("model_storage", entry="remove", model_storage_remove_data=True)
    assert storage.shell(f"blkid -p {DISK} || echo blank") == "blank"
    storage.succeed("model_storage")
    assert_ready(storage)


def test_a_busy_disk_is_not_torn_away(storage: Target) -> None:
    storage.succeed("model_storage")
    storage.shell(f"cd {PATH} && nohup sleep 60 >/dev/null 2>&1 & echo $! > /tmp/sleeper")
    failure = storage.play("model_storage", entry="remove").failure
    storage.shell("kill $(cat /tmp/sleeper)")
    assert failure["code"] == "storage.busy"
    assert_ready(storage)


# What mkfs had done to the disk when it died, and the run with it.
HALVES = {
    "nothing": "",
    "the superblock": "$REAL \"$@\"; dd if=/dev/zero of=${!#} bs=4096 seek=1 count=64 conv=notrunc,fsync 2>/dev/null",
    "all but the superblock": "$REAL \"$@\"; dd if=/dev/zero of=${!#} bs=4096 count=1 conv=notrunc,fsync 2>/dev/null",
    "everything": "$REAL \"$@\"; sync",
    **{f"{ms} ms": f"timeout -s KILL 0.00{ms} $REAL \"$@\"" for ms in (2, 4, 6, 8)},
}  # fmt: skip


@pytest.mark.parametrize("half", HALVES)
def test_a_run_killed_inside_mkfs_is_completed(storage: Target, half: str) -> None:
    storage.sabotage("mkfs.ext4", f"{HALVES[half]}\nkill -KILL $PPID")
    assert storage.play("model_storage").rc != 0
    assert json.loads(storage.read(STATE))["phase"] == "formatting"
    storage.repair("mkfs.ext4")
    assert storage.succeed("model_storage").changed == 1
    assert_ready(storage)
    storage.shell(f"umount {PATH}; e2fsck -fn {DISK}; mount {PATH}")
    assert storage.succeed("model_storage").changed == 0


def test_the_next_run_waits_for_a_mkfs_that_outlived_its_own(storage: Target) -> None:
    storage.shell("rm -rf /tmp/late /tmp/mkfs-ended; mkdir /tmp/late; cp -L /usr/sbin/mkfs.ext4 /tmp/late/mkfs.ext4")
    late = 'kill -KILL $PPID\nsleep 6\n/tmp/late/mkfs.ext4 "$@" && sync && date +%s.%N > /tmp/mkfs-ended'
    storage.sabotage("mkfs.ext4", late)
    assert storage.play("model_storage").rc != 0
    storage.repair("mkfs.ext4")
    assert storage.shell("ls /tmp/mkfs-ended 2>/dev/null || true") == ""
    actions = storage.succeed("model_storage").actions
    assert time.time() > float(storage.read("/tmp/mkfs-ended"))
    assert f"make an ext4 filesystem on {DISK}" not in actions
    assert_ready(storage)


def test_somebody_elses_data_on_a_disk_that_was_being_made_is_kept(storage: Target) -> None:
    storage.sabotage("mkfs.ext4", "kill -KILL $PPID")
    storage.play("model_storage")
    storage.repair("mkfs.ext4")
    storage.shell(f"mkfs.ext4 -q -L theirs {DISK}")
    before = digest(storage)
    assert storage.play("model_storage").failure["code"] == "storage.not_blank"
    assert digest(storage) == before

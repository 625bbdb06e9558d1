"""Disks that are not blank, or not free, each made by the tools that make such disks; $D is the disk.

Where a machine lacks the tool, what the tool writes is written byte by byte. What stays mounted or open does so
read-only or at rest, so that only llmhost could change a byte.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.bed import signatures
from tests.bed.signatures import Patch

SIZE = 2**30
MKFS = "mkfs.ext4 -qF -m0 -E lazy_itable_init=0,lazy_journal_init=0 $D"
LUKS_FORMAT = "printf x | cryptsetup luksFormat -q --type"
LUKS = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000 $D -"
WIPE = "dd if=/dev/zero of=$D bs=1M conv=notrunc,fsync status=none count="
# udev misses a write that ends while it looks at the disk for an earlier one; what it knows is then out of date.
SEEN = "; udevadm trigger --settle $D"
NOISE = "dd if=/dev/urandom of=$D bs=1M conv=notrunc,fsync status=none "
# Offset, version and magic of a superblock.
_BCACHE = b"\x08\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0" + bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")
KEEP_OPEN = "setsid sleep 9999 >/dev/null 2>&1 "


@dataclass(frozen=True)
class State:
    """One state of a disk: how it comes about, and what the refusal must say of it."""

    name: str
    says: str
    script: str = ""
    patches: tuple[Patch, ...] = ()
    code: str = "storage.not_blank"
    fault: str | None = None
    overwrite: bool = True  # the refusal holds although data without a signature may go


def _part(script: str) -> str:
    return f"echo ',100M' | sfdisk -q $D; udevadm settle; {script}"


def _md(metadata: str, more: str = "") -> str:
    create = f"mdadm --create /dev/md/never-$N --run --assume-clean --level=1 -n 2 --metadata={metadata}"
    after = more or "mdadm --stop /dev/md/never-$N >/dev/null 2>&1"
    return f"{create} $D missing >/dev/null 2>&1; udevadm settle; {after}"


FILESYSTEMS = (
    State("ext4", "ext4", MKFS),
    State("XFS", "xfs", "mkfs.xfs -q $D"),
    State("btrfs", "btrfs", "mkfs.btrfs -q $D"),
    State("vfat", "vfat", "mkfs.vfat $D >/dev/null"),
    State("swap area", "swap", "mkswap $D >/dev/null"),
    State("hibernated machine", "swsuspend|swap", "mkswap $D >/dev/null", ((4086, b"S1SUSPEND\0"),)),
    State("ISO 9660", "iso9660|ISO 9660", patches=((32768, b"\1CD001\1\0" + b"NEVER".ljust(64)),), code="storage."),
    State("squashfs", "squashfs", patches=((0, b"hsqs" + bytes(24) + b"\4\0\0\0"),), code="storage."),
)
TABLES = (
    State("GPT, empty", "partition table", "sgdisk -o $D >/dev/null"),
    State("GPT, a partition", "partition table", "sgdisk -n 1:0:+100M $D >/dev/null; udevadm settle"),
    State("MBR, empty", "partition table", "echo 'label: dos' | sfdisk -q $D"),
    State("MBR, a partition with ext4", "partition table", _part("mkfs.ext4 -qF -E lazy_itable_init=0 ${D}p1")),
    State("hybrid MBR", "partition table", "sgdisk -n 1:0:+100M -h 1 $D >/dev/null; udevadm settle"),
    State(
        "only the backup of a GPT",
        "GUID partition table|gpt",
        f"sgdisk -n 1:0:+9M $D >/dev/null; {WIPE}1",
        code="storage.",
    ),
    State(
        "partition whose table was wiped",
        "ext2, ext3 or ext4",
        _part("mkfs.ext4 -qF -E lazy_itable_init=0 ${D}p1; udevadm settle; ") + f"{WIPE}1; blockdev --rereadpt $D",
        code="storage.remains",
    ),
)
VOLUMES = (
    State("LVM PV", "LVM", "pvcreate -qq $D"),
    State("LVM LV, active", "LVM|never", "vgcreate -qq never $D; lvcreate -qq -n lv -l 4 never"),
    State("md 0.90", "RAID", _md("0.90")),
    State("md 1.0", "RAID", _md("1.0")),
    State("md 1.1", "RAID", _md("1.1")),
    State("md 1.2", "RAID", _md("1.2")),
    State("md 1.2, running", "md|RAID", _md("1.2", "true")),
    State("RAID 0, one disk of two", "RAID", patches=tuple(signatures.md())),
    State("LUKS 1", "LUKS", f"{LUKS_FORMAT} luks1 {LUKS}"),
    State("LUKS 2", "LUKS", f"{LUKS_FORMAT} luks2 {LUKS}"),
    State(
        "LUKS 2, open",
        "LUKS|never-luks",
        f"{LUKS_FORMAT} luks2 {LUKS}; printf x | cryptsetup open -d - $D never-luks",
    ),
    State("ZFS labels", "ZFS", patches=tuple(signatures.zfs())),
    State("bcache, registered", "bcache", "make-bcache -B $D >/dev/null; udevadm settle; sleep 2"),
    State("bcache, not registered", "bcache", patches=((4104, _BCACHE),), code="storage."),
    State(
        "Intel RAID (isw)",
        "isw|Intel RAID",
        patches=((SIZE - 1024, b"Intel Raid ISM Cfg Sig. 1.3.00"),),
        code="storage.",
    ),
    State(
        "DDF RAID",
        "ddf|RAID",
        "mdadm -C /dev/md/ddf -e ddf -n 1 --force $D >/dev/null 2>&1; mdadm -S /dev/md/ddf >/dev/null 2>&1",
    ),
)
WIPED = (
    State("ext4, beginning wiped", "ext2, ext3 or ext4", f"{MKFS} -b 1024; {WIPE}4{SEEN}", code="storage.remains"),
    State("XFS, beginning wiped", "XFS", f"mkfs.xfs -q $D; {WIPE}4{SEEN}", code="storage.remains"),
    State("btrfs, beginning wiped", "btrfs", f"mkfs.btrfs -q $D; {WIPE}4{SEEN}", code="storage.remains"),
    State(
        "LUKS 2, first header wiped",
        "LUKS",
        f"{LUKS_FORMAT} luks2 {LUKS}; dd if=/dev/zero of=$D bs=4k count=4 status=none{SEEN}",
        code="storage.",
    ),
    State(
        "ext4 at an odd offset",
        "ext2, ext3 or ext4",
        "truncate -s 32M /tmp/odd.img; mkfs.ext4 -qF /tmp/odd.img; "
        "dd if=/tmp/odd.img of=$D bs=512 seek=7001 conv=notrunc status=none",
        code="storage.remains",
    ),
    State(
        "plain dm-crypt",
        "no test recognises",
        NOISE + "seek=0 count=24",
        code="storage.unrecognised_data",
        overwrite=False,
    ),
    State(
        "data in the middle only",
        "no test recognises",
        NOISE + "seek=500 count=4",
        code="storage.unrecognised_data",
        overwrite=False,
    ),
)
IN_USE = (
    State("mounted", "mounted", f"{MKFS}; mkdir -p /mnt/a; mount -o noinit_itable $D /mnt/a; sync; fsfreeze -f /mnt/a"),
    State("mounted read-only", "mounted", f"{MKFS}; mkdir -p /mnt/b; mount -o ro,noload $D /mnt/b"),
    State(
        "mounted in another namespace",
        "mount namespace of its own",
        f"{MKFS}; mkdir -p /mnt/c; "
        "setsid unshare -m sh -c 'mount -o ro,noload '$D' /mnt/c; exec sleep 9999' >/dev/null 2>&1 & sleep 3",
    ),
    State("in use as swap", "swap", "sysctl -qw vm.swappiness=0; mkswap $D >/dev/null; swapon $D"),
    State(
        "device-mapper on it",
        "dm-|never-linear",
        'dmsetup create never-linear --table "0 $(blockdev --getsz $D) linear $D 0"',
    ),
    State(
        "multipath on it",
        "dm-|never-mpath",
        'modprobe dm-multipath; modprobe dm-round-robin; dmsetup create never-mpath --table "0 $(blockdev --getsz $D) '
        'multipath 0 0 1 1 round-robin 0 1 1 $D 1"',
    ),
    State("open for reading", r"process sleep \(\d+\) has it open", f"{KEEP_OPEN} 3<$D &"),
    State("open for writing", r"process sleep \(\d+\) has it open", f"{KEEP_OPEN} 3<>$D &"),
    State(
        "locked by an installer",
        r"process (flock|sleep) \(\d+\) has it open",
        "setsid flock $D sleep 9999 >/dev/null 2>&1 & sleep 1",
    ),
    State("behind a loop device", r"loop\d+ is backed by it", "losetup -f $D"),
    State(
        "exported over NVMe",
        "exported over NVMe",
        "modprobe nvmet; s=/sys/kernel/config/nvmet/subsystems/never; mkdir -p $s/namespaces/1; "
        "printf $D > $s/namespaces/1/device_path; echo 1 > $s/namespaces/1/enable",
    ),
    State("read-only", "read-only", "blockdev --setro $D"),
    State("I/O errors", "could not examine|cannot be read|lsblk|Input/output", code="storage.", fault="read"),
)
AT_REST = (*FILESYSTEMS, *TABLES, *VOLUMES, *WIPED)

# Blank when the plan is made; this happens before it is applied.
CHANGES = (
    State(
        "written to after the plan",
        "no test recognises",
        NOISE + "seek=0 count=1",
        code="storage.unrecognised_data",
        overwrite=False,
    ),
    State("formatted after the plan", "ext4", MKFS),
    State("mounted after the plan", "mounted", f"{MKFS}; mkdir -p /mnt/d; mount -o ro,noload $D /mnt/d"),
)

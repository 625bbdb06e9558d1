"""Block devices as ``lsblk --json`` tells them (util-linux 2.37 of Ubuntu 22.04 and newer)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.files import parse_int

# All in one call.
_COLUMNS = (
    "KNAME,PATH,MAJ:MIN,TYPE,SIZE,VENDOR,MODEL,SERIAL,WWN,TRAN,ROTA,RM,RO,FSTYPE,LABEL,UUID,PTTYPE,PARTTYPENAME,"
    "MOUNTPOINTS"
)


class LsblkError(Exception):
    """lsblk is missing, failed, or wrote what nobody can read."""


@dataclass(frozen=True)
class BlockDevice:
    """One node of the tree that lsblk prints: a disk, a partition, an array, a volume."""

    name: str
    path: str
    number: str
    type: str
    size_bytes: int
    model: str
    serial: str
    wwn: str
    transport: str | None
    rotational: bool
    removable: bool
    read_only: bool
    filesystem: str | None
    label: str | None
    uuid: str | None
    partition_table: str | None
    partition_type: str | None
    vendor: str
    mountpoints: tuple[str, ...]
    children: tuple[BlockDevice, ...]

    @classmethod
    def from_json(cls, node: Mapping[str, Any]) -> BlockDevice:
        """Return the device of one JSON object; a member that is missing or odd reads as empty."""
        return cls(
            name=_text(node.get("kname")),
            path=_text(node.get("path")),
            number=_text(node.get("maj:min")),
            type=_text(node.get("type")),
            size_bytes=_number(node.get("size")),
            model=_text(node.get("model")),
            serial=_text(node.get("serial")),
            wwn=_text(node.get("wwn")),
            transport=_text(node.get("tran")) or None,
            rotational=_flag(node.get("rota")),
            removable=_flag(node.get("rm")),
            read_only=_flag(node.get("ro")),
            filesystem=_text(node.get("fstype")) or None,
            label=_text(node.get("label")) or None,
            uuid=_text(node.get("uuid")) or None,
            partition_table=_text(node.get("pttype")) or None,
            partition_type=_text(node.get("parttypename")) or None,
            vendor=_text(node.get("vendor")),
            mountpoints=tuple(_text(point) for point in _list(node.get("mountpoints")) if _text(point)),
            children=tuple(cls.from_json(child) for child in _list(node.get("children")) if isinstance(child, dict)),
        )

    def walk(self) -> Iterator[BlockDevice]:
        """Yield the device and everything that stands on it."""
        yield self
        for child in self.children:
            yield from child.walk()


def parse_lsblk(text: str) -> list[BlockDevice]:
    """Return the devices at the top of the tree in ``text``; raise LsblkError when it is no output of lsblk."""
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or not isinstance(document.get("blockdevices"), list):
            raise LsblkError("the output of lsblk holds no list of block devices")
        return [BlockDevice.from_json(node) for node in document["blockdevices"] if isinstance(node, dict)]
    except (ValueError, RecursionError) as reason:
        raise LsblkError(f"the output of lsblk is no JSON: {reason}") from reason


def list_block_devices(run_command: RunCommand, paths: Sequence[str] = ()) -> list[BlockDevice]:
    """Ask lsblk for ``paths``, or for every device; raise LsblkError when it gives no answer."""
    # Without the column NAME it prints a tree only when it is told to.
    done = run_command(["lsblk", "--json", "--tree=KNAME", "--bytes", "--output", _COLUMNS, *paths])
    if done.rc != 0:
        # A container may see devices in /sys that it has no node for: lsblk then complains and still prints the rest.
        try:
            return parse_lsblk(done.stdout)
        except LsblkError:
            raise LsblkError(f"lsblk failed: {done.complaint}") from None
    return parse_lsblk(done.stdout)


def _text(value: Any) -> str:
    """Return a JSON string without its padding: NVMe models are padded to 40 characters by some clouds."""
    return value.strip() if isinstance(value, str) else ""


def _number(value: Any) -> int:
    """Return a size; lsblk before 2.33 wrote numbers as strings."""
    if isinstance(value, str):
        value = parse_int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _flag(value: Any) -> bool:
    """Return a boolean; lsblk before 2.33 wrote "0" and "1"."""
    return value is True or value in ("1", 1)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

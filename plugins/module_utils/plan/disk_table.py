"""The disks of a plan for people: two lines each, what it is and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk_list import NOT_NAMED
from ansible_collections.llmhost.core.plugins.module_utils.plan.hanging import hang
from ansible_collections.llmhost.core.plugins.module_utils.record import Record
from ansible_collections.llmhost.core.plugins.module_utils.size import format_gib

_WIDTH = 100
_STATES = {"blank": "blank", "unrecognised": "unknown", "in_use": "in use", "ours": "ours"}
_CHOICES = {"claim": "to be CLAIMED", "keep": "kept", "none": "left alone"}


def disk_lines(plan: Record, title: str) -> Iterator[str]:
    """Yield the lines of the section, with its title on the first of them."""
    disks = record.sections(plan, "disks")
    if not disks:
        yield f"{title:<8}  none"
    names = [record.text(disk, "path").rpartition("/")[2] for disk in disks]
    width = max(map(len, names), default=0)
    for number, (name, disk) in enumerate(zip(names, disks, strict=True)):
        head = f"{title if number == 0 else '':<8}  {name:<{width}}  "
        yield from hang(head, _what(disk), _WIDTH)
        yield from hang(" " * len(head), _fate(disk), _WIDTH)


def _what(disk: Record) -> str:
    size = format_gib(record.integer(disk, "size_bytes"))
    model = record.text(disk, "model") or "no model"
    kind = f"{record.text(disk, 'reach')}, {record.text(disk, 'persistence')}"
    return ", ".join(filter(None, [size, model, record.text(disk, "link"), kind]))


def _fate(disk: Record) -> str:
    """Return what is on the disk, and whether it is taken and why; of one that was not named, the use is the reason."""
    state, choice = record.text(disk, "state"), record.text(disk, "choice")
    use, reason = record.text(disk, "use"), record.text(disk, "reason")
    holds = ": ".join(filter(None, [_STATES.get(state, state), use]))
    if choice == "none" and (not reason or (state == "in_use" and reason in ("it is in use", NOT_NAMED))):
        return f"{holds}; left alone"
    serial = record.text(disk, "serial")
    named = f" (serial number {serial})" if choice == "claim" and serial else ""
    return f"{holds}; {_CHOICES.get(choice, choice)}{named}: {reason}"

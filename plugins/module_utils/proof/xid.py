"""Errors of GPUs in the kernel log: Xid numbers, with what the common ones mean."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ansible_collections.llmhost.core.plugins.module_utils.proof.cuda import sysfs_address

_SAID = re.compile(r"NVRM: Xid \(PCI:(?P<address>[0-9a-fA-F:.]+)\): (?P<number>\d+)(?P<rest>[^\n]*)")

# From NVIDIA's public list of Xid errors, in other words.
MEANINGS = {
    13: "a program broke the rules of the GPU, or its memory is bad",
    31: "a program touched memory that it has not",
    43: "a program was stopped",
    45: "a program was ended, often after another error",
    48: "two bits of the memory were wrong at once",
    61: "the firmware of the GPU failed",
    62: "the firmware of the GPU failed",
    63: "a row of the memory was replaced, or a page retired",
    64: "a bad row of the memory could not be replaced",
    74: "a link between GPUs failed",
    79: "the GPU fell off the bus",
    92: "many single bits of the memory were wrong",
    94: "an error of the memory stayed within one program",
    95: "an error of the memory reached everything on the GPU",
    119: "the processor of the GPU (GSP) does not answer",
    120: "the processor of the GPU (GSP) failed",
    140: "the memory had an error that could not be put right",
}
# Those of a program that did wrong, or was ended by us because it hung, are no fault of the hardware by themselves.
_OF_PROGRAMS = frozenset({13, 31, 43, 45})


@dataclass(frozen=True)
class Xid:
    """One error."""

    pci_address: str
    number: int
    text: str

    @property
    def of_hardware(self) -> bool:
        """Tell whether it speaks of the hardware or its driver rather than of a program."""
        return self.number not in _OF_PROGRAMS

    @property
    def meaning(self) -> str:
        """Return what it means, where that is known."""
        return MEANINGS.get(self.number, "see NVIDIA's list of Xid errors")

    def as_dict(self) -> dict[str, str | int]:
        """Return it as plain data."""
        return asdict(self)


def xids(log: Iterable[str], since: float = 0.0) -> list[Xid]:
    """Return the errors in records of /dev/kmsg that are not older than a second of the kernel's clock."""
    found = []
    for record in log:
        prefix, _semicolon, message = record.partition(";")
        match = _SAID.search(message)
        if match and _seconds(prefix) >= since:
            function = match["address"] if "." in match["address"] else f"{match['address']}.0"
            text = "".join(char for char in f"Xid {match['number']}{match['rest']}" if char.isprintable())
            found.append(Xid(sysfs_address(function), int(match["number"]), text[:300]))
    return found


def _seconds(prefix: str) -> float:
    fields = prefix.split(",")
    return int(fields[2]) / 1e6 if len(fields) > 2 and fields[2].isdecimal() else 0.0

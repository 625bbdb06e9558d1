"""The way from a PCI function up to the processor: the bridges above it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.files import read_word

_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


@dataclass(frozen=True)
class Bridge:
    """A PCI Express port or switch port: its address, and the ids of who made it, four hexadecimal digits each."""

    address: str
    vendor: str
    device: str


def directories_above(function: str) -> Iterator[str]:
    """Yield the directories of the bridges above the PCI function in the directory ``function``, the nearest first."""
    above = os.path.dirname(os.path.realpath(function))
    while _ADDRESS.fullmatch(os.path.basename(above)):
        yield above
        above = os.path.dirname(above)


def bridges_above(function: str) -> tuple[Bridge, ...]:
    """Return the bridges above the PCI function in the directory ``function``, the nearest first."""
    return tuple(
        Bridge(os.path.basename(above), _id(above, "vendor"), _id(above, "device"))
        for above in directories_above(function)
    )


def _id(bridge: str, name: str) -> str:
    return read_word(bridge, name).removeprefix("0x").lower()

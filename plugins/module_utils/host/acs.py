"""Access Control Services of PCI Express: bridges that send what one GPU writes to another up to the root.

The kernel has no file for it, so that the capability is read from the configuration space, which only root sees whole.
"""

from __future__ import annotations

import os
import struct

from ansible_collections.llmhost.core.plugins.module_utils.host.pci_path import directories_above

# The space that any user sees, the one of plain PCI, and the extended one.
_PLAIN = 256
_ACS = 0x000D
_CONTROL = 6
# Requests and completions between ports below are redirected upstream.
_REDIRECT = 0x4 | 0x8


def redirects(config: bytes) -> bool | None:
    """Tell whether a bridge with this configuration space redirects; None where too little of it may be read."""
    if len(config) < _PLAIN:
        return None
    at, seen = _PLAIN, set[int]()
    while at >= _PLAIN and at + 8 <= len(config) and at not in seen:
        seen.add(at)
        header = struct.unpack_from("<L", config, at)[0]
        if header & 0xFFFF == _ACS:
            return bool(struct.unpack_from("<H", config, at + _CONTROL)[0] & _REDIRECT)
        at = header >> 20 & 0xFFC
    return False


def redirecting_bridges(functions: list[str]) -> list[str] | None:
    """Return the addresses of the bridges above these functions that redirect; None where it cannot be read."""
    found: set[str] = set()
    for bridge in {bridge for function in functions for bridge in directories_above(function)}:
        verdict = redirects(_config(bridge))
        if verdict is None:
            return None
        if verdict:
            found.add(os.path.basename(bridge))
    return sorted(found)


def _config(function: str) -> bytes:
    try:
        with open(os.path.join(function, "config"), "rb") as file:
            return file.read(4096)
    except OSError:
        return b""

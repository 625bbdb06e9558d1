"""The small parts of what nvidia-smi writes: escapes, values that are not there, sizes and addresses."""

from __future__ import annotations

import re

from ansible_collections.llmhost.core.plugins.module_utils.files import parse_int

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# The domain has eight digits from nvidia-smi, and four or more from the kernel.
_ADDRESS = re.compile(r"\A([0-9a-fA-F]{4,8}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.([0-7])\Z")
_DEVICE = re.compile(r"\A0x([0-9a-fA-F]{4})10[dD][eE]\Z")
_NUMBER = re.compile(r"\A(-?[0-9]{1,18}(?:\.[0-9]{1,9})?)(?:\s+\S+)?\Z", re.ASCII)
_UNITS = {"": 1 << 20, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_YES = frozenset({"yes", "enabled", "on", "1"})
_NO = frozenset({"no", "disabled", "off", "0"})


def plain(text: str) -> str:
    """Return the text without terminal escapes: the headers of matrices are underlined even in a pipe."""
    return _ESCAPE.sub("", text)


def known(text: str) -> str | None:
    """Return a value, or None for ``N/A`` and for the reasons in brackets that stand in its place."""
    text = text.strip()
    return None if not text or text.startswith("[") or text in {"N/A", "Unknown Error"} else text


def number(text: str) -> float | None:
    """Return the number of ``350.00 W`` or ``350.00``."""
    match = _NUMBER.match(known(text) or "")
    return float(match[1]) if match else None


def whole(text: str) -> int | None:
    """Return the number of ``16`` or ``350.00 W`` as a whole one."""
    found = number(text)
    return None if found is None else round(found)


def size(text: str) -> int | None:
    """Return the bytes of ``24576 MiB``; a number without a unit is in MiB, as nvidia-smi counts."""
    words = (known(text) or "").split()
    count = parse_int(words[0]) if words else None
    unit = _UNITS.get(words[1] if len(words) > 1 else "")
    return None if count is None or unit is None or not 0 <= count < 1 << 40 else count * unit


def switch(text: str) -> bool | None:
    """Return whether something is on; None where nobody says."""
    word = (known(text) or "").lower()
    return True if word in _YES else False if word in _NO else None


def device_id(text: str) -> str | None:
    """Return the device of ``0x233010DE``, whose second half is the vendor."""
    match = _DEVICE.match(text.strip())
    return match[1].upper() if match else None


def pci_address(text: str) -> str | None:
    """Return the address as the kernel writes it: ``0000:1a:00.0`` for ``00000000:1A:00.0``."""
    match = _ADDRESS.match(text.strip())
    if not match:
        return None
    domain, bus, device, function = match.groups()
    return f"{int(domain, 16):04x}:{bus}:{device}.{function}".lower()

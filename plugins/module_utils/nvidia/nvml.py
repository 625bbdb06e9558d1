"""NVML, NVIDIA's management library, called by ctypes: it is there with the driver, before any Python package is.

Structures and numbers are those of nvml.h, and NVIDIA keeps them: a call that changes gets a new name. What a call does
not answer, and a call that an older library does not have, is None.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

SUCCESS = 0
INVALID_ARGUMENT = 2
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13

_TEXT_BYTES = 96
_UINT_VALUE = (1 << 32) - 1


class PciInfo(ctypes.Structure):
    """nvmlPciInfo_t."""

    _fields_ = (
        ("bus_id_legacy", ctypes.c_char * 16),
        ("domain", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("pci_device_id", ctypes.c_uint),
        ("pci_subsystem_id", ctypes.c_uint),
        ("bus_id", ctypes.c_char * 32),
    )


class FabricInfo(ctypes.Structure):
    """nvmlGpuFabricInfo_t."""

    _fields_ = (
        ("cluster_uuid", ctypes.c_ubyte * 16),
        ("status", ctypes.c_int),
        ("clique_id", ctypes.c_uint),
        ("state", ctypes.c_ubyte),
    )


class FieldValue(ctypes.Structure):
    """nvmlFieldValue_t, whose value is a union of numbers of up to eight bytes."""

    _fields_ = (
        ("field_id", ctypes.c_uint),
        ("scope_id", ctypes.c_uint),
        ("timestamp", ctypes.c_longlong),
        ("latency_usec", ctypes.c_longlong),
        ("value_type", ctypes.c_int),
        ("result", ctypes.c_int),
        ("value", ctypes.c_ulonglong),
    )


class Nvml:
    """An open library. ``device`` arguments are what ``device`` returned."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    @classmethod
    def open(cls, path: str) -> Nvml | None:
        """Load the library at a path; None when it is no library that this machine runs."""
        try:
            return cls(ctypes.CDLL(path))
        except OSError:
            return None

    def call(self, name: str, *arguments: Any) -> int:
        """Call a function and return its status."""
        function: Callable[..., int] | None = getattr(self._library, name, None)
        return FUNCTION_NOT_FOUND if function is None else function(*arguments)

    def start(self) -> int:
        """Initialise the library; the status says why it is of no use."""
        return self.call("nvmlInit_v2")

    def text(self, name: str, *arguments: Any) -> str | None:
        """Call a function that writes a text of which it is told the size."""
        buffer = ctypes.create_string_buffer(_TEXT_BYTES)
        done = self.call(name, *arguments, buffer, ctypes.c_uint(_TEXT_BYTES))
        return (buffer.value.decode(errors="replace") or None) if done == SUCCESS else None

    def numbers(self, count: int, name: str, *arguments: Any, kind: Any = ctypes.c_uint) -> tuple[int, ...] | None:
        """Call a function that writes some numbers of one kind, each where it is told to."""
        values = [kind() for _ in range(count)]
        done = self.call(name, *arguments, *map(ctypes.byref, values))
        return tuple(int(value.value) for value in values) if done == SUCCESS else None

    def number(self, name: str, *arguments: Any, kind: Any = ctypes.c_uint) -> int | None:
        """Call a function that writes one number."""
        found = self.numbers(1, name, *arguments, kind=kind)
        return found[0] if found else None

    def device(self, index: int) -> ctypes.c_void_p | None:
        """Return the GPU with this number; None for one that was lost."""
        handle = ctypes.c_void_p()
        done = self.call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        return handle if done == SUCCESS else None

    def memory(self, name: str, device: ctypes.c_void_p) -> int | None:
        """Return the total of a structure of three numbers: nvmlMemory_t and nvmlBAR1Memory_t begin with it."""
        found = (ctypes.c_ulonglong * 3)()
        return int(found[0]) if self.call(name, device, ctypes.byref(found)) == SUCCESS else None

    def pci(self, name: str, *arguments: Any) -> tuple[str, str]:
        """Call a function that writes an nvmlPciInfo_t, and return address and ids as nvidia-smi writes them."""
        info = PciInfo()
        if self.call(name, *arguments, ctypes.byref(info)) != SUCCESS:
            return "", ""
        return bytes(info.bus_id).decode(errors="replace"), f"0x{int(info.pci_device_id):08X}"

    def fabric(self, device: ctypes.c_void_p) -> tuple[int, int] | None:
        """Return state and status of the GPU in the fabric."""
        info = FabricInfo()
        done = self.call("nvmlDeviceGetGpuFabricInfo", device, ctypes.byref(info))
        return (int(info.state), int(info.status)) if done == SUCCESS else None

    def field(self, device: ctypes.c_void_p, field: int, scope: int = 0) -> int | None:
        """Return an unsigned field of the GPU, such as the speed of a link."""
        value = FieldValue(field_id=field, scope_id=scope)
        done = self.call("nvmlDeviceGetFieldValues", device, ctypes.c_int(1), ctypes.byref(value))
        return int(value.value) & _UINT_VALUE if done == SUCCESS and value.result == SUCCESS else None

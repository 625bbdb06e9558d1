"""The few functions of the CUDA driver (libcuda) that the proof needs, and what their errors mean to a person."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.proof.ptx import THREADS, TILE, program

LIBRARY = "libcuda.so.1"
NOTHING = 2**64 - 1
OUT_OF_MEMORY = 2
_PEER_ACCESS_ALREADY_ENABLED = 704
_PORTABLE = 1
# Enough blocks for every GPU of today, few enough that each thread has work.
_BLOCKS = 2048

_REMEDIES = {
    OUT_OF_MEMORY: "Something else holds the memory of this GPU: nvidia-smi shows what.",
    3: "Load the module: modprobe nvidia-uvm; see that /dev/nvidia-uvm is there.",
    46: "The GPU is in exclusive mode or gone: nvidia-smi -q -d COMPUTE, then the kernel log.",
    100: "The driver shows no GPU: nvidia-smi -L, then the kernel log (dmesg | grep -i nvrm).",
    218: "The driver is too old for these kernels, which every driver since 2017 takes.",
    802: "GPUs behind NVSwitches wait for the fabric manager: systemctl status nvidia-fabricmanager.",
    803: "The loaded module and the libraries differ in version: reboot.",
    804: "Remove cuda-compat, which this GPU does not take.",
    999: "Load nvidia-uvm; if it is loaded, look for Xid in the kernel log and reboot.",
}


class CudaError(Exception):
    """A function of CUDA has failed. ``status`` is CUDA's own number, 0 where it is none of CUDA's."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def remedy(self) -> str:
        """Return what a person can do about it, where that is known."""
        return _REMEDIES.get(self.status, "")


@dataclass(frozen=True)
class Mistakes:
    """What a comparison found: how many words are wrong, where the first is, and which bits differ in any."""

    count: int = 0
    first: int | None = None
    bits: int = 0

    def as_dict(self) -> dict[str, int | None]:
        """Return it as plain data."""
        return {"wrong_words": self.count, "first_wrong": self.first, "wrong_bits": self.bits}


class Cuda:
    """The library, initialised."""

    def __init__(self, library: str = LIBRARY) -> None:
        try:
            self._library = ctypes.CDLL(library)
        except OSError as problem:
            raise CudaError(f"{library} cannot be loaded: {problem}") from problem
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function; plain numbers are C's int."""
        status = getattr(self._library, name)(*arguments)
        if status:
            raise CudaError(f"{name} failed with {status} ({self._name_of(status)})", status)

    def ask(self, name: str, *arguments: Any) -> int:
        """Call a function of which the first argument takes an int that is its answer."""
        answer = ctypes.c_int()
        self.call(name, ctypes.byref(answer), *arguments)
        return answer.value

    def _name_of(self, status: int) -> str:
        text = ctypes.c_char_p()
        self._library.cuGetErrorName(status, ctypes.byref(text))
        return (text.value or b"unknown").decode(errors="replace")

    def addresses(self) -> list[str]:
        """Return the PCI addresses of the GPUs that CUDA shows, as sysfs writes them."""
        found = []
        for ordinal in range(self.ask("cuDeviceGetCount")):
            device = self.ask("cuDeviceGet", ordinal)
            text = ctypes.create_string_buffer(32)
            self.call("cuDeviceGetPCIBusId", text, 32, device)
            found.append(sysfs_address(text.value.decode()))
        return found

    @property
    def version(self) -> int:
        """Return the newest CUDA that the driver takes, 13000 for 13.0."""
        return self.ask("cuDriverGetVersion")


class Gpu:
    """One GPU with its primary context, which NCCL and every runtime share."""

    def __init__(self, cuda: Cuda, pci_address: str) -> None:
        self.cuda, self.pci_address = cuda, pci_address
        self.device = cuda.ask("cuDeviceGetByPCIBusId", pci_address.encode())
        self.context = ctypes.c_void_p()
        cuda.call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), self.device)
        self._call("cuModuleLoadData", self._pointer("module"), ctypes.c_char_p(program().encode()))
        self._call("cuStreamCreate", self._pointer("stream"), 0)
        self._report = self.allocate(24)

    module: ctypes.c_void_p
    stream: ctypes.c_void_p

    def _pointer(self, name: str) -> Any:
        setattr(self, name, ctypes.c_void_p())
        return ctypes.byref(getattr(self, name))

    def _call(self, name: str, *arguments: Any) -> None:
        self.cuda.call("cuCtxSetCurrent", self.context)
        self.cuda.call(name, *arguments)

    # -- memory ---------------------------------------------------------------------------------------------------

    def free_bytes(self) -> int:
        """Return how much memory nobody uses."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def allocate(self, size: int) -> int:
        """Return the address of memory on the GPU; it is given back with the process."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def pinned(self, size: int) -> int:
        """Return the address of memory of the host that the GPU reaches by itself."""
        address = ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(address), ctypes.c_size_t(size), _PORTABLE)
        return address.value or 0

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the GPU's memory."""
        into = ctypes.create_string_buffer(size)
        self._call("cuMemcpyDtoH_v2", into, ctypes.c_uint64(address), ctypes.c_size_t(size))
        return into.raw

    def write(self, address: int, content: bytes) -> None:
        """Put bytes into the GPU's memory."""
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), content, ctypes.c_size_t(len(content)))

    # -- transfers ------------------------------------------------------------------------------------------------

    def from_host(self, address: int, host: int, size: int) -> None:
        """Begin to bring pinned memory of the host to the GPU."""
        sized = ctypes.c_size_t(size)
        self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), ctypes.c_void_p(host), sized, self.stream)

    def to_host(self, host: int, address: int, size: int) -> None:
        """Begin to bring memory of the GPU to pinned memory of the host."""
        sized = ctypes.c_size_t(size)
        self._call("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(host), ctypes.c_uint64(address), sized, self.stream)

    def reaches(self, other: Gpu) -> bool:
        """Tell whether the driver lets this GPU touch the memory of another one: a grant, and no proof."""
        return bool(self.cuda.ask("cuDeviceCanAccessPeer", self.device, other.device))

    def open_to(self, other: Gpu) -> None:
        """Let this GPU touch the memory of another one."""
        try:
            self._call("cuCtxEnablePeerAccess", other.context, 0)
        except CudaError as problem:
            if problem.status != _PEER_ACCESS_ALREADY_ENABLED:
                raise

    def send(self, address: int, other: Gpu, there: int, size: int) -> None:
        """Begin to copy memory of this GPU to another one; the driver takes the direct way where it is open."""
        ends = (ctypes.c_uint64(there), other.context, ctypes.c_uint64(address), self.context)
        self._call("cuMemcpyPeerAsync", *ends, ctypes.c_size_t(size), self.stream)

    def finish(self) -> None:
        """Wait until everything that was begun is over."""
        self._call("cuStreamSynchronize", self.stream)

    # -- kernels --------------------------------------------------------------------------------------------------

    def fill(self, address: int, words: int, seed: int, flip: int = 0) -> None:
        """Begin to write words that follow from their place and the seed."""
        numbers = (ctypes.c_uint64(address), ctypes.c_uint64(words), ctypes.c_uint32(seed), ctypes.c_uint32(flip))
        self._launch("llmhost_fill", numbers)

    def check(self, address: int, words: int, seed: int, flip: int = 0, ranks: int = 1) -> Mistakes:
        """Compare words with those that should be there; with several ranks, with the sum of what each wrote."""
        head = (ctypes.c_uint64(address), ctypes.c_uint64(words), ctypes.c_uint32(seed), ctypes.c_uint32(flip))
        return self._judged("llmhost_check", (*head, ctypes.c_uint32(ranks)))

    def compare(self, one: int, other: int, words: int) -> Mistakes:
        """Compare two parts of the memory."""
        return self._judged("llmhost_compare", tuple(map(ctypes.c_uint64, (one, other, words))))

    def numbers(self, address: int, count: int, seed: int) -> None:
        """Begin to write small whole numbers as floats."""
        self._launch("llmhost_numbers", (ctypes.c_uint64(address), ctypes.c_uint64(count), ctypes.c_uint32(seed)))

    def multiply(self, left: int, right: int, result: int, size: int) -> None:
        """Begin to multiply two square matrices of floats."""
        addresses = tuple(map(ctypes.c_uint64, (left, right, result)))
        self._launch("llmhost_product", (*addresses, ctypes.c_uint32(size)), (size // TILE, size // TILE))

    def _judged(self, name: str, arguments: Sequence[Any]) -> Mistakes:
        self.write(self._report, _numbers(0, NOTHING, 0))
        self._launch(name, (*arguments, ctypes.c_uint64(self._report)))
        self.finish()
        found = self.read(self._report, 24)
        count, first, bits = (int.from_bytes(found[start : start + 8], "little") for start in (0, 8, 16))
        return Mistakes(count, None if first == NOTHING else first, bits)

    def _launch(self, name: str, arguments: Sequence[Any], grid: tuple[int, int] = (_BLOCKS, 1)) -> None:
        function = ctypes.c_void_p()
        self._call("cuModuleGetFunction", ctypes.byref(function), self.module, name.encode())
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(argument) for argument in arguments))
        self._call("cuLaunchKernel", function, *grid, 1, THREADS, 1, 1, 0, self.stream, pointers, None)


def sysfs_address(text: str) -> str:
    """Return a PCI address as sysfs writes it: ``0000:1a:00.0`` for ``00000000:1A:00.0`` too."""
    domain, _, rest = text.strip().lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def _numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)

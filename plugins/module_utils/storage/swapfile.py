"""A swap file: what is in it, and how one without holes is made."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.storage.swap_place import NATIVE

PAGE = os.sysconf("SC_PAGE_SIZE")
LABEL = "llmhost-swap"

_CHUNK = 8 * 2**20
_MAGIC = b"SWAPSPACE2"
_GET_FLAGS = 0x80086601
_SET_FLAGS = 0x40086602
_NOCOW = 0x800000
_FIEMAP = 0xC020660B
_FIEMAP_SYNC = 0x1
_FIEMAP_HEADER = struct.Struct("=QQLLLL")
_FIEMAP_EXTENT = struct.Struct("=QQQQQLLLL")
_EXTENTS = 128
_LAST = 0x1
# unknown place, not yet allocated, compressed or encrypted, inside an inode, shared with another file
_UNUSABLE = 0x2 | 0x4 | 0x8 | 0x200 | 0x2000


@dataclass(frozen=True)
class SwapHeader:
    """The first page of a swap area."""

    last_page: int
    label: str

    @classmethod
    def from_page(cls, page: bytes) -> SwapHeader | None:
        """Read the header that mkswap writes; None when there is none."""
        if len(page) < PAGE or page[PAGE - len(_MAGIC) : PAGE] != _MAGIC:
            return None
        version, last_page = struct.unpack_from("=LL", page, 1024)
        if version != 1:
            return None
        label = page[1052:1068].split(b"\0")[0].decode("ascii", "replace")
        return cls(last_page, label)


@dataclass(frozen=True)
class SwapFile:
    """A file at the place of the swap file, as it is now."""

    path: str
    size_bytes: int
    mode: int
    header: SwapHeader | None
    whole: bool

    @classmethod
    def from_path(cls, path: str) -> SwapFile | None:
        """Examine the file; None when there is none. Anything but a regular file is nobody's swap file."""
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return cls(path, 0, stat.S_IMODE(status.st_mode), None, False)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            header = SwapHeader.from_page(os.pread(descriptor, PAGE, 0))
            whole = is_whole(descriptor, status.st_size)
        finally:
            os.close(descriptor)
        return cls(path, status.st_size, stat.S_IMODE(status.st_mode), header, whole)

    @property
    def ours(self) -> bool:
        """Tell whether llmhost made it: the label in the header says so."""
        return self.header is not None and self.header.label == LABEL

    def fits(self, size_bytes: int) -> bool:
        """Tell whether it is complete, without holes, and of this size."""
        pages = size_bytes // PAGE
        complete = self.header is not None and self.header.last_page == pages - 1
        return complete and self.whole and self.size_bytes == size_bytes


def is_active(path: str) -> bool:
    """Tell whether the kernel swaps to this very file.

    /proc/swaps alone can't tell: in a container it also lists the files of others, by paths that may be the same. The
    kernel refuses to allocate in a file that it swaps to; in any other, a byte that has its block stays as it is.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.posix_fallocate(descriptor, 0, 1)
    except OSError as reason:
        if reason.errno == errno.ETXTBSY:
            return True
        raise
    finally:
        os.close(descriptor)
    return False


def is_whole(descriptor: int, size: int) -> bool:
    """Tell whether every byte of the file has a disk block of its own.

    SEEK_HOLE can't tell: it calls a block that is allocated but not yet written a hole, and fallocate makes only such.
    """
    reached = 0
    try:
        for start, length, flags in _extents(descriptor):
            if start > reached or flags & _UNUSABLE:
                return False
            reached = start + length
    except OSError as reason:
        if reason.errno not in (errno.EOPNOTSUPP, errno.ENOTTY):
            raise
        return os.fstat(descriptor).st_blocks * 512 >= size
    return reached >= size


def _extents(descriptor: int) -> Iterator[tuple[int, int, int]]:
    """Yield offset, length and flags of each stretch of the file that has disk blocks."""
    start = 0
    while True:
        request = _FIEMAP_HEADER.pack(start, 2**63 - 1 - start, _FIEMAP_SYNC, 0, _EXTENTS, 0)
        answer = bytearray(request + bytes(_EXTENTS * _FIEMAP_EXTENT.size))
        fcntl.ioctl(descriptor, _FIEMAP, answer)
        count = _FIEMAP_HEADER.unpack_from(answer)[3]
        for number in range(count):
            offset = _FIEMAP_HEADER.size + number * _FIEMAP_EXTENT.size
            fields = _FIEMAP_EXTENT.unpack_from(answer, offset)
            logical, length, flags = fields[0], fields[2], fields[5]
            yield logical, length, flags
            start = logical + length
            if flags & _LAST:
                return
        if count == 0:
            return


def allocate(path: str, size: int, fstype: str) -> None:
    """Make a file of ``size`` bytes at ``path`` that only root may read and that has no holes."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        if fstype == "btrfs":
            _write_in_place(descriptor)
        if NATIVE.get(fstype):
            os.posix_fallocate(descriptor, 0, size)
        else:
            _write_zeros(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_in_place(descriptor: int) -> None:
    """Let btrfs neither copy the file on write nor compress it. Heeded only while the file is empty."""
    (flags,) = struct.unpack("l", fcntl.ioctl(descriptor, _GET_FLAGS, struct.pack("l", 0)))
    fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", flags | _NOCOW))


def _write_zeros(descriptor: int, size: int) -> None:
    zeros = memoryview(bytes(_CHUNK))
    written = 0
    while written < size:
        written += os.write(descriptor, zeros[: size - written])

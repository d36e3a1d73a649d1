"""What the operating system has in memory of cache files, and so costs no wait for a disk."""

import ctypes
import os
from typing import Final

from mountfs.model.filesystem import FilePart

BUFFER_BYTES: Final = 1024 * 1024
"""The kernel asks for no more than this at once."""

PART_BYTES: Final = 64 * 1024
"""To copy less costs no more than to look whether it is there, and to hand on where."""

PAGE_BYTES: Final = os.sysconf("SC_PAGESIZE")

_CACHESTAT: Final = 451
"""The number of the call (Linux 6.5) on all architectures but alpha; Python's `os` does not have it."""

_libc = ctypes.PyDLL(None)
_libc.syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint]
_libc.syscall.restype = ctypes.c_long


class ContentInMemory:
    """For one thread. The memory that its reads go through is one for all: each of its own would be cleared
    before it is used."""

    def __init__(self) -> None:
        self._memory = memoryview(bytearray(BUFFER_BYTES))
        self._range = (ctypes.c_uint64 * 2)()
        self._counts = (ctypes.c_uint64 * 5)()

    def locate(self, descriptor: int, size: int, offset: int) -> bytes | FilePart | None:
        """Return the bytes, or where many of them are; None where not all of them are in memory."""
        if size >= PART_BYTES and self._has(descriptor, size, offset):
            return FilePart(descriptor, size, offset)
        return self._read(descriptor, size, offset)

    def _has(self, descriptor: int, size: int, offset: int) -> bool:
        """Tell whether all pages are there, and the last one has been read: those that come from the disk
        ahead of a reader come in their order."""
        self._range[:] = [offset, size]
        if _libc.syscall(_CACHESTAT, descriptor, self._range, self._counts, 0):
            return False
        pages = (offset + size - 1) // PAGE_BYTES - offset // PAGE_BYTES + 1
        return self._counts[0] == pages and self._read(descriptor, 1, offset + size - 1) is not None

    def _read(self, descriptor: int, size: int, offset: int) -> bytes | None:
        buffer = self._memory[:size] if size <= BUFFER_BYTES else memoryview(bytearray(size))
        try:
            count = os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
        except OSError:
            return None
        return bytes(buffer) if count == size else None

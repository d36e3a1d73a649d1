"""Room, holes and dirty pages in files of the cache: calls that Python's `os` does not have."""

import ctypes
import errno
import os
from typing import Final

from mountfs.model.allocation import Allocation, AllocationKind

KEEP_SIZE: Final = 0x01
PUNCH_HOLE: Final = 0x02
ZERO_RANGE: Final = 0x10
"""From linux/falloc.h; Python's `os` has no function that takes them."""

_MODES: Final = {AllocationKind.RESERVE: 0, AllocationKind.HOLE: PUNCH_HOLE, AllocationKind.ZEROS: ZERO_RANGE}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.fallocate.restype = ctypes.c_int

WRITE_AND_WAIT: Final = 0x01 | 0x02 | 0x04
"""From linux/fs.h. All three together leave no dirty page out, not even one that is being written back."""

_libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
_libc.sync_file_range.restype = ctypes.c_int


def write_back(descriptor: int) -> None:
    """Write all dirty pages of the file to the disk, and wait for that; without a barrier and without what
    only a loss of power would need. Raises OSError."""
    if _libc.sync_file_range(descriptor, 0, 0, WRITE_AND_WAIT):
        raise _last_error()


def allocate(descriptor: int, allocation: Allocation) -> None:
    """Raises OSError. Where the disk's file system knows no range of zeros, a hole stands for it."""
    mode = _MODES[allocation.kind]
    # A hole behind the end makes no file longer.
    keeps_size = allocation.keeps_size or allocation.kind is AllocationKind.HOLE
    try:
        _fallocate(descriptor, mode | (KEEP_SIZE if keeps_size else 0), allocation)
    except OSError as error:
        if allocation.kind is not AllocationKind.ZEROS or error.errno != errno.EOPNOTSUPP:
            raise
        _fallocate(descriptor, PUNCH_HOLE | KEEP_SIZE, allocation)
        if not keeps_size and os.fstat(descriptor).st_size < allocation.end:
            os.ftruncate(descriptor, allocation.end)


def _fallocate(descriptor: int, mode: int, allocation: Allocation) -> None:
    size = allocation.end - allocation.start
    if _libc.fallocate(descriptor, mode, allocation.start, size):
        raise _last_error()


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))

"""System calls that Python's os module has no, or only half a, function for."""

import ctypes
import os

FALLOC_KEEP_SIZE = 1
FALLOC_PUNCH_HOLE = 2
FALLOC_COLLAPSE_RANGE = 8
FALLOC_ZERO_RANGE = 16
FALLOC_INSERT_RANGE = 32

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000

_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def fallocate(descriptor: int, mode: int, offset: int, size: int) -> None:
    _checked(_libc.fallocate(descriptor, mode, ctypes.c_long(offset), ctypes.c_long(size)))


def renameat2(old: bytes | os.PathLike[str], new: bytes | os.PathLike[str], flags: int) -> None:
    _checked(_libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags))


def utimensat(
    path: bytes | os.PathLike[str], atime: tuple[int, int], mtime: tuple[int, int], flags: int = 0
) -> None:
    """The times are seconds and nanoseconds; the latter may be UTIME_NOW or UTIME_OMIT."""
    times = (_Timespec * 2)(_Timespec(*atime), _Timespec(*mtime))
    _checked(_libc.utimensat(AT_FDCWD, os.fsencode(path), times, flags))


def link_descriptor(descriptor: int, path: bytes | os.PathLike[str]) -> None:
    """Give a name to what was opened with O_TMPFILE."""
    _checked(_libc.linkat(descriptor, b"", AT_FDCWD, os.fsencode(path), AT_EMPTY_PATH))

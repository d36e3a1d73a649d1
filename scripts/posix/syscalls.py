"""System calls that Python's os module has no, or only half a, function for."""

import contextlib
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
AT_SYMLINK_FOLLOW = 0x400
AT_EMPTY_PATH = 0x1000

RESOLVE_NO_XDEV = 1
RESOLVE_NO_MAGICLINKS = 2
RESOLVE_NO_SYMLINKS = 4
RESOLVE_BENEATH = 8
RESOLVE_IN_ROOT = 16
RESOLVE_CACHED = 32

STATX_BASIC = 0x7FF
STATX_BIRTH = 0x800

_OPENAT2 = 437  # the number of a system call that libc has no function for; so are the next two
_FCHMODAT2 = 452
_GETDENTS64 = 217

_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)


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


def openat2(
    path: bytes | os.PathLike[str], flags: int, resolve: int, *, mode: int = 0, top: int = -100
) -> int:
    """Return a descriptor; `top` is the directory that a relative path and the limits are about.

    A rename anywhere meanwhile may end it with EAGAIN: then it is tried again.
    """
    how = (ctypes.c_uint64 * 3)(flags, mode, resolve)
    while True:
        with contextlib.suppress(BlockingIOError):
            return _checked(_libc.syscall(_OPENAT2, top, os.fsencode(path), how, ctypes.c_size_t(24)))


def chmod_at(path: bytes | os.PathLike[str], mode: int, flags: int) -> None:
    """The system call itself: libc's fchmodat asks first whether it is a symlink."""
    _checked(_libc.syscall(_FCHMODAT2, AT_FDCWD, os.fsencode(path), mode, flags))


def statx_mask(path: bytes | os.PathLike[str], mask: int, flags: int = 0) -> int:
    """Return which fields statx(2) says to have told."""
    found = (ctypes.c_uint32 * 64)()
    _checked(_libc.statx(AT_FDCWD, os.fsencode(path), flags, mask, found))
    return int(found[0])


def entries_by_portion(descriptor: int, size: int) -> list[list[bytes]]:
    """Return the names of a directory as getdents64(2) gives them to a buffer of that many bytes."""
    buffer, portions = ctypes.create_string_buffer(size), []
    while count := _checked(_libc.syscall(_GETDENTS64, descriptor, buffer, size)):
        raw, names = buffer.raw[:count], []
        while raw:
            length = int.from_bytes(raw[16:18], "little")
            names.append(raw[19:length].split(b"\0")[0])
            raw = raw[length:]
        portions.append(names)
    return portions


def handle_of(path: bytes | os.PathLike[str], flags: int = 0) -> tuple[int, bytes]:
    """Return kind and bytes of the handle that name_to_handle_at(2) gives."""
    room = 128
    handle = ctypes.create_string_buffer(room.to_bytes(4, "little"), 8 + room)
    mount = ctypes.c_int()
    _checked(_libc.name_to_handle_at(AT_FDCWD, os.fsencode(path), handle, ctypes.byref(mount), flags))
    told = handle.raw
    length = int.from_bytes(told[0:4], "little")
    return int.from_bytes(told[4:8], "little"), told[8 : 8 + length]


def open_by_handle(inside: int, handle: tuple[int, bytes], flags: int) -> int:
    """Return a descriptor of what has the handle on the file system that `inside` is open on."""
    kind, content = handle
    packed = len(content).to_bytes(4, "little") + kind.to_bytes(4, "little") + content
    return _checked(_libc.open_by_handle_at(inside, ctypes.create_string_buffer(packed), flags))


def sync_file_range(descriptor: int, offset: int, size: int, flags: int) -> None:
    _checked(_libc.sync_file_range(descriptor, ctypes.c_long(offset), ctypes.c_long(size), flags))


def syncfs(descriptor: int) -> None:
    _checked(_libc.syncfs(descriptor))


def watch(descriptor: int, path: bytes | os.PathLike[str], mask: int) -> int:
    """Return the number of the watch; inotify_add_watch(2)."""
    return _checked(_libc.inotify_add_watch(descriptor, os.fsencode(path), mask))


def watcher() -> int:
    """Return a descriptor of inotify that never blocks."""
    return _checked(_libc.inotify_init1(os.O_NONBLOCK))


def link_descriptor(descriptor: int, path: bytes | os.PathLike[str]) -> None:
    """Give a name to what was opened with O_TMPFILE."""
    _checked(_libc.linkat(descriptor, b"", AT_FDCWD, os.fsencode(path), AT_EMPTY_PATH))


def link_followed(old: bytes | os.PathLike[str], new: bytes | os.PathLike[str]) -> None:
    """A symlink, as those of /proc/self/fd, is followed."""
    _checked(_libc.linkat(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), AT_SYMLINK_FOLLOW))

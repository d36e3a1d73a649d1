"""Between pyfuse3's types and ours. Nothing here decides anything."""

import fcntl
import os
import stat

import pyfuse3

from mountfs.model.allocation import Allocation, AllocationKind, SeekTarget
from mountfs.model.errors import InvalidArgument, OperationNotSupported
from mountfs.model.filesystem import (
    WHOLE_FILE,
    AttributeChange,
    Attributes,
    ByteSpan,
    CacheTimes,
    Caller,
    Capacity,
    LockKind,
    OpenedFile,
    RecordLock,
    RenameFlag,
)

IO_BYTES = 4096

UNNAMED = b"/"
"""The name by which the C extension tells of a file that is to have none (O_TMPFILE)."""

DOTS = (b".", b"..")

_RENAME_FLAGS = {
    0: RenameFlag.REPLACE,
    pyfuse3.RENAME_NOREPLACE: RenameFlag.NO_REPLACE,
    pyfuse3.RENAME_EXCHANGE: RenameFlag.EXCHANGE,
}

_KEEP_SIZE = 0x01
_ALLOCATION_KINDS = {0: AllocationKind.RESERVE, 0x02: AllocationKind.HOLE, 0x10: AllocationKind.ZEROS}
"""The modes of `fallocate(2)`, from linux/falloc.h."""

_SEEK_TARGETS = {os.SEEK_DATA: SeekTarget.DATA, os.SEEK_HOLE: SeekTarget.HOLE}

_LOCK_KINDS = {fcntl.LOCK_SH: LockKind.SHARED, fcntl.LOCK_EX: LockKind.EXCLUSIVE, fcntl.LOCK_UN: None}

_RECORD_KINDS = {fcntl.F_RDLCK: LockKind.SHARED, fcntl.F_WRLCK: LockKind.EXCLUSIVE}
_RECORD_TYPES = {kind: number for number, kind in _RECORD_KINDS.items()}


def entry_attributes(attributes: Attributes, times: CacheTimes) -> pyfuse3.EntryAttributes:
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = attributes.ino
    entry.st_mode = attributes.mode
    entry.st_nlink = attributes.nlink
    entry.st_uid = attributes.uid
    entry.st_gid = attributes.gid
    entry.st_rdev = attributes.rdev
    entry.st_size = attributes.size
    entry.st_blocks = attributes.blocks
    entry.st_blksize = IO_BYTES
    entry.st_atime_ns = attributes.atime_ns
    entry.st_mtime_ns = attributes.mtime_ns
    entry.st_ctime_ns = attributes.ctime_ns
    entry.entry_timeout = times.entry_s
    entry.attr_timeout = 0.0 if attributes.volatile else times.attributes_s
    return entry


def missing_entry(missing_s: float) -> pyfuse3.EntryAttributes:
    """The answer "no such name" that the kernel remembers for that long."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = 0
    entry.entry_timeout = missing_s
    return entry


def attribute_change(wanted: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields) -> AttributeChange:
    """Translate a setattr request. The mode is given without the file type; "now" has become a time."""
    return AttributeChange(
        mode=stat.S_IMODE(wanted.st_mode) if fields.update_mode else None,
        uid=wanted.st_uid if fields.update_uid else None,
        gid=wanted.st_gid if fields.update_gid else None,
        size=wanted.st_size if fields.update_size else None,
        atime_ns=wanted.st_atime_ns if fields.update_atime else None,
        mtime_ns=wanted.st_mtime_ns if fields.update_mtime else None,
    )


def caller(context: pyfuse3.RequestContext) -> Caller:
    return Caller(uid=context.uid, gid=context.gid, pid=context.pid)


def file_info(opened: OpenedFile, *, in_passthrough: bool = False) -> pyfuse3.FileInfo:
    # The kernel keeps no pages of a file in passthrough, and fails an open that asks for both.
    return pyfuse3.FileInfo(
        fh=opened.handle,
        keep_cache=opened.keep_cache and not in_passthrough,
        direct_io=opened.uncached,
        nonseekable=opened.stream,
    )


def rename_flag(flags: int) -> RenameFlag:
    """Raises InvalidArgument for flags, or combinations, that we do not know."""
    try:
        return _RENAME_FLAGS[flags]
    except KeyError:
        raise InvalidArgument(f"rename flags {flags:#x}") from None


def allocation(mode: int, offset: int, length: int) -> Allocation:
    """Raises OperationNotSupported for modes that move bytes within the file, and those still to come."""
    try:
        kind = _ALLOCATION_KINDS[mode & ~_KEEP_SIZE]
    except KeyError:
        raise OperationNotSupported(f"fallocate mode {mode:#x}") from None
    return Allocation(kind, offset, offset + length, keeps_size=bool(mode & _KEEP_SIZE))


def seek_target(whence: int) -> SeekTarget:
    try:
        return _SEEK_TARGETS[whence]
    except KeyError:
        raise InvalidArgument(f"lseek by {whence}") from None


def lock_request(operation: int) -> tuple[LockKind | None, bool]:
    """Translate the operation of `flock(2)` into the kind of lock and whether to wait for it."""
    try:
        return _LOCK_KINDS[operation & ~fcntl.LOCK_NB], not operation & fcntl.LOCK_NB
    except KeyError:
        raise InvalidArgument(f"flock operation {operation:#x}") from None


def record_kind(number: int) -> LockKind:
    """Translate the type of a lock of `fcntl(2)`."""
    try:
        return _RECORD_KINDS[number]
    except KeyError:
        raise InvalidArgument(f"fcntl lock type {number}") from None


def lock_span(start: int, length: int) -> ByteSpan:
    return ByteSpan(start, start + length if length else WHOLE_FILE.end)


def flock_fields(lock: RecordLock) -> tuple[int, int, int, int]:
    """Return type, start, length and pid, as `struct flock` has them."""
    start, end = lock.span
    return _RECORD_TYPES[lock.kind], start, 0 if end == WHOLE_FILE.end else end - start, lock.pid


def statvfs_data(capacity: Capacity) -> pyfuse3.StatvfsData:
    data = pyfuse3.StatvfsData()
    data.f_bsize = data.f_frsize = IO_BYTES
    data.f_blocks = capacity.total_bytes // IO_BYTES
    data.f_bfree = data.f_bavail = capacity.free_bytes // IO_BYTES
    data.f_files = capacity.files
    data.f_ffree = data.f_favail = capacity.files_free
    data.f_namemax = capacity.name_max
    return data

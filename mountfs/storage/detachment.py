"""Content files that programs of an earlier mount may still be writing to."""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from mountfs.model.disk import Disk, DiskStep
from mountfs.model.ids import Ino
from mountfs.storage.content import ContentFiles

log = logging.getLogger(__name__)

COPY_SUFFIX: Final = ".copy"
"""No content file has it."""


def detach(content: ContentFiles, ino: Ino) -> None:
    """Give the content a file of its own where somebody else has the present one open for writing.

    With passthrough the kernel takes a program's writes to the file also when the daemon is gone, for as
    long as the program keeps it open: from here on they go nowhere. Times, bytes and holes stay as they are,
    on the disk as well. What is written meanwhile may be in the copy, and then so is a newer time.
    A crash leaves one file or the other, and maybe part of a copy, which the next call for this content
    removes. Where there is no room for a copy the file stays, which is logged. Blocks.
    """
    path = content.path(ino)
    copy = path.with_name(path.name + COPY_SUFFIX)
    try:
        _remove(content.disk, copy)
        if _is_open_for_writing(path):
            _replace_by_copy(content.disk, path, copy)
            log.warning("recovery: inode %d: a program of the mount before still has it open", ino)
    except FileNotFoundError:
        return
    except OSError as error:
        with suppress(OSError):
            _remove(content.disk, copy)
        log.error("recovery: inode %d: a program of the mount before may write to it: %s", ino, error)


def _is_open_for_writing(path: Path) -> bool:
    """Ask for a lease, which the kernel grants for what nobody has open for writing (fcntl(2)). True where
    the file system has none."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        return True
    finally:
        # It ends the lease as well.
        os.close(descriptor)
    return False


def _remove(disk: Disk, copy: Path) -> None:
    if copy.exists():
        disk.unlink(DiskStep.RECOVER_REMOVE, copy)


def _replace_by_copy(disk: Disk, path: Path, copy: Path) -> None:
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        target = disk.open(DiskStep.RECOVER_COPY, copy, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            _copy_bytes(disk, source, target, os.fstat(source).st_size)
            # Behind the bytes: else what is written meanwhile could be among them with the times of before.
            status = os.fstat(source)
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
            disk.sync(DiskStep.RECOVER_COPY, target)
        finally:
            os.close(target)
    finally:
        os.close(source)
    disk.rename(DiskStep.RECOVER_COPY, copy, path)
    disk.sync_path(DiskStep.RECOVER_COPY, path.parent)


def _copy_bytes(disk: Disk, source: int, target: int, size: int) -> None:
    disk.resize(DiskStep.RECOVER_COPY, target, size)
    for start, end in _data(source, size):
        position = start
        while position < end:
            copied = disk.copy(DiskStep.RECOVER_COPY, source, position, target, position, end - position)
            if not copied:
                raise OSError(errno.EIO, "the content ended early")
            position += copied


def _data(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges below `size` that are no holes: those need neither time nor room."""
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # a hole up to the end
            raise
        position = min(size, os.lseek(descriptor, start, os.SEEK_HOLE))
        yield start, position

"""Content files that programs of an earlier mount may still be writing to."""

import fcntl
import logging
import os
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
    long as the program keeps it open: from here on they go nowhere. Times and bytes stay as they are, on the
    disk as well. A crash leaves one file or the other, and maybe part of a copy, which the next call for this
    content removes. Where there is no room for a copy the file stays, which is logged. Blocks.
    """
    path = content.path(ino)
    copy = path.with_name(path.name + COPY_SUFFIX)
    try:
        with suppress(FileNotFoundError):
            copy.unlink()
        if _is_open_for_writing(path):
            _replace_by_copy(content.disk, path, copy)
            log.warning("recovery: inode %d: a program of the mount before still has it open", ino)
    except FileNotFoundError:
        return
    except OSError as error:
        with suppress(OSError):
            copy.unlink()
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


def _replace_by_copy(disk: Disk, path: Path, copy: Path) -> None:
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        status = os.fstat(source)
        target = disk.open(DiskStep.RECOVER_COPY, copy, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            _copy_bytes(disk, source, target, status.st_size)
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
            disk.sync(DiskStep.RECOVER_COPY, target)
        finally:
            os.close(target)
    finally:
        os.close(source)
    disk.rename(DiskStep.RECOVER_COPY, copy, path)
    disk.sync_path(DiskStep.RECOVER_COPY, path.parent)


def _copy_bytes(disk: Disk, source: int, target: int, size: int) -> None:
    position = 0
    while position < size:
        copied = disk.copy(DiskStep.RECOVER_COPY, source, position, target, position, size - position)
        if not copied:
            break
        position += copied
    disk.resize(DiskStep.RECOVER_COPY, target, position)

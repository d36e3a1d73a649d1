"""Room, holes and copies of ranges of bytes in cached files."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from mountfs.model.allocation import Allocation, AllocationKind, SeekTarget
from mountfs.model.disk import Disk, DiskStep
from mountfs.model.errors import NothingThere, StorageError
from mountfs.sync.content import FileContent, changing
from mountfs.tree.inode import Inode

COPY_BYTES: Final = 64 * 1024 * 1024
"""The most that one call copies: whoever wants more calls again, and a signal is heard in between."""


class ContentRanges:
    """Every inode given must be held, and what was written past the daemon be noticed.

    Changes on the disk that were begun are ended, also where a call is cancelled, and made once more where
    the content that they were made to was set aside meanwhile.
    """

    def __init__(self, content: FileContent, disk: Disk) -> None:
        self._content = content
        self._disk = disk

    async def allocate(self, inode: Inode, allocation: Allocation) -> None:
        """Raises StorageError, and the errors of `FileContent.write`."""
        await self._content.room.admit(max(0, allocation.end - inode.size))
        size = inode.size if allocation.keeps_size else max(inode.size, allocation.end)
        if allocation.kind is AllocationKind.RESERVE and size == inode.size:
            await self._content.require_whole(inode)
            await self._allocate(inode, allocation)
            # As on other file systems it moves the times; the content is what it was.
            inode.mtime_ns = inode.ctime_ns = time.time_ns()
            self._content.direct.changed_by_us(inode)
            return
        epoch = None
        while epoch != inode.content_epoch:
            await self._content.begin_modification(inode)
            epoch = inode.content_epoch
            with trio.CancelScope(shield=True), changing(inode):
                await self._allocate(inode, allocation)
        self._content.modified(inode, max(inode.size, size))

    async def _allocate(self, inode: Inode, allocation: Allocation) -> None:
        assert inode.descriptor is not None
        with _disk_errors(inode):
            await trio.to_thread.run_sync(
                self._disk.allocate, DiskStep.ALLOCATE_CONTENT, inode.descriptor, allocation
            )

    async def seek(self, inode: Inode, offset: int, target: SeekTarget) -> int:
        """Return where data, or a hole, begins from `offset` on; what is not in the cache counts as data.

        Raises NothingThere, StorageError.
        """
        if not 0 <= offset < inode.size:
            raise NothingThere()
        if not inode.has_whole_content():
            return offset if target is SeekTarget.DATA else inode.size
        assert inode.descriptor is not None
        with _disk_errors(inode):
            return await trio.to_thread.run_sync(_seek, inode.descriptor, offset, target)

    async def copy(
        self, source: Inode, source_offset: int, target: Inode, target_offset: int, size: int
    ) -> int:
        """Return how many bytes were copied: fewer than asked for at the end of the source, or of COPY_BYTES.

        Raises the errors of `FileContent.read` for the source and of `write` for the target.
        """
        while True:
            source_epoch = source.content_epoch
            count = min(size, COPY_BYTES, source.size - source_offset)
            if count <= 0:
                return 0
            await self._content.room.admit(count)
            await self._content.require(source, source_offset, source_offset + count)
            await self._content.begin_modification(target)
            target_epoch = target.content_epoch
            assert source.descriptor is not None
            assert target.descriptor is not None
            with trio.CancelScope(shield=True), changing(target), _disk_errors(target):
                copied = await trio.to_thread.run_sync(
                    self._copy, source.descriptor, source_offset, target.descriptor, target_offset, count
                )
            if target_epoch != target.content_epoch:
                continue
            self._content.modified(target, max(target.size, target_offset + copied))
            if source_epoch == source.content_epoch:
                return copied

    def _copy(self, source: int, source_offset: int, target: int, target_offset: int, size: int) -> int:
        """Return how many bytes were copied: fewer than asked for where the source ends or the disk fails."""
        copied = 0
        while copied < size:
            try:
                count = self._disk.copy(
                    DiskStep.COPY_CONTENT,
                    source,
                    source_offset + copied,
                    target,
                    target_offset + copied,
                    size - copied,
                )
            except OSError:
                if copied:
                    break
                raise
            if not count:
                break
            copied += count
        return copied


def _seek(descriptor: int, offset: int, target: SeekTarget) -> int:
    """Moves the descriptor's place, which nobody goes by."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA if target is SeekTarget.DATA else os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise NothingThere() from None
        raise


@contextmanager
def _disk_errors(inode: Inode) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the content of {inode.path()!r} in the cache: {error.strerror or error}",
            errno=error.errno or errno.EIO,
        ) from error

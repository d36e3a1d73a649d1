"""The hash of a file while it arrives, so that nobody waits for it once the last byte is here."""

import errno
import hashlib
import os
from collections.abc import Callable
from typing import Final

import trio

from mountfs.model.errors import StorageError
from mountfs.tree.inode import Inode

PIECE_BYTES: Final = 512 * 1024

BEHIND_BYTES: Final = 4 * 1024 * 1024
"""A thread is worth its start for so much."""

INLINE_BYTES: Final = 64 * 1024
"""So much costs less than to start a thread for it."""


async def digest_beside(descriptor: int, size: int) -> str:
    """Return `digest_of` from a thread; one that is cancelled ends soon, however large the file is."""
    return await trio.to_thread.run_sync(digest_of, descriptor, size, trio.from_thread.check_cancelled)


def digest_of(descriptor: int, size: int, may_go_on: Callable[[], object] = lambda: None) -> str:
    """Hash the first `size` bytes, or what there is of them. Blocks. Raises OSError, and what `may_go_on`
    raises, which is called between the pieces."""
    digest = hashlib.sha256()
    _add(digest, descriptor, 0, size, may_go_on)
    return digest.hexdigest()


def _add(
    digest: "hashlib._Hash", descriptor: int, start: int, end: int, may_go_on: Callable[[], object]
) -> int:
    """Hash [start, end) as well; return where the file ended, or `end`."""
    # One piece of memory for all: each of its own would be cleared before it is used.
    buffer = memoryview(bytearray(min(PIECE_BYTES, end - start)))
    while count := os.preadv(descriptor, [buffer[: end - start]], start):
        digest.update(buffer[:count])
        start += count
        may_go_on()
    return start


class RunningHash:
    """Follows the part of a clean file that is here without a gap from its first byte on.

    It is of one state of the content: once that was replaced or written to it is not current any more, and
    what `finish` returns means nothing.
    """

    def __init__(self, inode: Inode) -> None:
        self._inode = inode
        self._state = inode.content_epoch, inode.generation
        self._digest = hashlib.sha256()
        self._position = 0
        self._at_work = trio.Lock()

    def is_current(self) -> bool:
        return self._state == (self._inode.content_epoch, self._inode.generation)

    def is_behind(self) -> bool:
        """Tell whether so much has arrived that `follow` should be called, and is not at it."""
        present = self._inode.present
        if present is None or self._at_work.locked():
            return False
        return present.from_start() - self._position >= BEHIND_BYTES

    async def follow(self) -> None:
        """Hash what has arrived. What cannot be read is left to `finish`."""
        async with self._at_work:
            while self.is_current() and self._inode.present is not None:
                end = self._inode.present.from_start()
                if self._inode.descriptor is None or end - self._position < BEHIND_BYTES:
                    return
                try:
                    await self._advance(end)
                except OSError:
                    return

    async def finish(self, size: int) -> str:
        """Return the hash of the first `size` bytes, which all are here. Raises StorageError."""
        async with self._at_work:
            try:
                await self._advance(size)
            except OSError as error:
                raise StorageError(
                    f"the content of {self._inode.path()!r} in the cache: {error.strerror}",
                    errno=error.errno or errno.EIO,
                ) from error
            return self._digest.hexdigest()

    async def _advance(self, end: int) -> None:
        assert self._inode.descriptor is not None
        assert self._inode.present is not None
        if self._inode.present.from_start() < self._position:
            # Some of it was given up meanwhile.
            self._digest, self._position = hashlib.sha256(), 0
        if end - self._position <= INLINE_BYTES:
            self._position = _add(self._digest, self._inode.descriptor, self._position, end, lambda: None)
            return
        # One of its own: the file may be closed while the thread is at it.
        descriptor = os.dup(self._inode.descriptor)
        digest, start = self._digest, self._position
        # Anew, should this not come to its end.
        self._digest, self._position = hashlib.sha256(), 0
        try:
            may_go_on = trio.from_thread.check_cancelled
            end = await trio.to_thread.run_sync(_add, digest, descriptor, start, end, may_go_on)
        finally:
            os.close(descriptor)
        self._digest, self._position = digest, end

"""The hashes of files that are being fetched, taken of their beginnings while the rest is still to come."""

import errno
import hashlib
import os
from typing import Final

import trio

from mountfs.model.errors import StorageError
from mountfs.model.ids import Ino
from mountfs.tree.inode import Inode

PIECE_BYTES: Final = 1024 * 1024

WORTH_A_TURN_BYTES: Final = 8 * 1024 * 1024
"""So much more of a beginning is hashed at a time."""

INLINE_BYTES: Final = 64 * 1024
"""So much has just come, and costs less than to start a thread for it."""


class _RunningDigest:
    """Of the first `position` bytes of the content of this epoch. One thread at a time works on it."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.position = 0
        self.turn = trio.Lock()
        self._digest = hashlib.sha256()

    def go_on(self, descriptor: int, end: int) -> None:
        buffer = bytearray(PIECE_BYTES)
        view = memoryview(buffer)
        while self.position < end:
            count = os.preadv(descriptor, [view[: min(PIECE_BYTES, end - self.position)]], self.position)
            if not count:
                return  # cut off: it will have no version's hash
            self._digest.update(view[:count])
            self.position += count

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


class RunningDigests:
    """By inode. A reader of a stream would wait at its end for the hash of all of it."""

    def __init__(self) -> None:
        self._running: dict[Ino, _RunningDigest] = {}

    async def advance(self, inode: Inode) -> None:
        """Hash what is here of the beginning, where that is worth it. The inode must be held open."""
        assert inode.descriptor is not None
        end = _beginning(inode)
        running = self._running.get(inode.ino)
        if running is None or running.epoch != inode.content_epoch:
            running = _RunningDigest(inode.content_epoch)
        if end - running.position < WORTH_A_TURN_BYTES or running.turn.locked():
            return
        self._running[inode.ino] = running
        # The last user may leave meanwhile.
        descriptor = os.dup(inode.descriptor)
        try:
            async with running.turn:
                await trio.to_thread.run_sync(running.go_on, descriptor, end)
        finally:
            os.close(descriptor)

    async def whole(self, inode: Inode) -> str:
        """Return the SHA-256 of all bytes, which are here. Must be held open. Raises StorageError."""
        assert inode.descriptor is not None
        descriptor, size = inode.descriptor, inode.size
        running = self._running.pop(inode.ino, None)
        if running is None or running.epoch != inode.content_epoch:
            running = _RunningDigest(inode.content_epoch)
        try:
            async with running.turn:
                if size - running.position <= INLINE_BYTES:
                    running.go_on(descriptor, size)
                else:
                    await trio.to_thread.run_sync(running.go_on, descriptor, size)
        except OSError as error:
            raise StorageError(
                f"the content of {inode.path()!r} in the cache: {error.strerror}",
                errno=error.errno or errno.EIO,
            ) from error
        return running.hexdigest()

    def forget(self, inode: Inode) -> None:
        """Nobody reads the file any more."""
        self._running.pop(inode.ino, None)


def _beginning(inode: Inode) -> int:
    """Return up to where all bytes are here."""
    assert inode.present is not None
    gaps = inode.present.missing(0, inode.size)
    return gaps[0][0] if gaps else inode.size

"""A part of a cached file on its way out: read piece by piece, and never with bytes of two states."""

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Final

import trio

from mountfs.model.errors import StorageError
from mountfs.tree.inode import Inode

PIECE_BYTES: Final = 1024 * 1024

AT_ONCE_BYTES: Final = 128 * 1024
"""So much is read on the trio thread where that does not block: a thread would cost more."""


class ContentChanged(Exception):
    """The file was written to, moved or removed while it was sent: what was sent, if it was, is of no use."""


def is_unchanged(inode: Inode, generation: int) -> bool:
    """Tell whether the content is, as a whole, still of this generation."""
    return inode.generation == generation and not (inode.unsealed or inode.changing)


class CachedRange:
    """A `ContentSource`: `size` bytes from `start` on, of one generation of a file whose content is held.

    Every way of reading raises ContentChanged once the file was written to, and StorageError.
    """

    def __init__(
        self, inode: Inode, start: int, size: int, generation: int, notice: Callable[[Inode], None]
    ) -> None:
        """`notice` takes over into the tree what was written past the daemon."""
        self._notice = notice
        self._inode = inode
        self._start = start
        self._generation = generation
        self.size = size

    def pieces(self) -> AsyncIterator[bytes]:
        return _Pieces(self)

    async def whole(self) -> bytes:
        return await self.read(0, self.size)

    async def sha256(self) -> str:
        if self.size <= AT_ONCE_BYTES:
            return hashlib.sha256(await self.whole()).hexdigest()
        digest = await trio.to_thread.run_sync(self._hash)
        self._check_unchanged()
        return digest

    async def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` within the range on."""
        content = self.read_at_once(offset, size) if size <= AT_ONCE_BYTES else None
        if content is None:
            content = await trio.to_thread.run_sync(self._read, offset, size)
        self._check_unchanged()
        if len(content) != size:
            raise StorageError(f"{self._inode.path()!r} is shorter in the cache than it should be", errno=5)
        return content

    def read_at_once(self, offset: int, size: int) -> bytes | None:
        """Return the bytes, of whatever state, where the operating system has them in memory, as of a file
        just written."""
        buffer = bytearray(size)
        try:
            count = os.preadv(self._descriptor(), [buffer], self._start + offset, os.RWF_NOWAIT)
        except OSError:
            return None
        return bytes(buffer) if count == size else None

    def _read(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._descriptor(), size, self._start + offset)
        except OSError as error:
            raise StorageError(
                f"{self._inode.path()!r} cannot be read from the cache: {error.strerror}",
                errno=error.errno or 5,
            ) from error

    def _descriptor(self) -> int:
        assert self._inode.descriptor is not None
        return self._inode.descriptor

    def _hash(self) -> str:
        """Blocks, in a thread of trio's; where that is cancelled it ends soon, however large the file is."""
        digest = hashlib.sha256()
        position = 0
        while piece := self._read(position, min(PIECE_BYTES, self.size - position)):
            digest.update(piece)
            position += len(piece)
            trio.from_thread.check_cancelled()
        return digest.hexdigest()

    def _check_unchanged(self) -> None:
        self._notice(self._inode)
        if not is_unchanged(self._inode, self._generation):
            raise ContentChanged


class _Pieces:
    def __init__(self, source: CachedRange) -> None:
        self._source = source
        self._position = 0

    def __aiter__(self) -> "_Pieces":
        return self

    async def __anext__(self) -> bytes:
        size = min(PIECE_BYTES, self._source.size - self._position)
        if size <= 0:
            raise StopAsyncIteration
        piece = await self._source.read(self._position, size)
        self._position += size
        return piece

"""Bytes on their way out, given piece by piece, so that nobody has to hold all of them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

PIECE_BYTES: Final = 256 * 1024


class ContentSource(Protocol):
    """Exactly `size` bytes. `pieces` may be asked for again, for a repeat, and begins anew each time.

    Reading raises what its owner wants to know: that the content changed, or cannot be read. The iterator
    may be left unfinished; it is no async generator, for those have to be closed.
    """

    @property
    def size(self) -> int: ...

    def pieces(self) -> AsyncIterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class BytesSource:
    """Content that is in memory; it goes out in slices and is never copied whole."""

    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def pieces(self) -> AsyncIterator[bytes]:
        return _Slices(self.content)


class _Slices:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def __aiter__(self) -> "_Slices":
        return self

    async def __anext__(self) -> bytes:
        start = self._position
        if start >= len(self._content):
            raise StopAsyncIteration
        self._position = start + PIECE_BYTES
        return self._content[start : self._position]

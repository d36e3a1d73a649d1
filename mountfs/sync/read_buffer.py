"""Reads of cache files that wait for no disk."""

import os
from typing import Final

BUFFER_BYTES: Final = 1024 * 1024
"""The kernel asks for no more than this at once."""


class ReadBuffer:
    """Memory that all reads of one thread go through: each of its own would be cleared before it is used."""

    def __init__(self) -> None:
        self._memory = memoryview(bytearray(BUFFER_BYTES))

    def read_at_once(self, descriptor: int, size: int, offset: int) -> bytes | None:
        """Return the bytes where the operating system has all of them in memory, else None."""
        buffer = self._memory[:size] if size <= BUFFER_BYTES else memoryview(bytearray(size))
        try:
            count = os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
        except OSError:
            return None
        return bytes(buffer) if count == size else None

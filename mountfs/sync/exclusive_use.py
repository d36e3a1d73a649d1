"""Having the content file of an inode for oneself."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from mountfs.model.ids import Ino


class ExclusiveUse:
    """One user of a file at a time; others wait, and look anew then at what they need it for."""

    def __init__(self) -> None:
        self._ends: dict[Ino, trio.Event] = {}

    async def wait_free(self, ino: Ino) -> None:
        """Return when nobody has the file: at once, without a checkpoint, where that is so already."""
        while ino in self._ends:
            await self._ends[ino].wait()

    @contextmanager
    def of(self, ino: Ino) -> Iterator[None]:
        """Have the file, which must be free, for the block."""
        assert ino not in self._ends
        self._ends[ino] = end = trio.Event()
        try:
            yield
        finally:
            del self._ends[ino]
            end.set()

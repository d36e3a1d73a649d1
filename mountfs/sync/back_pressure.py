"""Room for what programs write: unsent content may fill the cache, and other files the disk."""

import errno
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from mountfs.model.errors import StorageError
from mountfs.model.interruption import interruptible
from mountfs.rules.back_pressure import Pressure, patience_s, pressure
from mountfs.sync.upkeep import Upkeep
from mountfs.tree.tree import Tree

COUNT_EVERY_S = 0.2
"""Counting looks at all that is pending."""

ROOM_S: Final = 10.0
"""How long a write waits on a full disk while what is only cached gives way."""


class BackPressure:
    """Asked before content grows. What only `local_only` keeps here does not count: it never gets less."""

    def __init__(self, tree: Tree, upkeep: Upkeep) -> None:
        self._tree = tree
        self._upkeep = upkeep
        self._counted_at = float("-inf")
        self._unsent_bytes = 0
        self._making_room = trio.Lock()
        self.wait_progress: Callable[[], Awaitable[None]] = trio.sleep_forever
        """Waits until something may have been sent; set once there is a sender."""

    def current(self) -> Pressure:
        """Tell what comes of writes now."""
        return self._pressure(0)

    async def admit(self, count: int) -> None:
        """Return when `count` bytes more may be written, late while the workspace does not keep up.

        Raises StorageError (ENOSPC) after a bounded wait where there is no room for them, and at once while
        the disk is full of what has to stay; Interrupted.
        """
        if not self._tree.journal.has_reserve():
            await self._wait_for_disk()
        found = self._pressure(count)
        if found is Pressure.NONE:
            self._unsent_bytes += count
            return
        with interruptible(trio.move_on_after(patience_s(found))):
            while self._pressure(count) is not Pressure.NONE:
                await self.wait_progress()
        if self._pressure(count) is Pressure.REFUSED:
            raise StorageError(
                "the cache is full of content that the workspace does not have yet",
                errno=errno.ENOSPC,
                hint="mountfs status tells why it is not sent; or mount with a larger cache_size",
            )
        self._unsent_bytes += count

    async def _wait_for_disk(self) -> None:
        """Let what is only cached give way until the journal has its room again."""
        with interruptible(trio.move_on_after(ROOM_S)):
            async with self._making_room:
                while not self._tree.journal.has_reserve() and await self._upkeep.make_room():
                    # It takes its room again with that, where the disk has enough.
                    await self._tree.journal.synced()
        if not self._tree.journal.has_reserve():
            raise StorageError(
                "the disk of the cache is full",
                errno=errno.ENOSPC,
                hint="free space on it; what was closed is safe, and goes on being sent",
            )

    def _pressure(self, count: int) -> Pressure:
        if self._upkeep.used_bytes + count <= self._upkeep.limit_bytes:
            return Pressure.NONE
        now = trio.current_time()
        if now - self._counted_at >= COUNT_EVERY_S:
            self._counted_at = now
            self._unsent_bytes = sum(
                inode.size for inode in self._tree.pending.values() if inode.content_dirty
            )
        return pressure(self._unsent_bytes + count, self._upkeep.limit_bytes)

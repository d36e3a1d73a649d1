"""Upkeep of the cache: what the index knows of it, what goes from the disk, and its limit."""

import logging
from collections.abc import Awaitable, Callable, Set
from functools import partial
from typing import Final

import trio

from mountfs.model.disk import DiskStep
from mountfs.model.errors import MountfsError
from mountfs.model.ids import Ino
from mountfs.model.storage import ContentStore, Coverage, StoredContent
from mountfs.rules import eviction
from mountfs.sync.exclusive_use import ExclusiveUse
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

RECOUNT_PART: Final = 64
"""The disk use is counted anew when it may have grown by this part of the limit."""


class Upkeep:
    """Does in the background what nobody waits for. Content that is dirty, in use or kept never goes."""

    def __init__(self, tree: Tree, store: ContentStore, exclusive: ExclusiveUse, *, limit_bytes: int) -> None:
        self._tree = tree
        self._store = store
        self._exclusive = exclusive
        self.limit_bytes = limit_bytes
        """Above this, clean content goes; counts from the next look on."""
        self._unsaved: dict[Ino, Inode] = {}
        self._removable: set[Ino] = set()
        self._saving = trio.Lock()
        self._work = trio.Event()
        self._grown_bytes = 0
        self.used_bytes = 0
        """What the content takes on the disk: as of the last count, and what came and went since."""
        self._stored: set[Ino] = set()
        self.evicted = 0
        self.kept: Callable[[], Awaitable[Set[Ino]]] = _nothing
        """Whose content is to stay, of those that are not in memory."""
        self.is_kept: Callable[[Inode], bool] = lambda inode: False

    @property
    def files(self) -> int:
        """How many files have content here, as far as the index was told."""
        return len(self._stored)

    @property
    def free_bytes(self) -> int:
        """How much more may come; below 0 where there is too much."""
        return self.limit_bytes - self.used_bytes

    async def run(self) -> None:
        """Save, remove and evict what is due, until cancelled."""
        await self._guarded(self.evict)
        while True:
            await self._work.wait()
            self._work = trio.Event()
            await self._guarded(self._save_what_came)
            if self._has_grown() or self.free_bytes < 0:
                await self._guarded(self.evict)
            # Downloads report piece by piece: one look for many of them.
            await trio.sleep(0.1)

    async def _guarded(self, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except MountfsError as error:
            log.warning("upkeep of the cache: %s", error.message)

    # What is told.

    def grow(self, count: int) -> None:
        """The content takes so many bytes more."""
        self._grown_bytes += count
        self.used_bytes += count
        if self._has_grown():
            self._work.set()

    def _has_grown(self) -> bool:
        """Tell whether so much came since the last count that it is time for another."""
        return self._grown_bytes * RECOUNT_PART > self.limit_bytes

    def save_later(self, inode: Inode) -> None:
        """What is here of the file changed."""
        self._unsaved[inode.ino] = inode
        self._work.set()

    def remove_later(self, ino: Ino) -> None:
        """Nothing needs this content any more."""
        self._removable.add(ino)
        self._work.set()

    def note_disuse(self) -> None:
        """Content that was dirty or in use is not: where the limit was reached, it may be evicted now."""
        if self.free_bytes < 0:
            self._work.set()

    # The index.

    async def forget_coverage(self, inode: Inode) -> None:
        """On return the index knows nothing of the file's content, also after a crash."""
        async with self._saving:
            self._unsaved.pop(inode.ino, None)
            await trio.to_thread.run_sync(self._store.save_coverage, inode.ino, None)

    async def save_index(self) -> None:
        """Write to the index what is in the cache, and remove the content of what no longer exists.

        On return all of it is written, also what another call was at.
        """
        async with self._saving:
            while self._removable or self._unsaved:
                await self._save()

    async def _save_what_came(self) -> None:
        """Like `save_index`, but leave to the next time what comes meanwhile: while many files are sent, each
        call would bring a few."""
        async with self._saving:
            await self._save()

    async def _save(self) -> None:
        if self._removable:
            removed, self._removable = self._removable, set()
            try:
                await trio.to_thread.run_sync(self._store.remove_all, removed)
            except BaseException:
                self._removable |= removed
                raise
            self._stored -= removed
        if self._unsaved:
            unsaved, self._unsaved = self._unsaved, {}
            coverages = [known for inode in unsaved.values() if (known := _coverage(inode)) is not None]
            try:
                await trio.to_thread.run_sync(self._store.save_coverages, coverages)
            except BaseException:
                self._unsaved = unsaved | self._unsaved
                raise
            self._stored.update(ino for ino, _ in coverages)
            for inode in unsaved.values():
                await self._remember(inode)

    async def _remember(self, inode: Inode) -> None:
        """Remember how what is here of a file looks that is not in use, where no hash tells."""
        known = _coverage(inode)
        base = inode.base
        if known is None or inode.opens or (base and base.sha256 is not None and inode.has_whole_content()):
            return
        await trio.to_thread.run_sync(self._store.save_sums, *known)

    # The limit.

    async def evict(self, limit_bytes: int | None = None) -> None:
        """Bring what the content takes below the limit, or another one, as far as that may go.

        Raises StorageError, with part of it done.
        """
        limit_bytes = self.limit_bytes if limit_bytes is None else limit_bytes
        self._grown_bytes = 0
        self._stored, self.used_bytes = await trio.to_thread.run_sync(self._count)
        if self.used_bytes <= limit_bytes:
            return
        kept = await self.kept()
        stored = await trio.to_thread.run_sync(
            lambda: [each for each in self._store.stored() if each.ino not in kept]
        )
        for content in eviction.choose(stored, self.used_bytes, limit_bytes, self._may_go):
            if self._may_go(content.ino):
                await self._evict_one(content)

    async def make_room(self) -> bool:
        """The disk is full: evict half of what the content takes, as far as that may go; return whether
        anything went. Raises StorageError."""
        before = self.evicted
        await self.evict(limit_bytes=self.used_bytes // 2)
        return self.evicted > before

    def _count(self) -> tuple[set[Ino], int]:
        """Return whose content is on the disk and the bytes of all; keeps no more of each than its number."""
        inos: set[Ino] = set()
        used_bytes = 0
        for content in self._store.stored():
            inos.add(content.ino)
            used_bytes += content.bytes_on_disk
        return inos, used_bytes

    def _may_go(self, ino: Ino) -> bool:
        """Whoever is not in memory is clean: what is pending was loaded at the start."""
        inode = self._tree.inodes.get(ino)
        if inode is None:
            return True
        return not (inode.content_dirty or inode.opens or inode.sending or self.is_kept(inode))

    async def _evict_one(self, content: StoredContent) -> None:
        ino = content.ino
        await self._exclusive.wait_free(ino)
        if not self._may_go(ino):
            return
        with self._exclusive.of(ino):
            inode = self._tree.inodes.get(ino)
            if inode is not None:
                inode.present = None
            await trio.to_thread.run_sync(partial(self._store.remove, ino, step=DiskStep.EVICT_CONTENT))
            self._stored.discard(ino)
            self.used_bytes -= content.bytes_on_disk
            self.evicted += 1


async def _nothing() -> Set[Ino]:
    return frozenset()


def _coverage(inode: Inode) -> tuple[Ino, Coverage] | None:
    base = inode.base
    if inode.content_dirty or base is None or base.version is None or inode.present is None:
        return None
    return inode.ino, Coverage(base.version, tuple(inode.present))

"""The content of files in the cache: opening, reading, writing, and what the remote does to it."""

import errno
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import IO, Final

import trio

from mountfs.model.disk import DiskStep
from mountfs.model.errors import StorageError
from mountfs.model.filesystem import FilePart
from mountfs.model.ids import Ino
from mountfs.model.node import RemoteNode
from mountfs.model.ranges import RangeSet
from mountfs.model.remote import Remote
from mountfs.model.storage import ContentStore
from mountfs.rules.back_pressure import Pressure
from mountfs.rules.read_plan import ReadAhead, ReadPlan
from mountfs.sync.back_pressure import BackPressure
from mountfs.sync.content_in_memory import ContentInMemory
from mountfs.sync.damage import DamageCheck
from mountfs.sync.direct_access import DirectAccess
from mountfs.sync.exclusive_use import ExclusiveUse
from mountfs.sync.fetcher import Fetcher
from mountfs.sync.prefetcher import Prefetcher
from mountfs.sync.superseding import Superseding
from mountfs.sync.upkeep import Upkeep
from mountfs.tree import local_changes
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

INLINE_WRITE: Final = 128 * 1024
"""Writes of at most this size go to the page cache from the trio thread; a thread would cost more."""


class FileContent:
    """Implements `mountfs.tree.cached_content.CachedContent`.

    Whoever uses the bytes of an inode holds it open (`held`); its descriptor is shared by all. `locate`,
    `write` and `truncate` raise StorageError for our disk, ContentUnavailable and the remote's errors for
    bytes that are not here. A cancelled `write` may have written.
    """

    def __init__(
        self,
        tree: Tree,
        store: ContentStore,
        remote: Remote,
        *,
        limit_bytes: int,
        patience_s: float,
    ) -> None:
        self._tree = tree
        self._store = store
        self.disk = store.disk
        self._exclusive = ExclusiveUse()
        self.upkeep = Upkeep(tree, store, self._exclusive, limit_bytes=limit_bytes)
        self._fetcher = Fetcher(
            remote, store.disk, patience_s=patience_s, fetched=self._count_fetched, let_go=self._let_go
        )
        self._damage = DamageCheck(store)
        self.room = BackPressure(tree, self.upkeep)
        self.direct = DirectAccess(tree, grown=self.upkeep.grow)
        # Whoever writes past the daemon cannot be slowed.
        self.direct.is_affordable = lambda: self.room.current() is Pressure.NONE
        self.superseding = Superseding(tree, remote, store, self.direct)
        self._prefetcher = Prefetcher(self._bring, lambda: self.upkeep.free_bytes)
        self.fetched_bytes = 0
        """How many bytes of content came from the remote, since the start."""
        self._memory = ContentInMemory()
        self._frozen: dict[Ino, trio.Event] = {}
        self._uncommitted: dict[Ino, trio.Event] = {}
        self.lost: set[Ino] = set()
        """Whose content was found to be damaged without anything that could take its place."""
        self.damage_found: list[bytes] = []
        """The paths of what was found to be damaged in this run."""
        self.when_set_back: Callable[[Inode], None] = lambda inode: None
        """Called when a file got the content again that the remote confirmed last."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the downloads and the upkeep of the index until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._fetcher.run)
            await nursery.start(self.superseding.run)
            await nursery.start(self._prefetcher.run)
            nursery.start_soon(self.upkeep.run)
            task_status.started()

    # Holding content open.

    @asynccontextmanager
    async def held(self, inode: Inode) -> AsyncIterator[int]:
        """Keep the content open and give its descriptor. Raises StorageError."""
        descriptor = await self.open(inode)
        try:
            yield descriptor
        finally:
            self.close(inode)

    async def open(self, inode: Inode, *, is_new: bool = False) -> int:
        """Like `held`, to be undone by `close`. `is_new`: a file that was just created has no content yet."""
        inode.opens += 1
        try:
            if is_new:
                inode.descriptor = self._store.create(inode.ino)
            await self._exclusive.wait_free(inode.ino)
            if inode.is_symlink:
                inode.present = RangeSet([(0, inode.size)])
            if inode.suspect and inode.descriptor is None:
                await self._check_unsent(inode)
            if inode.descriptor is None and (inode.content_dirty or inode.present is not None):
                # Made or used in this run: the path is in the operating system's cache.
                inode.descriptor = self._open_file(inode)
            if inode.present is None and inode.content_dirty:
                inode.present = RangeSet([(0, inode.size)])
            if inode.descriptor is None or inode.present is None:
                await self._open_alone(inode)
            assert inode.descriptor is not None
        except BaseException:
            self.close(inode)
            raise
        return inode.descriptor

    def close(self, inode: Inode) -> None:
        """Give up one use. Downloads that nobody is left to wait for stop."""
        self._let_go(inode)
        self._fetcher.abandon(inode)

    async def _check_unsent(self, inode: Inode) -> None:
        """Look at what an earlier run closed before it is used. Where it is damaged it is set aside, never
        to be sent, and the file has its last confirmed content again, or none: then raises StorageError.
        """
        with self._exclusive.of(inode.ino):
            fault = await self._damage.fault_of_unsent(inode)
            if fault is None:
                inode.suspect = False
                return
            kept = await trio.to_thread.run_sync(self._store.set_aside, inode.ino, inode.path())
            if inode.ino not in self.lost:
                log.error("%r is damaged, and was not sent: %s; now in %s", inode.path(), fault, kept)
                self.damage_found.append(inode.path())
            await self.upkeep.forget_coverage(inode)
            if inode.base is None:
                self.lost.add(inode.ino)
                raise StorageError(
                    f"what was written to {inode.path()!r} is damaged in the cache, and was never sent",
                    errno=errno.EIO,
                    hint=f"what is left of it is in {self._store.damaged}; remove the file or write it anew",
                )
            local_changes.go_back(self._tree, inode)
            self.replaced(inode)
            self.when_set_back(inode)
            await self._tree.journal.committed()

    async def compare(self, inode: Inode) -> None:
        """Compare what the disk has of a file that nobody uses with what is known of it, as at its first use;
        `damage_found` tells what comes of it. Raises StorageError."""
        if inode.opens or inode.sending:
            return
        self._damage.doubt(inode)
        if inode.content_dirty:
            inode.suspect = inode.sealed is not None
        else:
            inode.present = None
        async with self.held(inode):
            pass

    async def _open_alone(self, inode: Inode) -> None:
        with self._exclusive.of(inode.ino):
            if inode.descriptor is None:
                inode.descriptor = await trio.to_thread.run_sync(self._open_file, inode)
            if inode.present is None:
                await self._load_presence(inode)

    def _open_file(self, inode: Inode) -> int:
        if inode.is_symlink:
            return self._open_link(inode)
        # Content that only this cache has must be there: an empty file would pass for it.
        return self._store.open(inode.ino, create=not (inode.content_dirty and inode.size))

    def _open_link(self, inode: Inode) -> int:
        """Have the target in a file, as what the remote is to have of the link."""
        descriptor = self._store.open(inode.ino, create=True)
        try:
            self.disk.write(DiskStep.WRITE_CONTENT, descriptor, inode.target, 0)
        except OSError as error:
            os.close(descriptor)
            raise _disk_error(inode, error) from error
        return descriptor

    async def _load_presence(self, inode: Inode) -> None:
        known = None
        if not inode.content_dirty:
            known = await trio.to_thread.run_sync(self._store.coverage, inode.ino)
        if inode.content_dirty:
            inode.present = RangeSet([(0, inode.size)])
        elif known is not None and inode.base is not None and known.version == inode.base.version:
            inode.present = RangeSet(known.ranges)
            inode.present.truncate(inode.size)
        else:
            inode.present = RangeSet()
        if not inode.content_dirty and inode.descriptor is not None:
            self._fit(inode)
            if not await self._damage.check(inode):
                self.damage_found.append(inode.path())

    def _fit(self, inode: Inode) -> None:
        """Give the file of clean content the length of its version."""
        assert inode.descriptor is not None
        try:
            self.disk.resize(DiskStep.FIT_CONTENT, inode.descriptor, inode.size)
        except OSError as error:
            raise _disk_error(inode, error) from error

    def _let_go(self, inode: Inode) -> None:
        inode.opens -= 1
        if inode.opens:
            return
        if inode.unsealed and inode.is_linked:
            # The last use was a download, which outlived the one that changed the content.
            local_changes.seal(self._tree, inode)
        if inode.descriptor is not None:
            self.count_blocks(inode)
            os.close(inode.descriptor)
            inode.descriptor = None
        if inode.is_linked and inode.present and not inode.has_whole_content():
            self.upkeep.save_later(inode)
        self.dropped(inode)

    def count_blocks(self, inode: Inode) -> None:
        """Look up what the content takes in the cache; the inode must be held."""
        assert inode.descriptor is not None
        inode.blocks = os.fstat(inode.descriptor).st_blocks

    def dropped(self, inode: Inode) -> None:
        """The inode may have lost its last use: let it go from the tree, and its content from the disk."""
        if not inode.is_linked and not inode.opens:
            self._tree.drop_if_unneeded(inode)
            if inode.is_file_there and not inode.sending and not inode.lookups:
                self.upkeep.remove_later(inode.ino)
        else:
            self.upkeep.note_disuse()

    def remove_orphans(self, inos: Iterable[Ino]) -> None:
        """Remove content that no entry has, once nobody has it open.

        Whoever is in memory is still in use, and goes by `dropped`.
        """
        for ino in inos:
            if ino not in self._tree.inodes:
                log.warning("removing the content of inode %d, which no entry has", ino)
                self.upkeep.remove_later(ino)

    # Reading and writing.

    async def locate(self, inode: Inode, offset: int, size: int, ahead: ReadAhead) -> bytes | FilePart:
        """Return up to `size` bytes, or where they are; fewer only at the end. The inode must be held."""
        while True:
            epoch = inode.content_epoch
            end = min(offset + size, inode.size)
            if end <= offset:
                return b""
            if not inode.has_whole_content():
                await self._fetch(inode, offset, end, ahead.plan(offset, size, inode.size))
            content = await self._read_here(inode, offset, min(end, inode.size) - offset)
            if epoch == inode.content_epoch:
                return content

    async def _fetch(self, inode: Inode, start: int, end: int, plan: ReadPlan) -> None:
        """Return when [start, end) is here; what is fetched ahead does not wait for it to arrive."""
        assert inode.present is not None
        if not inode.present.contains(start, end):
            self._prefetcher.waited(inode)
            self._fetcher.demand(inode, start, end, plan.fetch_end)
        self._fetcher.fetch_ahead(inode, end, plan.ahead_end, plan.range_bytes)
        await self._fetcher.require(inode, start, end, plan.fetch_end)

    async def bring_whole(self, inode: Inode) -> None:
        """Return when every byte is in the cache, having left the way to readers. Raises as `locate` does."""
        async with self.held(inode):
            if not await self._bring(inode):
                await self.require_whole(inode)

    async def _bring(self, inode: Inode) -> bool:
        async with self.held(inode):
            if not inode.has_whole_content():
                await self._fetcher.bring_ahead(inode)
            return inode.has_whole_content()

    async def _read_here(self, inode: Inode, offset: int, size: int) -> bytes | FilePart:
        descriptor = inode.descriptor
        assert descriptor is not None
        content = self._memory.locate(descriptor, size, offset)
        if content is None:
            try:
                content = await trio.to_thread.run_sync(os.pread, descriptor, size, offset)
            except OSError as error:
                raise _disk_error(inode, error) from error
        return content

    async def require_whole(self, inode: Inode) -> None:
        """Return when every byte is in the cache. The inode must be held."""
        while not inode.has_whole_content():
            await self._fetcher.require(inode, 0, inode.size, inode.size)

    async def require(self, inode: Inode, start: int, end: int) -> None:
        """Return when the bytes [start, end) are in the cache. The inode must be held."""
        while not (inode.has_whole_content() or (inode.present and inode.present.contains(start, end))):
            await self._fetcher.require(inode, start, end, end)

    async def write(self, inode: Inode, offset: int, content: bytes) -> int:
        """Write to the cache file. The inode must be held. Raises StorageError, ENOSPC for want of room."""
        await self.room.admit(len(content))
        epoch = None
        while epoch != inode.content_epoch:
            # Once more where what was there was set aside in favour of the remote's while the thread wrote.
            await self.begin_modification(inode)
            epoch = inode.content_epoch
            written = await self._write_here(inode, offset, content)
        self.modified(inode, max(inode.size, offset + written))
        return written

    async def _write_here(self, inode: Inode, offset: int, content: bytes) -> int:
        descriptor = inode.descriptor
        assert descriptor is not None
        try:
            if len(content) <= INLINE_WRITE:
                return self.disk.write(DiskStep.WRITE_CONTENT, descriptor, content, offset)
            with changing(inode):
                return await self._write_in_thread(descriptor, offset, content)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise _disk_error(inode, error) from error
        try:
            # What is only cached gives way.
            with changing(inode):
                await self.upkeep.make_room()
                return await self._write_in_thread(descriptor, offset, content)
        except OSError as error:
            raise _disk_error(inode, error) from error

    async def _write_in_thread(self, descriptor: int, offset: int, content: bytes) -> int:
        return await trio.to_thread.run_sync(
            self.disk.write, DiskStep.WRITE_CONTENT, descriptor, content, offset
        )

    async def truncate(self, inode: Inode, size: int) -> None:
        """Set the size. The inode must be held."""
        if size == 0 and not inode.has_whole_content():
            await self._forget_bytes(inode)
        await self.begin_modification(inode)
        descriptor = inode.descriptor
        assert descriptor is not None
        try:
            with changing(inode):
                await trio.to_thread.run_sync(self.disk.resize, DiskStep.RESIZE_CONTENT, descriptor, size)
        except OSError as error:
            raise _disk_error(inode, error) from error
        self.modified(inode, size)

    async def _forget_bytes(self, inode: Inode) -> None:
        """Let go of a clean file's bytes in an order that no crash can turn into wrong content."""
        await self.upkeep.forget_coverage(inode)
        if inode.content_dirty or inode.descriptor is None:
            return
        inode.content_epoch += 1
        inode.present = RangeSet()
        inode.size = 0
        self._fit(inode)

    async def disown_bytes(self, inode: Inode) -> None:
        """See to it that what is in the cache file never passes for a version that the index knew before."""
        await self.upkeep.forget_coverage(inode)

    async def begin_modification(self, inode: Inode) -> None:
        """Bring the whole content here, make it dirty, and wait until the journal knows; for who holds it."""
        while inode.ino in self._frozen:
            await self._frozen[inode.ino].wait()
        while not inode.unsealed:
            await self.require_whole(inode)
            if not local_changes.begin_modification(self._tree, inode):
                return
            self._uncommitted[inode.ino] = done = trio.Event()
            try:
                await self._tree.journal.committed()
            finally:
                del self._uncommitted[inode.ino]
                done.set()
        while inode.ino in self._uncommitted:
            await self._uncommitted[inode.ino].wait()

    @contextmanager
    def frozen(self, inode: Inode) -> Iterator[None]:
        """Within, nobody begins to change sealed content through the daemon: they wait."""
        self._frozen[inode.ino] = end = trio.Event()
        try:
            yield
        finally:
            del self._frozen[inode.ino]
            end.set()

    def scratch(self) -> IO[bytes]:
        """Return an empty file of the cache without a name, which goes when it is closed."""
        return self._store.scratch()

    def modified(self, inode: Inode, size: int) -> None:
        """The bytes were changed, after `begin_modification`; the file has this size now."""
        if not inode.unsealed:
            # Sealed by a close of another descriptor while a thread was at it: this is the next state.
            local_changes.begin_modification(self._tree, inode)
        self.upkeep.grow(max(0, size - inode.size))
        inode.size = size
        _touch(inode)
        self.direct.changed_by_us(inode)

    async def sync(self, inode: Inode) -> None:
        """Return when the content is on stable storage. The inode must be held."""
        assert inode.descriptor is not None
        await trio.to_thread.run_sync(self._store.sync, inode.ino, inode.descriptor)

    # What the remote did.

    def notice(self, inode: Inode) -> None:
        self.direct.notice(inode)

    async def settle(self, inode: Inode) -> None:
        """Make sure that from now on every write past the daemon is noticed, also one by a mapping: a page
        that is dirty already takes it without a change of the file's time. Raises StorageError."""
        if inode.exposed is None:
            return
        async with self.held(inode) as descriptor:
            await trio.to_thread.run_sync(self._store.write_back, inode.ino, descriptor)
            self.notice(inode)

    def supersede(
        self, inode: Inode, node: RemoteNode, arrived: Callable[[], None], *, anew: bool = False
    ) -> None:
        self.superseding.begin(inode, node, arrived, hold=self.open, let_go=self._let_go, anew=anew)

    def superseded(self, inode: Inode) -> None:
        inode.content_epoch += 1
        inode.present = RangeSet([(0, inode.size)])
        self.upkeep.save_later(inode)

    def replaced(self, inode: Inode) -> None:
        inode.content_epoch += 1
        if inode.present is None:
            return
        if inode.descriptor is None:
            # The next open looks anew, and cuts off what the file has beyond its size.
            inode.present = None
            return
        inode.present = RangeSet()
        self._fit(inode)
        self.upkeep.save_later(inode)

    def disowned(self, inode: Inode) -> None:
        """What programs have open directly is of no version; the one that is superseding it will be."""
        inode.present = RangeSet()

    def relabelled(self, inode: Inode) -> None:
        if inode.present is not None:
            self.upkeep.save_later(inode)

    def confirmed(self, inode: Inode) -> None:
        """The remote has the content as it is here: it is clean and whole."""
        inode.present = RangeSet([(0, inode.size)])
        self.upkeep.save_later(inode)

    def _count_fetched(self, inode: Inode, count: int) -> None:
        self.fetched_bytes += count
        self.upkeep.save_later(inode)
        self.upkeep.grow(count)


@contextmanager
def changing(inode: Inode) -> Iterator[None]:
    """A thread changes bytes within; `FileContent.modified` has to follow at once where that succeeded."""
    inode.changing += 1
    try:
        yield
    finally:
        inode.changing -= 1


def _touch(inode: Inode) -> None:
    inode.mtime_ns = inode.ctime_ns = time.time_ns()


def _disk_error(inode: Inode, error: OSError) -> StorageError:
    return StorageError(
        f"the content of {inode.path()!r} in the cache: {error.strerror or error}",
        errno=error.errno or errno.EIO,
    )

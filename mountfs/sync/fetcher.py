"""Downloads ranges of clean files into their cache files; several readers share one download."""

import errno
import logging
import os
import random
from collections.abc import Callable
from typing import Final

import trio

from mountfs.model.errors import ContentUnavailable, MountfsError, RemoteUnavailable, StorageError
from mountfs.model.remote import Remote
from mountfs.rules.backoff import Backoff
from mountfs.tree.inode import Inode

log = logging.getLogger(__name__)

RETRY: Final = Backoff(first_s=0.2, most_s=2.0)

ATTEMPTS: Final = 4
"""How often a download that makes no progress is begun before its readers get an error."""


class Fetch:
    """One download under way: [start, end) of the content that was current when it began."""

    def __init__(self, inode: Inode, start: int, end: int) -> None:
        self.inode = inode
        self.position = start
        self.end = end
        self.epoch = inode.content_epoch
        self.error: MountfsError | None = None
        self._progress = trio.lowlevel.ParkingLot()

    def covers(self, position: int) -> bool:
        return self.position <= position < self.end and self.epoch == self.inode.content_epoch

    def is_outdated(self) -> bool:
        return self.epoch != self.inode.content_epoch or self.inode.content_dirty

    async def wait_progress(self) -> None:
        await self._progress.park()

    def report_progress(self) -> None:
        self._progress.unpark_all()


class Fetcher:
    """Owns the downloads.

    `fetched` is told of each piece that arrived. A download holds its inode open: it counts in `opens`, and
    `let_go` is called when it has ended.
    """

    def __init__(
        self,
        remote: Remote,
        *,
        patience_s: float,
        fetched: Callable[[Inode, int], None],
        let_go: Callable[[Inode], None],
    ) -> None:
        self._remote = remote
        self._patience_s = patience_s
        self._fetched = fetched
        self._let_go = let_go
        self._active: dict[int, list[Fetch]] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the download tasks until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def require(self, inode: Inode, start: int, end: int, fetch_end: int) -> None:
        """Return when [start, end) is in the cache; a download begun for it goes on to `fetch_end`.

        The inode must be held open. Raises ContentUnavailable when nothing arrives for `patience_s`, or what
        the remote says. Returns as well when the file became dirty, and so is whole, meanwhile.
        """
        while not inode.content_dirty:
            assert inode.present is not None
            gaps = inode.present.missing(start, min(end, inode.size))
            if not gaps:
                return
            fetch = self.begin(inode, gaps[0][0], max(fetch_end, gaps[0][1]))
            with trio.move_on_after(self._patience_s) as patience:
                await fetch.wait_progress()
            if patience.cancelled_caught:
                raise ContentUnavailable(f"{inode.path()!r}: no content arrived for {self._patience_s:g} s")
            if fetch.error is not None and not fetch.is_outdated():
                raise fetch.error

    def begin(self, inode: Inode, start: int, end: int) -> Fetch:
        """Return the download that brings `start`, beginning one up to what is here already."""
        for fetch in self._active.get(inode.ino, ()):
            if fetch.covers(start):
                return fetch
        assert inode.present is not None
        assert self._nursery is not None
        fetch = Fetch(inode, start, self._stop_before_known(inode, start, end))
        self._active.setdefault(inode.ino, []).append(fetch)
        inode.opens += 1
        self._nursery.start_soon(self._download, fetch)
        return fetch

    def _stop_before_known(self, inode: Inode, start: int, end: int) -> int:
        assert inode.present is not None
        first_gap_end = inode.present.missing(start, min(end, inode.size))[0][1]
        starts = [fetch.position for fetch in self._active.get(inode.ino, ()) if fetch.position > start]
        return min([first_gap_end, *starts])

    async def _download(self, fetch: Fetch) -> None:
        inode = fetch.inode
        try:
            await self._download_with_retries(fetch)
        except MountfsError as error:
            fetch.error = error
            log.warning("reading %r: %s", inode.path(), error.message)
        finally:
            downloads = self._active[inode.ino]
            downloads.remove(fetch)
            if not downloads:
                del self._active[inode.ino]
            fetch.report_progress()
            self._let_go(inode)

    async def _download_with_retries(self, fetch: Fetch) -> None:
        attempt = 0
        while fetch.position < fetch.end and not fetch.is_outdated():
            before = fetch.position
            try:
                await self._download_once(fetch)
            except RemoteUnavailable:
                attempt = 1 if fetch.position > before else attempt + 1
                if attempt >= ATTEMPTS:
                    raise
                await trio.sleep(RETRY.delay_s(attempt, random.random()))

    async def _download_once(self, fetch: Fetch) -> None:
        inode = fetch.inode
        base = inode.base
        if base is None:
            raise ContentUnavailable(f"{inode.path()!r} was deleted on the remote before it was read")
        async with self._remote.read(base.node, base.version, fetch.position, fetch.end) as pieces:
            async for piece in pieces:
                if fetch.is_outdated():
                    return
                self._store(fetch, piece)
                assert inode.present is not None
                inode.present.add(fetch.position, fetch.position + len(piece))
                fetch.position += len(piece)
                self._fetched(inode, len(piece))
                fetch.report_progress()

    def _store(self, fetch: Fetch, piece: bytes) -> None:
        # On the trio thread, into the page cache: in a worker thread it could land after the content was
        # replaced or written to, and spoil it.
        descriptor = fetch.inode.descriptor
        assert descriptor is not None
        try:
            written = os.pwrite(descriptor, piece, fetch.position)
        except OSError as error:
            raise StorageError(
                f"the cache cannot keep {fetch.inode.path()!r}: {error.strerror}",
                errno=error.errno or errno.EIO,
            ) from error
        if written != len(piece):
            raise StorageError(f"the cache cannot keep {fetch.inode.path()!r}: disk full", errno=errno.ENOSPC)

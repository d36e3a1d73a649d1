"""Downloads ranges of clean files into their cache files; several readers share one download."""

import errno
import logging
import random
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Final

import trio

from mountfs.model.disk import Disk, DiskStep
from mountfs.model.entry import Base
from mountfs.model.errors import (
    ContentDamaged,
    ContentUnavailable,
    MountfsError,
    ProtocolViolation,
    RateLimited,
    RemoteUnavailable,
    StorageError,
)
from mountfs.model.ids import Ino
from mountfs.model.interruption import interruptible
from mountfs.model.ranges import RangeSet
from mountfs.model.remote import Remote
from mountfs.rules.backoff import Backoff
from mountfs.rules.read_plan import WHOLE_FILE, ranges
from mountfs.sync.running_hash import RunningHash
from mountfs.tree.inode import Inode

log = logging.getLogger(__name__)

RETRY: Final = Backoff(first_s=0.2, most_s=2.0)

ATTEMPTS: Final = 4
"""How often a download that makes no progress is begun before its readers get an error."""

BACKGROUND_RANGES: Final = 8
"""Leaves most of the client's connections to those who wait."""

WAIT_BEHIND_BYTES: Final = 2 * 1024 * 1024
"""A reader waits for no more than this in front of what it wants."""

WORTH_STOPPING_BYTES: Final = 256 * 1024
"""With less to come, the connection is worth more than the bytes."""


class Fetch:
    """One download: [position, end) of the content that was current when it was asked for.

    `background`: nobody has waited for it yet. `started`: it has left the queue. `abandoned`: it was told to
    stop. `at_once`: nobody sees any of it before all is here and has the right hash.
    """

    def __init__(self, inode: Inode, start: int, end: int, *, background: bool) -> None:
        self.inode = inode
        self.start = start
        self.position = start
        self.end = end
        self.at_once = start == 0 and end == inode.size <= WHOLE_FILE
        self.epoch = inode.content_epoch
        self.background = background
        self.started = False
        self.abandoned = False
        self.error: MountfsError | None = None
        self.scope = trio.CancelScope()
        self._waiting: list[tuple[int, int, trio.Event]] = []
        self._waits = count()

    @property
    def missing_from(self) -> int:
        """Where the part begins that nobody can read yet."""
        return self.start if self.at_once and self.position < self.end else self.position

    def brings_some_of(self, start: int, end: int) -> bool:
        return self.missing_from < end and start < self.end and not self.is_outdated()

    def is_outdated(self) -> bool:
        """Tell whether its bytes are wanted no more."""
        return self.abandoned or self.epoch != self.inode.content_epoch or self.inode.content_dirty

    async def wait_arrived(self, position: int) -> None:
        """Return once all before `position` can be read, or the download has ended, well or not."""
        arrived = trio.Event()
        heappush(self._waiting, (position, next(self._waits), arrived))
        await arrived.wait()

    def report_progress(self) -> None:
        """Wake whoever has what it waits for: a reader has more to do than to look at each piece."""
        while self._waiting and self._waiting[0][0] <= self.missing_from:
            heappop(self._waiting)[2].set()

    def report_end(self) -> None:
        while self._waiting:
            self._waiting.pop()[2].set()


class Fetcher:
    """Owns the downloads. No two of them bring the same bytes.

    What a reader waits for begins at once; of what is fetched ahead, at most `BACKGROUND_RANGES` at a time.
    `fetched` is told of each piece that arrived. A download holds its inode open: it counts in `opens`, and
    `let_go` is called when it has ended.
    """

    def __init__(
        self,
        remote: Remote,
        disk: Disk,
        *,
        patience_s: float,
        fetched: Callable[[Inode, int], None],
        let_go: Callable[[Inode], None],
    ) -> None:
        self._remote = remote
        self._disk = disk
        self._patience_s = patience_s
        self._fetched = fetched
        self._let_go = let_go
        self._active: dict[int, list[Fetch]] = {}
        self._queue: deque[Fetch] = deque()
        self._background_running = 0
        self._hashes: dict[Ino, RunningHash] = {}
        """Of files that are held open."""
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the download tasks until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    # What a reader waits for.

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
            self.demand(inode, start, end, fetch_end)
            first = gaps[0][0]
            fetch = next(f for f in self._active[inode.ino] if f.brings_some_of(first, first + 1))
            before = fetch.position
            with interruptible(trio.move_on_after(self._patience_s)) as patience:
                await fetch.wait_arrived(min(gaps[0][1], fetch.end))
            if patience.cancelled_caught and fetch.position == before:
                raise ContentUnavailable(f"{inode.path()!r}: no content arrived for {self._patience_s:g} s")
            if fetch.error is not None and not fetch.is_outdated():
                raise fetch.error

    def demand(self, inode: Inode, start: int, end: int, fetch_end: int) -> None:
        """Begin, as `require` does, without waiting. The inode must be held open."""
        assert inode.present is not None
        if not self._remote.serves_ranges:
            self._demand_stream(inode)
            return
        end = min(end, inode.size)
        for gap_start, gap_end in inode.present.missing(start, end):
            self._hasten(inode, gap_start, gap_end)
        for gap_start, gap_end in self._unclaimed(inode, start, max(end, fetch_end)):
            if gap_start < end:
                self._start(self._add(Fetch(inode, gap_start, gap_end, background=False)))

    def _demand_stream(self, inode: Inode) -> None:
        """Whatever is wanted, the content comes from its first byte on: then once, and all of it."""
        for fetch in list(self._active.get(inode.ino, ())):
            if fetch.background and not fetch.is_outdated():
                self._promote(fetch)
        stream = self._stream(inode, background=False)
        if stream is not None:
            self._start(stream)

    def _stream(self, inode: Inode, *, background: bool) -> Fetch | None:
        """Return one download of all that neither is here nor about to come, with what lies between."""
        parts = self._unclaimed(inode, 0, inode.size)
        if not parts:
            return None
        return self._add(Fetch(inode, parts[0][0], parts[-1][1], background=background))

    def _hasten(self, inode: Inode, start: int, end: int) -> None:
        """Give precedence to the downloads that bring some of [start, end)."""
        for fetch in list(self._active.get(inode.ino, ())):
            if not fetch.brings_some_of(start, end):
                continue
            if start - fetch.position > WAIT_BEHIND_BYTES:
                # It ends here, and what is wanted gets a download of its own.
                fetch.end = start
            elif fetch.background:
                self._promote(fetch)

    def _promote(self, fetch: Fetch) -> None:
        fetch.background = False
        if fetch.started:
            self._background_running -= 1
            self._fill_slots()
        else:
            self._queue.remove(fetch)
            self._start(fetch)

    # What nobody waits for yet.

    def fetch_ahead(self, inode: Inode, start: int, end: int, range_bytes: int) -> None:
        """Bring [start, end) in the background, in ranges that end at multiples of `range_bytes`."""
        if not self._remote.serves_ranges:
            stream = self._stream(inode, background=True) if start < min(end, inode.size) else None
            self._queue.extend([stream] if stream is not None else [])
            self._fill_slots()
            return
        for gap_start, gap_end in self._unclaimed(inode, start, end):
            for range_start, range_end in ranges(gap_start, gap_end, range_bytes):
                self._queue.append(self._add(Fetch(inode, range_start, range_end, background=True)))
        self._fill_slots()

    async def bring_ahead(self, inode: Inode) -> None:
        """Bring the whole file in the background; return when that has ended, well or not.

        The inode must be held open. A caller that is cancelled leaves the download to go on.
        """
        self.fetch_ahead(inode, 0, inode.size, max(inode.size, 1))
        while under_way := [f for f in self._active.get(inode.ino, ()) if not f.is_outdated()]:
            await under_way[0].wait_arrived(under_way[0].end)

    def abandon(self, inode: Inode) -> None:
        """Stop the downloads of a file that only they hold open. What arrived stays."""
        self._drop_hash(inode)
        downloads = list(self._active.get(inode.ino, ()))
        if inode.opens != len(downloads):
            return
        for fetch in downloads:
            if not fetch.started:
                self._queue.remove(fetch)
                self._ended(fetch)
            elif fetch.end - fetch.position > WORTH_STOPPING_BYTES:
                fetch.abandoned = True
                fetch.scope.cancel()

    def _fill_slots(self) -> None:
        while self._queue and self._background_running < BACKGROUND_RANGES:
            self._background_running += 1
            self._start(self._queue.popleft())

    # The downloads.

    def _unclaimed(self, inode: Inode, start: int, end: int) -> list[tuple[int, int]]:
        """Return the parts of [start, end) that are neither here nor about to come."""
        assert inode.present is not None
        current = (fetch for fetch in self._active.get(inode.ino, ()) if not fetch.is_outdated())
        claimed = RangeSet((fetch.missing_from, fetch.end) for fetch in current)
        gaps = inode.present.missing(start, min(end, inode.size))
        return [part for gap in gaps for part in claimed.missing(*gap)]

    def _add(self, fetch: Fetch) -> Fetch:
        self._active.setdefault(fetch.inode.ino, []).append(fetch)
        fetch.inode.opens += 1
        return fetch

    def _start(self, fetch: Fetch) -> None:
        assert self._nursery is not None
        fetch.started = True
        self._nursery.start_soon(self._download, fetch)

    def _ended(self, fetch: Fetch) -> None:
        downloads = self._active[fetch.inode.ino]
        downloads.remove(fetch)
        if not downloads:
            del self._active[fetch.inode.ino]
        fetch.report_end()
        self._let_go(fetch.inode)
        self._drop_hash(fetch.inode)

    async def _download(self, fetch: Fetch) -> None:
        try:
            with fetch.scope:
                await self._download_with_retries(fetch)
        except MountfsError as error:
            fetch.error = error
            log.warning("reading %r: %s", fetch.inode.path(), error.message)
        finally:
            if fetch.background:
                self._background_running -= 1
            self._ended(fetch)
            self._fill_slots()

    async def _download_with_retries(self, fetch: Fetch) -> None:
        attempt = 0
        while fetch.position < fetch.end and not fetch.is_outdated():
            before = fetch.position
            try:
                await self._download_once(fetch)
            except RateLimited:
                # It has said when to come again, and that is later than a reader waits.
                raise
            except (ProtocolViolation, RemoteUnavailable):
                attempt = 1 if fetch.position > before else attempt + 1
                if attempt >= ATTEMPTS:
                    raise
                await trio.sleep(RETRY.delay_s(attempt, random.random()))
            except ContentDamaged as error:
                attempt += 1
                if attempt >= ATTEMPTS or not fetch.at_once:
                    raise
                log.warning("%s; fetching it again", error.message)
                fetch.position = fetch.start
                await trio.sleep(RETRY.delay_s(attempt, random.random()))

    async def _download_once(self, fetch: Fetch) -> None:
        inode = fetch.inode
        base = inode.base
        if base is None:
            raise ContentUnavailable(f"{inode.path()!r} was deleted on the remote before it was read")
        async with self._remote.read(base.node, base.version, fetch.position, fetch.end) as pieces:
            async for whole_piece in pieces:
                piece = whole_piece[: max(0, fetch.end - fetch.position)]
                if not piece or fetch.is_outdated():
                    return
                self._store(fetch, piece)
                await self._check_if_last(fetch, len(piece), base)
                if fetch.is_outdated():
                    return
                arrived_from = fetch.missing_from
                fetch.position += len(piece)
                if fetch.position == fetch.end or not fetch.at_once:
                    assert inode.present is not None
                    inode.present.add(arrived_from, fetch.position)
                self._fetched(inode, len(piece))
                fetch.report_progress()
                self._hash_along(fetch, base)

    async def _check_if_last(self, fetch: Fetch, size: int, base: Base) -> None:
        """Where the file is whole with these bytes, see that they all are the version's.

        Raises ContentDamaged where they are not; then none of them counts as here any more. What programs
        have read of them cannot be taken back: they get the error for the last part.
        """
        inode = fetch.inode
        assert inode.present is not None
        start, end = fetch.missing_from, fetch.position + size
        missing = inode.present.missing(0, inode.size)
        is_last = bool(missing) and start <= missing[0][0] and missing[-1][1] <= end
        if base.sha256 is None or not is_last:
            return
        running = self._hashes.pop(inode.ino, None)
        if running is None or not running.is_current():
            running = RunningHash(inode)
        digest = await running.finish(inode.size)
        if fetch.is_outdated() or digest == base.sha256:
            return
        inode.present = RangeSet()
        inode.kernel_epoch = -1
        self._fetched(inode, 0)
        raise ContentDamaged(f"{inode.path()!r}: what arrived is not the content of its version")

    def _hash_along(self, fetch: Fetch, base: Base) -> None:
        """Hash in a thread what has arrived of a large file, so that its end has not all of it before it."""
        inode = fetch.inode
        assert self._nursery is not None
        if fetch.at_once or base.sha256 is None or inode.has_whole_content():
            return
        running = self._hashes.get(inode.ino)
        if running is None or not running.is_current():
            running = self._hashes[inode.ino] = RunningHash(inode)
        if running.is_behind():
            self._nursery.start_soon(running.follow)

    def _drop_hash(self, inode: Inode) -> None:
        if not inode.opens:
            self._hashes.pop(inode.ino, None)

    def _store(self, fetch: Fetch, piece: bytes) -> None:
        # On the trio thread, into the page cache: in a worker thread it could land after the content was
        # replaced or written to, and spoil it.
        descriptor = fetch.inode.descriptor
        assert descriptor is not None
        try:
            written = self._disk.write(DiskStep.FETCH_CONTENT, descriptor, piece, fetch.position)
        except OSError as error:
            raise StorageError(
                f"the cache cannot keep {fetch.inode.path()!r}: {error.strerror}",
                errno=error.errno or errno.EIO,
            ) from error
        if written != len(piece):
            raise StorageError(f"the cache cannot keep {fetch.inode.path()!r}: disk full", errno=errno.ENOSPC)

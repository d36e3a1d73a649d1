"""Brings the small files of a folder whose files are being read one after the other."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import trio

from mountfs.model.errors import MountfsError
from mountfs.model.ids import Ino
from mountfs.rules.prefetch_plan import BATCH_BYTES, SMALL_FILE_BYTES, SiblingReads, choose
from mountfs.tree.inode import Inode

log = logging.getLogger(__name__)

FILES_AT_ONCE: Final = 8


class Prefetcher:
    """Fetches in the background, one batch of a folder at a time; the first failure ends the batch.

    `bring` fetches one file and tells whether it is here. `room_bytes` tells what fits into the cache
    without anything having to go.
    """

    def __init__(self, bring: Callable[[Inode], Awaitable[bool]], room_bytes: Callable[[], int]) -> None:
        self._bring = bring
        self._room_bytes = room_bytes
        self._reads = SiblingReads()
        self._under_way: set[Ino] = set()
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the batches until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def waited(self, inode: Inode) -> None:
        """Say that a reader waits for this file; never suspends."""
        folder = inode.parent
        if folder is None or inode.size > SMALL_FILE_BYTES or folder.ino in self._under_way:
            return
        most_files = self._reads.waited(folder.ino, inode.ino)
        if not most_files:
            return
        most_bytes = min(BATCH_BYTES, self._room_bytes())
        siblings = {child.ino: child for child in _absent_small_files(folder)}
        sizes = [(ino, child.size) for ino, child in siblings.items()]
        batch = choose(sizes, inode.ino, most_files=most_files, most_bytes=most_bytes)
        if batch and self._nursery is not None:
            self._under_way.add(folder.ino)
            self._nursery.start_soon(self._fetch_batch, folder.ino, [siblings[ino] for ino in batch])

    async def _fetch_batch(self, folder: Ino, batch: list[Inode]) -> None:
        waiting = iter(batch)
        try:
            async with trio.open_nursery() as workers:
                for _ in range(FILES_AT_ONCE):
                    workers.start_soon(self._fetch_each, waiting, workers.cancel_scope)
        finally:
            self._under_way.discard(folder)

    async def _fetch_each(self, waiting: Iterator[Inode], batch_scope: trio.CancelScope) -> None:
        for inode in waiting:
            # It may have been deleted, written to or read since the batch was chosen.
            if not inode.is_linked or not _is_absent_small_file(inode):
                continue
            try:
                arrived = await self._bring(inode)
            except MountfsError as error:
                log.info("fetching the neighbours of what was read: %s", error.message)
                arrived = False
            if not arrived:
                batch_scope.cancel()


def _absent_small_files(folder: Inode) -> Iterator[Inode]:
    return (child for child in folder.children.values() if _is_absent_small_file(child))


def _is_absent_small_file(inode: Inode) -> bool:
    return (
        inode.is_file
        and 0 < inode.size <= SMALL_FILE_BYTES
        and inode.base is not None
        and not inode.has_whole_content()
    )

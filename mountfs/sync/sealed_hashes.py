"""Hashes of closed content that stays here for a while, so that damage of it is noticed before it is sent."""

import logging
from collections import deque
from typing import Final

import trio

from mountfs.model.entry import SEALED
from mountfs.model.errors import MountfsError
from mountfs.sync.content import FileContent
from mountfs.sync.fetcher import digest_of
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

GRACE_S: Final = 2.0
"""What is sent sooner is hashed for that, and never again."""

EXPOSED_AGAIN_S: Final = 5.0
"""How soon to look again at what programs may be writing past the daemon."""


class SealedHashes:
    """Hashes one file after another in a thread. What cannot be read is left to those who have to."""

    def __init__(self, tree: Tree, content: FileContent) -> None:
        self._tree = tree
        self._content = content
        self._due: deque[tuple[float, Inode]] = deque()
        self._some = trio.Event()
        tree.when_sealed = self.note

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled; begins with what an earlier run did not come to."""
        for inode in self._tree.pending.values():
            if inode.sealed == SEALED:
                self.note(inode)
        task_status.started()
        while True:
            while not self._due:
                await self._some.wait()
                self._some = trio.Event()
            when, inode = self._due.popleft()
            await trio.sleep_until(when)
            if not _is_wanted(inode):
                continue
            if inode.exposed is not None:
                self.note(inode, EXPOSED_AGAIN_S)
                continue
            try:
                await self.hash_now(inode)
            except MountfsError as error:
                log.warning("the hash of %r: %s", inode.path(), error.message)

    def note(self, inode: Inode, grace_s: float = GRACE_S) -> None:
        """The content was sealed."""
        self._due.append((trio.current_time() + grace_s, inode))
        self._some.set()

    async def hash_now(self, inode: Inode) -> None:
        """Raises StorageError, with nothing known."""
        generation = inode.generation
        async with self._content.held(inode) as descriptor:
            digest = await trio.to_thread.run_sync(digest_of, descriptor, inode.size)
            self._content.notice(inode)
        if inode.generation == generation and _is_wanted(inode) and inode.exposed is None:
            inode.sealed = digest
            self._tree.save(inode)


def _is_wanted(inode: Inode) -> bool:
    return inode.content_dirty and inode.sealed == SEALED and inode.is_linked and not inode.changing

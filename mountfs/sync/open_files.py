"""Files that programs keep open and write to for long: sent in between, and their faults told early."""

import logging
from collections.abc import Callable

import trio

from mountfs.model.errors import MountfsError
from mountfs.model.ids import Ino
from mountfs.sync.content import FileContent
from mountfs.sync.sender import Sender
from mountfs.tree import local_changes
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

LOOKS = 2
"""How often in each interval the open files are looked at."""


class OpenFiles:
    """Seals what was changed `interval_s` ago and not closed since, as an fsync would, without syncing.

    What is locked (`is_locked`) is left alone: it is published when it is unlocked, and nobody is to see
    half of what a program does under its lock. With an interval of 0 nothing is sealed.
    """

    def __init__(
        self,
        tree: Tree,
        content: FileContent,
        sender: Sender,
        *,
        interval_s: float,
        is_locked: Callable[[Inode], bool],
    ) -> None:
        self._tree = tree
        self._content = content
        self._sender = sender
        self._interval_s = interval_s
        self._is_locked = is_locked
        self._changed_at: dict[Ino, float] = {}
        """When open files were first seen to have changes that no close or fsync sealed."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look at the open files until cancelled."""
        task_status.started()
        while self._interval_s:
            await trio.sleep(self._interval_s / LOOKS)
            await self._look()

    async def _look(self) -> None:
        now = trio.current_time()
        for inode in self._content.direct.exposed():
            self._content.notice(inode)
        changed = {inode.ino: inode for inode in self._tree.pending.values() if inode.unsealed}
        self._changed_at = {ino: self._changed_at.get(ino, now) for ino in changed}
        for inode in changed.values():
            if now - self._changed_at[inode.ino] >= self._interval_s and not self._is_locked(inode):
                await self._seal(inode)
        # What can be told of them before the close is told by now: too big, no credits.
        self._sender.expedite(inode for inode in changed.values() if inode.failure is None)

    async def _seal(self, inode: Inode) -> None:
        try:
            # So that what is written from here on is noticed.
            await self._content.settle(inode)
            if local_changes.seal(self._tree, inode):
                await self._tree.journal.committed()
        except MountfsError as error:
            log.warning("what was written to %r, which is open: %s", inode.path(), error.message)

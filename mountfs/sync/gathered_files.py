"""Small new files of a folder that wait for a call under way, to go together in the next one."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import trio

from mountfs.model.ids import Ino, NodeId
from mountfs.sync.due_queue import DueQueue
from mountfs.tree.inode import Inode

CALLS_AT_ONCE: Final = 2
"""So many calls for one folder keep the remote busy. One more, with the few files that came meanwhile, would
cost as much as one with all that come until one of them has ended."""


class GatheredFiles:
    """What has to wait is in no queue until a call for its folder has ended; then it is due."""

    def __init__(self, queue: DueQueue) -> None:
        self._queue = queue
        self._calls: Counter[NodeId] = Counter()
        self._waiting: dict[NodeId, dict[Ino, Inode]] = {}

    @contextmanager
    def calling(self, folder: NodeId, inodes: Sequence[Inode], *, is_full: bool) -> Iterator[bool]:
        """Give whether these may be sent within; else they wait. `is_full`: one call takes no more."""
        if self._calls[folder] >= CALLS_AT_ONCE and not is_full:
            self._waiting.setdefault(folder, {}).update((inode.ino, inode) for inode in inodes)
            yield False
            return
        self._calls[folder] += 1
        try:
            yield True
        finally:
            self._calls[folder] -= 1
            if not self._calls[folder]:
                del self._calls[folder]
            self._let_go(folder)

    def _let_go(self, folder: NodeId) -> None:
        now = trio.current_time()
        for inode in self._waiting.pop(folder, {}).values():
            if self._queue.due(inode) is None:
                # Else it changed meanwhile, and has a later time.
                self._queue.put(inode, now)

"""Keeps the number of entries in memory within its limit."""

from math import inf
from typing import Final

import trio

from mountfs.sync.refresher import Refresher
from mountfs.tree.tree import Tree
from mountfs.tree.unloading import make_room

RETRY_S: Final = 30.0
"""When to look again where most of what is in memory is in use, or not sent yet."""


class Unloader:
    def __init__(self, tree: Tree, refresher: Refresher) -> None:
        self._tree = tree
        self._refresher = refresher
        self._crowded = trio.Event()
        tree.when_crowded = lambda: self._crowded.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make room whenever there is too much, until cancelled."""
        task_status.started()
        while True:
            is_crowded = len(self._tree.inodes) > self._tree.most_resident
            with trio.move_on_after(RETRY_S if is_crowded else inf):
                await self._crowded.wait()
            self._crowded = trio.Event()
            await self._make_room()

    async def _make_room(self) -> None:
        while True:
            await self._refresher.wait_merged()
            if not make_room(self._tree):
                break
            await trio.lowlevel.checkpoint()

"""Comparing the folders in memory one after the other, where no list of the workspace shows what changed."""

import logging
from collections import deque
from typing import Final

import trio

from mountfs.model.errors import MountfsError, RemoteUnavailable
from mountfs.model.ids import ROOT_INO
from mountfs.sync.connection import Connection
from mountfs.sync.refresher import Refresher
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

PAUSE_S: Final = 1.0
"""Before each listing: what programs wait for meanwhile goes first."""

FOLDERS_MOST: Final = 1000
"""So many folders are listed in one walk; those behind them are compared at their next use."""


class FolderWalk:
    """Lists what programs have listed before, from the top down, so that what no source told of is seen by
    those who do not look again: who has a file open, or waits for a change. What is compared meanwhile is
    left out."""

    def __init__(self, tree: Tree, refresher: Refresher, connection: Connection) -> None:
        self._tree = tree
        self._refresher = refresher
        self._connection = connection
        self._wanted = trio.Event()

    def begin(self) -> None:
        """Everything is doubted now: walk through it, once more where a walk is under way."""
        self._wanted.set()

    async def run(self) -> None:
        """Walk whenever it is wanted, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            await self._walk()

    async def _walk(self) -> None:
        # By number: what waits here may go out of memory.
        ahead, compared = deque([ROOT_INO]), 0
        while ahead and compared < FOLDERS_MOST:
            folder = self._tree.inodes.get(ahead.popleft())
            if folder is None or not _is_in_use(folder):
                continue
            if not self._refresher.is_fresh(folder):
                compared += await self._compare(folder)
            ahead.extend(child.ino for child in folder.children.values() if child.is_directory)
        log.info("%d folders were compared with the workspace", compared)

    async def _compare(self, folder: Inode) -> bool:
        """Return whether it was asked for; one that cannot be is left to its next use."""
        await trio.sleep(PAUSE_S)
        await self._connection.wait_worth_trying()
        if not _is_in_use(folder) or self._refresher.is_fresh(folder):
            return False
        try:
            await self._refresher.compare(folder)
        except MountfsError as error:
            log.info("%r is not compared: %s", folder.path(), error.message)
            if isinstance(error, RemoteUnavailable):
                self._connection.note_failure(error)
        return True


def _is_in_use(folder: Inode) -> bool:
    return folder.is_linked and folder.node is not None and folder.loaded and folder.listed

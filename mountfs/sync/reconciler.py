"""Comparing what is in memory with the list of all that the workspace has, whatever any source told."""

import logging
from typing import Final

import trio

from mountfs.model.errors import NotOffered, RequestRefused
from mountfs.model.ids import NodeId
from mountfs.model.node import NodeKind, RemoteNode
from mountfs.model.remote import InventoryPage, Remote
from mountfs.sync.refresher import Refresher
from mountfs.tree.inode import NEVER, Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

ROWS_MOST: Final = 30_000
"""Of a workspace with more nodes it is cheaper to list the folders in use."""

DOUBTED_MOST: Final = 500
"""So many nodes are asked for by their ids."""

SHOWN: Final = frozenset({NodeKind.FILE, NodeKind.FOLDER})


class Reconciler:
    """Rows tell where a node is, how large, and when it was changed; what differs is asked for by itself.

    A file that was changed twice within one second, to the same size, and of which only the first change is
    known here, looks the same.
    """

    def __init__(self, tree: Tree, remote: Remote, refresher: Refresher) -> None:
        self._tree = tree
        self._remote = remote
        self._refresher = refresher

    async def reconcile(self) -> bool:
        """Bring up to date what differs, and return True; False where that cannot be told this way: there is
        no list, or it is too long, or too much differs. Raises what the remote says."""
        began = trio.current_time()
        seen: set[NodeId] = set()
        doubtful: list[NodeId] = []
        following: str | None = None
        followed: set[str] = set()
        while True:
            try:
                page = await self._remote.inventory(following)
            except (NotOffered, RequestRefused) as error:
                log.info("no list of the workspace: %s", error.message)
                return False
            self._look_through(page, seen, doubtful, began)
            following = page.following
            if following is None:
                break
            if len(seen) > ROWS_MOST or not page.nodes or following in followed:
                return False
            followed.add(following)
        doubtful += self._missing(seen, began)
        if len(doubtful) > DOUBTED_MOST:
            return False
        if doubtful:
            log.info("compared with the list of the workspace: %d entries to ask for", len(doubtful))
        await self._refresher.look_at(doubtful)
        return True

    def _look_through(
        self, page: InventoryPage, seen: set[NodeId], doubtful: list[NodeId], began: float
    ) -> None:
        for row in page.nodes:
            seen.add(row.id)
            known = self._tree.by_node.get(row.id)
            if known is None:
                if row.kind in SHOWN and self._is_in_sight(row.parent):
                    doubtful.append(row.id)
            elif known.touched_at < began and not _agrees(known, row):
                doubtful.append(row.id)

    def _is_in_sight(self, parent: NodeId) -> bool:
        folder = self._tree.by_node.get(parent)
        return folder is not None and folder.is_directory and folder.loaded and folder.listed

    def _missing(self, seen: set[NodeId], began: float) -> list[NodeId]:
        """Return what is known of folders and is not in the list. Folders whose entries are not in memory are
        compared at their next use."""
        missing: list[NodeId] = []
        for folder in list(self._tree.inodes.values()):
            if not folder.is_directory:
                continue
            if not folder.loaded:
                folder.listed_at = NEVER
                continue
            missing += [
                base.node
                for child in folder.children.values()
                if (base := child.base) is not None
                and base.parent == folder.node
                and base.node not in seen
                and child.touched_at < began
            ]
        return missing


def _agrees(known: Inode, row: RemoteNode) -> bool:
    base = known.base
    if base is None:
        return True
    if (base.parent, base.name) != (row.parent, row.name):
        return False
    if known.is_directory:
        return True
    has_same_version = row.version is None or row.version == base.version
    return has_same_version and (base.size, base.modified_ns) == (row.size, row.modified_ns)

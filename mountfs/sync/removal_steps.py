"""Deleting on the remote what was removed here, unless others changed it since."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from math import inf
from typing import Final

import trio

from mountfs.model.conflict import ConflictKind
from mountfs.model.entry import Base
from mountfs.model.errors import MountfsError, NodeNotFound
from mountfs.model.ids import Ino, NodeId
from mountfs.model.node import RemoteNode
from mountfs.model.remote import Remote
from mountfs.rules.remote_edits import is_taken_up, is_written_again
from mountfs.sync.places import Places
from mountfs.sync.refresher import Refresher
from mountfs.sync.step_outcome import Outcome, WaitFor
from mountfs.tree.inode import Inode
from mountfs.tree.remote_changes import RemoteChanges
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

LOOK_LASTS_S: Final = 1.0
"""For how long an answer allows to delete a file."""

LOOKED_AT_TOGETHER: Final = 25
"""As many as one call of the API tells of."""


class RemovalSteps:
    """The steps of `StepExecutor` that delete; the same holds for them.

    Nothing on the remote refuses to delete what is newer than what was removed here, so each file is looked
    at right before, many in one call, and brought back where the answer shows that it was changed since.
    """

    def __init__(
        self, tree: Tree, remote: Remote, changes: RemoteChanges, refresher: Refresher, places: Places
    ) -> None:
        self._tree = tree
        self._remote = remote
        self._changes = changes
        self._refresher = refresher
        self._places = places
        self._looks = RemovalLooks(tree, refresher)
        self._trashed_folders: set[NodeId] = set()
        self._taken_up: dict[Ino, Base] = {}
        """What has to come back out of the trash, by the entry whose removal took it there."""

    async def trash(self, inode: Inode) -> Outcome | WaitFor:
        base = inode.base
        assert base is not None
        removed, around = self._removed_around(inode, base)
        if around not in self._trashed_folders:
            if removed is not None:
                # The folder goes as a whole.
                return WaitFor(removed)
            if inode.is_file_there:
                await self._looks.look(inode)
                if inode.base is not base:
                    return Outcome.AGAIN
            else:
                hindrance = await self._hindrance(inode, base.node)
                if hindrance is not None:
                    return hindrance
            gone = await self._remote.trash(base.node)
            if gone is not None and is_taken_up(base, gone):
                self._taken_up[inode.ino] = base
                return await self.bring_back(inode)
        if inode.is_directory:
            self._trashed_folders.add(base.node)
        if inode.node == base.node:
            self._tree.set_base(inode, None)
        return Outcome.AGAIN

    def _removed_around(self, inode: Inode, base: Base) -> tuple[Inode | None, NodeId]:
        """Return the uppermost of the folders around the entry that are still to be removed as well, and the
        folder that it lies in, which may be in the trash.

        Each folder of a deep tree that waited for the next one would be woken for each that is above it.
        """
        uppermost: Inode | None = None
        folder, seen = base.parent, {inode.ino}
        while (above := self._tree.by_node.get(folder)) is not None and above.ino not in seen:
            # Somebody took it out of the trash since, with all that it holds.
            self._trashed_folders.discard(folder)
            if above.is_linked or above.pending is None or above.base is None:
                break
            seen.add(above.ino)
            uppermost, folder = above, above.base.parent
        return uppermost, folder

    def took_too_much(self, inode: Inode) -> bool:
        """Tell whether the removal of this entry took what others changed meanwhile: `bring_back` is next."""
        return inode.ino in self._taken_up

    async def bring_back(self, inode: Inode) -> Outcome:
        """Take what others changed behind the look out of the trash; merged, it has its name here again."""
        base = self._taken_up[inode.ino]
        log.warning("%r was changed while it was removed here: it comes out of the trash", base.name)
        try:
            with suppress(NodeNotFound):
                # It came back by an earlier try, or somebody emptied the trash.
                await self._remote.restore(base.node)
            await self._refresher.look_at([base.node])
            await self._note_conflict(base)
        except MountfsError:
            # That it is gone there, as the feed may tell meanwhile, does not end it here.
            inode.unanswered = True
            raise
        del self._taken_up[inode.ino]
        return Outcome.AGAIN

    async def _note_conflict(self, base: Base) -> None:
        """Remember it also where the feed told of the deletion before it was undone."""
        node = await self._refresher.lookup.node(base.node)
        here = self._tree.by_node.get(base.node)
        if node is not None and here is not None and here.is_linked and here.ino not in self._tree.conflicts:
            self._changes.conflicts.note(here, ConflictKind.DELETE_EDIT, node, base=base)

    async def _hindrance(self, folder: Inode, node: NodeId) -> Outcome | WaitFor | None:
        """Return what has to be done before the folder, with all below it, may go."""
        arriving = self._places.arriving_in(folder)
        if arriving is not None:
            # It left the folder here before it came there, and would be deleted with it.
            return WaitFor(arriving)
        kept = await self._kept_below(node)
        if folder.is_linked:
            # News put it back meanwhile.
            return Outcome.AGAIN
        for entry in kept:
            if entry is not None and entry in self._tree.unanswered.values():
                # Ours, created there before it was removed here: it goes once its answer is known.
                return WaitFor(entry)
            if entry is None or entry.failure is not None or not self._tree.is_displaced(entry):
                self._changes.conflicts.put_back(folder)
                return Outcome.AGAIN
        # What was moved out of the folder here has to leave it there first.
        return WaitFor(kept[0]) if kept and kept[0] is not None else None

    async def _kept_below(self, top: NodeId) -> list[Inode | None]:
        """Return what lies below a removed folder and was not removed here; None for what is unknown here."""
        kept: list[Inode | None] = []
        ahead = [top]
        # Step by step: paths may be deeper than calls may be nested.
        while ahead:
            folder = ahead.pop()
            for row in await self._remote.list_folder(folder):
                known = await self._tree.find_node(row.id)
                if known is not None and known.is_file_there and _is_older(known, row):
                    await self._refresher.look_at([row.id])
                    known = await self._tree.find_node(row.id)
                creating = self._tree.unanswered.get((folder, row.name))
                if known is None and (creating is not None or await self._is_there(row, folder)):
                    kept.append(creating)
                elif known is None:
                    continue
                elif known.is_linked:
                    kept.append(known)
                elif known.is_directory:
                    ahead.append(row.id)
        return kept

    async def _is_there(self, row: RemoteNode, folder: NodeId) -> bool:
        """Tell whether what was listed lies in the folder now: what was on its way out of it when the listing
        was made may be settled and forgotten by the time that it is read."""
        there = await self._refresher.lookup.node(row.id)
        return there is not None and not there.trashed and there.parent == folder


class RemovalLooks:
    """Asks for files that are to be deleted, together with others of their folder that will be soon."""

    def __init__(self, tree: Tree, refresher: Refresher) -> None:
        self._tree = tree
        self._refresher = refresher
        self._under_way: dict[NodeId, trio.Event] = {}
        self._looked_at: dict[NodeId, float] = {}
        """When (trio's clock) the answer was merged."""

    async def look(self, inode: Inode) -> None:
        """Return when what the remote says of the file is merged: an answer to this call, or one that came no
        more than `LOOK_LASTS_S` ago. Raises what the remote says."""
        node = inode.node
        while node is not None and not self._is_recent(node):
            under_way = self._under_way.get(node)
            if under_way is None:
                await self._ask([node, *islice(self._companions(inode), LOOKED_AT_TOGETHER - 1)])
                return
            await under_way.wait()

    def _is_recent(self, node: NodeId) -> bool:
        return trio.current_time() - self._looked_at.get(node, -inf) < LOOK_LASTS_S

    def _companions(self, inode: Inode) -> Iterator[NodeId]:
        assert inode.base is not None
        for other in self._tree.pending.values():
            base = other.base
            if (
                base is not None
                and base.parent == inode.base.parent
                and not other.is_linked
                and other.is_file_there
                and other is not inode
                and other.failure is None
                and base.node not in self._under_way
                and not self._is_recent(base.node)
            ):
                yield base.node

    async def _ask(self, nodes: list[NodeId]) -> None:
        done = trio.Event()
        self._under_way |= dict.fromkeys(nodes, done)
        try:
            await self._refresher.look_at(nodes)
            recent = {node: when for node, when in self._looked_at.items() if self._is_recent(node)}
            self._looked_at = recent | dict.fromkeys(nodes, trio.current_time())
        finally:
            for node in nodes:
                del self._under_way[node]
            done.set()


def _is_older(known: Inode, row: RemoteNode) -> bool:
    """Tell whether others changed, or wrote again, what was removed here."""
    if known.is_linked or known.base is None:
        return False
    return known.base.version != row.version or is_written_again(known.base, row)

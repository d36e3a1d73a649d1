"""Waiting until the workspace has confirmed what is here, and the reverse. Implements `Publishing`."""

import logging
from collections.abc import Callable, Collection, Iterable, Set
from typing import Final

import trio

from mountfs.model.conflict import Conflict
from mountfs.model.errors import (
    ContentSetAside,
    MountfsError,
    OperationNotSupported,
    RemoteUnavailable,
    RequestRefused,
)
from mountfs.model.filesystem import KernelNotifier
from mountfs.model.ids import Ino, NodeId
from mountfs.model.publishing import Glance
from mountfs.rules.fence import Fence
from mountfs.rules.happenings import Kind
from mountfs.rules.remote_edits import is_edited
from mountfs.sync.connection import Connection
from mountfs.sync.content import FileContent
from mountfs.sync.follower import Follower
from mountfs.sync.refresher import Refresher
from mountfs.sync.sender import Sender
from mountfs.tree import local_changes
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

MANY: Final = 100
LOOK_S: Final = 0.05
"""How soon to look again at what is to be sent, while that is more than `MANY` entries."""


class Publisher:
    """Entries that failed for good, and files that are open and unsealed, hold up nobody who does not ask
    for them by name."""

    def __init__(
        self,
        tree: Tree,
        sender: Sender,
        refresher: Refresher,
        follower: Follower,
        connection: Connection,
        content: FileContent,
        fence: Fence,
        kernel: KernelNotifier,
    ) -> None:
        self._tree = tree
        self._sender = sender
        self._refresher = refresher
        self._follower = follower
        self._connection = connection
        self._content = content
        self._fence = fence
        self._kernel = kernel
        self._known_conflicts: dict[Ino, Collection[Conflict]] = {}
        """Of each file that has a lease: what there was when it was granted, or was told since."""
        self._losses: set[Ino] = set()
        """Files whose lease is lost, which not all who relied on it were told yet."""

    def pending_below(self, top: Inode | None) -> list[Inode]:
        """Return the entries at or below `top` (None: anywhere) that the remote has something to learn of.

        What has no name any more lies nowhere, and counts everywhere.
        """
        return [
            inode
            for inode in self._tree.pending.values()
            if top is None or not inode.is_linked or inode.is_below(top)
        ]

    async def settle(
        self, wanted: Iterable[Inode], *, progress: Callable[[], None] = lambda: None
    ) -> list[Inode]:
        """Send these now and wait until each is confirmed or failed; return those that failed.

        Waits without a bound; cancel it to give up. Entries that begin to be pending later do not count, but
        for copies that conflicts make meanwhile: what was to be sent goes on in them.
        """
        wanted = list(wanted)
        waiting = {inode.ino: inode for inode in wanted}
        conflicts = set(self._tree.conflicts)
        self._sender.expedite(self._with_parents(waiting.values()))
        with self._sender.hurried():
            while True:
                if copies := self._pending_copies(self._tree.conflicts.keys() - conflicts):
                    conflicts |= {copy.ino for copy in copies}
                    wanted += copies
                    waiting |= {copy.ino: copy for copy in copies}
                    self._sender.expedite(copies)
                waiting = {ino: inode for ino, inode in waiting.items() if self._is_under_way(inode)}
                progress()
                if not waiting:
                    return [
                        inode for inode in wanted if inode.pending is not None and inode.failure is not None
                    ]
                await self._sender.wait_progress()
                if len(waiting) > MANY:
                    # They are confirmed many at once, and each look is at all of them.
                    await trio.sleep(LOOK_S)

    async def send_removals(self) -> None:
        """Return when the workspace knows of everything that was removed here, or refused to do the same.
        Raises RemoteUnavailable."""
        removed = [inode for inode in self._tree.pending.values() if not inode.is_linked]
        await self._settle_or_raise(removed, None)

    def _pending_copies(self, of_conflicts: Set[Ino]) -> list[Inode]:
        return [self._tree.pending[ino] for ino in of_conflicts if ino in self._tree.pending]

    def _with_parents(self, inodes: Iterable[Inode]) -> list[Inode]:
        found: dict[Ino, Inode] = {}
        for inode in inodes:
            above: Inode | None = inode
            while above is not None and above.ino not in found:
                found[above.ino] = above
                above = above.parent
        return list(found.values())

    # For locks.

    async def ensure_remote(self, ino: Ino) -> NodeId:
        inode = self._tree.get(ino)
        if not inode.is_file:
            raise OperationNotSupported(f"{inode.path()!r} has no lock on the workspace")
        if inode.node is None:
            self._seal(inode)
            await self._settle_or_raise([inode], inode)
        if inode.node is None:
            raise OperationNotSupported(f"{inode.path()!r} was removed")
        return inode.node

    async def refresh(self, ino: Ino) -> None:
        inode = self._tree.get(ino)
        await self._follower.catch_up(inode.node)
        await self._settle_own_changes(inode)
        await self._content.superseding.ended(inode)
        # Also where nothing changed just now: what the kernel was told before, while it was still making the
        # inode of an older answer, it has lost, and it would go by the old size.
        self._kernel.attributes_changed(ino)
        await self._drop_old_pages(inode)
        self._note_conflicts(ino)

    async def look_ahead(self, ino: Ino) -> Glance:
        inode = self._tree.inodes.get(ino)
        node = None if inode is None else inode.node
        if inode is None or node is None:
            return Glance(locked=False, newer=False)
        known = inode.base
        locked = await self._refresher.look_at([node])
        is_other = known is None or inode.base is None or inode.base.version != known.version
        return Glance(node in locked, is_other or self._content.superseding.is_under_way(inode))

    async def _drop_old_pages(self, inode: Inode) -> None:
        """Also those of mappings, which keep them when the file's time moves."""
        known, epoch = inode.kernel_epoch, inode.content_epoch
        if inode.cached_opens and known != epoch:
            self._kernel.content_changed(inode.ino)
        if await self._kernel.drained() and inode.cached_opens and inode.kernel_epoch == known:
            inode.kernel_epoch = epoch

    async def _settle_own_changes(self, inode: Inode) -> None:
        """What was changed here before may be based on another version than the newest: it becomes one, or a
        conflict copy. What can be neither stays, but where it was changed under a lease that was lost, or
        hides a newer version."""
        self._content.notice(inode)
        if not inode.content_dirty or inode.base is None:
            return
        self._seal(inode)
        # Why it could not be sent earlier, maybe in another run, need not be so any more.
        self._sender.retry_failed(inode)
        try:
            await self._settle_or_raise([inode], inode)
        except RequestRefused:
            if self._fence.is_condemned(inode.ino) or await self.is_overtaken(inode.ino):
                raise

    async def is_overtaken(self, ino: Ino) -> bool:
        inode = self._tree.inodes.get(ino)
        base = None if inode is None else inode.base
        theirs = None if base is None else await self._refresher.lookup.node(base.node)
        return base is not None and theirs is not None and is_edited(base, theirs)

    async def collect(self, ino: Ino) -> None:
        inode = self._tree.inodes.get(ino)
        if inode is not None and inode.cached_opens and inode.writers:
            self._kernel.content_changed(ino)
            await self._kernel.drained()

    async def publish(self, ino: Ino) -> None:
        inode = self._tree.inodes.get(ino)
        if inode is not None:
            self._seal(inode)
        wanted = list(self._tree.pending.values())
        if ino not in self._known_conflicts:
            self._note_conflicts(ino)
        concerned = {ino, *(each.ino for each in wanted)}
        nodes = {each.node for each in (inode, *wanted) if each is not None and each.node is not None}
        await self._settle_or_raise(wanted, inode)
        arisen = self._new_conflicts(ino)
        self._note_conflicts(ino)
        for conflict in arisen:
            theirs = conflict.theirs.node if conflict.theirs is not None else None
            if conflict.ino in concerned or theirs in nodes:
                raise ContentSetAside(f"{conflict.path!r} was changed on another host as well")

    def _note_conflicts(self, ino: Ino) -> None:
        self._known_conflicts[ino] = frozenset(self._tree.conflicts.values())

    def _new_conflicts(self, ino: Ino) -> list[Conflict]:
        known = self._known_conflicts.get(ino)
        if known is None:
            return []
        return [conflict for conflict in self._tree.conflicts.values() if conflict not in known]

    def lease_released(self, ino: Ino) -> None:
        self._known_conflicts.pop(ino, None)

    def lease_lost(self, ino: Ino, *, told: bool) -> None:
        self.lease_released(ino)
        inode = self._tree.inodes.get(ino)
        if inode is None:
            self._losses.discard(ino)
            return
        if ino not in self._losses:
            self._tree.happenings.tell(Kind.LOCK_LOST, inode.path())
        if told:
            self._losses.discard(ino)
        else:
            self._losses.add(ino)
        if inode.base is None:
            return
        self._content.notice(inode)
        if not inode.content_dirty or not inode.is_linked:
            return
        log.warning("%r was changed under a lock that was lost", inode.path())
        self._fence.condemn(ino)
        if told:
            self._seal(inode)
            self._sender.expedite([inode])

    def _is_under_way(self, inode: Inode) -> bool:
        if inode.sending:
            return True
        return inode.ino in self._tree.pending and inode.failure is None and not inode.unsealed

    def has_unpublished(self, ino: Ino) -> bool:
        inode = self._tree.inodes.get(ino)
        if inode is not None:
            self._content.notice(inode)
            if inode.unsealed or inode.pending is not None:
                # Also where it failed: whoever unlocks has to be told.
                return True
        if any(entry.failure is None and not entry.unsealed for entry in self._tree.pending.values()):
            return True
        return bool(self._new_conflicts(ino))

    def _seal(self, inode: Inode) -> None:
        self._content.notice(inode)
        local_changes.seal(self._tree, inode)

    async def _settle_or_raise(self, wanted: list[Inode], inode: Inode | None) -> None:
        """Like `settle`, but raise where `inode` itself failed, or the remote does not answer. What is not in
        memory has nothing to send."""
        settled = False

        async def settle() -> None:
            nonlocal settled
            await self.settle(wanted)
            settled = True
            scope.cancel()

        async def give_up_offline() -> None:
            while self._connection.online:
                await self._sender.wait_progress()
            scope.cancel()

        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(settle)
                nursery.start_soon(give_up_offline)
        if not settled:
            raise RemoteUnavailable(self._connection.last_error or "the workspace does not answer")
        if inode is not None and inode.pending is not None and inode.failure is not None:
            raise _as_error(inode)


def _as_error(inode: Inode) -> MountfsError:
    return RequestRefused(f"{inode.path()!r} cannot be sent: {inode.failure}")

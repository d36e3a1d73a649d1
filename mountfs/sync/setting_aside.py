"""Keeping both contents of a file: ours goes into a conflict copy, the file takes theirs."""

import os

import trio

from mountfs.model.disk import DiskStep
from mountfs.model.errors import StorageError
from mountfs.model.filesystem import KernelNotifier
from mountfs.model.ids import Ino
from mountfs.model.node import RemoteNode
from mountfs.model.storage import ContentStore
from mountfs.rules.fence import Fence
from mountfs.sync.cached_range import ContentChanged
from mountfs.sync.content import FileContent
from mountfs.sync.refresher import Refresher
from mountfs.sync.superseding import copy_bytes
from mountfs.sync.uploads import ContentUploads
from mountfs.tree.inode import Inode
from mountfs.tree.remote_changes import RemoteChanges
from mountfs.tree.tree import Tree


class SettingAside:
    """Descriptors stay with the path, as its locks do: a program that goes on with a descriptor that it has
    open reads theirs, and what it writes from then on is an edit of theirs. Only a file that nobody has open
    goes aside as the inode that it is."""

    def __init__(
        self,
        tree: Tree,
        store: ContentStore,
        content: FileContent,
        refresher: Refresher,
        changes: RemoteChanges,
        uploads: ContentUploads,
        fence: Fence,
        kernel: KernelNotifier,
    ) -> None:
        self._tree = tree
        self._store = store
        self._content = content
        self._refresher = refresher
        self._changes = changes
        self._uploads = uploads
        self._fence = fence
        self._kernel = kernel
        changes.when_taken = lambda inode: fence.absolve(inode.ino)

    async def keep_both(self, inode: Inode, theirs: RemoteNode) -> None:
        """On return ours has a name of its own, and theirs is in the file or on its way into it. Of an empty
        file that was created here nothing is kept: it goes on as theirs, as if that had been there before.

        Raises ContentChanged, with nothing done, where programs write to it just now; StorageError where our
        disk has no room for the copy; and what the remote says. A crash leaves the file as it was, or both.
        """
        is_kept = inode.base is not None or inode.size > 0
        if is_kept and not (inode.direct_opens or inode.cached_opens or inode.lookups):
            # Whoever opens it by its path finds theirs: the kernel has no number of ours at that name.
            self._fence.absolve(inode.ino)
            self._changes.conflicts.step_aside(inode, theirs)
            await self._refresher.look_at([theirs.id])
            return
        before = _state(inode)
        await self._uploads.forget(inode)
        async with self._content.held(inode):
            await self._content.settle(inode)
            copies = [await self._copied(inode)] if is_kept else []
            await self._content.disown_bytes(inode)
            self._content.notice(inode)
            if inode.unsealed or not inode.is_linked or _state(inode) != before:
                self._content.remove_orphans(copies)
                raise ContentChanged
            for ino in copies:
                self._changes.conflicts.split(inode, theirs, ino)
            if inode.base is None:
                self._changes.give_node_to(inode, theirs)
            self._changes.give_up_edit(inode, theirs)
        await self._tree.journal.committed()
        # Whoever has the lock by now must not be shown the size that ours had.
        await self._kernel.drained()

    async def _copied(self, inode: Inode) -> Ino:
        ino = self._tree.journal.new_ino()
        assert inode.descriptor is not None
        try:
            await trio.to_thread.run_sync(self._copy, inode.descriptor, ino, inode.size)
        except StorageError:
            self._content.remove_orphans([ino])
            raise
        return ino

    def _copy(self, descriptor: int, ino: Ino, size: int) -> None:
        copy = self._store.open(ino, create=True)
        try:
            copy_bytes(self._store.disk, DiskStep.COPY_ASIDE, descriptor, copy, size)
            self._store.sync(ino, copy)
        finally:
            os.close(copy)


def _state(inode: Inode) -> tuple[object, ...]:
    return inode.generation, inode.base, inode.content_epoch

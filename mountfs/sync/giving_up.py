"""What somebody decides to lose: saved first, then taken away or set back to what the remote has."""

from collections.abc import Iterator
from contextlib import ExitStack
from tempfile import TemporaryFile

import trio

from mountfs.model.errors import DirectoryNotEmpty, FileInUse
from mountfs.model.filesystem import KernelNotifier
from mountfs.model.node import RemoteNode
from mountfs.model.storage import SavedCopies
from mountfs.sync.content import FileContent
from mountfs.sync.refresher import Refresher
from mountfs.sync.uploads import ContentUploads
from mountfs.tree import local_changes
from mountfs.tree.inode import Inode
from mountfs.tree.remote_changes import RemoteChanges
from mountfs.tree.tree import Tree


class GivingUp:
    """Every copy is on stable storage before anything is lost of what it was made from."""

    def __init__(
        self,
        tree: Tree,
        content: FileContent,
        refresher: Refresher,
        changes: RemoteChanges,
        uploads: ContentUploads,
        kernel: KernelNotifier,
        copies: SavedCopies,
    ) -> None:
        self._tree = tree
        self._content = content
        self._refresher = refresher
        self._changes = changes
        self._uploads = uploads
        self._kernel = kernel
        self._copies = copies

    async def save(self, inode: Inode, folder: str | None, path: bytes) -> str:
        """Copy the content of the file as it stands, all of it, and return where it is.

        Raises StorageError, and what fetching missing bytes does.
        """
        async with self._content.held(inode) as descriptor:
            self._content.notice(inode)
            await self._content.require_whole(inode)
            return await trio.to_thread.run_sync(self._copies.save, folder, path, descriptor)

    async def save_if_unsent(self, inode: Inode, folder: str | None = None) -> list[str]:
        """Like `save`, of content that the remote does not have; return where copies are.

        Of a symlink the copy is a file that holds its target.
        """
        if inode.is_symlink and inode.content_dirty:
            return [await trio.to_thread.run_sync(self._save_target, inode.target, folder, inode.path())]
        self._content.notice(inode)
        if not inode.is_file or not inode.content_dirty or inode.ino in self._content.lost:
            return []
        return [await self.save(inode, folder, inode.path())]

    def _save_target(self, target: bytes, folder: str | None, path: bytes) -> str:
        with TemporaryFile() as copy:
            copy.write(target)
            copy.flush()
            return self._copies.save(folder, path, copy.fileno())

    def take_away(self, inode: Inode) -> None:
        """Remove the entry as a program would."""
        parent, name = inode.parent, inode.name
        assert parent is not None
        gone = local_changes.remove(self._tree, parent, name, directory=inode.is_directory)
        self._kernel.entry_changed(parent.ino, name)
        self._kernel.attributes_changed(parent.ino)
        self._content.dropped(gone)

    async def discard(self, inode: Inode, folder: str | None) -> list[str]:
        """Give up what the remote does not take of this entry, and of what is below it; return the copies.

        A new file goes, a changed one gets the content back that the remote has, a moved one its place, and
        a deleted one is there again; what exists here only goes with a new folder that holds it. Raises
        FileInUse, with nothing lost, where programs have the file open, and RemoteUnavailable where the
        remote has to be asked.
        """
        if not inode.is_linked or not inode.is_directory:
            return await self._discard_entry(inode, folder)
        saved: list[str] = []
        with ExitStack() as kept:
            around = [(inode, await self._children(inode, kept))]
            # Step by step: paths may be deeper than calls may be nested.
            while around:
                directory, children = around[-1]
                child = next(children, None)
                if child is None:
                    around.pop()
                    self._discard_directory(directory)
                elif child.pending is None and directory.base is not None:
                    continue
                elif child.is_linked and child.is_directory:
                    around.append((child, await self._children(child, kept)))
                else:
                    saved += await self._discard_entry(child, folder)
        return saved

    async def _discard_entry(self, inode: Inode, folder: str | None) -> list[str]:
        if not inode.is_linked:
            await self._undo_deletion(inode)
            return []
        _check_can_go(inode)
        generation = inode.generation
        saved = await self.save_if_unsent(inode, folder)
        if inode.base is None:
            _check_unchanged(inode, generation)
            self.take_away(inode)
        else:
            await self._set_back(inode, generation)
        return saved

    async def _children(self, directory: Inode, kept: ExitStack) -> Iterator[Inode]:
        kept.enter_context(self._tree.uses.keeping(directory))
        await self._tree.ensure_loaded(directory)
        return iter(list(directory.children.values()))

    def _discard_directory(self, directory: Inode) -> None:
        """Do the same with a directory, after what is below it."""
        if directory.base is None:
            if directory.children:
                raise DirectoryNotEmpty(f"{directory.path()!r} holds what exists here only: move it first")
            self.take_away(directory)
        elif self._tree.is_displaced(directory):
            self._changes.conflicts.undo_move(directory)

    async def _set_back(self, inode: Inode, generation: int) -> None:
        base = inode.base
        assert base is not None
        theirs = await self._refresher.lookup.node(base.node)
        await self._uploads.forget(inode)
        await self._content.disown_bytes(inode)
        _check_unchanged(inode, generation)
        if theirs is None or theirs.trashed:
            self._tree.set_base(inode, None)
            self.take_away(inode)
            return
        if self._tree.is_displaced(inode):
            self._changes.conflicts.undo_move(inode)
        if inode.content_dirty:
            self.accept(inode, theirs)

    def accept(self, inode: Inode, theirs: RemoteNode) -> None:
        """Let the file have the remote's content; its own must be disowned, and nobody may have it open."""
        self._changes.give_up_edit(inode, theirs)

    async def _undo_deletion(self, inode: Inode) -> None:
        base = inode.base
        if base is None:
            return
        theirs = await self._refresher.lookup.node(base.node)
        if inode.base is not base or inode.is_linked:
            return
        if theirs is not None and not theirs.trashed and inode.is_directory:
            self._changes.conflicts.put_back(inode)
            return
        self._tree.set_base(inode, None)
        self._tree.drop_if_unneeded(inode)
        self._content.dropped(inode)
        await self._refresher.look_at([base.node])


def _check_can_go(inode: Inode) -> None:
    if inode.opens and inode.is_file:
        raise FileInUse(f"programs have {inode.path()!r} open, or it is just being sent: try again then")


def _check_unchanged(inode: Inode, generation: int) -> None:
    """Raise unless the entry is as it was when its copy was saved."""
    _check_can_go(inode)
    if inode.generation != generation or inode.unsealed or not inode.is_linked:
        raise FileInUse(f"{inode.path()!r} was changed meanwhile: nothing was given up")

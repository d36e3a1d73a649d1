"""Resolving conflicts as somebody decides: what goes stays in the history, in the trash or in a copy."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

import trio

from mountfs.model.conflict import Conflict, ConflictKind, Keep
from mountfs.model.entry import Base, EntryKind
from mountfs.model.errors import (
    FileExists,
    InvalidArgument,
    IsADirectory,
    ProtocolViolation,
    RemoteError,
)
from mountfs.model.filesystem import KernelNotifier, RenameFlag
from mountfs.model.remote import Remote
from mountfs.model.storage import ContentStore, SavedCopies
from mountfs.rules import names
from mountfs.sync.content import FileContent
from mountfs.sync.giving_up import GivingUp
from mountfs.tree import local_changes
from mountfs.tree.conflicts import Conflicts
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

PIECE_BYTES = 1024 * 1024
THEIRS = "theirs"


class ConflictResolution:
    """Raises InvalidArgument where nothing is in conflict or the decision does not fit, StorageError, and
    what the remote says where an old version has to be fetched; then the conflict stays."""

    def __init__(
        self,
        tree: Tree,
        remote: Remote,
        content: FileContent,
        store: ContentStore,
        conflicts: Conflicts,
        kernel: KernelNotifier,
        giving_up: GivingUp,
        copies: SavedCopies,
    ) -> None:
        self._tree = tree
        self._remote = remote
        self._content = content
        self._store = store
        self._conflicts = conflicts
        self._kernel = kernel
        self._giving_up = giving_up
        self._copies = copies

    def at(self, inode: Inode) -> list[Conflict]:
        """Return the conflicts that have this entry as one of their sides. Raises InvalidArgument."""
        own = self._tree.conflicts.get(inode.ino)
        if own is not None:
            return [own]
        node = inode.node
        found = [each for each in self._tree.conflicts.values() if each.theirs and each.theirs.node == node]
        if not found:
            raise InvalidArgument(f"{_shown(inode)} is in no conflict that is known here")
        return found

    async def their_entry(self, conflict: Conflict) -> Inode | None:
        """Return the file that holds their side, None where that is no file of its own."""
        if conflict.theirs is None:
            return None
        theirs = await self._tree.find_node(conflict.theirs.node)
        if theirs is None or not theirs.is_linked or theirs.ino == conflict.ino:
            return None
        return theirs

    async def resolve(self, inode: Inode, keep: Keep) -> list[str]:
        """Do what was decided, durable on return; return where copies were saved of what nobody else has."""
        chosen = self.at(inode)
        if keep is Keep.OURS and len(chosen) > 1:
            raise InvalidArgument(f"{_shown(inode)} is in {len(chosen)} conflicts: name one of the copies")
        saved: list[str] = []
        for conflict in chosen:
            ours = self._tree.get(conflict.ino)
            if keep is Keep.OURS:
                saved += await self._keep_ours(conflict, ours)
            elif keep is Keep.THEIRS:
                saved += await self._keep_theirs(conflict, ours)
            else:
                await self._keep_both(conflict, ours)
            self._tree.end_conflict(conflict.ino)
        await self._tree.journal.committed()
        return saved

    async def _keep_ours(self, conflict: Conflict, ours: Inode) -> list[str]:
        if conflict.kind is ConflictKind.DELETE_EDIT:
            saved = await self._giving_up.save_if_unsent(ours)
            self._giving_up.take_away(ours)
            return saved
        theirs = await self.their_entry(conflict)
        if theirs is None:
            return []
        if theirs.is_directory or ours.is_directory:
            raise IsADirectory(f"{_shown(theirs)}: a folder is not replaced; move the two by hand")
        saved = await self._giving_up.save_if_unsent(theirs)
        async with self._content.held(ours):
            # As a whole it becomes the next version of theirs, which stays in the history.
            await self._content.require_whole(ours)
            self._put_over(ours, theirs)
        return saved

    def _put_over(self, ours: Inode, theirs: Inode) -> None:
        old_parent, old_name, parent, name = ours.parent, ours.name, theirs.parent, theirs.name
        if old_parent is None or parent is None:
            raise InvalidArgument("one of the sides was removed meanwhile")
        replaced = local_changes.rename(self._tree, old_parent, old_name, parent, name, RenameFlag.REPLACE)
        self._kernel.entry_changed(old_parent.ino, old_name)
        self._kernel.entry_changed(parent.ino, name)
        if replaced is not None:
            self._content.dropped(replaced)

    async def _keep_theirs(self, conflict: Conflict, ours: Inode) -> list[str]:
        match conflict.kind:
            case ConflictKind.DELETE_EDIT:
                return []
            case ConflictKind.RENAME_RENAME:
                await self._take_their_name(conflict, ours)
                return []
            case ConflictKind.EDIT_DELETE:
                return await self._give_up_ours(ours)
        if await self.their_entry(conflict) is not None:
            return await self._give_up_ours(ours)
        if conflict.theirs is None or conflict.theirs.node != ours.node:
            raise InvalidArgument(f"{_shown(ours)}: the other side was removed; only ours is left")
        async with self._fetched(conflict.theirs) as old:
            saved = await self._giving_up.save_if_unsent(ours)
            await self._overwrite(ours, old)
        return saved

    async def _give_up_ours(self, ours: Inode) -> list[str]:
        if ours.is_directory:
            raise IsADirectory(f"{_shown(ours)} is a folder: remove it by hand, which ends the conflict")
        generation = ours.generation
        saved = await self._giving_up.save_if_unsent(ours)
        if ours.generation != generation or not ours.is_linked:
            raise InvalidArgument(f"{_shown(ours)} was changed meanwhile: nothing was given up")
        self._giving_up.take_away(ours)
        return saved

    async def _take_their_name(self, conflict: Conflict, ours: Inode) -> None:
        theirs = conflict.theirs
        assert theirs is not None
        parent = await self._tree.find_node(theirs.parent)
        if parent is None or not parent.is_linked or ours.parent is None:
            raise InvalidArgument("the folder that they moved it to is gone; --keep ours leaves it here")
        await self._tree.ensure_loaded(parent)
        old_parent, old_name, name = ours.parent, ours.name, names.from_remote(theirs.name)
        if old_parent is None or name in parent.children:
            raise FileExists(f"{theirs.name!r} is taken there by now; --keep ours leaves it here")
        local_changes.rename(self._tree, old_parent, old_name, parent, name, RenameFlag.NO_REPLACE)
        self._kernel.entry_changed(old_parent.ino, old_name)
        self._kernel.entry_changed(parent.ino, name)

    async def _keep_both(self, conflict: Conflict, ours: Inode) -> None:
        if conflict.kind is ConflictKind.RENAME_RENAME:
            raise InvalidArgument("one file cannot keep both names: --keep ours or theirs")
        if conflict.theirs is None or conflict.theirs.node != ours.node:
            return
        if conflict.kind is ConflictKind.DELETE_EDIT or ours.parent is None:
            return
        async with self._fetched(conflict.theirs) as old:
            # Ours became the newest version: theirs comes out of the history as a file beside it.
            await self._tree.ensure_loaded(ours.parent)
            copy = self._new_file_beside(ours)
            await self._overwrite(copy, old)

    def _new_file_beside(self, ours: Inode) -> Inode:
        parent = ours.parent
        assert parent is not None
        name = self._conflicts.free_name(parent, ours.name, side=THEIRS)
        owner = (ours.uid, ours.gid)
        made = local_changes.create(self._tree, parent, name, EntryKind.FILE, ours.mode, owner)
        self._kernel.entry_changed(parent.ino, name)
        return made

    async def _overwrite(self, inode: Inode, source: IO[bytes]) -> None:
        """Write the content as a program would, and close."""
        async with self._content.held(inode):
            await self._content.truncate(inode, 0)
            offset = 0
            while piece := await trio.to_thread.run_sync(source.read, PIECE_BYTES):
                offset += await self._content.write(inode, offset, piece)
            local_changes.seal(self._tree, inode)
        self._kernel.content_changed(inode.ino)

    # Old versions.

    @asynccontextmanager
    async def _fetched(self, version: Base) -> AsyncIterator[IO[bytes]]:
        """Give a file with the content of this version, as its hash says."""
        with self._store.scratch() as scratch:
            digest = hashlib.sha256()
            async with self._remote.read(version.node, version.version, 0, version.size) as pieces:
                async for piece in pieces:
                    digest.update(piece)
                    await trio.to_thread.run_sync(scratch.write, piece)
            if version.sha256 is not None and digest.hexdigest() != version.sha256:
                raise ProtocolViolation(f"an old version of {version.name!r} is not what its hash says")
            scratch.seek(0)
            yield scratch

    async def extract(self, inode: Inode, folder: str) -> list[tuple[str, str, str]]:
        """Write base, ours and theirs to the folder, for a merge of three.

        Return for each side its name, the file that was written, and else why there is none.
        """
        chosen = self.at(inode)
        if len(chosen) > 1:
            raise InvalidArgument(f"{_shown(inode)} is in {len(chosen)} conflicts: name one of the copies")
        (conflict,) = chosen
        ours = self._tree.get(conflict.ino)
        if ours.is_directory:
            raise IsADirectory(f"{_shown(ours)} is a folder")
        name = conflict.path.rpartition(b"/")[2]
        deleted_here = conflict.kind is ConflictKind.DELETE_EDIT
        return [
            ("base", *await self._extract_version(conflict.base, folder, name + b".base")),
            ("ours", "", "it was deleted here")
            if deleted_here
            else ("ours", await self._giving_up.save(ours, folder, name + b".ours"), ""),
            ("theirs", *await self._extract_version(conflict.theirs, folder, name + b".theirs")),
        ]

    async def _extract_version(self, version: Base | None, folder: str, name: bytes) -> tuple[str, str]:
        if version is None:
            return "", "there is none"
        try:
            async with self._fetched(version) as content:
                save = self._copies.save
                return await trio.to_thread.run_sync(save, folder, name, content.fileno()), ""
        except RemoteError as error:
            return "", error.message


def _shown(inode: Inode) -> str:
    return repr(inode.path().decode("utf-8", "backslashreplace"))

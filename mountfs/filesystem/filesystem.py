"""The mounted workspace: `mountfs.model.filesystem.Filesystem`, long as each operation has a method here.

Implemented over tree, content and locks.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from mountfs.filesystem import listing, succession
from mountfs.filesystem.callers import is_in_group, is_privileged
from mountfs.filesystem.capacity import capacity_of
from mountfs.filesystem.extended_attributes import ExtendedAttributes
from mountfs.filesystem.handles import HandleTable, OpenDirectory, OpenFile, is_mappable, is_writing
from mountfs.filesystem.local_only_moves import LocalOnlyMoves
from mountfs.filesystem.locking import LockOperations
from mountfs.filesystem.strict_opens import StrictOpens
from mountfs.filesystem.symlinks import target_of
from mountfs.locks.file_locks import FileLocks
from mountfs.model.allocation import Allocation, SeekTarget
from mountfs.model.entry import EntryKind
from mountfs.model.errors import (
    ContentUnavailable,
    FileExists,
    InvalidArgument,
    IsADirectory,
    NotADirectory,
    OperationNotPermitted,
    ReadOnlyMount,
    StorageError,
)
from mountfs.model.filesystem import (
    AttributeChange,
    Attributes,
    CacheTimes,
    Caller,
    Capacity,
    DirectoryEntry,
    FilePart,
    Handle,
    KernelNotifier,
    OpenedDirectory,
    OpenedFile,
    RenameFlag,
)
from mountfs.model.ids import Ino
from mountfs.model.interruption import interruptible
from mountfs.model.succession import OpenState
from mountfs.rules import set_id
from mountfs.sync.content import FileContent
from mountfs.sync.publisher import Publisher
from mountfs.sync.ranges import ContentRanges
from mountfs.sync.refresher import Refresher
from mountfs.tree import local_changes
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

LIVE_TIMES: Final = CacheTimes(entry_s=3600.0, attributes_s=3600.0, missing_s=3600.0)
"""While the feed is live the kernel is told of every change, and of the feed's end."""

WARY_TIMES: Final = CacheTimes(entry_s=5.0, attributes_s=5.0, missing_s=5.0)
"""While the feed is live, where the kernel cannot be told that everything has to be asked for again."""

BLIND_TIMES: Final = CacheTimes(entry_s=1.0, attributes_s=1.0, missing_s=0.0)
PUBLISH_PATIENCE_S: Final = 60.0
"""How long a close waits for the workspace where durability is remote."""


class WorkspaceFilesystem(LockOperations):
    """One method per file operation; each ends in at most one change of the tree. `publish_on_close` and
    `strict_opens.always_ask` may change at any time."""

    def __init__(
        self,
        tree: Tree,
        content: FileContent,
        ranges: ContentRanges,
        refresher: Refresher,
        publisher: Publisher,
        locks: FileLocks,
        kernel: KernelNotifier,
        *,
        cache_dir: Path,
        read_only: bool,
        always_ask: bool,
        publish_on_close: bool,
    ) -> None:
        super().__init__(tree, locks)
        self._content = content
        self._ranges = ranges
        self._refresher = refresher
        self._publisher = publisher
        self._kernel = kernel
        self._cache_dir = cache_dir
        self._read_only = read_only
        self.strict_opens = StrictOpens(refresher, locks, kernel, always_ask=always_ask)
        self.publish_on_close = publish_on_close
        self._xattrs = ExtendedAttributes(tree, content.notice)
        self._moving = LocalOnlyMoves(tree, content)
        self._clearing_set_id: dict[Ino, Caller] = {}
        """Who costs those files these bits that the request itself, which comes next, brings into memory."""
        self._files: HandleTable[OpenFile] = HandleTable()
        self._directories: HandleTable[OpenDirectory] = HandleTable()
        refresher.when_feed_lost = self._expire_kernel_caches

    # The hand-over to another process.

    def handed_over(self) -> OpenState:
        """Return what programs have open and the kernel refers to, when nothing of that changes any more;
        what the journal is to have of it is recorded."""
        return succession.handed_over(self._tree, self._content, self._files, self._directories)

    async def take_over(self, state: OpenState) -> None:
        """Go on with what another process served, before the first request and before anything is sent."""
        await succession.take_over(self._tree, self._content, self._files, self._directories, state)

    def doubt_kernel_caches(self) -> None:
        """Nobody followed the workspace for a while: the kernel has to ask for everything again."""
        self._expire_kernel_caches()
        for file in self._files:
            if not file.direct:
                self._kernel.content_changed(file.inode.ino)

    # Names.

    def cache_times(self, ino: Ino) -> CacheTimes:
        if self._refresher.live_since is None:
            return BLIND_TIMES
        return LIVE_TIMES if self._kernel.can_expire_everything else WARY_TIMES

    def _expire_kernel_caches(self) -> None:
        self._kernel.everything_changed()
        for file in self._files:
            # Asked for by descriptor, they are not looked up by name.
            self._kernel.attributes_changed(file.inode.ino)

    async def _directory(self, ino: Ino) -> Inode:
        """Return the directory with its children known, and true but for what is on its way here. Raises
        NotADirectory, FileNotFound."""
        directory = self._tree.inodes.get(ino) or await self._tree.bring(ino)
        if not directory.is_directory:
            raise NotADirectory()
        self._tree.uses.note(directory)
        if not (directory.loaded and self._refresher.is_fresh(directory)):
            with self._tree.uses.keeping(directory):
                await self._refresher.ensure_usable(directory)
        return directory

    async def _inode(self, ino: Ino) -> Inode:
        """Return the entry, also one that the kernel knows and that is not in memory. Raises FileNotFound."""
        inode = self._tree.inodes.get(ino)
        return inode if inode is not None else await self._bring(ino)

    async def _bring(self, ino: Ino) -> Inode:
        caller = self._clearing_set_id.pop(ino, None)
        inode = await self._tree.bring(ino)
        if caller is not None:
            self._clear_set_id(inode, caller)
        return inode

    async def _writable_directory(self, ino: Ino) -> Inode:
        if self._read_only:
            raise ReadOnlyMount()
        return await self._directory(ino)

    async def lookup(self, parent: Ino, name: bytes) -> Attributes:
        directory = await self._directory(parent)
        return self._referred(local_changes.find(directory, name))

    def _referred(self, inode: Inode) -> Attributes:
        inode.lookups += 1
        return self._attributes(inode)

    def _attributes(self, inode: Inode) -> Attributes:
        if inode.exposed is not None:
            self._content.direct.notice(inode)
        elif inode.descriptor is not None:
            self._content.count_blocks(inode)
        attributes = inode.attributes()
        if self._content.direct.may_change_unseen(inode):
            return attributes._replace(volatile=True)
        return attributes

    def remember(self, ino: Ino) -> None:
        self._tree.get(ino).lookups += 1

    def forget(self, references: Iterable[tuple[Ino, int]]) -> None:
        for ino, count in references:
            inode = self._tree.inodes.get(ino)
            if inode is None:
                self._tree.forget_reference(ino)
            else:
                # Those from before it was out of memory are counted as one.
                inode.lookups = max(inode.lookups - count, 0)
                if not inode.lookups:
                    self._content.dropped(inode)

    async def make_node(self, parent: Ino, name: bytes, mode: int, rdev: int, caller: Caller) -> Attributes:
        kind = EntryKind.FILE if stat.S_ISREG(mode) else EntryKind.SPECIAL
        inode = await self._create(parent, name, kind, mode, caller, rdev=rdev)
        if kind is EntryKind.FILE:
            # There is no close to come.
            with self._undone_by_failure(inode):
                async with self._content.held(inode):
                    local_changes.seal(self._tree, inode)
        await self._tree.journal.committed()
        return self._referred(inode)

    async def make_directory(self, parent: Ino, name: bytes, mode: int, caller: Caller) -> Attributes:
        mode = stat.S_IFDIR | stat.S_IMODE(mode)
        inode = await self._create(parent, name, EntryKind.DIRECTORY, mode, caller)
        await self._tree.journal.committed()
        return self._referred(inode)

    async def make_symlink(self, parent: Ino, name: bytes, target: bytes, caller: Caller) -> Attributes:
        mode = stat.S_IFLNK | 0o777
        inode = await self._create(parent, name, EntryKind.SYMLINK, mode, caller, target=target)
        await self._tree.journal.committed()
        return self._referred(inode)

    async def _create(
        self,
        parent: Ino,
        name: bytes,
        kind: EntryKind,
        mode: int,
        caller: Caller,
        *,
        rdev: int = 0,
        target: bytes = b"",
    ) -> Inode:
        directory = await self._writable_directory(parent)
        owner = (caller.uid, caller.gid)
        return local_changes.create(self._tree, directory, name, kind, mode, owner, rdev=rdev, target=target)

    @contextmanager
    def _undone_by_failure(self, inode: Inode) -> Iterator[None]:
        """A file that was just created, and cannot be given content within, is not there: whoever is refused
        may try again, also with O_EXCL."""
        try:
            yield
        except BaseException:
            if inode.parent is not None:
                with suppress(StorageError):
                    local_changes.remove(self._tree, inode.parent, inode.name, directory=False)
                self._content.dropped(inode)
            raise

    async def unlink(self, parent: Ino, name: bytes) -> None:
        directory = await self._writable_directory(parent)
        self._content.dropped(local_changes.remove(self._tree, directory, name, directory=False))
        await self._tree.journal.committed()

    async def remove_directory(self, parent: Ino, name: bytes) -> None:
        directory = await self._writable_directory(parent)
        with self._tree.uses.keeping(directory):
            await self._make_children_known(directory, name)
        self._content.dropped(local_changes.remove(self._tree, directory, name, directory=True))
        await self._tree.journal.committed()

    async def link(self, ino: Ino, parent: Ino, name: bytes) -> Attributes:
        inode = await self._inode(ino)
        if inode.is_linked or not inode.is_file or inode.base is not None:
            # EPERM is what git and pip take as the sign to copy instead.
            raise OperationNotPermitted("hard links")
        local_changes.name_it(self._tree, inode, await self._writable_directory(parent), name)
        await self._tree.journal.committed()
        return self._referred(inode)

    async def rename(
        self, parent: Ino, name: bytes, new_parent: Ino, new_name: bytes, flag: RenameFlag
    ) -> None:
        directory = await self._writable_directory(parent)
        with self._tree.uses.keeping(directory):
            new_directory = await self._writable_directory(new_parent)
            with self._tree.uses.keeping(new_directory):
                await self._make_children_known(new_directory, new_name)
        if self._tree.local_only:
            await self._moving.prepare(directory, name, new_directory, new_name)
        replaced = local_changes.rename(self._tree, directory, name, new_directory, new_name, flag)
        if replaced is not None:
            self._content.dropped(replaced)
        await self._tree.journal.committed()

    async def _make_children_known(self, directory: Inode, name: bytes) -> None:
        """Whether a directory is empty can only be told when its children are known."""
        child = directory.children.get(name)
        if child is not None and child.is_directory:
            await self._refresher.ensure_fresh(child)

    # Attributes.

    async def attributes(self, ino: Ino) -> Attributes:
        # Asked for most of all: what is in memory costs no further coroutine.
        inode = self._tree.inodes.get(ino)
        return self._attributes(inode if inode is not None else await self._tree.bring(ino))

    async def set_attributes(self, ino: Ino, change: AttributeChange, handle: Handle | None) -> Attributes:
        if self._read_only:
            raise ReadOnlyMount()
        inode = await self._inode(ino)
        # What was written before must not move the times that are set now.
        self._content.notice(inode)
        if change.size is not None:
            if handle is not None:
                self._locks.check(inode.ino, handle)
            await self._truncate(inode, change.size, handle)
        local_changes.set_attributes(self._tree, inode, change)
        if change == AttributeChange():
            # chown(2) with neither owner nor group; the kernel tells of it by no sign.
            local_changes.set_mode(self._tree, inode, set_id.cleared(inode.mode, in_group=True))
        await self._tree.journal.committed()
        return self._attributes(inode)

    def clear_set_id(self, ino: Ino, caller: Caller) -> None:
        inode = self._tree.inodes.get(ino)
        if inode is None:
            self._clearing_set_id[ino] = caller
        else:
            self._clear_set_id(inode, caller)

    def _clear_set_id(self, inode: Inode, caller: Caller) -> None:
        if inode.mode & (stat.S_ISUID | stat.S_ISGID):
            in_group = is_in_group(caller, inode.gid)
            local_changes.set_mode(self._tree, inode, set_id.cleared(inode.mode, in_group=in_group))

    async def _truncate(self, inode: Inode, size: int, handle: Handle | None) -> None:
        if inode.is_directory:
            raise IsADirectory()
        if not inode.is_file:
            raise InvalidArgument()
        async with self._content.held(inode):
            await self._content.truncate(inode, size)
            if handle is None and not inode.writers:
                # There is no close to come.
                local_changes.seal(self._tree, inode)

    async def read_symlink(self, ino: Ino) -> bytes:
        return target_of(await self._inode(ino), may_leave=self._tree.links_may_leave)

    async def capacity(self) -> Capacity:
        return await trio.to_thread.run_sync(capacity_of, self._cache_dir)

    async def get_xattr(self, ino: Ino, name: bytes) -> bytes:
        return self._xattrs.get(await self._inode(ino), name)

    async def set_xattr(self, ino: Ino, name: bytes, value: bytes) -> None:
        if self._read_only:
            raise ReadOnlyMount()
        self._xattrs.set(await self._inode(ino), name, value)
        await self._tree.journal.committed()

    async def list_xattrs(self, ino: Ino) -> Sequence[bytes]:
        return self._xattrs.names(await self._inode(ino))

    async def remove_xattr(self, ino: Ino, name: bytes) -> None:
        if self._read_only:
            raise ReadOnlyMount()
        self._xattrs.remove(await self._inode(ino), name)
        await self._tree.journal.committed()

    # Files.

    async def create(
        self, parent: Ino, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[OpenedFile, Attributes]:
        await self._admit(flags)
        try:
            inode = await self._create(
                parent, name, EntryKind.FILE, stat.S_IFREG | stat.S_IMODE(mode), caller
            )
        except FileExists:
            # It came from elsewhere after the kernel had looked.
            inode = local_changes.find(self._tree.directory(parent), name)
            if flags & os.O_EXCL or not inode.is_file:
                raise
            return await self._open(inode, flags), self._referred(inode)
        with self._undone_by_failure(inode):
            return await self._open(inode, flags, is_new=True), self._referred(inode)

    async def create_unnamed(
        self, parent: Ino, mode: int, flags: int, caller: Caller
    ) -> tuple[OpenedFile, Attributes]:
        await self._admit(flags)
        directory = await self._writable_directory(parent)
        inode = local_changes.create_unnamed(
            self._tree, directory, stat.S_IFREG | stat.S_IMODE(mode), (caller.uid, caller.gid)
        )
        return await self._open(inode, flags, is_new=True), self._referred(inode)

    async def open(self, ino: Ino, flags: int) -> OpenedFile:
        inode = await self._inode(ino)
        if inode.is_directory:
            raise IsADirectory()
        if not inode.is_file:
            raise InvalidArgument()
        if is_writing(flags) and self._read_only:
            raise ReadOnlyMount()
        await self._admit(flags)
        await self.strict_opens.make_fresh(inode)
        return await self._open(inode, flags)

    async def _admit(self, flags: int) -> None:
        """Let nobody begin to write where there is no room; see `BackPressure.admit`."""
        if is_writing(flags):
            await self._content.room.admit(0)

    async def _open(self, inode: Inode, flags: int, *, is_new: bool = False) -> OpenedFile:
        writing, mappable = is_writing(flags), is_mappable(flags)
        await self._content.open(inode, is_new=is_new)
        try:
            if flags & os.O_TRUNC and inode.size:
                await self._content.truncate(inode, 0)
            elif flags & os.O_TRUNC:
                local_changes.touch(self._tree, inode)
            keep_cache = inode.kernel_epoch == inode.content_epoch
            inode.kernel_epoch = inode.content_epoch
            direct = self._content.direct.admit(inode, writing=writing, mappable=mappable)
        except BaseException:
            self._content.close(inode)
            raise
        handle = self._files.add(OpenFile(inode, writing, mappable, direct))
        if direct and mappable:
            # What the kernel knows of before is kept too long from now on.
            self._kernel.attributes_changed(inode.ino)
        if direct and writing and (inode.sealed is not None or not inode.content_dirty):
            await self._commit_open(handle)
        # Closing a descriptor gives up all record locks of the process on the file.
        no_flush = not writing and not self._locks.has_records(inode.ino)
        return OpenedFile(handle, keep_cache, backing=inode.descriptor if direct else None, no_flush=no_flush)

    async def _commit_open(self, handle: Handle) -> None:
        """From here on programs can change content unseen: a crash must not hide that."""
        try:
            await self._tree.journal.committed()
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.release(handle)
            raise

    async def read(self, handle: Handle, offset: int, size: int) -> bytes:
        content = await self.locate(handle, offset, size)
        return os.pread(*content) if isinstance(content, FilePart) else content

    async def locate(self, handle: Handle, offset: int, size: int) -> bytes | FilePart:
        file = self._files.get(handle)
        self._locks.check(file.inode.ino, handle)
        return await self._content.locate(file.inode, offset, size, file.ahead)

    async def write(self, handle: Handle, offset: int, content: bytes) -> int:
        return await self._content.write(self._usable(handle), offset, content)

    def _usable(self, handle: Handle) -> Inode:
        """Return the file, with what was written past us. Raises HandleUnknown, LeaseLost."""
        inode = self._files.get(handle).inode
        self._locks.check(inode.ino, handle)
        self._content.notice(inode)
        return inode

    async def allocate(self, handle: Handle, allocation: Allocation, caller: Caller) -> None:
        inode = self._usable(handle)
        if not is_privileged(caller):
            self._clear_set_id(inode, caller)
        await self._ranges.allocate(inode, allocation)

    async def seek(self, handle: Handle, offset: int, target: SeekTarget) -> int:
        return await self._ranges.seek(self._usable(handle), offset, target)

    async def copy_range(
        self,
        source: Handle,
        source_offset: int,
        target: Handle,
        target_offset: int,
        size: int,
        caller: Caller,
    ) -> int:
        origin, into = self._usable(source), self._usable(target)
        if not is_privileged(caller):
            self._clear_set_id(into, caller)
        return await self._ranges.copy(origin, source_offset, into, target_offset, size)

    async def flush(self, handle: Handle) -> None:
        inode = self._files.get(handle).inode
        self._content.notice(inode)
        sealed = local_changes.seal(self._tree, inode)
        if sealed:
            await self._tree.journal.committed()
        self._locks.check(inode.ino, handle)
        if self.publish_on_close and inode.is_linked and inode.ino in self._tree.pending:
            await self._publish(inode)

    async def _publish(self, inode: Inode) -> None:
        with interruptible(trio.move_on_after(PUBLISH_PATIENCE_S)) as patience:
            await self._publisher.publish(inode.ino)
        if patience.cancelled_caught:
            raise ContentUnavailable(f"{inode.path()!r}: the workspace did not confirm it in time")

    async def release(self, handle: Handle) -> None:
        file = self._files.remove(handle)
        inode = file.inode
        self._content.direct.leave(inode, writing=file.writing, mappable=file.mappable, direct=file.direct)
        # Pages of a mapping come after the flush.
        sealed = not inode.writers and local_changes.seal(self._tree, inode)
        self._content.close(inode)
        self._locks.closed(inode.ino, handle)
        if sealed:
            await self._tree.journal.committed()

    async def fsync(self, handle: Handle, *, data_only: bool) -> None:
        inode = self._files.get(handle).inode
        self._content.notice(inode)
        local_changes.seal(self._tree, inode)
        if inode.content_dirty:
            await self._content.sync(inode)
        await self._tree.journal.synced()
        self._locks.check(inode.ino, handle)
        if self.publish_on_close and inode.is_linked and inode.ino in self._tree.pending:
            await self._publish(inode)

    # Directories.

    async def open_directory(self, ino: Ino) -> OpenedDirectory:
        directory = await self._directory(ino)
        # It may be read from its start at any time, which brings nothing from the journal.
        self._tree.uses.keep(directory)
        handle = self._directories.add(OpenDirectory(directory))
        if self.cache_times(ino) is not LIVE_TIMES:
            return OpenedDirectory(handle)
        keep_cache = directory.kernel_epoch == directory.content_epoch
        directory.kernel_epoch = directory.content_epoch
        return OpenedDirectory(handle, may_cache=True, keep_cache=keep_cache)

    def list_directory(self, handle: Handle, offset: int) -> Sequence[DirectoryEntry]:
        return listing.portion(self._directories.get(handle), offset, self._attributes)

    async def release_directory(self, handle: Handle) -> None:
        self._tree.uses.let_go(self._directories.remove(handle).inode)

    async def fsync_directory(self, ino: Ino) -> None:
        await self._tree.journal.synced()

"""The request handlers of pyfuse3: translate in, one call of the file system, translate out."""

import errno
import functools
import logging
import stat
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import pyfuse3
import trio
from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    FUSEError,
    InodeT,
    ModeT,
    ReaddirToken,
    RequestContext,
    SetattrFields,
    StatvfsData,
    XAttrNameT,
)

from mountfs.kernel import translate
from mountfs.kernel.begun_requests import BegunRequest
from mountfs.kernel.busy_directories import LOCKED, BusyDirectories
from mountfs.kernel.requests import Found, Opened, OpenedListing, OpenFiles, OpenReply, Requests
from mountfs.model.filesystem import Filesystem, Handle
from mountfs.model.ids import Ino

_P = ParamSpec("_P")
_R = TypeVar("_R")

_log = logging.getLogger(__name__)

REPEATABLE: Final = frozenset(
    {"lookup", "getattr", "readlink", "read", "opendir", "readdir", "statfs", "getxattr", "listxattr"}
)
"""What may be cancelled while it waits and begun anew: it changes nothing before its last wait."""


_Handler = Callable[Concatenate["Operations", _P], Coroutine[Any, Any, _R]]


def _answered(handler: _Handler[_P, _R]) -> _Handler[_P, _R]:
    """Count the request. The one exit for errors: pyfuse3's main loop would end by anything but FUSEError.

    A cancelled request is answered too: the kernel may hold a directory's lock for it, and a notice to
    the kernel may wait for that lock. The cancellation comes up again at the next checkpoint of its task.
    """

    name = handler.__name__
    lasting = name not in REPEATABLE
    locked = LOCKED.get(name, ())

    @functools.wraps(handler)
    async def guarded(self: "Operations", /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        begun, self.begun = self.begun, None
        began = self.requests.begin(name) if begun is None else begun.began
        self._lasting += lasting
        held = [args[index] for index in locked]
        self.busy.begin(held)
        try:
            if begun is not None:
                result: _R = await begun.rest()
                return result
            return await handler(self, *args, **kwargs)
        except trio.Cancelled:
            raise FUSEError(errno.EIO) from None
        except Exception as error:
            raise FUSEError(self.requests.failed(name, error)) from error
        finally:
            self.requests.end(name, began, args[0] if args else None)
            self.busy.end(held)
            self._lasting -= lasting
            if lasting and not self._lasting:
                self._settled.unpark_all()

    return guarded


class Operations(pyfuse3.Operations):
    """Hands each request to `filesystem`. Has no opinions."""

    supports_dot_lookup = False
    enable_writeback_cache = False  # it would own size and mtime, which are shared with other hosts

    def __init__(
        self,
        filesystem: Filesystem,
        open_files: OpenFiles | None = None,
        on_begin: Callable[[], None] | None = None,
    ) -> None:
        """`on_begin` is called as each request begins."""
        super().__init__()
        self._filesystem = filesystem
        self._open_files = open_files
        self.requests = Requests(filesystem, open_files, on_begin)
        self.begun: BegunRequest | None = None
        """The request whose handler pyfuse3 calls next, where it was begun already."""
        self.busy = BusyDirectories()
        self._lasting = 0
        self._settled = trio.lowlevel.ParkingLot()

    @property
    def is_settled(self) -> bool:
        """Whether every request that is being served could be begun anew by another process."""
        return not self._lasting

    async def wait_settled(self) -> None:
        """Return when it is so. Others that come meanwhile are waited for as well."""
        await trio.lowlevel.checkpoint()
        while self._lasting:
            await self._settled.park()

    @_answered
    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        return self.entry(await self.requests.lookup(Ino(parent_inode), name))

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        self.requests.forget(inode_list)

    @_answered
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        return self.entry(await self.requests.attributes(Ino(inode)))

    @_answered
    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        handle = None if fh is None else Handle(fh)
        change = translate.attribute_change(attr, fields)
        attributes = await self._filesystem.set_attributes(Ino(inode), change, handle)
        return translate.entry_attributes(attributes, self._filesystem.cache_times(attributes.ino))

    @_answered
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        return await self._filesystem.read_symlink(Ino(inode))

    @_answered
    async def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        caller = translate.caller(ctx)
        attributes = await self._filesystem.make_node(Ino(parent_inode), name, mode, rdev, caller)
        return translate.entry_attributes(attributes, self._filesystem.cache_times(attributes.ino))

    @_answered
    async def mkdir(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext
    ) -> EntryAttributes:
        bits, caller = stat.S_IMODE(mode), translate.caller(ctx)
        attributes = await self._filesystem.make_directory(Ino(parent_inode), name, bits, caller)
        return translate.entry_attributes(attributes, self._filesystem.cache_times(attributes.ino))

    @_answered
    async def symlink(
        self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        caller = translate.caller(ctx)
        attributes = await self._filesystem.make_symlink(Ino(parent_inode), name, target, caller)
        return translate.entry_attributes(attributes, self._filesystem.cache_times(attributes.ino))

    @_answered
    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        attributes = await self._filesystem.link(Ino(inode), Ino(new_parent_inode), new_name)
        return translate.entry_attributes(attributes, self._filesystem.cache_times(attributes.ino))

    @_answered
    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        await self._filesystem.unlink(Ino(parent_inode), name)

    @_answered
    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        await self._filesystem.remove_directory(Ino(parent_inode), name)

    @_answered
    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        flag = translate.rename_flag(flags)
        await self._filesystem.rename(Ino(parent_inode_old), name_old, Ino(parent_inode_new), name_new, flag)

    @_answered
    async def create(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        caller = translate.caller(ctx)
        return self.created(await self.requests.create(Ino(parent_inode), name, mode, flags, caller))

    @_answered
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        return self.opened(await self.requests.open(Ino(inode), flags))

    @_answered
    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        return await self._filesystem.read(Handle(fh), off, size)

    @_answered
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        return await self._filesystem.write(Handle(fh), off, buf)

    @_answered
    async def flush(self, fh: FileHandleT) -> None:
        await self._filesystem.flush(Handle(fh))

    @_answered
    async def release(self, fh: FileHandleT) -> None:
        await self.requests.release(Handle(fh))

    @_answered
    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        await self._filesystem.fsync(Handle(fh), data_only=datasync)

    @_answered
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        return self.opened_directory(await self.requests.open_directory(Ino(inode)))

    @_answered
    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        """Without a checkpoint: an entry is remembered before anything can happen to it."""
        times, offset = self._filesystem.cache_times(self.requests.directories[Handle(fh)]), start_id
        while entries := self._filesystem.list_directory(Handle(fh), offset):
            for entry in entries:
                attributes = translate.entry_attributes(entry.attributes, times)
                if not pyfuse3.readdir_reply(token, entry.name, attributes, entry.next_offset):
                    return
                if entry.name not in translate.DOTS:  # to these the kernel does not refer
                    self._filesystem.remember(entry.attributes.ino)
                offset = entry.next_offset

    @_answered
    async def releasedir(self, fh: FileHandleT) -> None:
        await self.requests.release_directory(Handle(fh))

    @_answered
    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        await self._filesystem.fsync_directory(self.requests.directories[Handle(fh)])

    @_answered
    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        return translate.statvfs_data(await self._filesystem.capacity())

    @_answered
    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        return await self._filesystem.get_xattr(Ino(inode), name)

    @_answered
    async def setxattr(self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: RequestContext) -> None:
        await self._filesystem.set_xattr(Ino(inode), name, value)

    @_answered
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[XAttrNameT]:
        return await self._filesystem.list_xattrs(Ino(inode))

    @_answered
    async def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> None:
        await self._filesystem.remove_xattr(Ino(inode), name)

    # Results in pyfuse3's words; those of opens to be called right before the handler returns them.

    def entry(self, found: Found) -> EntryAttributes:
        if found.attributes is None:
            return translate.missing_entry(found.times.missing_s)
        return translate.entry_attributes(found.attributes, found.times)

    def opened(self, opened: Opened) -> FileInfo:
        self._prepare(opened.file.handle, opened.reply)
        return translate.file_info(opened.file, in_passthrough=opened.in_passthrough)

    def created(self, what: tuple[Opened, Found]) -> tuple[FileInfo, EntryAttributes]:
        opened, found = what
        return self.opened(opened), self.entry(found)

    def opened_directory(self, listing: OpenedListing) -> FileHandleT:
        self._prepare(*listing)
        return listing.handle

    def _prepare(self, handle: Handle, reply: OpenReply | None) -> None:
        if reply is not None and self._open_files is not None:
            self._open_files.prepare(handle, reply)

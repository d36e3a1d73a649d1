"""The request handlers of pyfuse3: translate in, one call of the file system, translate out."""

import errno
import functools
import logging
import stat
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from time import perf_counter
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

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
from mountfs.kernel.errno_map import errno_for
from mountfs.model.errors import FileNotFound, MountfsError
from mountfs.model.filesystem import Filesystem, Handle, OpenedDirectory, OpenedFile
from mountfs.model.ids import Ino
from mountfs.rules.latency import Latencies

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

    @functools.wraps(handler)
    async def guarded(self: "Operations", /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        self.requests[name] += 1
        self._lasting += lasting
        if self._on_begin is not None:
            self._on_begin()
        began = perf_counter()
        try:
            return await handler(self, *args, **kwargs)
        except MountfsError as error:
            raise FUSEError(errno_for(error)) from error
        except trio.Cancelled:
            raise FUSEError(errno.EIO) from None
        except Exception as error:
            _log.exception("%s failed unexpectedly; the program gets EIO", name)
            raise FUSEError(errno.EIO) from error
        finally:
            if not (self._streams and name == "read" and args[0] in self._streams):
                self.latencies[name].observe(perf_counter() - began)
            self._lasting -= lasting
            if lasting and not self._lasting:
                self._settled.unpark_all()

    return guarded


class OpenFiles(Protocol):
    """Hears of opens, and of the releases of regular files; see `passthrough.PassthroughFiles`."""

    def opened(self, ino: Ino, opened: OpenedFile) -> bool: ...

    def released(self, handle: Handle) -> None: ...

    def directory_opened(self, opened: OpenedDirectory) -> None: ...


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
        """`on_begin` is called as each handler begins."""
        super().__init__()
        self._on_begin = on_begin
        self._filesystem = filesystem
        self._open_files = open_files
        self.requests: Counter[str] = Counter()
        """How many the kernel has made, by operation; locks are not counted."""
        self.latencies = Latencies()
        """How long each took from the handler's begin to its answer, by operation; reads of streams, which
        wait for something to happen, are left out."""
        self._streams: set[Handle] = set()
        self._directories: dict[Handle, Ino] = {}  # open ones: pyfuse3 tells no inode at fsyncdir
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

    def open_directories(self) -> tuple[tuple[Handle, Ino], ...]:
        return tuple(self._directories.items())

    def take_over(self, directories: Iterable[tuple[Handle, Ino]]) -> None:
        """Go on with what programs opened while another process served them."""
        self._directories.update(directories)

    @_answered
    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        times = self._filesystem.cache_times(Ino(parent_inode))
        try:
            attributes = await self._filesystem.lookup(Ino(parent_inode), name)
        except FileNotFound:
            if times.missing_s > 0:
                return translate.missing_entry(times.missing_s)
            raise
        return translate.entry_attributes(attributes, times)

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        self.requests["forget"] += 1
        try:
            self._filesystem.forget([(Ino(ino), count) for ino, count in inode_list])
        except Exception:
            _log.exception("forget failed unexpectedly; the inodes stay in memory")

    @_answered
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        attributes = await self._filesystem.attributes(Ino(inode))
        return translate.entry_attributes(attributes, self._filesystem.cache_times(Ino(inode)))

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
        bits, caller = stat.S_IMODE(mode), translate.caller(ctx)
        parent = Ino(parent_inode)
        if name == translate.UNNAMED:
            opened, attributes = await self._filesystem.create_unnamed(parent, bits, flags, caller)
        else:
            opened, attributes = await self._filesystem.create(parent, name, bits, flags, caller)
        times = self._filesystem.cache_times(parent)
        info = await self._answer(Ino(attributes.ino), opened)
        return info, translate.entry_attributes(attributes, times)

    @_answered
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        return await self._answer(Ino(inode), await self._filesystem.open(Ino(inode), flags))

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
        self._streams.discard(Handle(fh))
        if self._open_files:
            self._open_files.released(Handle(fh))
        await self._filesystem.release(Handle(fh))

    @_answered
    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        await self._filesystem.fsync(Handle(fh), data_only=datasync)

    @_answered
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        opened = await self._filesystem.open_directory(Ino(inode))
        self._directories[opened.handle] = Ino(inode)
        if self._open_files:
            self._open_files.directory_opened(opened)
        return opened.handle

    @_answered
    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        """Without a checkpoint: an entry is remembered before anything can happen to it."""
        times, offset = self._filesystem.cache_times(self._directories[Handle(fh)]), start_id
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
        self._directories.pop(Handle(fh), None)
        await self._filesystem.release_directory(Handle(fh))

    @_answered
    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        await self._filesystem.fsync_directory(self._directories[Handle(fh)])

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

    async def _answer(self, ino: Ino, opened: OpenedFile) -> FileInfo:
        """Without a checkpoint, unless the open fails: the kernel knows no handle then, so it is released."""
        if opened.stream:
            self._streams.add(opened.handle)
        if self._open_files is None:
            return translate.file_info(opened)
        try:
            in_passthrough = self._open_files.opened(ino, opened)
        except Exception:
            with trio.CancelScope(shield=True):
                await self._filesystem.release(opened.handle)
            raise
        return translate.file_info(opened, in_passthrough=in_passthrough)

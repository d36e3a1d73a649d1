"""What the requests of the kernel mean to the file system, whichever way they come and are answered."""

import errno
import logging
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import NamedTuple, Protocol

import trio

from mountfs.kernel import translate
from mountfs.kernel.errno_map import errno_for
from mountfs.model.errors import FileNotFound, MountfsError
from mountfs.model.filesystem import (
    Attributes,
    CacheTimes,
    Caller,
    Filesystem,
    Handle,
    OpenedDirectory,
    OpenedFile,
)
from mountfs.model.ids import Ino
from mountfs.rules.latency import Latencies

_log = logging.getLogger(__name__)


class OpenReply(NamedTuple):
    """What the answer to an open has that libfuse does not know of: FOPEN_ flags, and with a `backing_id`
    above 0 passthrough."""

    flags: int
    backing_id: int


class OpenFiles(Protocol):
    """Hears of opens, and of the releases of regular files; see `passthrough.PassthroughFiles`."""

    def opened(self, ino: Ino, opened: OpenedFile) -> OpenReply | None: ...

    def released(self, handle: Handle) -> None: ...

    def directory_opened(self, opened: OpenedDirectory) -> OpenReply | None: ...

    def prepare(self, handle: Handle, reply: OpenReply) -> None: ...


class Found(NamedTuple):
    """An entry, or None where there is none, and for how long the kernel may remember that."""

    attributes: Attributes | None
    times: CacheTimes


class Opened(NamedTuple):
    """An open file; `reply` is for the kernel."""

    file: OpenedFile
    reply: OpenReply | None

    @property
    def in_passthrough(self) -> bool:
        return self.reply is not None and self.reply.backing_id > 0


class OpenedListing(NamedTuple):
    """An open directory; `reply` is for the kernel."""

    handle: Handle
    reply: OpenReply | None


class Requests:
    """The calls of the file system that requests lead to, with what the kernel side keeps of open files."""

    def __init__(
        self, filesystem: Filesystem, open_files: OpenFiles | None, on_begin: Callable[[], None] | None
    ) -> None:
        """`on_begin` is called as each request begins."""
        self._filesystem = filesystem
        self._open_files = open_files
        self._on_begin = on_begin
        self.counts: Counter[str] = Counter()
        """How many the kernel has made, by operation; locks are not counted."""
        self.latencies = Latencies()
        """How long each took from its begin to its answer, by operation; reads of streams, which wait for
        something to happen, are left out."""
        self._streams: set[Handle] = set()
        self.directories: dict[Handle, Ino] = {}
        """Open ones, whose inode not every request on them tells."""

    def begin(self, name: str) -> float:
        """A request of this kind begins; return when, for `end`."""
        self.counts[name] += 1
        if self._on_begin is not None:
            self._on_begin()
        return perf_counter()

    def failed(self, name: str, error: Exception) -> int:
        """Return the errno of the answer; what is no error of ours is logged."""
        if isinstance(error, MountfsError):
            return errno_for(error)
        _log.error("%s failed unexpectedly; the program gets EIO", name, exc_info=error)
        return errno.EIO

    def end(self, name: str, began: float, argument: object) -> None:
        """A request is answered, whose first argument was `argument`."""
        if not (self._streams and name == "read" and argument in self._streams):
            self.latencies[name].observe(perf_counter() - began)

    async def lookup(self, parent: Ino, name: bytes) -> Found:
        """Raises FileNotFound where the kernel is not to remember that there is no such name."""
        times = self._filesystem.cache_times(parent)
        try:
            return Found(await self._filesystem.lookup(parent, name), times)
        except FileNotFound:
            if times.missing_s > 0:
                return Found(None, times)
            raise

    async def attributes(self, ino: Ino) -> Found:
        return Found(await self._filesystem.attributes(ino), self._filesystem.cache_times(ino))

    async def create(
        self, parent: Ino, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[Opened, Found]:
        bits = stat.S_IMODE(mode)
        if name == translate.UNNAMED:
            opened, attributes = await self._filesystem.create_unnamed(parent, bits, flags, caller)
        else:
            opened, attributes = await self._filesystem.create(parent, name, bits, flags, caller)
        times = self._filesystem.cache_times(parent)
        return await self._opened(Ino(attributes.ino), opened), Found(attributes, times)

    async def open(self, ino: Ino, flags: int) -> Opened:
        return await self._opened(ino, await self._filesystem.open(ino, flags))

    def forget(self, references: Iterable[tuple[int, int]]) -> None:
        self.counts["forget"] += 1
        try:
            self._filesystem.forget([(Ino(ino), count) for ino, count in references])
        except Exception:
            _log.exception("forget failed unexpectedly; the inodes stay in memory")

    async def release(self, handle: Handle) -> None:
        self._streams.discard(handle)
        if self._open_files:
            self._open_files.released(handle)
        await self._filesystem.release(handle)

    async def open_directory(self, ino: Ino) -> OpenedListing:
        opened = await self._filesystem.open_directory(ino)
        self.directories[opened.handle] = ino
        reply = None if self._open_files is None else self._open_files.directory_opened(opened)
        return OpenedListing(opened.handle, reply)

    async def release_directory(self, handle: Handle) -> None:
        self.directories.pop(handle, None)
        await self._filesystem.release_directory(handle)

    async def _opened(self, ino: Ino, opened: OpenedFile) -> Opened:
        """Without a checkpoint, unless the open fails: the kernel knows no handle then, so it is released."""
        if opened.stream:
            self._streams.add(opened.handle)
        if self._open_files is None:
            return Opened(opened, None)
        try:
            return Opened(opened, self._open_files.opened(ino, opened))
        except Exception:
            with trio.CancelScope(shield=True):
                await self._filesystem.release(opened.handle)
            raise

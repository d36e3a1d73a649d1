"""The port between the kernel side and the file system: what each file operation means.

The kernel side translates requests into these calls and their results back; it has no opinions. A call
raises `mountfs.model.errors`; every type there has one errno (`mountfs/kernel/errno_map.py`). A call that
is cancelled leaves the tree as if it had either not begun or ended. No call waits for the network without
a bound.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, NewType, Protocol

from mountfs.model.allocation import Allocation, SeekTarget
from mountfs.model.ids import Ino

Handle = NewType("Handle", int)
"""One open file or directory, as the kernel names it in later requests."""

LockOwner = NewType("LockOwner", int)
"""The kernel's name for the holder of locks: an open file description for flock and for open file description
locks, the descriptors of a process (its table of them) for the other record locks."""


class Attributes(NamedTuple):
    """What `stat` shows. `mode` includes the file type; times are in nanoseconds since the epoch.

    `blocks` are of 512 bytes, whatever the file system allocates at once. `volatile`: they may change without
    anybody telling the kernel, which has to ask each time.
    """

    ino: Ino
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    blocks: int = 0
    volatile: bool = False


class FilePart(NamedTuple):
    """Bytes in a file that the operating system has in memory. True until the task that was told comes to its
    next checkpoint."""

    descriptor: int
    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class AttributeChange:
    """The attributes that a setattr request sets; None leaves one as it is."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """The process behind a request, as far as new files depend on it. `umask` is applied by the kernel."""

    uid: int
    gid: int
    pid: int


@dataclass(frozen=True, slots=True)
class CacheTimes:
    """For how long the kernel may trust what it was told without asking, in seconds."""

    entry_s: float
    attributes_s: float
    missing_s: float


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """`keep_cache`: the pages that the kernel holds of this file are still true.

    backing: a descriptor, open for reading and writing, of the file with this inode's whole content. Where
    the kernel can, it serves reads and writes from that file, and the file system hears nothing of them. It
    stays the file system's own. Every open of an inode that is open already has to name the same file.
    no_flush: nothing is to be done when a program closes a descriptor of this file.
    uncached: the kernel is to keep nothing of it, and to go on reading until there is no more, whatever size
    the file shows. stream: it has no offsets.
    """

    handle: Handle
    keep_cache: bool
    backing: int | None = None
    no_flush: bool = False
    uncached: bool = False
    stream: bool = False


@dataclass(frozen=True, slots=True)
class OpenedDirectory:
    """`may_cache`: the kernel is told of every change of this directory, so it may answer listings by itself.
    `keep_cache`: what it holds of earlier listings is still true."""

    handle: Handle
    may_cache: bool = False
    keep_cache: bool = False


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """`next_offset` continues a listing behind this entry, also when entries come and go meanwhile."""

    name: bytes
    attributes: Attributes
    next_offset: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """For statfs. Sizes in bytes."""

    total_bytes: int
    free_bytes: int
    files: int
    files_free: int
    name_max: int = 255


class RenameFlag(Enum):
    REPLACE = "replace"
    NO_REPLACE = "no replace"
    EXCHANGE = "exchange"


class LockKind(Enum):
    SHARED = "shared"
    EXCLUSIVE = "exclusive"


LockWait = Callable[[], Awaitable[None]]
"""What is left to wait for of a call that takes a lock or gives one up. Raises what the call would."""


class LockFamily(Enum):
    """Locks of different families ignore each other."""

    FLOCK = "flock"
    RECORD = "record"
    """Of fcntl: on a range of bytes."""


class LockHolder(NamedTuple):
    """Who holds locks on a file; owners of different families may have the same number."""

    family: LockFamily
    owner: LockOwner


class ByteSpan(NamedTuple):
    """The bytes [start, end), which need not exist."""

    start: int
    end: int


WHOLE_FILE: Final = ByteSpan(0, 1 << 63)
"""Its end is behind the last byte that a file can have: a lock "to the end of the file" ends there."""


@dataclass(frozen=True, slots=True)
class RecordLock:
    """A lock of fcntl. `pid` is the process that asked for it, or one of those."""

    kind: LockKind
    span: ByteSpan
    pid: int

    def overlaps(self, span: ByteSpan) -> bool:
        return self.span.start < span.end and span.start < self.span.end

    def conflicts_with(self, other: "RecordLock") -> bool:
        """For locks of two owners."""
        both_shared = self.kind is LockKind.SHARED and other.kind is LockKind.SHARED
        return not both_shared and self.overlaps(other.span)

    def without(self, span: ByteSpan) -> "list[RecordLock]":
        """Return what is left of it: up to two locks."""
        left = ByteSpan(self.span.start, min(self.span.end, span.start))
        right = ByteSpan(max(self.span.start, span.end), self.span.end)
        return [RecordLock(self.kind, part, self.pid) for part in (left, right) if part.start < part.end]


class Filesystem(Protocol):
    """One mounted workspace. A successful lookup, create, mkdir, ... counts one kernel reference to the
    inode, given back by `forget`; so does each entry that a listing hands to the kernel (`remember`)."""

    def cache_times(self, ino: Ino) -> CacheTimes:
        """For the attributes of this inode, and for what is and is not below it where it is a directory."""
        ...

    async def lookup(self, parent: Ino, name: bytes) -> Attributes: ...

    def forget(self, references: Iterable[tuple[Ino, int]]) -> None: ...

    def remember(self, ino: Ino) -> None: ...

    async def attributes(self, ino: Ino) -> Attributes: ...

    async def set_attributes(
        self, ino: Ino, change: AttributeChange, handle: Handle | None
    ) -> Attributes: ...

    def clear_set_id(self, ino: Ino, caller: Caller) -> None:
        """What this caller is about to do to the file costs it its set-id bits; that call comes next."""
        ...

    async def read_symlink(self, ino: Ino) -> bytes: ...

    async def make_node(
        self, parent: Ino, name: bytes, mode: int, rdev: int, caller: Caller
    ) -> Attributes: ...

    async def make_directory(self, parent: Ino, name: bytes, mode: int, caller: Caller) -> Attributes: ...

    async def make_symlink(self, parent: Ino, name: bytes, target: bytes, caller: Caller) -> Attributes: ...

    async def unlink(self, parent: Ino, name: bytes) -> None: ...

    async def remove_directory(self, parent: Ino, name: bytes) -> None: ...

    async def link(self, ino: Ino, parent: Ino, name: bytes) -> Attributes:
        """Give a name to a file that was made by `create_unnamed`; OperationNotPermitted for all others."""
        ...

    async def rename(
        self, parent: Ino, name: bytes, new_parent: Ino, new_name: bytes, flag: RenameFlag
    ) -> None: ...

    async def create(
        self, parent: Ino, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[OpenedFile, Attributes]: ...

    async def create_unnamed(
        self, parent: Ino, mode: int, flags: int, caller: Caller
    ) -> tuple[OpenedFile, Attributes]:
        """Create a file that goes with its last use, on the file system of this directory."""
        ...

    async def open(self, ino: Ino, flags: int) -> OpenedFile: ...

    async def read(self, handle: Handle, offset: int, size: int) -> bytes: ...

    async def locate(self, handle: Handle, offset: int, size: int) -> bytes | FilePart:
        """As `read`, for whoever can do without a copy of what is read."""
        ...

    async def write(self, handle: Handle, offset: int, content: bytes) -> int: ...

    async def flush(self, handle: Handle) -> None: ...

    async def release(self, handle: Handle) -> None: ...

    async def fsync(self, handle: Handle, *, data_only: bool) -> None: ...

    async def allocate(self, handle: Handle, allocation: Allocation, caller: Caller) -> None: ...

    async def seek(self, handle: Handle, offset: int, target: SeekTarget) -> int:
        """Return where data, or a hole, begins from `offset` on. Raises NothingThere."""
        ...

    async def copy_range(
        self,
        source: Handle,
        source_offset: int,
        target: Handle,
        target_offset: int,
        size: int,
        caller: Caller,
    ) -> int:
        """Copy up to `size` bytes from file to file, and return how many; 0 only at the source's end."""
        ...

    async def open_directory(self, ino: Ino) -> OpenedDirectory: ...

    def list_directory(self, handle: Handle, offset: int) -> Sequence[DirectoryEntry]:
        """Return the entries behind `offset` (0: from the start), `.` and `..` first, at most a reasonable
        portion of them; empty at the end."""
        ...

    async def release_directory(self, handle: Handle) -> None: ...

    async def fsync_directory(self, ino: Ino) -> None: ...

    async def capacity(self) -> Capacity: ...

    async def get_xattr(self, ino: Ino, name: bytes) -> bytes: ...

    async def set_xattr(self, ino: Ino, name: bytes, value: bytes) -> None: ...

    async def list_xattrs(self, ino: Ino) -> Sequence[bytes]: ...

    async def remove_xattr(self, ino: Ino, name: bytes) -> None: ...

    def flock(
        self,
        ino: Ino,
        handle: Handle,
        owner: LockOwner,
        kind: LockKind | None,
        *,
        wait: bool,
        granted: Callable[[], None],
    ) -> LockWait | None:
        """Take, convert, or (`kind` None) give up the lock of `owner`, through its open file description.

        Returns None when that is done, else what has to be awaited until it is, at once and in any case: it
        waits as long as it takes; cancel it to give up waiting, which leaves no trace. `granted` is called
        as soon as a lock that is waited for is there, if ever: before the wait returns, and from whatever
        gave it up; from then on it is the owner's, also where the wait is cancelled.

        Unlocking what is not held is harmless. Raises WouldBlock where `wait` is false and the lock is held
        elsewhere, LeaseLost where the lock was lost since it was taken: until it is unlocked, which raises
        it once more, or the file is closed, everything through this description fails that way.
        """
        ...

    def drop_flock(self, ino: Ino, owner: LockOwner) -> None:
        """The open file description is gone: give its lock up, in the background, in order with later
        calls of `flock` for the same inode."""
        ...

    def lock_record(
        self,
        ino: Ino,
        handle: Handle,
        owner: LockOwner,
        lock: RecordLock,
        *,
        wait: bool,
        granted: Callable[[], None],
    ) -> LockWait | None:
        """Take a record lock, in place of what the owner has of its bytes; how that goes on is as with
        `flock`.

        Raises WouldBlock where `wait` is false and the bytes are locked elsewhere, WouldDeadlock where
        waiting would never end; what the owner has is left as it was then.
        """
        ...

    def unlock_record(self, ino: Ino, owner: LockOwner, span: ByteSpan) -> LockWait | None:
        """Give up what the owner has of these bytes; harmless where it has nothing. As with `flock`."""
        ...

    def conflicting_record(self, ino: Ino, owner: LockOwner, lock: RecordLock) -> RecordLock | None:
        """Return the lock of this mount that keeps the owner from taking `lock`, if there is one."""
        ...

    def drop_records(self, ino: Ino, owner: LockOwner) -> None:
        """A process closed a descriptor of the file: give up all record locks of `owner`, in the background,
        in order with later calls for the same inode."""
        ...

    def drop_records_of_handle(self, ino: Ino, handle: Handle) -> None:
        """The open file description is gone: as `drop_records`, for every owner who locked through it and
        closed no descriptor since."""
        ...


class KernelNotifier(Protocol):
    """Tells the kernel that what it cached is no longer true. Every method returns at once; the work is
    done in order by a thread. After `disarm` nothing is sent any more."""

    def attributes_changed(self, ino: Ino) -> None: ...

    def content_changed(self, ino: Ino) -> None:
        """Attributes and cached pages, those of mappings as well; what programs changed in such pages is
        written to us first. Takes as long as reads and writes of the file that are being served."""
        ...

    def entry_changed(self, parent: Ino, name: bytes) -> None: ...

    @property
    def can_expire_everything(self) -> bool:
        """Whether `everything_changed` does anything; known when the mount is there."""
        ...

    def everything_changed(self) -> None:
        """Every name that the kernel knows, and that a name is not there, is to be asked for again."""
        ...

    async def drained(self) -> bool:
        """Wait until all that was told before has reached the kernel; False where it did not within a
        bound."""
        ...

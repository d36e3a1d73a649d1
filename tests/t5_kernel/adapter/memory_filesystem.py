"""A whole file system in memory, as small as the port allows: the double under the adapter's tests."""

import errno
import itertools
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import trio

from mountfs.model.allocation import Allocation, AllocationKind, SeekTarget
from mountfs.model.errors import (
    AttributeMissing,
    DirectoryNotEmpty,
    FileExists,
    FileNotFound,
    HandleUnknown,
    IsADirectory,
    NotADirectory,
    NothingThere,
    OperationNotPermitted,
    OperationNotSupported,
    StorageError,
    WouldBlock,
)
from mountfs.model.filesystem import (
    AttributeChange,
    Attributes,
    ByteSpan,
    CacheTimes,
    Caller,
    Capacity,
    DirectoryEntry,
    FilePart,
    Handle,
    LockKind,
    LockOwner,
    LockWait,
    OpenedDirectory,
    OpenedFile,
    RecordLock,
    RenameFlag,
)
from mountfs.model.ids import ROOT_INO, Ino
from mountfs.model.interruption import interruptible, serving

PORTION = 64


@dataclass(eq=False)
class Node:
    ino: Ino
    mode: int
    rdev: int = 0
    uid: int = 0
    gid: int = 0
    content: bytearray = field(default_factory=bytearray)
    target: bytes = b""
    children: dict[bytes, "tuple[int, Node]"] = field(default_factory=dict)
    """Each entry has a number that is never used again: the offset behind it in a listing."""
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    is_stuck: bool = False
    size: int | None = None
    """Where the content lies elsewhere."""
    atime_ns: int = field(default_factory=time.time_ns)
    mtime_ns: int = field(default_factory=time.time_ns)
    ctime_ns: int = field(default_factory=time.time_ns)

    def attributes(self) -> Attributes:
        return Attributes(
            ino=self.ino,
            mode=self.mode,
            nlink=2 if stat.S_ISDIR(self.mode) else 1,
            uid=self.uid,
            gid=self.gid,
            rdev=self.rdev,
            size=len(self.target or self.content) if self.size is None else self.size,
            atime_ns=self.atime_ns,
            mtime_ns=self.mtime_ns,
            ctime_ns=self.ctime_ns,
            blocks=-(-len(self.content) // 512),
        )


@dataclass(eq=False)
class Lock:
    """Who holds the lock of one inode, and who waits, in order."""

    holders: dict[LockOwner, LockKind] = field(default_factory=dict)
    queue: deque[tuple[LockOwner, LockKind, trio.Event]] = field(default_factory=deque)

    def admits(self, owner: LockOwner, kind: LockKind) -> bool:
        others = [held for holder, held in self.holders.items() if holder != owner]
        return not others or (kind is LockKind.SHARED and LockKind.EXCLUSIVE not in others)

    def pass_on(self) -> None:
        while self.queue and self.admits(*self.queue[0][:2]):
            owner, kind, granted = self.queue.popleft()
            self.holders[owner] = kind
            granted.set()


class MemoryFilesystem:
    """Implements `Filesystem`. Requests hang that read a file named `stuck...`, create one named `never...`
    or remove such a directory; looking up `raises-a-bug` does what it says."""

    def __init__(self, times: CacheTimes | None = None) -> None:
        self.times = times or CacheTimes(entry_s=60.0, attributes_s=60.0, missing_s=0.0)
        self.root = Node(ROOT_INO, stat.S_IFDIR | 0o755)
        self.nodes: dict[Ino, Node] = {ROOT_INO: self.root}
        self.references: dict[Ino, int] = {}
        self.locks: dict[Ino, Lock] = {}
        self.dropped_locks = 0
        self.stuck_requests = 0
        self._freed = trio.Event()
        self.copied_for: list[int | None] = []
        """The programs whose requests copies were done for."""
        self.allocations: list[tuple[Allocation, Caller]] = []
        self.copies = 0
        self.cleared_set_ids: list[tuple[Ino, int]] = []
        self._numbers = itertools.count(2)
        self._handles: dict[Handle, Node] = {}

    def cache_times(self, ino: Ino) -> CacheTimes:
        return self.times

    async def lookup(self, parent: Ino, name: bytes) -> Attributes:
        if len(name) > 255:
            raise StorageError("too long", errno=errno.ENAMETOOLONG)
        if name == b"raises-a-bug":
            raise RuntimeError("a bug in the file system")
        return self._referenced(self._child(parent, name)[1])

    def forget(self, references: Iterable[tuple[Ino, int]]) -> None:
        for ino, count in references:
            self.references[ino] = self.references.get(ino, 0) - count

    def remember(self, ino: Ino) -> None:
        self.references[ino] = self.references.get(ino, 0) + 1

    async def attributes(self, ino: Ino) -> Attributes:
        return self.nodes[ino].attributes()

    async def set_attributes(self, ino: Ino, change: AttributeChange, handle: Handle | None) -> Attributes:
        node = self.nodes[ino]
        if change.mode is not None:
            node.mode = stat.S_IFMT(node.mode) | change.mode
        if change.size is not None:
            node.content[change.size :] = bytes(max(0, change.size - len(node.content)))
        node.uid = node.uid if change.uid is None else change.uid
        node.gid = node.gid if change.gid is None else change.gid
        node.atime_ns = node.atime_ns if change.atime_ns is None else change.atime_ns
        node.mtime_ns = node.mtime_ns if change.mtime_ns is None else change.mtime_ns
        return node.attributes()

    async def read_symlink(self, ino: Ino) -> bytes:
        return self.nodes[ino].target

    async def make_node(self, parent: Ino, name: bytes, mode: int, rdev: int, caller: Caller) -> Attributes:
        return self._referenced(self.add(parent, name, mode, caller=caller, rdev=rdev))

    async def make_directory(self, parent: Ino, name: bytes, mode: int, caller: Caller) -> Attributes:
        return self._referenced(self.add(parent, name, stat.S_IFDIR | mode, caller=caller))

    async def make_symlink(self, parent: Ino, name: bytes, target: bytes, caller: Caller) -> Attributes:
        node = self.add(parent, name, stat.S_IFLNK | 0o777, caller=caller)
        node.target = target
        return self._referenced(node)

    async def unlink(self, parent: Ino, name: bytes) -> None:
        if stat.S_ISDIR(self._child(parent, name)[1].mode):
            raise IsADirectory
        del self.nodes[parent].children[name]

    async def remove_directory(self, parent: Ino, name: bytes) -> None:
        node = self._child(parent, name)[1]
        if not stat.S_ISDIR(node.mode):
            raise NotADirectory
        if node.children:
            raise DirectoryNotEmpty
        if name.startswith(b"never"):
            await self._hang()
        del self.nodes[parent].children[name]

    async def rename(
        self, parent: Ino, name: bytes, new_parent: Ino, new_name: bytes, flag: RenameFlag
    ) -> None:
        entry = self._child(parent, name)
        replaced = self.nodes[new_parent].children.get(new_name)
        if flag is RenameFlag.NO_REPLACE and replaced:
            raise FileExists
        del self.nodes[parent].children[name]
        self.nodes[new_parent].children[new_name] = entry
        if flag is RenameFlag.EXCHANGE:
            if replaced is None:
                raise FileNotFound
            self.nodes[parent].children[name] = replaced

    async def create(
        self, parent: Ino, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[OpenedFile, Attributes]:
        if name.startswith(b"never"):
            await self._hang()
        node = self.add(parent, name, stat.S_IFREG | mode, caller=caller)
        return self._opened(node), self._referenced(node)

    async def create_unnamed(
        self, parent: Ino, mode: int, flags: int, caller: Caller
    ) -> tuple[OpenedFile, Attributes]:
        node = Node(Ino(next(self._numbers)), stat.S_IFREG | mode, uid=caller.uid, gid=caller.gid)
        self.nodes[node.ino] = node
        return self._opened(node), self._referenced(node)

    async def link(self, ino: Ino, parent: Ino, name: bytes) -> Attributes:
        raise OperationNotPermitted

    def clear_set_id(self, ino: Ino, caller: Caller) -> None:
        self.cleared_set_ids.append((ino, caller.uid))

    async def open(self, ino: Ino, flags: int) -> OpenedFile:
        if flags & os.O_TRUNC:
            self.nodes[ino].content.clear()
        return self._opened(self.nodes[ino])

    async def read(self, handle: Handle, offset: int, size: int) -> bytes:
        node = self._at(handle)
        if node.is_stuck:
            await self._hang()
        return bytes(node.content[offset : offset + size])

    async def locate(self, handle: Handle, offset: int, size: int) -> bytes | FilePart:
        return await self.read(handle, offset, size)

    async def write(self, handle: Handle, offset: int, content: bytes) -> int:
        target = self._at(handle).content
        target.extend(bytes(max(0, offset - len(target))))
        target[offset : offset + len(content)] = content
        return len(content)

    async def allocate(self, handle: Handle, allocation: Allocation, caller: Caller) -> None:
        node = self._at(handle)
        self.allocations.append((allocation, caller))
        if allocation.kind is not AllocationKind.RESERVE:
            end = min(allocation.end, len(node.content))
            node.content[allocation.start : end] = bytes(max(0, end - allocation.start))
        if not allocation.keeps_size:
            node.content.extend(bytes(max(0, allocation.end - len(node.content))))

    async def seek(self, handle: Handle, offset: int, target: SeekTarget) -> int:
        if offset >= len(self._at(handle).content):
            raise NothingThere
        return offset if target is SeekTarget.DATA else len(self._at(handle).content)

    async def copy_range(
        self,
        source: Handle,
        source_offset: int,
        target: Handle,
        target_offset: int,
        size: int,
        caller: Caller,
    ) -> int:
        request = serving.get()
        self.copied_for.append(request and request[2])
        if self._at(source).is_stuck:
            with interruptible(trio.CancelScope()):
                await self._hang()
        self.copies += 1
        content = bytes(self._at(source).content[source_offset : source_offset + size])
        return await self.write(target, target_offset, content)

    async def flush(self, handle: Handle) -> None:
        self._at(handle)

    async def release(self, handle: Handle) -> None:
        del self._handles[handle]

    async def fsync(self, handle: Handle, *, data_only: bool) -> None:
        self._at(handle)

    async def open_directory(self, ino: Ino) -> OpenedDirectory:
        return OpenedDirectory(self._opened(self.nodes[ino]).handle)

    def list_directory(self, handle: Handle, offset: int) -> Sequence[DirectoryEntry]:
        behind = (
            DirectoryEntry(name, node.attributes(), number)
            for name, (number, node) in self._at(handle).children.items()
            if number > offset
        )
        return list(itertools.islice(behind, PORTION))

    async def release_directory(self, handle: Handle) -> None:
        del self._handles[handle]

    async def fsync_directory(self, ino: Ino) -> None:
        if not stat.S_ISDIR(self.nodes[ino].mode):
            raise NotADirectory

    async def capacity(self) -> Capacity:
        return Capacity(total_bytes=1 << 40, free_bytes=1 << 39, files=1000, files_free=900)

    async def get_xattr(self, ino: Ino, name: bytes) -> bytes:
        if not name.startswith(b"user."):
            raise OperationNotSupported
        try:
            return self.nodes[ino].xattrs[name]
        except KeyError:
            raise AttributeMissing from None

    async def set_xattr(self, ino: Ino, name: bytes, value: bytes) -> None:
        self.nodes[ino].xattrs[name] = value

    async def list_xattrs(self, ino: Ino) -> Sequence[bytes]:
        return list(self.nodes[ino].xattrs)

    async def remove_xattr(self, ino: Ino, name: bytes) -> None:
        await self.get_xattr(ino, name)
        del self.nodes[ino].xattrs[name]

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
        lock = self.locks.setdefault(ino, Lock())
        if kind is None:
            self._unlock(ino, owner)
        elif not lock.queue and lock.admits(owner, kind):
            lock.holders[owner] = kind
        elif not wait:
            raise WouldBlock
        else:
            return partial(self._wait_for, ino, lock, owner, kind)
        return None

    def drop_flock(self, ino: Ino, owner: LockOwner) -> None:
        self.dropped_locks += 1
        self._unlock(ino, owner)

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
        raise OperationNotSupported("record locks")

    def unlock_record(self, ino: Ino, owner: LockOwner, span: ByteSpan) -> LockWait | None:
        return None

    def conflicting_record(self, ino: Ino, owner: LockOwner, lock: RecordLock) -> RecordLock | None:
        return None

    def drop_records(self, ino: Ino, owner: LockOwner) -> None:
        pass

    def drop_records_of_handle(self, ino: Ino, handle: Handle) -> None:
        pass

    def add(
        self, parent: Ino, name: bytes, mode: int, *, caller: Caller | None = None, rdev: int = 0
    ) -> Node:
        """Create a node from outside, as another host would: the kernel is not told."""
        if name in self.nodes[parent].children:
            raise FileExists
        node = Node(Ino(next(self._numbers)), mode, rdev, is_stuck=name.startswith(b"stuck"))
        if caller:
            node.uid, node.gid = caller.uid, caller.gid
        self.nodes[node.ino] = node
        self.nodes[parent].children[name] = (next(self._numbers), node)
        return node

    async def _hang(self) -> None:
        self.stuck_requests += 1
        try:
            await self._freed.wait()
        finally:
            self.stuck_requests -= 1

    def free(self) -> None:
        """What hangs goes on."""
        self._freed.set()

    async def _wait_for(self, ino: Ino, lock: Lock, owner: LockOwner, kind: LockKind) -> None:
        self._unlock(ino, owner)  # a conversion is not atomic
        waiter = (owner, kind, trio.Event())
        lock.queue.append(waiter)
        try:
            await waiter[2].wait()
        except trio.Cancelled:
            if waiter in lock.queue:
                lock.queue.remove(waiter)
            else:
                self._unlock(ino, owner)
            lock.pass_on()
            raise

    def _unlock(self, ino: Ino, owner: LockOwner) -> None:
        if lock := self.locks.get(ino):
            lock.holders.pop(owner, None)
            lock.pass_on()

    def _child(self, parent: Ino, name: bytes) -> tuple[int, Node]:
        try:
            return self.nodes[parent].children[name]
        except KeyError:
            raise FileNotFound from None

    def _referenced(self, node: Node) -> Attributes:
        self.remember(node.ino)
        return node.attributes()

    def _opened(self, node: Node) -> OpenedFile:
        handle = Handle(next(self._numbers))
        self._handles[handle] = node
        return OpenedFile(handle, keep_cache=True)

    def _at(self, handle: Handle) -> Node:
        try:
            return self._handles[handle]
        except KeyError:
            raise HandleUnknown from None

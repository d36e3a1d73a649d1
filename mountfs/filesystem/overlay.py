"""A file system with a virtual directory in its root; implements `mountfs.model.filesystem.Filesystem`.

Each operation goes on to one of the two by the number of its inode or handle. The methods that do are no
coroutines of their own, so that what does not concern the virtual directory costs a call and a comparison.
An entry of the workspace that has the directory's name is hidden behind it, and untouched.
"""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

from mountfs.filesystem import virtual_tree
from mountfs.filesystem.virtual_tree import FIRST, VirtualTree
from mountfs.model.allocation import Allocation, SeekTarget
from mountfs.model.errors import AttributeMissing, OperationNotSupported, ReadOnlyMount
from mountfs.model.filesystem import (
    AttributeChange,
    Attributes,
    ByteSpan,
    CacheTimes,
    Caller,
    Capacity,
    DirectoryEntry,
    FilePart,
    Filesystem,
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
from mountfs.model.succession import VirtualNumbers

_T = TypeVar("_T")
_Answer = Coroutine[Any, Any, _T]


async def _read_only() -> NoReturn:
    raise ReadOnlyMount


async def _no_attribute() -> NoReturn:
    raise AttributeMissing


async def _no_attributes() -> Sequence[bytes]:
    return []


async def _not_supported() -> NoReturn:
    raise OperationNotSupported


async def _nothing() -> None:
    return None


class OverlaidFilesystem:
    """`listed`: whether a listing of the root shows the virtual directory."""

    def __init__(self, inner: Filesystem, virtual: VirtualTree, *, name: bytes, listed: bool) -> None:
        self._inner = inner
        self._virtual = virtual
        self._name = name
        self._listed = listed
        self._listings_of_root: set[Handle] = set()

    def numbers(self) -> VirtualNumbers:
        return self._virtual.numbers()

    def go_on(self, numbers: VirtualNumbers, listings: Iterable[tuple[Handle, Ino]]) -> None:
        """Another process served the mount before, gave these numbers, and left these directories open. What
        is open in the virtual directory has to be opened anew."""
        self._virtual.go_on(numbers)
        self._listings_of_root.update(handle for handle, ino in listings if ino == ROOT_INO)

    def _is_fixed(self, parent: Ino, name: bytes) -> bool:
        """Tell whether nothing can be made, changed or removed under this name."""
        return parent >= FIRST or (name == self._name and parent == ROOT_INO)

    # Names.

    def cache_times(self, ino: Ino) -> CacheTimes:
        return virtual_tree.TIMES if ino >= FIRST else self._inner.cache_times(ino)

    def lookup(self, parent: Ino, name: bytes) -> _Answer[Attributes]:
        if parent >= FIRST:
            return self._virtual.lookup(parent, name)
        if name == self._name and parent == ROOT_INO:
            return self._virtual.top_attributes()
        return self._inner.lookup(parent, name)

    def forget(self, references: Iterable[tuple[Ino, int]]) -> None:
        references = list(references)
        for ino, count in references:
            if ino >= FIRST:
                self._virtual.forget(ino, count)
        self._inner.forget(reference for reference in references if reference[0] < FIRST)

    def remember(self, ino: Ino) -> None:
        (self._virtual if ino >= FIRST else self._inner).remember(ino)

    def attributes(self, ino: Ino) -> _Answer[Attributes]:
        return (self._virtual if ino >= FIRST else self._inner).attributes(ino)

    def set_attributes(self, ino: Ino, change: AttributeChange, handle: Handle | None) -> _Answer[Attributes]:
        return _read_only() if ino >= FIRST else self._inner.set_attributes(ino, change, handle)

    def clear_set_id(self, ino: Ino, caller: Caller) -> None:
        if ino < FIRST:
            self._inner.clear_set_id(ino, caller)

    def read_symlink(self, ino: Ino) -> _Answer[bytes]:
        return self._inner.read_symlink(ino)

    def make_node(
        self, parent: Ino, name: bytes, mode: int, rdev: int, caller: Caller
    ) -> _Answer[Attributes]:
        if self._is_fixed(parent, name):
            return _read_only()
        return self._inner.make_node(parent, name, mode, rdev, caller)

    def make_directory(self, parent: Ino, name: bytes, mode: int, caller: Caller) -> _Answer[Attributes]:
        if self._is_fixed(parent, name):
            return _read_only()
        return self._inner.make_directory(parent, name, mode, caller)

    def make_symlink(self, parent: Ino, name: bytes, target: bytes, caller: Caller) -> _Answer[Attributes]:
        if self._is_fixed(parent, name):
            return _read_only()
        return self._inner.make_symlink(parent, name, target, caller)

    def unlink(self, parent: Ino, name: bytes) -> _Answer[None]:
        return _read_only() if self._is_fixed(parent, name) else self._inner.unlink(parent, name)

    def remove_directory(self, parent: Ino, name: bytes) -> _Answer[None]:
        return _read_only() if self._is_fixed(parent, name) else self._inner.remove_directory(parent, name)

    def link(self, ino: Ino, parent: Ino, name: bytes) -> _Answer[Attributes]:
        if ino >= FIRST or self._is_fixed(parent, name):
            return _read_only()
        return self._inner.link(ino, parent, name)

    def rename(
        self, parent: Ino, name: bytes, new_parent: Ino, new_name: bytes, flag: RenameFlag
    ) -> _Answer[None]:
        if self._is_fixed(parent, name) or self._is_fixed(new_parent, new_name):
            return _read_only()
        return self._inner.rename(parent, name, new_parent, new_name, flag)

    # Files.

    def create(
        self, parent: Ino, name: bytes, mode: int, flags: int, caller: Caller
    ) -> _Answer[tuple[OpenedFile, Attributes]]:
        if self._is_fixed(parent, name):
            return _read_only()
        return self._inner.create(parent, name, mode, flags, caller)

    def create_unnamed(
        self, parent: Ino, mode: int, flags: int, caller: Caller
    ) -> _Answer[tuple[OpenedFile, Attributes]]:
        if parent >= FIRST:
            return _read_only()
        return self._inner.create_unnamed(parent, mode, flags, caller)

    def open(self, ino: Ino, flags: int) -> _Answer[OpenedFile]:
        return (self._virtual if ino >= FIRST else self._inner).open(ino, flags)

    def read(self, handle: Handle, offset: int, size: int) -> _Answer[bytes]:
        return (self._virtual if handle >= FIRST else self._inner).read(handle, offset, size)

    def locate(self, handle: Handle, offset: int, size: int) -> _Answer[bytes | FilePart]:
        if handle >= FIRST:
            return self._virtual.read(handle, offset, size)
        return self._inner.locate(handle, offset, size)

    def write(self, handle: Handle, offset: int, content: bytes) -> _Answer[int]:
        return self._inner.write(handle, offset, content)

    def flush(self, handle: Handle) -> _Answer[None]:
        return _nothing() if handle >= FIRST else self._inner.flush(handle)

    def release(self, handle: Handle) -> _Answer[None]:
        return (self._virtual if handle >= FIRST else self._inner).release(handle)

    def fsync(self, handle: Handle, *, data_only: bool) -> _Answer[None]:
        return _nothing() if handle >= FIRST else self._inner.fsync(handle, data_only=data_only)

    def allocate(self, handle: Handle, allocation: Allocation, caller: Caller) -> _Answer[None]:
        return _read_only() if handle >= FIRST else self._inner.allocate(handle, allocation, caller)

    def seek(self, handle: Handle, offset: int, target: SeekTarget) -> _Answer[int]:
        return _not_supported() if handle >= FIRST else self._inner.seek(handle, offset, target)

    def copy_range(
        self,
        source: Handle,
        source_offset: int,
        target: Handle,
        target_offset: int,
        size: int,
        caller: Caller,
    ) -> _Answer[int]:
        if source >= FIRST:
            return _not_supported()  # programs read and write then
        return self._inner.copy_range(source, source_offset, target, target_offset, size, caller)

    # Directories.

    def open_directory(self, ino: Ino) -> _Answer[OpenedDirectory]:
        if ino >= FIRST:
            return self._virtual.open_directory(ino)
        return self._open_root() if ino == ROOT_INO else self._inner.open_directory(ino)

    async def _open_root(self) -> OpenedDirectory:
        opened = await self._inner.open_directory(ROOT_INO)
        self._listings_of_root.add(opened.handle)
        return opened

    def list_directory(self, handle: Handle, offset: int) -> Sequence[DirectoryEntry]:
        if handle >= FIRST:
            return self._virtual.list_directory(handle, offset)
        if handle in self._listings_of_root:
            return self._list_root(handle, offset)
        return self._inner.list_directory(handle, offset)

    def _list_root(self, handle: Handle, offset: int) -> Sequence[DirectoryEntry]:
        """What the workspace has under the directory's name is left out; the directory, if shown, is last."""
        if offset >= FIRST:
            return []
        while entries := self._inner.list_directory(handle, offset):
            shown = [entry for entry in entries if entry.name != self._name]
            if shown:
                return shown
            offset = entries[-1].next_offset
        return [self._virtual.listed_top(FIRST)] if self._listed else []

    async def _release_root(self, handle: Handle) -> None:
        self._listings_of_root.discard(handle)
        await self._inner.release_directory(handle)

    def release_directory(self, handle: Handle) -> _Answer[None]:
        if handle in self._listings_of_root:
            return self._release_root(handle)
        return (self._virtual if handle >= FIRST else self._inner).release_directory(handle)

    def fsync_directory(self, ino: Ino) -> _Answer[None]:
        return _nothing() if ino >= FIRST else self._inner.fsync_directory(ino)

    # Attributes beside those of stat.

    def capacity(self) -> _Answer[Capacity]:
        return self._inner.capacity()

    def get_xattr(self, ino: Ino, name: bytes) -> _Answer[bytes]:
        return _no_attribute() if ino >= FIRST else self._inner.get_xattr(ino, name)

    def set_xattr(self, ino: Ino, name: bytes, value: bytes) -> _Answer[None]:
        return _read_only() if ino >= FIRST else self._inner.set_xattr(ino, name, value)

    def list_xattrs(self, ino: Ino) -> _Answer[Sequence[bytes]]:
        return _no_attributes() if ino >= FIRST else self._inner.list_xattrs(ino)

    def remove_xattr(self, ino: Ino, name: bytes) -> _Answer[None]:
        return _read_only() if ino >= FIRST else self._inner.remove_xattr(ino, name)

    # Locks.

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
        if ino >= FIRST:
            raise OperationNotSupported
        return self._inner.flock(ino, handle, owner, kind, wait=wait, granted=granted)

    def drop_flock(self, ino: Ino, owner: LockOwner) -> None:
        if ino < FIRST:
            self._inner.drop_flock(ino, owner)

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
        if ino >= FIRST:
            raise OperationNotSupported
        return self._inner.lock_record(ino, handle, owner, lock, wait=wait, granted=granted)

    def unlock_record(self, ino: Ino, owner: LockOwner, span: ByteSpan) -> LockWait | None:
        return None if ino >= FIRST else self._inner.unlock_record(ino, owner, span)

    def conflicting_record(self, ino: Ino, owner: LockOwner, lock: RecordLock) -> RecordLock | None:
        return None if ino >= FIRST else self._inner.conflicting_record(ino, owner, lock)

    def drop_records(self, ino: Ino, owner: LockOwner) -> None:
        if ino < FIRST:
            self._inner.drop_records(ino, owner)

    def drop_records_of_handle(self, ino: Ino, handle: Handle) -> None:
        if ino < FIRST:
            self._inner.drop_records_of_handle(ino, handle)

"""File operations on what exists only in the mount; see `mountfs.model.virtual`."""

import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mountfs.model.errors import (
    FileNotFound,
    HandleUnknown,
    IsADirectory,
    NotADirectory,
    ReadOnlyMount,
)
from mountfs.model.filesystem import (
    Attributes,
    CacheTimes,
    DirectoryEntry,
    Handle,
    OpenedDirectory,
    OpenedFile,
)
from mountfs.model.ids import ROOT_INO, Ino
from mountfs.model.succession import VirtualNumbers
from mountfs.model.virtual import VirtualContent, VirtualDirectory, VirtualNode

FIRST: Final = 1 << 62
"""Inode and handle numbers from here on are those of the virtual tree: the journal counts from one."""

TOP: Final = Ino(FIRST)

TIMES: Final = CacheTimes(entry_s=1.0, attributes_s=1.0, missing_s=0.0)
"""Nobody tells the kernel when something changes here."""

_DOTS: Final = 2
_PORTION: Final = 256


@dataclass(slots=True, eq=False)
class _Known:
    """What a path was found to be when it was last asked for. `lookups`: references of the kernel."""

    ino: Ino
    parent: Ino
    name: bytes
    node: VirtualNode
    lookups: int = 0


@dataclass(slots=True)
class _Listing:
    """An open directory, with what it showed when it was opened."""

    ino: Ino
    entries: list[_Known]


class VirtualTree:
    """One directory and all below it. Numbers are given to paths when they are asked for, and taken back
    when the kernel forgets them: memory holds no more than the kernel does."""

    def __init__(self, top: VirtualDirectory, *, name: bytes, uid: int, gid: int) -> None:
        self._uid = uid
        self._gid = gid
        self._began_ns = time.time_ns()
        self._top = _Known(TOP, ROOT_INO, name, top)
        self._known: dict[Ino, _Known] = {TOP: self._top}
        self._by_name: dict[tuple[Ino, bytes], _Known] = {}
        self._last_ino = FIRST
        self._last_handle = FIRST
        self._files: dict[Handle, VirtualContent] = {}
        self._listings: dict[Handle, _Listing] = {}

    def __len__(self) -> int:
        return len(self._known)

    def numbers(self) -> VirtualNumbers:
        return VirtualNumbers(Ino(self._last_ino), Handle(self._last_handle))

    def go_on(self, numbers: VirtualNumbers) -> None:
        """Give higher numbers only than another process did: the kernel may still ask for those."""
        self._last_ino, self._last_handle = numbers.last_ino, numbers.last_handle

    # Names.

    async def top_attributes(self) -> Attributes:
        """Count a reference to the top, as `lookup` does."""
        return self._referred(self._top)

    def listed_top(self, next_offset: int) -> DirectoryEntry:
        return DirectoryEntry(self._top.name, self._attributes(self._top), next_offset)

    async def lookup(self, parent: Ino, name: bytes) -> Attributes:
        node = await self._directory(parent).find(name)
        return self._referred(self._note(parent, name, node))

    def _note(self, parent: Ino, name: bytes, node: VirtualNode) -> _Known:
        known = self._by_name.get((parent, name))
        if known is None or _is_directory(known.node) != _is_directory(node):
            self._last_ino += 1
            known = _Known(Ino(self._last_ino), parent, name, node)
            self._known[known.ino] = self._by_name[parent, name] = known
        known.node = node
        return known

    def _referred(self, known: _Known) -> Attributes:
        known.lookups += 1
        return self._attributes(known)

    def remember(self, ino: Ino) -> None:
        self._get(ino).lookups += 1

    def forget(self, ino: Ino, count: int) -> None:
        known = self._known.get(ino)
        if known is not None:
            known.lookups = max(known.lookups - count, 0)
            self._drop_if_unknown(known)

    def _drop_if_unknown(self, known: _Known) -> None:
        if known.lookups or known is self._top:
            return
        self._known.pop(known.ino, None)
        if self._by_name.get((known.parent, known.name)) is known:
            del self._by_name[known.parent, known.name]

    def _get(self, ino: Ino) -> _Known:
        try:
            return self._known[ino]
        except KeyError:
            raise FileNotFound(f"inode {ino}") from None

    def _directory(self, ino: Ino) -> VirtualDirectory:
        node = self._get(ino).node
        if not isinstance(node, VirtualDirectory):
            raise NotADirectory
        return node

    # Attributes.

    async def attributes(self, ino: Ino) -> Attributes:
        return self._attributes(self._get(ino))

    def _attributes(self, known: _Known) -> Attributes:
        look, is_directory = known.node.look, _is_directory(known.node)
        usual = 0o555 if is_directory else 0o444
        bits = usual if look.permissions is None else look.permissions & usual
        when = look.mtime_ns or self._began_ns
        uid, gid = look.owner or (self._uid, self._gid)
        return Attributes(
            ino=known.ino,
            mode=(stat.S_IFDIR if is_directory else stat.S_IFREG) | bits,
            nlink=1,
            uid=uid,
            gid=gid,
            rdev=0,
            size=look.size,
            atime_ns=when,
            mtime_ns=when,
            ctime_ns=when,
        )

    # Files.

    async def open(self, ino: Ino, flags: int) -> OpenedFile:
        node = self._get(ino).node
        if isinstance(node, VirtualDirectory):
            raise IsADirectory
        if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
            raise ReadOnlyMount
        content = await node.open(flags)
        handle = self._new_handle()
        self._files[handle] = content
        fixed = node.look.fixed
        return OpenedFile(handle, keep_cache=fixed, uncached=not fixed, stream=content.is_stream)

    def _new_handle(self) -> Handle:
        self._last_handle += 1
        return Handle(self._last_handle)

    async def read(self, handle: Handle, offset: int, size: int) -> bytes:
        try:
            content = self._files[handle]
        except KeyError:
            raise HandleUnknown(f"handle {handle}") from None
        return await content.read(offset, size)

    async def release(self, handle: Handle) -> None:
        content = self._files.pop(handle, None)
        if content is not None:
            content.close()

    # Directories.

    async def open_directory(self, ino: Ino) -> OpenedDirectory:
        found = await self._directory(ino).entries()
        handle = self._new_handle()
        entries = [self._note(ino, name, node) for name, node in found]
        for known in entries:
            known.lookups += 1  # so that a number that is shown stays known
        self._listings[handle] = _Listing(ino, entries)
        return OpenedDirectory(handle)

    def list_directory(self, handle: Handle, offset: int) -> Sequence[DirectoryEntry]:
        """`..` of the top is shown with the attributes of the top itself: only its number counts."""
        try:
            listing = self._listings[handle]
        except KeyError:
            raise HandleUnknown(f"handle {handle}") from None
        here = self._get(listing.ino)
        if offset < _DOTS:
            above = self._known.get(here.parent, here)
            name, known = ((b".", here), (b"..", above))[offset]
            return [DirectoryEntry(name, self._attributes(known), offset + 1)]
        begin = offset - _DOTS
        portion = listing.entries[begin : begin + _PORTION]
        return [
            DirectoryEntry(known.name, self._attributes(known), begin + _DOTS + count)
            for count, known in enumerate(portion, start=1)
        ]

    async def release_directory(self, handle: Handle) -> None:
        listing = self._listings.pop(handle, None)
        if listing is not None:
            for known in listing.entries:
                self.forget(known.ino, 1)


def _is_directory(node: VirtualNode) -> bool:
    return isinstance(node, VirtualDirectory)

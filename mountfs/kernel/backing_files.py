"""Which opens the kernel may serve from a backing file by itself. Decides and remembers; calls nothing.

The kernel's rules: while an inode is open in passthrough, every open of it has to be, with the same backing
file; while it is open the ordinary way, none may be. It fails an open that breaks them with EIO. It forgets
a handle before it asks for its release, so what is remembered here errs only to the safe side.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import NewType

from mountfs.model.filesystem import Handle
from mountfs.model.ids import Ino
from mountfs.model.succession import BackedInode

BackingId = NewType("BackingId", int)
"""The kernel's name for a backing file, valid in one mount; above 0."""

FileIdentity = tuple[int, int]
"""Device and inode number of a backing file."""


class OpenMode(Enum):
    ORDINARY = "ordinary"
    SHARED = "shared"
    """In passthrough, with the id that earlier opens use."""
    FIRST = "first"
    """In passthrough, with an id that has to be made."""


class BackingDiffers(Exception):
    """The inode is open in passthrough with another backing file."""


@dataclass(slots=True)
class _OpenInode:
    backing: BackingId | None
    identity: FileIdentity | None
    handles: set[Handle] = field(default_factory=set)


class BackingFiles:
    """The open handles of regular files, by inode, and the backing id of each inode that has one."""

    def __init__(self) -> None:
        self._inodes: dict[Ino, _OpenInode] = {}
        self._by_handle: dict[Handle, Ino] = {}

    @property
    def open_ids(self) -> int:
        return sum(inode.backing is not None for inode in self._inodes.values())

    def mode(self, ino: Ino, wanted: FileIdentity | None) -> OpenMode:
        """Which mode an open may use whose file system offers the file `wanted`, or none.

        Raises BackingDiffers where no mode is possible.
        """
        inode = self._inodes.get(ino)
        if inode is None:
            return OpenMode.ORDINARY if wanted is None else OpenMode.FIRST
        if inode.backing is None:
            return OpenMode.ORDINARY
        if wanted is not None and wanted != inode.identity:
            raise BackingDiffers(f"inode {ino} is open in passthrough with another file than {wanted}")
        return OpenMode.SHARED

    def opened_ordinary(self, ino: Ino, handle: Handle) -> None:
        self._add(ino, handle, _OpenInode(None, None))

    def opened_first(self, ino: Ino, handle: Handle, backing: BackingId, identity: FileIdentity) -> None:
        self._add(ino, handle, _OpenInode(backing, identity))

    def opened_shared(self, ino: Ino, handle: Handle) -> BackingId:
        inode = self._inodes[ino]
        assert inode.backing is not None
        self._add(ino, handle, inode)
        return inode.backing

    def released(self, handle: Handle) -> BackingId | None:
        """Return the id that nobody uses any more."""
        ino = self._by_handle.pop(handle, None)
        if ino is None:
            return None
        inode = self._inodes[ino]
        inode.handles.remove(handle)
        if inode.handles:
            return None
        del self._inodes[ino]
        return inode.backing

    def handed_over(self) -> tuple[BackedInode, ...]:
        return tuple(
            BackedInode(ino, each.backing, each.identity, tuple(sorted(each.handles)))
            for ino, each in self._inodes.items()
        )

    def take_over(self, backed: Iterable[BackedInode]) -> None:
        """Go on from what another process handed over, before the first open."""
        for each in backed:
            backing = None if each.backing is None else BackingId(each.backing)
            self._inodes[each.ino] = _OpenInode(backing, each.identity, set(each.handles))
            self._by_handle.update(dict.fromkeys(each.handles, each.ino))

    def _add(self, ino: Ino, handle: Handle, new: _OpenInode) -> None:
        self._inodes.setdefault(ino, new).handles.add(handle)
        self._by_handle[handle] = ino

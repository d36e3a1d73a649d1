"""Open files and directories."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mountfs.model.errors import HandleUnknown
from mountfs.model.filesystem import Handle
from mountfs.rules.read_plan import ReadAhead
from mountfs.tree.inode import Inode


@dataclass(slots=True)
class OpenFile:
    """`direct`: the kernel serves it from the cache file by itself. `mappable`: mappings may be written."""

    inode: Inode
    writing: bool
    mappable: bool
    direct: bool
    ahead: ReadAhead = field(default_factory=ReadAhead)


@dataclass(slots=True)
class OpenDirectory:
    """`entries` is what a listing from the start saw, by inode number: they never come again, so a listing
    that goes on behind one shows nothing twice and loses nothing, whatever comes and goes meanwhile."""

    inode: Inode
    entries: list[Inode] = field(default_factory=list)


T = TypeVar("T")


class HandleTable(Generic[T]):
    """Numbers for what is open."""

    def __init__(self) -> None:
        self._open: dict[Handle, T] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[T]:
        return iter(self._open.values())

    def items(self) -> Iterable[tuple[Handle, T]]:
        return self._open.items()

    @property
    def last(self) -> Handle:
        """The highest number that was given."""
        return Handle(self._last)

    def go_on(self, opened: Iterable[tuple[Handle, T]], last: Handle) -> None:
        """Have open what another process opened, under the same numbers, and give only higher ones."""
        self._open.update(opened)
        self._last = last

    def add(self, opened: T) -> Handle:
        self._last += 1
        handle = Handle(self._last)
        self._open[handle] = opened
        return handle

    def get(self, handle: Handle) -> T:
        """Raises HandleUnknown."""
        try:
            return self._open[handle]
        except KeyError:
            raise HandleUnknown(f"handle {handle}") from None

    def remove(self, handle: Handle) -> T:
        """Raises HandleUnknown."""
        opened = self.get(handle)
        del self._open[handle]
        return opened


def is_writing(flags: int) -> bool:
    """Tell whether who opens with these flags may write."""
    return flags & os.O_ACCMODE != os.O_RDONLY


def is_mappable(flags: int) -> bool:
    """Tell whether a shared mapping by a descriptor that was opened so may be written to."""
    return flags & os.O_ACCMODE == os.O_RDWR

"""A directory's entries, portion by portion, while entries come and go."""

import bisect
from collections.abc import Callable
from typing import Final

from mountfs.filesystem.handles import OpenDirectory
from mountfs.model.filesystem import Attributes, DirectoryEntry
from mountfs.tree.inode import Inode

PORTION: Final = 256
"""More entries than one request of the kernel takes."""

DOTS: Final = 2
"""`.` and `..` have the first offsets of a listing; each other entry has its inode number behind them."""


def portion(
    directory: OpenDirectory, offset: int, attributes: Callable[[Inode], Attributes]
) -> list[DirectoryEntry]:
    """Return entries behind this offset (0: from the start, as things are now); none only at the end."""
    here = directory.inode
    if offset == 0:
        directory.entries = sorted(here.children.values(), key=lambda child: child.ino)
    if offset < DOTS:
        dots = ((b".", here), (b"..", here.parent or here))[offset:]
        return [DirectoryEntry(name, attributes(inode), offset + 1) for name, inode in dots[:1]]
    begin = bisect.bisect_right(directory.entries, offset - DOTS, key=lambda child: child.ino)
    found: list[DirectoryEntry] = []
    while not found and begin < len(directory.entries):
        found = [
            DirectoryEntry(child.name, attributes(child), child.ino + DOTS)
            for child in directory.entries[begin : begin + PORTION]
            if child.parent is here
        ]
        begin += PORTION
    return found

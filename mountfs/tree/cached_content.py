"""The port to what the cache has of the content of files, as the merging of remote changes needs it."""

from collections.abc import Callable
from typing import Protocol

from mountfs.model.node import RemoteNode
from mountfs.tree.inode import Inode


class CachedContent(Protocol):
    """Where the content of clean files is kept."""

    def notice(self, inode: Inode) -> None:
        """Take over into the tree what programs wrote past the daemon."""
        ...

    def supersede(
        self, inode: Inode, node: RemoteNode, arrived: Callable[[], None], *, anew: bool = False
    ) -> None:
        """Programs have the file open directly: bring this version into it in place, then call `arrived`.
        Nothing new is begun where it is on its way; `anew`: also then, as the file has other bytes since."""
        ...

    def superseded(self, inode: Inode) -> None:
        """The file has the bytes, and the inode size and version now."""
        ...

    def disowned(self, inode: Inode) -> None:
        """Nothing of what is cached is of the version that the inode has."""
        ...

    def replaced(self, inode: Inode) -> None:
        """The remote has other bytes, and the inode other size and version now: drop what is cached."""
        ...

    def relabelled(self, inode: Inode) -> None:
        """The same bytes have another version now."""
        ...

    def dropped(self, inode: Inode) -> None:
        """The inode has no name any more: its content goes when nobody uses it."""
        ...

"""Extended attributes: those of programs in `user.`, kept here, and what `user.mountfs` tells of an entry."""

from collections.abc import Callable, Sequence
from typing import Final

from mountfs.model.entry import EntryKind
from mountfs.model.errors import (
    AttributeMissing,
    InvalidArgument,
    OperationNotPermitted,
    OperationNotSupported,
)
from mountfs.tree import local_changes
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

NAMESPACE: Final = b"user."
INSIGHT: Final = b"user.mountfs"
"""All of what is told of an entry, a line each; one by name is `user.mountfs.NAME`. None of them is listed,
so copies do not carry them along."""


class ExtendedAttributes:
    """Raises OperationNotSupported outside of `user.`: nothing here acts on such attributes."""

    def __init__(self, tree: Tree, notice: Callable[[Inode], None]) -> None:
        """`notice` takes over into the tree what was written past the daemon."""
        self._tree = tree
        self._notice = notice

    def get(self, inode: Inode, name: bytes) -> bytes:
        """Raises AttributeMissing."""
        _check_name(name)
        if _is_insight(name):
            return self._told(inode, name)
        for known, value in inode.xattrs:
            if known == name:
                return value
        raise AttributeMissing()

    def set(self, inode: Inode, name: bytes, value: bytes) -> None:
        """Raises OperationNotPermitted for insight, StorageError."""
        _check_name(name)
        if _is_insight(name):
            raise OperationNotPermitted(f"{name!r} is told, not set")
        local_changes.set_xattr(self._tree, inode, name, value)

    def names(self, inode: Inode) -> Sequence[bytes]:
        return [name for name, _ in inode.xattrs]

    def remove(self, inode: Inode, name: bytes) -> None:
        """Raises AttributeMissing, OperationNotPermitted for insight, StorageError."""
        _check_name(name)
        if _is_insight(name):
            raise OperationNotPermitted(f"{name!r} is told, not set")
        local_changes.remove_xattr(self._tree, inode, name)

    def _told(self, inode: Inode, name: bytes) -> bytes:
        self._notice(inode)
        base = inode.base
        told = {
            b"state": self._state(inode).encode(),
            b"version": (base.version or "").encode() if base is not None else b"",
            b"node": base.node.encode() if base is not None else b"",
        }
        if name == INSIGHT:
            return b"".join(b"%s=%s\n" % line for line in told.items())
        value = told.get(name.removeprefix(INSIGHT + b"."))
        if not value:
            raise AttributeMissing()
        return value

    def _state(self, inode: Inode) -> str:
        if inode.ino in self._tree.conflicts:
            return "conflict"
        if inode.kind is EntryKind.SPECIAL or not inode.is_linked:
            return "local"
        if inode.ino in self._tree.kept:
            return "local"
        if inode.failure is not None:
            return "failed"
        if inode.sending:
            return "uploading"
        return "clean" if inode.pending is None else "dirty"


def _is_insight(name: bytes) -> bool:
    return name == INSIGHT or name.startswith(INSIGHT + b".")


def _check_name(name: bytes) -> None:
    if not name.startswith(NAMESPACE):
        raise OperationNotSupported(f"the attribute {name!r}")
    if name == NAMESPACE:
        raise InvalidArgument("an attribute without a name")

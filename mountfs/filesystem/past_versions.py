"""`.mountfs/versions`: the folders of the workspace again, with a directory of its versions for each file."""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import replace

from mountfs.model.errors import FileNotFound, InvalidArgument, NotADirectory
from mountfs.model.history import History, Version
from mountfs.model.ids import ROOT_INO, NodeId
from mountfs.model.remote import Remote
from mountfs.model.virtual import Look, VirtualContent, VirtualDirectory, VirtualNode
from mountfs.rules import version_names
from mountfs.sync.connection import Connection
from mountfs.sync.past_versions import VersionContent, VersionLists, size_of
from mountfs.sync.refresher import Refresher
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

Path = tuple[bytes, ...]


class PastVersions:
    """Entries are found by their path at each call: they may move, go, or leave memory meanwhile."""

    def __init__(
        self,
        tree: Tree,
        refresher: Refresher,
        connection: Connection,
        history: History,
        remote: Remote,
        *,
        patience_s: float,
    ) -> None:
        self._tree = tree
        self._refresher = refresher
        self._lists = VersionLists(history, connection)
        self.content = VersionContent(remote, connection, patience_s=patience_s)
        self.run = self.content.run
        self.top: VirtualDirectory = _Folder(self, (), None)

    async def inode(self, path: Path) -> Inode:
        """Return the directory or file there. Raises FileNotFound, NotADirectory."""
        inode = self._tree.get(ROOT_INO)
        for name in path:
            child = (await self.children(inode)).get(name)
            if child is None or not _has_past(child):
                raise FileNotFound
            inode = child
        return inode

    async def children(self, directory: Inode) -> dict[bytes, Inode]:
        """Return what lies in it, known and as true as in the mount itself; bounded, ended by a signal."""
        if not directory.is_directory:
            raise NotADirectory
        self._tree.uses.note(directory)
        with self._tree.uses.keeping(directory):
            await self._refresher.ensure_fresh(directory)
            return dict(directory.children)

    def node(self, path: Path, inode: Inode) -> VirtualNode:
        look = _look(inode)
        return _Folder(self, path, look) if inode.is_directory else _File(self, path, look)

    def top_look(self) -> Look:
        return _look(self._tree.get(ROOT_INO))

    async def versions(self, path: Path) -> tuple[Inode, Sequence[Version]]:
        """Return them the newest first: none of a file that the workspace does not have yet."""
        inode = await self.inode(path)
        if not inode.is_file:
            raise NotADirectory
        node, base = inode.node, inode.base
        if node is None or base is None:
            return inode, []
        return inode, await self._lists.of(node, base.version)


def _look(inode: Inode) -> Look:
    """Whoever may read an entry may read its past, and nobody else."""
    bits = stat.S_IMODE(inode.mode)
    if not inode.is_directory:
        bits |= (bits & 0o444) >> 2
    return Look(mtime_ns=inode.mtime_ns, permissions=bits, owner=(inode.uid, inode.gid))


def _has_past(inode: Inode) -> bool:
    return inode.is_directory or inode.is_file


class _Folder:
    """Implements `VirtualDirectory`."""

    def __init__(self, past: PastVersions, path: Path, look: Look | None) -> None:
        self._past = past
        self._path = path
        self._look = look

    @property
    def look(self) -> Look:
        # The tree is not loaded yet when the top is made.
        return self._look or self._past.top_look()

    async def find(self, name: bytes) -> VirtualNode:
        path = (*self._path, name)
        return self._past.node(path, await self._past.inode(path))

    async def entries(self) -> Sequence[tuple[bytes, VirtualNode]]:
        children = await self._past.children(await self._past.inode(self._path))
        return [
            (name, self._past.node((*self._path, name), child))
            for name, child in children.items()
            if _has_past(child)
        ]


class _File:
    """The versions of one file. Implements `VirtualDirectory`."""

    def __init__(self, past: PastVersions, path: Path, look: Look) -> None:
        self._past = past
        self._path = path
        self.look = look

    async def find(self, name: bytes) -> VirtualNode:
        """Besides the names that a listing shows, `current` and `~N` are known."""
        inode, versions = await self._past.versions(self._path)
        if name.startswith(b"~") or name == b"current":
            try:
                chosen = version_names.chosen(versions, os.fsdecode(name))
            except InvalidArgument as error:
                raise FileNotFound(error.message) from error
            # Which one that is changes with every save.
            return self._file(inode, chosen, fixed=False)
        for shown, version in self._named(versions):
            if shown == name:
                return self._file(inode, version, fixed=True)
        raise FileNotFound

    async def entries(self) -> Sequence[tuple[bytes, VirtualNode]]:
        inode, versions = await self._past.versions(self._path)
        return [(name, self._file(inode, version, fixed=True)) for name, version in self._named(versions)]

    def _file(self, inode: Inode, version: Version, *, fixed: bool) -> VirtualNode:
        assert inode.node is not None, "only what is on the workspace has versions"
        look = replace(_look(inode), size=version.size or 0, mtime_ns=version.created_ns, fixed=fixed)
        return _VersionFile(self._past.content, inode.node, version, look)

    def _named(self, versions: Iterable[Version]) -> Iterable[tuple[bytes, Version]]:
        return ((version_names.file_name(version, self._path[-1]), version) for version in versions)


class _VersionFile:
    """Implements `VirtualFile`."""

    def __init__(self, content: VersionContent, node: NodeId, version: Version, look: Look) -> None:
        self._content = content
        self._node = node
        self._version = version
        self.look = look

    async def open(self, flags: int) -> VirtualContent:
        """Raises OperationNotSupported where the workspace does not tell the size."""
        size_of(self._version)
        return _OpenVersion(self._content, self._node, self._version)


class _OpenVersion:
    """Implements `VirtualContent`."""

    is_stream = False

    def __init__(self, content: VersionContent, node: NodeId, version: Version) -> None:
        self._content = content
        self._node = node
        self._version = version

    async def read(self, offset: int, size: int) -> bytes:
        return await self._content.read(self._node, self._version, offset, size)

    def close(self) -> None:
        """Nothing is held."""

"""Renames between paths that travel and paths that stay here."""

from mountfs.model.errors import AcrossFilesystems
from mountfs.sync.content import FileContent
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree


class LocalOnlyMoves:
    """What `local_changes.rename` needs to be here before a name crosses the border."""

    def __init__(self, tree: Tree, content: FileContent) -> None:
        self._tree = tree
        self._content = content

    async def prepare(self, parent: Inode, name: bytes, new_parent: Inode, new_name: bytes) -> None:
        """Bring here what the remote is about to lose, and into memory what it is about to get.

        Raises AcrossFilesystems for a directory that the remote knows: programs then move it file by file.
        Raises the errors of `FileContent.read`.
        """
        for folder, old, other, new in (
            (parent, name, new_parent, new_name),
            (new_parent, new_name, parent, name),  # which an exchange moves
        ):
            moved = folder.children.get(old)
            if moved is not None:
                await self._prepare(moved, other, new)

    async def _prepare(self, moved: Inode, new_parent: Inode, new_name: bytes) -> None:
        was_here = self._tree.stays_here(moved)
        stays = self._tree.would_stay_here(new_parent, new_name, is_directory=moved.is_directory)
        if was_here == stays:
            return
        if moved.is_directory:
            await self._load(moved)
            if stays and any(below.base is not None or below.sending for below in self._tree.walk(moved)):
                raise AcrossFilesystems()
        elif stays and moved.is_file and moved.base is not None:
            async with self._content.held(moved):
                await self._content.require_whole(moved)

    async def _load(self, directory: Inode) -> None:
        await self._tree.ensure_loaded(directory)
        for child in list(directory.children.values()):
            if child.is_directory:
                await self._load(child)

"""The audit of a running mount's cache: of its records, and on request of all that it has on the disk."""

from typing import Protocol

import trio

from mountfs.daemon.running import shown
from mountfs.model.errors import MountfsError
from mountfs.model.ids import Ino
from mountfs.storage.audit import audit
from mountfs.storage.content import ContentFiles
from mountfs.storage.journal import SqliteJournal
from mountfs.sync.content import FileContent
from mountfs.tree.tree import Tree


class AuditParts(Protocol):
    """What is asked of the composed mount."""

    journal: SqliteJournal
    orphans_removed: trio.Event
    tree: Tree
    content: FileContent


class Audits:
    """Each finding is one line."""

    def __init__(self, parts: AuditParts, content_files: ContentFiles) -> None:
        self._parts = parts
        self._content_files = content_files

    async def audit(self, *, deep: bool) -> list[str]:
        """Return what is violated; `deep`: compare the content with its hashes before, as its first use does,
        and so repair or set aside what is damaged."""
        found = await self._compare() if deep else []
        parts = self._parts
        await parts.orphans_removed.wait()
        await parts.journal.synced()  # what only the redo log has would not be seen
        in_use = {ino for ino, inode in parts.tree.inodes.items() if inode.opens}
        found += await trio.to_thread.run_sync(
            lambda: audit(parts.journal, self._content_files, in_use=in_use)
        )
        return found + [
            f"damaged content is kept as {shown(str(path))}: take from it what is good, then remove it"
            for path in await trio.to_thread.run_sync(self._content_files.set_aside_files)
        ]

    async def _compare(self) -> list[str]:
        """Compare what nobody uses; return what was found."""
        content = self._parts.content
        known = len(content.damage_found)
        failed = []
        stored = await trio.to_thread.run_sync(lambda: [each.ino for each in self._content_files.stored()])
        for ino in stored:
            try:
                await self._compare_one(ino)
            except MountfsError as error:
                failed.append(f"inode {ino}: {error.message}")
        found = [f"{shown(path)}: its content was damaged" for path in content.damage_found[known:]]
        return [*found, *failed]

    async def _compare_one(self, ino: Ino) -> None:
        tree = self._parts.tree
        record = None if ino in tree.inodes else await self._parts.journal.by_ino(ino)
        if ino in tree.inodes or (record is not None and record.parent is not None):
            inode = await tree.bring(ino)
            if inode.is_file and inode.is_linked:
                await self._parts.content.compare(inode)

"""Hashes of closed content that stays here for a while, so that damage of it is noticed before it is sent."""

import logging
from typing import Final

import trio

from mountfs.model.entry import SEALED
from mountfs.model.errors import MountfsError
from mountfs.model.ids import Ino
from mountfs.sync.cached_range import AT_ONCE_BYTES, CachedRange, ContentChanged
from mountfs.sync.content import FileContent
from mountfs.sync.running_hash import digest_beside
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

GRACE_S: Final = 2.0
"""What is sent sooner is hashed for that, and never again."""

TOGETHER_S: Final = 0.1
"""So much later comes the look at a closed file, so that it is one for all that were closed meanwhile."""

AGAIN_S: Final = 5.0
"""How soon to look again at what programs may be writing past the daemon, or what is being sent."""


class SealedHashes:
    """Hashes one file after another, in a thread where it is not small. What cannot be read is left to those
    who have to."""

    def __init__(self, tree: Tree, content: FileContent) -> None:
        self._tree = tree
        self._content = content
        self._due: dict[Ino, float] = {}
        """When (trio's clock); by number, so that what nobody uses can be unloaded."""
        self._some = trio.Event()
        tree.when_sealed = self.note

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled; begins with what an earlier run did not come to."""
        for inode in self._tree.pending.values():
            if inode.sealed == SEALED:
                self.note(inode)
        task_status.started()
        while True:
            while not self._due:
                await self._some.wait()
                self._some = trio.Event()
            ino, when = next(iter(self._due.items()))
            if when > trio.current_time():
                # Of many that were closed one after another, each would be a turn of its own.
                await trio.sleep_until(when + TOGETHER_S)
            del self._due[ino]
            await self._hash_if_wanted(ino)

    def note(self, inode: Inode, grace_s: float = GRACE_S) -> None:
        """The content was sealed."""
        self._due.setdefault(inode.ino, trio.current_time() + grace_s)
        self._some.set()

    async def _hash_if_wanted(self, ino: Ino) -> None:
        inode = self._tree.inodes.get(ino)
        if inode is None or not _is_wanted(inode):
            return
        is_sent_now = inode.sending and ino in self._tree.open_uploads
        if inode.exposed is not None or is_sent_now:
            # The journal has the hash of what is being sent, with the upload.
            self.note(inode, AGAIN_S)
            return
        try:
            await self.hash_now(inode)
            await trio.lowlevel.checkpoint()
        except MountfsError as error:
            log.warning("the hash of %r: %s", inode.path(), error.message)

    async def hash_now(self, inode: Inode) -> None:
        """Raises StorageError, with nothing known."""
        generation = inode.generation
        try:
            async with self._content.held(inode) as descriptor:
                digest = await self._digest(inode, descriptor)
        except ContentChanged:
            return
        if inode.generation == generation and _is_wanted(inode) and inode.exposed is None:
            inode.sealed = digest
            self._tree.save(inode)

    async def _digest(self, inode: Inode, descriptor: int) -> str:
        if inode.size <= AT_ONCE_BYTES:
            content = CachedRange(inode, 0, inode.size, inode.generation, self._content.notice)
            return await content.sha256()
        digest = await digest_beside(descriptor, inode.size)
        self._content.notice(inode)
        return digest


def _is_wanted(inode: Inode) -> bool:
    return inode.content_dirty and inode.sealed == SEALED and inode.is_linked and not inode.changing

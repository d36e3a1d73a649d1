"""Finding clean content that the disk spoilt."""

import logging

import trio

from mountfs.model.ids import Ino
from mountfs.model.ranges import RangeSet
from mountfs.model.storage import ContentStore
from mountfs.sync.fetcher import digest_of
from mountfs.tree.inode import Inode

log = logging.getLogger(__name__)


class DamageCheck:
    """Content that is here in part, or whose hash was never told, is trusted as the disk gives it."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store
        self._sound: set[Ino] = set()
        """Whose content was compared with its hash in this run."""

    async def check(self, inode: Inode) -> None:
        """See, once in each run, that a clean file that is whole here has the bytes of its version.

        Where it has not, nothing of it counts as here any more, and it is fetched again. The content must be
        open, and nobody else may be using it yet. Raises StorageError.
        """
        base = inode.base
        if base is None or base.sha256 is None or not inode.size or not inode.has_whole_content():
            return
        if inode.ino in self._sound:
            return
        assert inode.descriptor is not None
        digest = await trio.to_thread.run_sync(digest_of, inode.descriptor, inode.size)
        if inode.base is not base or inode.content_dirty:
            return
        if digest == base.sha256:
            self._sound.add(inode.ino)
            return
        log.error("the content of %r is damaged in the cache; it is fetched again", inode.path())
        inode.present = RangeSet()
        await trio.to_thread.run_sync(self._store.save_coverage, inode.ino, None)

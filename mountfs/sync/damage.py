"""Finding content that the disk spoilt."""

import logging
import os

import trio

from mountfs.model.entry import SEALED
from mountfs.model.errors import StorageError
from mountfs.model.ids import Ino
from mountfs.model.ranges import RangeSet
from mountfs.model.storage import ContentStore, Coverage
from mountfs.sync.running_hash import digest_beside, digest_of
from mountfs.tree.inode import Inode

log = logging.getLogger(__name__)


class DamageCheck:
    """Each file is compared at its first use in a run: with the hash of its version; piece by piece with what
    was remembered at its last close, where it is here in part or its hash was never told."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store
        self._sound: set[Ino] = set()
        """Whose content was compared with its hash in this run."""

    async def check(self, inode: Inode) -> bool:
        """See, once in each run, that what is here of a clean file are the bytes of its version.

        Where they are not, return False; what is spoilt does not count as here any more then, and is fetched
        again.
        The content must be open, and nobody else may be using it yet. Raises StorageError.
        """
        base = inode.base
        if base is None or base.version is None or not inode.size or not inode.present:
            return True
        if inode.ino in self._sound:
            return True
        if base.sha256 is None or not inode.has_whole_content():
            return await self._check_pieces(inode, Coverage(base.version, tuple(inode.present)))
        assert inode.descriptor is not None
        digest = await digest_beside(inode.descriptor, inode.size)
        if inode.base is not base or inode.content_dirty:
            return True
        if digest == base.sha256:
            self._sound.add(inode.ino)
            return True
        log.error("the content of %r is damaged in the cache; it is fetched again", inode.path())
        inode.present = RangeSet()
        await trio.to_thread.run_sync(self._store.save_coverage, inode.ino, None)
        return False

    async def _check_pieces(self, inode: Inode, here: Coverage) -> bool:
        base = inode.base
        sound = RangeSet(await trio.to_thread.run_sync(self._store.sound, inode.ino, here))
        if inode.base is not base or inode.content_dirty:
            return True
        self._sound.add(inode.ino)
        if tuple(sound) == here.ranges:
            return True
        log.error("what is here of %r is damaged in the cache; it is fetched again", inode.path())
        inode.present = sound
        await trio.to_thread.run_sync(self._store.save_coverage, inode.ino, None)
        return False

    def doubt(self, inode: Inode) -> None:
        """Let the next `check` of the file compare it once more."""
        self._sound.discard(inode.ino)

    async def fault_of_unsent(self, inode: Inode) -> str | None:
        """Compare content that an earlier run sealed with what is known of it; return what is wrong with it.

        Nobody may be using it yet. Raises StorageError where the disk does not tell.
        """
        assert inode.sealed is not None
        return await trio.to_thread.run_sync(unsent_fault, self._store, inode.ino, inode.size, inode.sealed)


def unsent_fault(store: ContentStore, ino: Ino, size: int, sealed: str) -> str | None:
    """Return in what the content differs from what was sealed: a size in bytes and a hash, or SEALED. Blocks.

    Raises StorageError where the disk does not tell.
    """
    stamp = store.stamp(ino)
    if stamp is None:
        return "its file is missing" if size else None
    if stamp.size != size:
        return f"it has {stamp.size} bytes, {size} were closed"
    if sealed == SEALED:
        return None
    descriptor = store.open(ino, create=False)
    try:
        digest = digest_of(descriptor, size)
    except OSError as error:
        raise StorageError(f"content of inode {ino}: {error.strerror}", errno=error.errno or 5) from error
    finally:
        os.close(descriptor)
    return None if digest == sealed else "its bytes are not those that were closed"

"""A state of a file that stays as it is while the file is sent, though programs go on writing to it."""

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Final

import trio

from mountfs.model.disk import DiskStep
from mountfs.model.errors import StorageError
from mountfs.sync.cached_range import CachedRange, ContentChanged, is_unchanged
from mountfs.sync.content import FileContent
from mountfs.sync.running_hash import digest_beside
from mountfs.sync.superseding import copy_bytes
from mountfs.tree.inode import Inode

log = logging.getLogger(__name__)

TRIES: Final = 3
"""How often a copy is made of a file that programs change past the daemon while it is copied."""


class SealedState:
    """The content of one generation of an inode that is held: `size` bytes.

    Without a copy, whatever reads it raises ContentChanged once the file was written to.
    """

    def __init__(self, inode: Inode, content: FileContent, copy: int | None = None) -> None:
        self.inode = inode
        self.generation = inode.generation
        self.size = inode.size
        self._content = content
        self._copy = copy

    @property
    def is_copy(self) -> bool:
        return self._copy is not None

    def range(self, start: int, size: int) -> CachedRange:
        """Raises ContentChanged."""
        if self._copy is not None:
            return CopiedRange(self.inode, start, size, self._copy)
        check_is_state(self.inode)
        return CachedRange(self.inode, start, size, self.generation, self._content.notice)


class CopiedRange(CachedRange):
    """A part of a copy, which nobody changes."""

    def __init__(self, inode: Inode, start: int, size: int, copy: int) -> None:
        super().__init__(inode, start, size, inode.generation, lambda inode: None)
        self._copy = copy

    def _descriptor(self) -> int:
        return self._copy

    def _check_unchanged(self) -> None:
        pass


def check_is_state(inode: Inode) -> None:
    """Raise ContentChanged unless the content is one that a close or fsync left: a state that is sealed only
    while it is read would have what was written meanwhile, unseen, under the same generation."""
    if inode.unsealed or inode.changing or not inode.content_dirty:
        raise ContentChanged


@asynccontextmanager
async def sealed_state(inode: Inode, content: FileContent) -> AsyncIterator[SealedState]:
    """Give the state that stands now, as a copy where programs have the file open for writing.

    The content must be held. Raises ContentChanged where there is no state, or none could be copied whole.
    Where our disk has no room for a copy, what is written meanwhile ends the sending.
    """
    check_is_state(inode)
    with content.scratch() if inode.writers else nullcontext() as scratch:
        copy = await _copied(inode, content, scratch.fileno()) if scratch is not None else None
        yield copy or SealedState(inode, content)


async def _copied(inode: Inode, content: FileContent, copy: int) -> SealedState | None:
    """Return None where the disk has no room for another one."""
    state = SealedState(inode, content, copy)
    try:
        with content.frozen(inode):
            await _copy(state, content, copy)
    except StorageError as error:
        if error.errno != errno.ENOSPC:
            raise
        log.warning("%r is sent without a copy: %s", inode.path(), error.message)
        content.disk.resize(DiskStep.STAGE_CONTENT, copy, 0)
        return None
    return state


async def _copy(state: SealedState, content: FileContent, copy: int) -> None:
    inode, descriptor = state.inode, state.inode.descriptor
    assert descriptor is not None

    def copy_it() -> None:
        copy_bytes(content.disk, DiskStep.STAGE_CONTENT, descriptor, copy, state.size)

    for _ in range(TRIES):
        await trio.to_thread.run_sync(copy_it)
        content.notice(inode)
        if is_unchanged(inode, state.generation):
            return
        # Written to past the daemon, as a log is at its end. What is read twice alike was there between the
        # two: the first bytes of a file that has grown since are what they were when it was sealed.
        if await digest_beside(descriptor, state.size) == await digest_beside(copy, state.size):
            return
    raise ContentChanged

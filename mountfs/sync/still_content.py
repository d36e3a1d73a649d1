"""A state of a file that stays as it is while the file is sent, though programs go on writing to it."""

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from mountfs.model.disk import DiskStep
from mountfs.model.errors import StorageError
from mountfs.sync.cached_range import AT_ONCE_BYTES, CachedRange, ContentChanged, is_unchanged
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

    def __init__(self, inode: Inode, content: FileContent) -> None:
        self.inode = inode
        self.generation = inode.generation
        self.size = inode.size
        self._content = content
        self.copy: bytes | int | None = None
        """The bytes, or the descriptor of a file that has them."""

    @property
    def is_copy(self) -> bool:
        return self.copy is not None

    def range(self, start: int, size: int) -> CachedRange:
        """Raises ContentChanged."""
        if isinstance(self.copy, bytes):
            return HeldRange(self.inode, start, size, self.copy)
        if self.copy is not None:
            return CopiedRange(self.inode, start, size, self.copy)
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


class HeldRange(CachedRange):
    """A part of a copy in memory."""

    def __init__(self, inode: Inode, start: int, size: int, copy: bytes) -> None:
        super().__init__(inode, start, size, inode.generation, lambda inode: None)
        self._copy = copy

    def read_at_once(self, offset: int, size: int) -> bytes:
        begin = self._start + offset
        return self._copy[begin : begin + size]

    def _read(self, offset: int, size: int) -> bytes:
        return self.read_at_once(offset, size)

    def _check_unchanged(self) -> None:
        pass


def check_is_state(inode: Inode) -> None:
    """Raise ContentChanged unless the content is one that a close or fsync left: a state that is sealed only
    while it is read would have what was written meanwhile, unseen, under the same generation."""
    if inode.unsealed or inode.changing or not inode.content_dirty:
        raise ContentChanged


@asynccontextmanager
async def sealed_state(inode: Inode, content: FileContent) -> AsyncIterator[SealedState]:
    """Give the state that stands now, as a copy where programs have the file open for writing: of small
    content in memory, where that takes no waiting.

    The content must be held. Raises ContentChanged where there is no state, or none could be copied whole.
    Where our disk has no room for a copy, what is written meanwhile ends the sending.
    """
    check_is_state(inode)
    state = SealedState(inode, content)
    if inode.writers:
        state.copy = _copied_at_once(state, content)
    if state.is_copy or not inode.writers:
        yield state
        return
    with content.scratch() as scratch:
        await _copy_or_do_without(state, content, scratch.fileno())
        yield state


def _copied_at_once(state: SealedState, content: FileContent) -> bytes | None:
    """Return None where that would take waiting, or the file is no more as it was sealed."""
    if state.size > AT_ONCE_BYTES:
        return None
    copy = state.range(0, state.size).read_at_once(0, state.size)
    content.notice(state.inode)
    return copy if is_unchanged(state.inode, state.generation) else None


async def _copy_or_do_without(state: SealedState, content: FileContent, copy: int) -> None:
    """Without a copy the state is left where the disk has no room for one."""
    try:
        with content.frozen(state.inode):
            await _copy(state, content, copy)
    except StorageError as error:
        if error.errno != errno.ENOSPC:
            raise
        log.warning("%r is sent without a copy: %s", state.inode.path(), error.message)
        content.disk.resize(DiskStep.STAGE_CONTENT, copy, 0)
    else:
        state.copy = copy


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

"""Bringing a newer version into a file that programs have open directly: in place, once all of it is here."""

import errno
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Final

import trio

from mountfs.model.disk import Disk, DiskStep
from mountfs.model.errors import ContentDamaged, MountfsError, RemoteUnavailable, StorageError
from mountfs.model.ids import Ino
from mountfs.model.node import RemoteNode
from mountfs.model.remote import Remote
from mountfs.model.storage import ContentStore
from mountfs.rules.backoff import Backoff
from mountfs.sync.cached_range import AT_ONCE_BYTES
from mountfs.sync.direct_access import DirectAccess
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

RETRY: Final = Backoff(first_s=0.5, most_s=5.0)


@dataclass(slots=True)
class _Wanted:
    node: RemoteNode
    arrived: Callable[[], None]


@dataclass(slots=True)
class _Attempt:
    ended: trio.Event = field(default_factory=trio.Event)
    error: MountfsError | None = None


class Superseding:
    """Until the newer version is here the file stays as it is, also in the tree.

    What programs write in the instant in which it is copied may mix with it; whoever must not risk that
    holds a lock, whose acquiring waits for the copy.
    """

    def __init__(self, tree: Tree, remote: Remote, store: ContentStore, direct: DirectAccess) -> None:
        self._tree = tree
        self._remote = remote
        self._store = store
        self._disk = store.disk
        self._direct = direct
        self._wanted: dict[Ino, _Wanted] = {}
        self._attempts: dict[Ino, _Attempt] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the downloads until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def begin(
        self,
        inode: Inode,
        node: RemoteNode,
        arrived: Callable[[], None],
        *,
        hold: Callable[[Inode], Awaitable[int]],
        let_go: Callable[[Inode], None],
        anew: bool = False,
    ) -> None:
        """Fetch this version, unless it is on its way; `anew`: also then.

        `arrived` is called in the stretch from which on the file has it, or from which on nobody has it open
        directly. What programs write meanwhile wins: then it is never called."""
        assert self._nursery is not None
        known = self._wanted.get(inode.ino)
        is_known = known is not None and (known.node.id, known.node.version) == (node.id, node.version)
        if is_known and not anew:
            return
        self._wanted[inode.ino] = _Wanted(node, arrived)
        if known is None:
            self._attempts[inode.ino] = _Attempt()
            self._nursery.start_soon(self._supersede, inode, hold, let_go)

    @property
    def is_busy(self) -> bool:
        """Say whether any file is still to get another version than it has."""
        return bool(self._wanted)

    def is_under_way(self, inode: Inode) -> bool:
        """Say whether the file is still to get another version than it has."""
        return inode.ino in self._wanted

    async def ended(self, inode: Inode) -> None:
        """Wait until no newer version is on its way. Raises what kept it from coming this time."""
        while inode.ino in self._attempts:
            attempt = self._attempts[inode.ino]
            await attempt.ended.wait()
            if attempt.error is not None:
                raise attempt.error

    async def _supersede(
        self, inode: Inode, hold: Callable[[Inode], Awaitable[int]], let_go: Callable[[Inode], None]
    ) -> None:
        tried = 0
        try:
            while not await self._try(inode, hold, let_go):
                await trio.sleep(RETRY.delay_s(tried, random.random()))
                tried += 1
                self._attempts[inode.ino] = _Attempt()
        finally:
            del self._wanted[inode.ino]
            self._attempts.pop(inode.ino).ended.set()

    async def _try(
        self, inode: Inode, hold: Callable[[Inode], Awaitable[int]], let_go: Callable[[Inode], None]
    ) -> bool:
        """Return whether there is no more to be done."""
        attempt = self._attempts[inode.ino]
        try:
            await hold(inode)
            try:
                await self._bring_newest(inode)
            finally:
                let_go(inode)
        except MountfsError as error:
            log.warning("the newer version of %r: %s", inode.path(), error.message)
            attempt.error = error
            attempt.ended.set()
            return not isinstance(error, ContentDamaged | RemoteUnavailable | StorageError)
        return True

    async def _bring_newest(self, inode: Inode) -> None:
        done: _Wanted | None = None
        while (wanted := self._wanted[inode.ino]) is not done:
            with self._store.scratch() as scratch:
                if inode.direct_opens:
                    await self._download(wanted.node, scratch)
                if self._wanted[inode.ino] is not wanted:
                    continue
                self._direct.notice(inode)
                if inode.content_dirty or inode.node != wanted.node.id:
                    return
                if inode.direct_opens:
                    await self._replace_bytes(inode, scratch, wanted)
                else:
                    wanted.arrived()
            done = wanted

    async def _download(self, node: RemoteNode, scratch: IO[bytes]) -> None:
        digest = hashlib.sha256()
        async with self._remote.read(node.id, node.version, 0, node.size) as pieces:
            position = 0
            async for piece in pieces:
                if len(piece) <= AT_ONCE_BYTES:
                    self._stage(scratch.fileno(), piece, position)
                else:
                    await trio.to_thread.run_sync(self._stage, scratch.fileno(), piece, position)
                position += len(piece)
                digest.update(piece)
        if node.sha256 not in (None, digest.hexdigest()):
            raise ContentDamaged(f"{node.name!r}: what arrived is not the content of its version")

    def _stage(self, descriptor: int, piece: bytes, position: int) -> None:
        try:
            written = self._disk.write(DiskStep.STAGE_CONTENT, descriptor, piece, position)
        except OSError as error:
            raise _disk_error(error) from error
        if written != len(piece):
            raise StorageError("the cache cannot keep another version: disk full", errno=errno.ENOSPC)

    async def _replace_bytes(self, inode: Inode, scratch: IO[bytes], wanted: _Wanted) -> None:
        """In an order in which no crash lets a mixture pass for a version, or for what a program wrote."""
        inode.exposed = None
        self._tree.save(inode)
        await self._tree.journal.committed()
        await trio.to_thread.run_sync(self._store.save_coverage, inode.ino, None)
        descriptor = inode.descriptor
        assert descriptor is not None
        with trio.CancelScope(shield=True):
            copy = partial(
                copy_bytes,
                self._disk,
                DiskStep.REPLACE_CONTENT,
                scratch.fileno(),
                descriptor,
                wanted.node.size,
            )
            if wanted.node.size <= AT_ONCE_BYTES:
                copy()
            else:
                await trio.to_thread.run_sync(copy)
        wanted.arrived()
        self._direct.expose_again(inode)
        await self._tree.journal.committed()


def copy_bytes(disk: Disk, step: DiskStep, source: int, target: int, size: int) -> None:
    """Let the target have the first `size` bytes of the source, and no more. Raises StorageError."""
    position = 0
    try:
        while position < size:
            copied = disk.copy(step, source, position, target, position, size - position)
            if not copied:
                break
            position += copied
        disk.resize(step, target, size)
    except OSError as error:
        raise _disk_error(error) from error
    if position < size:
        raise StorageError("a version ended early", errno=errno.EIO)


def _disk_error(error: OSError) -> StorageError:
    return StorageError(
        f"the cache cannot keep another version: {error.strerror or error}", errno=error.errno or errno.EIO
    )

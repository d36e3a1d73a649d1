"""The versions that the workspace has of a file, and their content, for programs that wait for them."""

import hashlib
import logging
import random
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import trio

from mountfs.model.errors import (
    ContentDamaged,
    ContentUnavailable,
    MountfsError,
    OperationNotSupported,
    RemoteUnavailable,
)
from mountfs.model.history import History, Version
from mountfs.model.ids import NodeId, VersionId
from mountfs.model.interruption import interruptible
from mountfs.model.remote import Remote
from mountfs.rules.backoff import Backoff
from mountfs.sync.connection import Connection

log = logging.getLogger(__name__)

LIST_PATIENCE_S: Final = 10.0
"""How long a program waits for a list of versions before it gets the last known one, or an error."""

LIST_TRUSTED_S: Final = 5.0
"""`ls -l` asks once for the list and once for each name in it."""

LISTS_KEPT: Final = 256

BLOCK_BYTES: Final = 4 * 1024 * 1024
BLOCKS_KEPT: Final = 8
BLOCKS_AT_ONCE: Final = 4
"""With those that are kept, the bound of the memory for this: 48 MiB."""

ATTEMPTS: Final = 4
"""How often a block that makes no progress is begun before its readers get an error."""

STREAM_IDLE_S: Final = 5.0
"""How long an answer is kept whose next block nobody has asked for: a service without ranges sends it all."""

RETRY: Final = Backoff(first_s=0.2, most_s=2.0)


@dataclass(frozen=True, slots=True)
class _Known:
    """`current`: the version that this mount took for the present one when it asked."""

    versions: list[Version]
    current: VersionId | None
    at: float


class VersionLists:
    """The lists, kept for a moment."""

    def __init__(self, history: History, connection: Connection) -> None:
        self._history = history
        self._connection = connection
        self._known: OrderedDict[NodeId, _Known] = OrderedDict()

    async def of(self, node: NodeId, current: VersionId | None) -> list[Version]:
        """Return the versions, the newest first; `current` is the one that the tree knows.

        Bounded, and ended by a signal. The last known list is served where the workspace does not answer;
        where there is none, raises RemoteUnavailable, at once during an outage, ContentUnavailable, or
        what the remote says.
        """
        known = self._known.get(node)
        now = trio.current_time()
        if known is not None and known.current == current and now - known.at < LIST_TRUSTED_S:
            return known.versions
        if known is not None and not self._connection.online:
            return known.versions
        check_online(self._connection)
        try:
            with interruptible(trio.move_on_after(LIST_PATIENCE_S)) as patience:
                versions = await self._history.versions(node)
        except RemoteUnavailable as error:
            self._connection.note_failure(error)
            if known is None:
                raise
            return known.versions
        if patience.cancelled_caught:
            if known is None:
                raise ContentUnavailable(f"{node}: the workspace did not list its versions in time")
            return known.versions
        self._keep(node, _Known(versions, current, now))
        return versions

    def _keep(self, node: NodeId, known: _Known) -> None:
        self._known[node] = known
        self._known.move_to_end(node)
        while len(self._known) > LISTS_KEPT:
            self._known.popitem(last=False)


_Key = tuple[NodeId, VersionId, int]


@dataclass(slots=True, eq=False)
class _Block:
    """One download. `content` is set when it is whole, `error` when it failed."""

    began: float = field(default_factory=trio.current_time)
    done: trio.Event = field(default_factory=trio.Event)
    content: bytes | None = None
    error: MountfsError | None = None


class _Stream:
    """One answer that brings a version from a block on; `number` is the block that comes next."""

    def __init__(self, node: NodeId, version: Version, number: int) -> None:
        self.node = node
        self.version = version
        self.number = number
        self._block: _Block | None = None
        self._asked = trio.Event()
        self._has_ended = False

    @property
    def key(self) -> _Key:
        return self.node, self.version.id, self.number

    def goes_on_with(self, number: int) -> bool:
        return not self._has_ended and self._block is None and number == self.number

    def ask(self, block: _Block) -> None:
        self._block = block
        self._asked.set()

    async def is_wanted(self) -> bool:
        """Tell whether anybody asks for the next block before long; if not, nobody may ask any more."""
        with trio.move_on_after(STREAM_IDLE_S):
            await self._asked.wait()
        self._has_ended = self._block is None
        return not self._has_ended

    def brought(self, content: bytes) -> None:
        assert self._block is not None
        block, self._block, self._asked = self._block, None, trio.Event()
        self.number += 1
        block.content = content
        block.done.set()

    def give_up(self) -> _Block | None:
        """Return the block that is still waited for; nobody may ask any more."""
        self._has_ended = True
        return self._block


class VersionContent:
    """Bytes of versions, fetched in blocks that readers share. Memory is bounded, the disk is not used."""

    def __init__(self, remote: Remote, connection: Connection, *, patience_s: float) -> None:
        self._remote = remote
        self._connection = connection
        self._patience_s = patience_s
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._coming: dict[_Key, _Block] = {}
        self._at_once = trio.Semaphore(BLOCKS_AT_ONCE)
        self._streams: dict[tuple[NodeId, VersionId], _Stream] = {}
        """Of services without ranges: what they send can go on where it is."""
        self._arrived_at = float("-inf")
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the downloads until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def read(self, node: NodeId, version: Version, offset: int, size: int) -> bytes:
        """Return at most `size` bytes from there, none only behind the end.

        A signal ends the wait. Raises ContentUnavailable when nothing arrives for `patience_s`,
        RemoteUnavailable, at once during an outage, ContentDamaged, OperationNotSupported where the
        workspace does not tell the size, or what the remote says.
        """
        end = min(offset + size, size_of(version))
        pieces = []
        while offset < end:
            number, begin = divmod(offset, BLOCK_BYTES)
            content = await self._block(node, version, number)
            pieces.append(content[begin : begin + end - offset])
            offset += len(pieces[-1])
        return b"".join(pieces)

    async def _block(self, node: NodeId, version: Version, number: int) -> bytes:
        key = (node, version.id, number)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        block = self._coming.get(key)
        if block is None:
            check_online(self._connection)
            assert self._nursery is not None, "VersionContent.run must be running"
            block = self._coming[key] = _Block()
            if self._remote.serves_ranges:
                self._nursery.start_soon(self._bring, key, version, block)
            else:
                self._ask_stream(node, version, number, block)
        await self._wait(block)
        if block.error is not None:
            raise block.error
        assert block.content is not None
        return block.content

    async def _wait(self, block: _Block) -> None:
        # Anything that arrives counts: a block may have to wait for its turn. Whoever comes later waits only
        # as long as the first: the kernel asks again for what it got an error for.
        while not block.done.is_set():
            until = max(block.began, self._arrived_at) + self._patience_s
            if trio.current_time() >= until:
                raise ContentUnavailable(f"no content of the version arrived for {self._patience_s:g} s")
            with interruptible(trio.move_on_at(until)):
                await block.done.wait()

    def _ask_stream(self, node: NodeId, version: Version, number: int, block: _Block) -> None:
        """Let the answer that has come as far as this block go on, or ask for another one."""
        stream = self._streams.get((node, version.id))
        if stream is None or not stream.goes_on_with(number):
            stream = self._streams[node, version.id] = _Stream(node, version, number)
            assert self._nursery is not None
            self._nursery.start_soon(self._run_stream, stream)
        stream.ask(block)

    async def _run_stream(self, stream: _Stream) -> None:
        version, error = stream.version, None
        try:
            async with self._at_once:
                await self._bring_stream(stream, version)
        except MountfsError as failure:
            error = failure
        if self._streams.get((stream.node, version.id)) is stream:
            del self._streams[stream.node, version.id]
        block = stream.give_up()
        if block is not None:
            log.info("version %s of %s: %s; fetching it again", version.id, stream.node, error)
            await self._bring(stream.key, version, block)

    async def _bring_stream(self, stream: _Stream, version: Version) -> None:
        """Bring one block after the other from one answer, for as long as somebody goes on reading."""
        size = size_of(version)
        rest = bytearray()
        async with self._remote.read(stream.node, version.id, stream.number * BLOCK_BYTES, size) as pieces:
            while await stream.is_wanted():
                length = min(BLOCK_BYTES, size - stream.number * BLOCK_BYTES)
                await self._fill(rest, length, pieces)
                content, rest = bytes(rest[:length]), rest[length:]
                _check(version, content)
                self._keep(stream.key, content)
                del self._coming[stream.key]
                stream.brought(content)
                if stream.number * BLOCK_BYTES >= size:
                    return

    async def _fill(self, content: bytearray, length: int, pieces: AsyncIterator[bytes]) -> None:
        """Raises RemoteUnavailable when nothing arrives for the time of the patience."""
        with trio.move_on_after(self._patience_s) as patience:
            while len(content) < length:
                content += await anext(pieces)
                self._arrived_at = trio.current_time()
                patience.deadline = self._arrived_at + self._patience_s
        if patience.cancelled_caught:
            raise RemoteUnavailable(f"nothing arrived for {self._patience_s:g} s")

    async def _bring(self, key: _Key, version: Version, block: _Block) -> None:
        try:
            async with self._at_once:
                block.content = await self._download(key, version)
            self._keep(key, block.content)
        except MountfsError as error:
            block.error = error
        finally:
            del self._coming[key]
            block.done.set()

    def _keep(self, key: _Key, content: bytes) -> None:
        self._kept[key] = content
        while len(self._kept) > BLOCKS_KEPT:
            self._kept.popitem(last=False)

    async def _download(self, key: _Key, version: Version) -> bytes:
        node, _version, number = key
        start = number * BLOCK_BYTES
        end = min(start + BLOCK_BYTES, size_of(version))
        content = bytearray()
        failures = 0
        while start + len(content) < end:
            had = len(content)
            try:
                await self._continue(node, version.id, start, end, content)
            except RemoteUnavailable as error:
                failures = 1 if len(content) > had else failures + 1
                if failures == ATTEMPTS:
                    raise
                log.info("version %s of %s: %s; fetching it again", version.id, node, error.message)
                await trio.sleep(RETRY.delay_s(failures - 1, random.random()))
        _check(version, content)
        return bytes(content)

    async def _continue(
        self, node: NodeId, version: VersionId, start: int, end: int, content: bytearray
    ) -> None:
        with trio.move_on_after(self._patience_s) as patience:
            async with self._remote.read(node, version, start + len(content), end) as pieces:
                async for piece in pieces:
                    content += piece
                    self._arrived_at = trio.current_time()
                    patience.deadline = self._arrived_at + self._patience_s
        if patience.cancelled_caught:
            raise RemoteUnavailable(f"nothing arrived for {self._patience_s:g} s")


def _check(version: Version, content: bytes | bytearray) -> None:
    """Raise ContentDamaged for what is the whole version, and is not what its hash says."""
    is_whole = len(content) == version.size
    if is_whole and version.sha256 and hashlib.sha256(content).hexdigest() != version.sha256:
        raise ContentDamaged(f"version {version.id} is not what its hash says")


def size_of(version: Version) -> int:
    """Raises OperationNotSupported."""
    if version.size is None:
        raise OperationNotSupported(f"the workspace does not tell how large version {version.id} is")
    return version.size


def check_online(connection: Connection) -> None:
    """Raise RemoteUnavailable while the workspace is known not to answer."""
    if not connection.online:
        raise RemoteUnavailable(connection.last_error or "the workspace does not answer")

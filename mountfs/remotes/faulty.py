"""A wrapper around any Remote that fails or hangs the calls that a test chooses."""

from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

import trio

from mountfs.model.content_source import ContentSource
from mountfs.model.errors import RemoteError, RemoteUnavailable
from mountfs.model.history import Version
from mountfs.model.ids import ChangeCursor, LeaseToken, NodeId, UploadId, VersionId
from mountfs.model.node import RemoteNode
from mountfs.model.remote import (
    BatchFile,
    Changes,
    InventoryPage,
    Lease,
    LeaseHolder,
    Placement,
    Remote,
    UploadLimits,
    UploadState,
)

T = TypeVar("T")

ANY: Final = "any method"
METHODS: Final = frozenset(name for name in vars(Remote) if not name.startswith("_"))


@dataclass(slots=True)
class _Failure:
    error: RemoteError
    times: int | None
    after_effect: bool
    then_hang: tuple[str, ...]


@dataclass(slots=True)
class _Gate:
    open: trio.Event = field(default_factory=trio.Event)
    reached: trio.Event = field(default_factory=trio.Event)


class FaultyRemote:
    """Passes every call on, except where a failure or a hang is planned for its method.

    Failures of one method happen in the order of planning; `ANY` plans for every method, after its own.
    """

    def __init__(self, inner: Remote) -> None:
        self.inner = inner
        self._failures: defaultdict[str, deque[_Failure]] = defaultdict(deque)
        self._gates: dict[str, _Gate] = {}
        self._delay_s: Callable[[], float] | None = None

    def fail(
        self,
        method: str,
        error: RemoteError,
        *,
        times: int | None = 1,
        after_effect: bool = False,
        then_hang: Sequence[str] = (),
    ) -> None:
        """Let the next `times` calls raise `error` (None: all until `heal`).

        With `after_effect` the call happens first, and its answer is lost; a read, or a channel, then breaks
        off behind its first piece. The methods of `then_hang` hang from such a failure on.
        """
        self._failures[_known(method)].append(_Failure(error, times, after_effect, tuple(then_hang)))

    def delay(self, seconds: Callable[[], float]) -> None:
        """Let each call from now on take this long before it has its effect, and its answer as long again;
        `seconds` is asked anew each time. A poll for changes is late by the second of these only."""
        self._delay_s = seconds

    def heal(self, method: str = ANY) -> None:
        """Drop the planned failures of the method, or all of them."""
        if method == ANY:
            self._failures.clear()
        self._failures.pop(_known(method), None)

    def go_offline(self) -> None:
        """Let every call raise RemoteUnavailable until `heal`."""
        self.fail(ANY, RemoteUnavailable("the network is down"), times=None)

    def hang(self, method: str) -> None:
        """Let the calls of the method wait, before they have any effect, until `release`."""
        self._gates.setdefault(_known(method), _Gate())

    def release(self, method: str = ANY) -> None:
        """Let the waiting calls of the method, or of all methods, go on."""
        for name in list(self._gates) if method == ANY else [_known(method)]:
            gate = self._gates.pop(name, None)
            if gate:
                gate.open.set()

    def hang_no_more(self, method: str) -> trio.Event:
        """Let new calls of the method pass. Those that wait go on when the event that is returned is set."""
        return self._gates.pop(_known(method)).open

    async def wait_hanging(self, method: str) -> None:
        """Return as soon as a call of the method waits; `hang` must have been called."""
        await self._gates[method].reached.wait()

    @property
    def serves_ranges(self) -> bool:
        return self.inner.serves_ranges

    async def upload_limits(self) -> UploadLimits:
        return await self._pass("upload_limits", lambda: self.inner.upload_limits())

    async def list_folder(self, folder: NodeId, came: Callable[[], None] = lambda: None) -> list[RemoteNode]:
        return await self._pass("list_folder", lambda: self.inner.list_folder(folder, came))

    async def newest(self, folder: NodeId, most: int) -> list[RemoteNode]:
        return await self._pass("newest", lambda: self.inner.newest(folder, most))

    async def lists_at_once(self, made: RemoteNode) -> bool:
        return await self._pass("lists_at_once", lambda: self.inner.lists_at_once(made))

    def listings_lag(self) -> bool:
        return self.inner.listings_lag()

    def listing_lacked(self) -> None:
        self.inner.listing_lacked()

    async def nodes(self, ids: Sequence[NodeId]) -> dict[NodeId, RemoteNode]:
        return await self._pass("nodes", lambda: self.inner.nodes(ids))

    async def create_folder(self, parent: NodeId, name: str) -> RemoteNode:
        return await self._pass("create_folder", lambda: self.inner.create_folder(parent, name))

    async def rename(self, node: NodeId, name: str) -> RemoteNode:
        return await self._pass("rename", lambda: self.inner.rename(node, name))

    async def describe(self, node: NodeId, text: str) -> RemoteNode:
        return await self._pass("describe", lambda: self.inner.describe(node, text))

    async def move(self, node: NodeId, parent: NodeId) -> RemoteNode:
        return await self._pass("move", lambda: self.inner.move(node, parent))

    async def trash(self, node: NodeId) -> RemoteNode | None:
        return await self._pass("trash", lambda: self.inner.trash(node))

    async def restore(self, node: NodeId) -> RemoteNode:
        return await self._pass("restore", lambda: self.inner.restore(node))

    @asynccontextmanager
    async def read(
        self, node: NodeId, version: VersionId | None, start: int, end: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        failure = await self._before("read")
        async with self.inner.read(node, version, start, end) as pieces:
            if failure is None:
                yield pieces
                return
            async with aclosing(_broken_off(pieces, failure.error)) as broken:
                yield broken

    async def upload_small(self, place: Placement, content: bytes, sha256: str) -> UploadState:
        return await self._pass("upload_small", lambda: self.inner.upload_small(place, content, sha256))

    async def upload_batch(
        self, parent: NodeId, files: Sequence[BatchFile]
    ) -> Sequence[UploadState | RemoteError]:
        return await self._pass("upload_batch", lambda: self.inner.upload_batch(parent, files))

    async def open_upload(self, place: Placement, size: int, sha256: str) -> UploadId:
        return await self._pass("open_upload", lambda: self.inner.open_upload(place, size, sha256))

    async def send_chunk(self, upload: UploadId, order: int, content: ContentSource, sha256: str) -> None:
        await self._pass("send_chunk", lambda: self.inner.send_chunk(upload, order, content, sha256))

    async def complete_upload(self, upload: UploadId) -> None:
        await self._pass("complete_upload", lambda: self.inner.complete_upload(upload))

    async def upload_state(self, upload: UploadId, *, wait_s: float = 0) -> UploadState:
        return await self._pass("upload_state", lambda: self.inner.upload_state(upload, wait_s=wait_s))

    async def cancel_upload(self, upload: UploadId) -> None:
        await self._pass("cancel_upload", lambda: self.inner.cancel_upload(upload))

    async def commit(
        self, node: NodeId, upload: UploadId, base: VersionId, *, sha256: str | None = None
    ) -> RemoteNode:
        return await self._pass("commit", lambda: self.inner.commit(node, upload, base, sha256=sha256))

    async def commit_known(self, node: NodeId, sha256: str, base: VersionId) -> RemoteNode | None:
        return await self._pass("commit_known", lambda: self.inner.commit_known(node, sha256, base))

    async def add_file(self, parent: NodeId, name: str, upload: UploadId) -> RemoteNode:
        return await self._pass("add_file", lambda: self.inner.add_file(parent, name, upload))

    async def versions(self, node: NodeId) -> list[Version]:
        return await self._pass("versions", lambda: self.inner.versions(node))

    async def restore_version(self, node: NodeId, version: VersionId) -> RemoteNode:
        return await self._pass("restore_version", lambda: self.inner.restore_version(node, version))

    async def acquire_lease(self, node: NodeId, *, duration_s: float, holder: str) -> Lease:
        return await self._pass(
            "acquire_lease", lambda: self.inner.acquire_lease(node, duration_s=duration_s, holder=holder)
        )

    async def renew_lease(self, node: NodeId, token: LeaseToken) -> Lease:
        return await self._pass("renew_lease", lambda: self.inner.renew_lease(node, token))

    async def release_lease(self, node: NodeId, token: LeaseToken) -> None:
        await self._pass("release_lease", lambda: self.inner.release_lease(node, token))

    async def lease_holder(self, node: NodeId) -> LeaseHolder | None:
        return await self._pass("lease_holder", lambda: self.inner.lease_holder(node))

    async def override_lease(self, node: NodeId) -> None:
        await self._pass("override_lease", lambda: self.inner.override_lease(node))

    async def changes(self, cursor: ChangeCursor | None, *, wait_s: float = 0) -> Changes:
        return await self._pass("changes", lambda: self.inner.changes(cursor, wait_s=wait_s))

    def ask_again(self) -> None:
        self.inner.ask_again()

    async def survey(self, cursor: ChangeCursor | None) -> Changes:
        return await self._pass("survey", lambda: self.inner.survey(cursor))

    async def changed_lately(self) -> frozenset[NodeId]:
        return await self._pass("changed_lately", lambda: self.inner.changed_lately())

    async def inventory(self, following: str | None) -> InventoryPage:
        return await self._pass("inventory", lambda: self.inner.inventory(following))

    @asynccontextmanager
    async def pushed(self) -> AsyncIterator[AsyncIterator[frozenset[NodeId]]]:
        failure = await self._before("pushed")
        async with self.inner.pushed() as told:
            if failure is None:
                yield told
                return
            async with aclosing(_broken_off(told, failure.error)) as broken:
                yield broken

    async def _pass(self, method: str, call: Callable[[], Awaitable[T]]) -> T:
        failure = await self._before(method)
        answer = await call()
        if self._delay_s is not None:
            await trio.sleep(self._delay_s())
        if failure:
            raise self._error_of(failure)
        return answer

    async def _before(self, method: str) -> _Failure | None:
        """Wait while the method hangs; raise a failure without effect, return one with."""
        gate = self._gates.get(method)
        if gate:
            gate.reached.set()
            await gate.open.wait()
        if self._delay_s is not None and method != "changes":
            await trio.sleep(self._delay_s())
        failure = self._take(method) or self._take(ANY)
        if failure and not failure.after_effect:
            await trio.lowlevel.checkpoint()
            raise self._error_of(failure)
        return failure

    def _error_of(self, failure: _Failure) -> RemoteError:
        for method in failure.then_hang:
            self.hang(method)
        return failure.error.with_traceback(None)

    def _take(self, method: str) -> _Failure | None:
        planned = self._failures.get(method)
        if not planned:
            return None
        failure = planned[0]
        if failure.times is not None:
            failure.times -= 1
            if failure.times <= 0:
                planned.popleft()
        return failure


def _known(method: str) -> str:
    if method != ANY and method not in METHODS:
        raise ValueError(f"a Remote has no method {method}")
    return method


async def _broken_off(pieces: AsyncIterator[T], error: RemoteError) -> AsyncGenerator[T, None]:
    async for piece in pieces:
        yield piece
        break
    raise error.with_traceback(None)

"""A wrapper around any Remote that records what it changes."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from mountfs.model.effect import Change, Effect, EffectRecorder
from mountfs.model.errors import OutcomeUnknown, RemoteError
from mountfs.model.ids import LeaseToken, NodeId, UploadId, VersionId
from mountfs.model.node import RemoteNode
from mountfs.model.remote import (
    BatchFile,
    Lease,
    NewFile,
    Placement,
    Remote,
    UploadState,
)

T = TypeVar("T")


class Outcome:
    """What came of a change: filled in by whoever made it. `is_none`: nothing was changed after all."""

    is_none = False
    node: NodeId | None = None
    version: VersionId | None = None

    def of_node(self, node: RemoteNode) -> RemoteNode:
        self.node, self.version = node.id, node.version
        return node


class AuditedRemote:
    """Implements Remote, and passes on what that raises. Only what places or removes something is an effect:
    the chunks of an upload, and the renewal of a lock, change nothing that anybody sees.

    `request_id` tells the id of the last request of this task.
    """

    def __init__(self, inner: Remote, recorder: EffectRecorder, request_id: Callable[[], str]) -> None:
        self._inner = inner
        self._recorder = recorder
        self._request_id = request_id
        self.upload_limits = inner.upload_limits
        self.list_folder = inner.list_folder
        self.newest = inner.newest
        self.lists_at_once = inner.lists_at_once
        self.listings_lag = inner.listings_lag
        self.listing_lacked = inner.listing_lacked
        self.nodes = inner.nodes
        self.read = inner.read
        self.open_upload = inner.open_upload
        self.send_chunk = inner.send_chunk
        self.complete_upload = inner.complete_upload
        self.upload_state = inner.upload_state
        self.cancel_upload = inner.cancel_upload
        self.versions = inner.versions
        self.renew_lease = inner.renew_lease
        self.lease_holder = inner.lease_holder
        self.changes = inner.changes
        self.survey = inner.survey
        self.changed_lately = inner.changed_lately
        self.pushed = inner.pushed
        self.inventory = inner.inventory
        self.ask_again = inner.ask_again

    @property
    def serves_ranges(self) -> bool:
        return self._inner.serves_ranges

    @asynccontextmanager
    async def effect(self, change: Change) -> AsyncIterator[Outcome]:
        """Record what is done within, unless it surely did not happen."""
        origin, outcome = self._recorder.origin(change), Outcome()
        try:
            yield outcome
        except OutcomeUnknown:
            self._record(change, outcome, origin, certain=False)
            raise
        if not outcome.is_none:
            self._record(change, outcome, origin, certain=True)

    def _record(self, change: Change, outcome: Outcome, origin: object, *, certain: bool) -> None:
        node = outcome.node or change.node
        effect = Effect(change, node, outcome.version, self._request_id(), certain)
        self._recorder.record(effect, origin)

    async def create_folder(self, parent: NodeId, name: str) -> RemoteNode:
        async with self.effect(Change("create folder", parent=parent, name=name)) as outcome:
            return outcome.of_node(await self._inner.create_folder(parent, name))

    async def rename(self, node: NodeId, name: str) -> RemoteNode:
        async with self.effect(Change("rename", node=node, name=name)) as outcome:
            return outcome.of_node(await self._inner.rename(node, name))

    async def move(self, node: NodeId, parent: NodeId) -> RemoteNode:
        async with self.effect(Change("move", node=node, parent=parent)) as outcome:
            return outcome.of_node(await self._inner.move(node, parent))

    async def describe(self, node: NodeId, text: str) -> RemoteNode:
        async with self.effect(Change("describe", node=node)) as outcome:
            return outcome.of_node(await self._inner.describe(node, text))

    async def trash(self, node: NodeId) -> RemoteNode | None:
        async with self.effect(Change("trash", node=node)):
            return await self._inner.trash(node)

    async def restore(self, node: NodeId) -> RemoteNode:
        async with self.effect(Change("restore", node=node)) as outcome:
            return outcome.of_node(await self._inner.restore(node))

    async def upload_small(self, place: Placement, content: bytes, sha256: str) -> UploadState:
        if not isinstance(place, NewFile):
            return await self._inner.upload_small(place, content, sha256)
        change = Change("create file", parent=place.parent, name=place.name, size=len(content))
        async with self.effect(change) as outcome:
            state = await self._inner.upload_small(place, content, sha256)
            outcome.node = state.node
            return state

    async def upload_batch(
        self, parent: NodeId, files: Sequence[BatchFile]
    ) -> Sequence[UploadState | RemoteError]:
        changes = [
            Change("create file", parent=parent, name=file.name, size=len(file.content)) for file in files
        ]
        origins = [self._recorder.origin(change) for change in changes]
        try:
            told = await self._inner.upload_batch(parent, files)
        except OutcomeUnknown:
            for change, origin in zip(changes, origins, strict=True):
                self._record(change, Outcome(), origin, certain=False)
            raise
        for change, origin, one in zip(changes, origins, told, strict=True):
            if isinstance(one, UploadState):
                outcome = Outcome()
                outcome.node = one.node
                self._record(change, outcome, origin, certain=True)
            elif isinstance(one, OutcomeUnknown):
                self._record(change, Outcome(), origin, certain=False)
        return told

    async def commit(
        self, node: NodeId, upload: UploadId, base: VersionId, *, sha256: str | None = None
    ) -> RemoteNode:
        async with self.effect(Change("new version", node=node)) as outcome:
            return outcome.of_node(await self._inner.commit(node, upload, base, sha256=sha256))

    async def commit_known(self, node: NodeId, sha256: str, base: VersionId) -> RemoteNode | None:
        async with self.effect(Change("new version", node=node)) as outcome:
            made = await self._inner.commit_known(node, sha256, base)
            outcome.is_none = made is None
            return None if made is None else outcome.of_node(made)

    async def add_file(self, parent: NodeId, name: str, upload: UploadId) -> RemoteNode:
        async with self.effect(Change("create file", parent=parent, name=name)) as outcome:
            return outcome.of_node(await self._inner.add_file(parent, name, upload))

    async def restore_version(self, node: NodeId, version: VersionId) -> RemoteNode:
        async with self.effect(Change("restore version", node=node)) as outcome:
            return outcome.of_node(await self._inner.restore_version(node, version))

    async def acquire_lease(self, node: NodeId, *, duration_s: float, holder: str) -> Lease:
        async with self.effect(Change("lock", node=node)):
            return await self._inner.acquire_lease(node, duration_s=duration_s, holder=holder)

    async def release_lease(self, node: NodeId, token: LeaseToken) -> None:
        async with self.effect(Change("unlock", node=node)):
            await self._inner.release_lease(node, token)

    async def override_lease(self, node: NodeId) -> None:
        async with self.effect(Change("break lock", node=node)):
            await self._inner.override_lease(node)

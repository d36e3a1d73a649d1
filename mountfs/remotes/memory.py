"""A complete workspace service in memory, for tests; several clients may share one workspace."""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import trio

from mountfs.model.content_source import ContentSource
from mountfs.model.errors import (
    CredentialRefused,
    NotOffered,
    ReadOnlyCredential,
    RemoteError,
    RemoteUnavailable,
    RequestRefused,
    WorkspaceUnknown,
)
from mountfs.model.history import Hits, RemoteEvent, SearchIn, Trashed, Version
from mountfs.model.ids import ChangeCursor, LeaseToken, NodeId, UploadId, VersionId
from mountfs.model.node import RemoteNode
from mountfs.model.remote import (
    BatchFile,
    Changes,
    InventoryPage,
    Lease,
    LeaseHolder,
    NewFile,
    Placement,
    Unplaced,
    UploadLimits,
    UploadState,
    UploadStatus,
    Workspace,
)
from mountfs.remotes.memory_records import DEFAULT_LIMITS
from mountfs.remotes.memory_workspace import MemoryWorkspace

__all__ = ["DEFAULT_LIMITS", "MemoryRemote", "MemoryService", "MemoryWorkspace"]

PIECE_BYTES = 64 * 1024
INVENTORY_ROWS = 100


class MemoryRemote:
    """One client of a workspace: its `mountfs.model.remote.Remote` and `mountfs.model.history.History`.
    Every call passes a checkpoint, or takes `latency_s`, before it acts.

    `calls` counts the calls by method name, `bytes_read` the bytes that left the workspace. `has_push` and
    `has_inventory`: what it offers beside the feed. `serves_ranges` may be cleared.
    """

    def __init__(self, workspace: MemoryWorkspace, *, latency_s: float = 0) -> None:
        self.workspace = workspace
        self.calls: Counter[str] = Counter()
        self.bytes_read = 0
        self.serves_ranges = True
        self.has_push = False
        self.has_inventory = True
        self._latency_s = latency_s

    async def upload_limits(self) -> UploadLimits:
        await self._enter("upload_limits")
        return self.workspace.limits

    async def list_folder(self, folder: NodeId, came: Callable[[], None] = lambda: None) -> list[RemoteNode]:
        await self._enter("list_folder")
        came()
        return self.workspace.listing(folder, trio.current_time())

    async def newest(self, folder: NodeId, most: int) -> list[RemoteNode]:
        await self._enter("newest")
        now = trio.current_time()
        told = [self.workspace.describe(child.id, now) for child in self.workspace.listing(folder, now)]
        children = [child for child in told if child is not None]
        return sorted(children, key=lambda child: (child.modified_ns, child.id), reverse=True)[:most]

    async def lists_at_once(self, made: RemoteNode) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    def listings_lag(self) -> bool:
        return False

    def listing_lacked(self) -> None:
        """It never does."""

    async def nodes(self, ids: Sequence[NodeId]) -> dict[NodeId, RemoteNode]:
        await self._enter("nodes")
        now = trio.current_time()
        told = {node: self.workspace.describe(node, now) for node in ids}
        return {node: answer for node, answer in told.items() if answer is not None}

    async def create_folder(self, parent: NodeId, name: str) -> RemoteNode:
        await self._enter_writing("create_folder")
        return self._described(self.workspace.create_folder(parent, name))

    async def rename(self, node: NodeId, name: str) -> RemoteNode:
        await self._enter_writing("rename")
        self.workspace.rename(node, name)
        return self._described(node)

    async def describe(self, node: NodeId, text: str) -> RemoteNode:
        await self._enter_writing("describe")
        self.workspace.set_text(node, text)
        return self._described(node)

    async def move(self, node: NodeId, parent: NodeId) -> RemoteNode:
        await self._enter_writing("move")
        self.workspace.move(node, parent)
        return self._described(node)

    async def trash(self, node: NodeId) -> RemoteNode | None:
        await self._enter_writing("trash")
        return self._described(node) if self.workspace.trash(node) else None

    @asynccontextmanager
    async def read(
        self, node: NodeId, version: VersionId | None, start: int, end: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        await self._enter("read")
        content = self.workspace.content(node, version)
        if not self.serves_ranges:
            self.bytes_read += start
        async with aclosing(self._counted(_pieces(content, start, end))) as pieces:
            yield pieces

    async def _counted(self, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async with aclosing(pieces):
            async for piece in pieces:
                self.bytes_read += len(piece)
                yield piece

    async def upload_small(self, place: Placement, content: bytes, sha256: str) -> UploadState:
        await self._enter_writing("upload_small")
        if len(content) > self.workspace.limits.single_call_bytes:
            raise RequestRefused(f"{place.name}: {len(content)} bytes are too many for one call")
        return self.workspace.upload_whole(place, content, sha256)

    async def upload_batch(
        self, parent: NodeId, files: Sequence[BatchFile]
    ) -> Sequence[UploadState | RemoteError]:
        await self._enter_writing("upload_batch")
        self.workspace.check_batch(parent, files)
        return [self._of_batch(parent, file) for file in files]

    def _of_batch(self, parent: NodeId, file: BatchFile) -> UploadState | RemoteError:
        try:
            return self.workspace.upload_whole(NewFile(parent, file.name), file.content, file.sha256)
        except RemoteError as error:
            return error

    async def open_upload(self, place: Placement, size: int, sha256: str) -> UploadId:
        await self._enter_writing("open_upload")
        return self.workspace.open_upload(place, size, sha256)

    async def send_chunk(self, upload: UploadId, order: int, content: ContentSource, sha256: str) -> None:
        await self._enter_writing("send_chunk")
        received = b"".join([piece async for piece in content.pieces()])
        self.workspace.receive(upload, order, received, sha256)

    async def complete_upload(self, upload: UploadId) -> None:
        await self._enter_writing("complete_upload")
        self.workspace.complete(upload)

    async def upload_state(self, upload: UploadId, *, wait_s: float = 0) -> UploadState:
        await self._enter("upload_state")
        with trio.move_on_after(wait_s):
            while self.workspace.upload_state(upload).status is UploadStatus.WORKING:
                await self.workspace.wait_news()
        return self.workspace.upload_state(upload)

    async def cancel_upload(self, upload: UploadId) -> None:
        await self._enter_writing("cancel_upload")
        self.workspace.cancel_upload(upload)

    async def commit(
        self, node: NodeId, upload: UploadId, base: VersionId, *, sha256: str | None = None
    ) -> RemoteNode:
        await self._enter_writing("commit")
        self.workspace.commit(node, upload, base)
        return self._described(node)

    async def commit_known(self, node: NodeId, sha256: str, base: VersionId) -> RemoteNode | None:
        await self._enter_writing("commit_known")
        content = self.workspace.known_content(sha256)
        if content is None:
            return None
        upload = self.workspace.upload_whole(Unplaced("known"), content, sha256)
        self.workspace.commit(node, upload.id, base)
        return self._described(node)

    async def add_file(self, parent: NodeId, name: str, upload: UploadId) -> RemoteNode:
        await self._enter_writing("add_file")
        return self._described(self.workspace.add_file(parent, name, upload))

    async def acquire_lease(self, node: NodeId, *, duration_s: float, holder: str) -> Lease:
        await self._enter_writing("acquire_lease")
        return Lease(self.workspace.acquire(node, duration_s, holder, trio.current_time()), duration_s)

    async def renew_lease(self, node: NodeId, token: LeaseToken) -> Lease:
        await self._enter_writing("renew_lease")
        return Lease(token, self.workspace.renew(node, token, trio.current_time()))

    async def release_lease(self, node: NodeId, token: LeaseToken) -> None:
        await self._enter_writing("release_lease")
        self.workspace.release(node, token)

    async def lease_holder(self, node: NodeId) -> LeaseHolder | None:
        await self._enter("lease_holder")
        return self.workspace.who_holds(node, trio.current_time())

    async def override_lease(self, node: NodeId) -> None:
        await self._enter_writing("override_lease")
        self.workspace.override(node)

    async def changes(self, cursor: ChangeCursor | None, *, wait_s: float = 0) -> Changes:
        await self._enter("changes")
        if cursor is None:
            return Changes(self.workspace.cursor(), frozenset())
        with trio.move_on_after(wait_s):
            while self.workspace.changes_since(cursor) == Changes(cursor, frozenset()):
                await self.workspace.wait_news()
        return self.workspace.changes_since(cursor)

    def ask_again(self) -> None:
        """It never refuses everything."""

    async def survey(self, cursor: ChangeCursor | None) -> Changes:
        await self._enter("survey")
        if cursor is None:
            return Changes(self.workspace.cursor(), frozenset())
        return self.workspace.changes_since(cursor)

    async def changed_lately(self) -> frozenset[NodeId]:
        await trio.lowlevel.checkpoint()
        return frozenset()

    @asynccontextmanager
    async def pushed(self) -> AsyncIterator[AsyncIterator[frozenset[NodeId]]]:
        await self._enter("pushed")
        if not self.has_push:
            raise NotOffered("this workspace pushes nothing")
        yield _Pushed(self.workspace)

    async def inventory(self, following: str | None) -> InventoryPage:
        await self._enter("inventory")
        if not self.has_inventory:
            raise NotOffered("this workspace tells its nodes folder by folder")
        start = int(following or 0)
        rows = self.workspace.live_nodes(trio.current_time())
        # As little of each as the service tells.
        page = [replace(row, version=None, text="") for row in rows[start : start + INVENTORY_ROWS]]
        is_last = start + INVENTORY_ROWS >= len(rows)
        return InventoryPage(page, None if is_last else str(start + INVENTORY_ROWS))

    # What is remembered.

    async def versions(self, node: NodeId) -> list[Version]:
        await self._enter("versions")
        return self.workspace.past.versions(node)

    async def restore_version(self, node: NodeId, version: VersionId) -> RemoteNode:
        await self._enter_writing("restore_version")
        self.workspace.restore_version(node, version)
        return self._described(node)

    async def trashed(self) -> list[Trashed]:
        await self._enter("trashed")
        return self.workspace.past.trashed()

    async def restore(self, node: NodeId) -> RemoteNode:
        await self._enter_writing("restore")
        self.workspace.restore(node)
        return self._described(node)

    async def purge(self, node: NodeId) -> None:
        await self._enter_writing("purge")
        self.workspace.purge(node)

    async def search(self, words: str, *, among: SearchIn, limit: int) -> Hits:
        await self._enter("search")
        return self.workspace.past.search(words, among, limit)

    async def events(
        self, *, node: NodeId | None = None, since_ns: int = 0, limit: int = 250
    ) -> Sequence[RemoteEvent]:
        await self._enter("events")
        return self.workspace.past.events(node, since_ns, limit)

    async def _enter(self, method: str) -> None:
        self.calls[method] += 1
        await trio.sleep(self._latency_s)

    async def _enter_writing(self, method: str) -> None:
        await self._enter(method)
        if not self.workspace.writable:
            raise ReadOnlyCredential(f"{method}: the workspace {self.workspace.name} may only be read")

    def _described(self, node: NodeId) -> RemoteNode:
        told = self.workspace.describe(node, trio.current_time())
        assert told is not None, "a node that was just changed is known"
        return told


class _Pushed:
    """What changes from its beginning on."""

    def __init__(self, workspace: MemoryWorkspace) -> None:
        self._workspace = workspace
        self._cursor = workspace.cursor()

    def __aiter__(self) -> "_Pushed":
        return self

    async def __anext__(self) -> frozenset[NodeId]:
        while True:
            told = self._workspace.changes_since(self._cursor)
            self._cursor = told.cursor
            if told.nodes:
                await trio.lowlevel.checkpoint()
                return told.nodes
            await self._workspace.wait_news()


async def _pieces(content: bytes, start: int, end: int) -> AsyncGenerator[bytes, None]:
    for position in range(start, min(end, len(content)), PIECE_BYTES):
        await trio.lowlevel.checkpoint()
        yield content[position : min(position + PIECE_BYTES, end)]
    if end > max(start, len(content)):
        raise RemoteUnavailable(f"the content ended at byte {len(content)}, before {end}")


class MemoryService:
    """An account that reaches the given workspaces. `credential_valid` may be cleared at any time."""

    def __init__(self, *workspaces: MemoryWorkspace, account: str = "1000000000000000001") -> None:
        self.workspaces = {workspace.id: workspace for workspace in workspaces}
        self.credential_valid = True
        self._account = account

    async def check_credential(self) -> str:
        await trio.lowlevel.checkpoint()
        if not self.credential_valid:
            raise CredentialRefused("the service does not know this token")
        return self._account

    async def find_workspace(self, name_or_id: str) -> Workspace:
        await self.check_credential()
        for workspace in self.workspaces.values():
            if name_or_id in {workspace.id, workspace.name}:
                return Workspace(workspace.id, workspace.name, workspace.writable)
        names = ", ".join(workspace.name for workspace in self.workspaces.values())
        raise WorkspaceUnknown(f"no workspace {name_or_id}; reachable: {names or 'none'}")

    def remote(self, workspace_id: str) -> MemoryRemote:
        return MemoryRemote(self.workspaces[workspace_id])

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

"""The port to the far side: what any workspace service must be able to do for a mount.

Every call either returns a complete answer or raises one of `mountfs.model.errors`. Calls that only read
are retried inside, within a bounded time, and end in `RemoteUnavailable`. Calls that change something are
repeated only where the remote surely did not act (connection refused, 429); otherwise a lost answer is
`OutcomeUnknown` and the caller looks before it repeats. Every call may be cancelled at any time; a
cancelled change may or may not have happened.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from mountfs.model.content_source import ContentSource
from mountfs.model.errors import RemoteError
from mountfs.model.history import Version
from mountfs.model.ids import ChangeCursor, Ino, LeaseToken, NodeId, UploadId, VersionId
from mountfs.model.node import RemoteNode


@dataclass(frozen=True, slots=True)
class Workspace:
    id: str
    name: str
    writable: bool


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What one upload may be. Sizes in bytes; `refused_suffixes` are what no name may end in, in lower case
    and without the dot. `batch_files` and `batch_bytes` bound one `upload_batch`, of
    files that each would go in a single call; fewer than two files: there are no batches."""

    single_call_bytes: int
    chunk_min_bytes: int
    chunk_max_bytes: int
    chunks_max: int
    file_max_bytes: int
    parallel_chunks: int
    batch_files: int = 0
    batch_bytes: int = 0
    refused_suffixes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NewFile:
    """Place the upload as a file of this name in this folder; an existing one gets a new version."""

    parent: NodeId
    name: str


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Keep the upload aside under a display name, to be placed later by `Remote.commit`."""

    name: str


Placement = NewFile | Unplaced


class UploadStatus(Enum):
    RECEIVING = "receiving"
    """Chunks may be sent."""
    WORKING = "working"
    """The remote is assembling or placing; wait."""
    ASSEMBLED = "assembled"
    """Complete but in no folder: the end for `Unplaced`, a step on the way for `NewFile`."""
    STORED = "stored"
    """Placed; `node` says where."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class UploadState:
    """`chunks` maps the order number of a chunk that has arrived (from 1) to its size in bytes; of an upload
    that is not receiving any more it may tell none."""

    id: UploadId
    status: UploadStatus
    message: str
    chunks: Mapping[int, int]
    node: NodeId | None


@dataclass(frozen=True, slots=True)
class BatchFile:
    """One file of a batch, to be placed as by `NewFile`."""

    name: str
    content: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Lease:
    """`duration_s` counts from a moment between the request and its answer; the remote frees it then."""

    token: LeaseToken
    duration_s: float


@dataclass(frozen=True, slots=True)
class KnownLease:
    """A lease on the node of a file as the journal keeps it, for a start after a crash."""

    ino: Ino
    node: NodeId
    token: LeaseToken


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """Who holds the lock on a file, as far as the remote tells.

    `holder` is what was given to `acquire_lease`, "" where it is not told; the times are nanoseconds since
    the epoch by the remote's clock, 0 where they are not told.
    """

    holder: str
    since_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since a cursor.

    With `everything`, the remote cannot tell what changed: all that is known may be out of date.
    """

    cursor: ChangeCursor
    nodes: frozenset[NodeId]
    everything: bool = False


@dataclass(frozen=True, slots=True)
class InventoryPage:
    """A part of all live nodes, in the remote's order; `following` names the next part, None at the end.

    What rows leave out is None or 0: often the version, the hash and the text.
    """

    nodes: Sequence[RemoteNode]
    following: str | None


class Remote(Protocol):
    """One workspace."""

    @property
    def serves_ranges(self) -> bool:
        """False where a part of a content costs all that lies before it. It may turn out with any read."""
        ...

    async def upload_limits(self) -> UploadLimits: ...

    async def list_folder(self, folder: NodeId, came: Callable[[], None] = lambda: None) -> list[RemoteNode]:
        """Return every live child: version known, sha256 where it is told at once. Raises NodeNotFound.

        `came` is called whenever a part of a long listing is here.
        """
        ...

    async def newest(self, folder: NodeId, most: int) -> list[RemoteNode]:
        """Return about `most` of the live children of a folder, those that changed last, in few calls.

        Who is missing may be there all the same. Raises as `list_folder`.
        """
        ...

    async def lists_at_once(self, made: RemoteNode) -> bool:
        """Tell whether listings show a node as soon as it is made; false as well where one ever turned out
        not to. Where that is not known it is found out by this node, which was made just now."""
        ...

    def listings_lag(self) -> bool:
        """Tell whether listings are known not to show a node as soon as it is made."""
        ...

    def listing_lacked(self) -> None:
        """A listing did not show what was there already: see `lists_at_once`."""
        ...

    async def nodes(self, ids: Sequence[NodeId]) -> dict[NodeId, RemoteNode]:
        """Return what the remote knows of each id, sha256 included; ids that it does not know are absent.

        An id whose state could not be told is never absent: the call raises RemoteUnavailable instead.
        """
        ...

    async def create_folder(self, parent: NodeId, name: str) -> RemoteNode:
        """Create the folder, or return the one of that name. Safe to repeat. Raises NameTaken for a file."""
        ...

    async def rename(self, node: NodeId, name: str) -> RemoteNode:
        """Raises NameTaken, NodeNotFound, NameRefused."""
        ...

    async def move(self, node: NodeId, parent: NodeId) -> RemoteNode:
        """Move, keeping the name. A file of that name in `parent` is sent to the trash by the remote."""
        ...

    async def describe(self, node: NodeId, text: str) -> RemoteNode:
        """Set the free text of a node; makes no new version. Raises NodeNotFound."""
        ...

    async def trash(self, node: NodeId) -> RemoteNode | None:
        """Send the node (of a folder: the subtree) to the trash. Absent or trashed already is success.

        Returns what was deleted by this call, where the remote tells.
        """
        ...

    async def restore(self, node: NodeId) -> RemoteNode:
        """Bring the node back from the trash, with what lies below it; tells where it is then, and its name
        there, which may differ. Raises NodeNotFound."""
        ...

    def read(
        self, node: NodeId, version: VersionId | None, start: int, end: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream the bytes [start, end) of one version, in pieces of the remote's choosing.

        Exactly `end - start` bytes come, whether or not the remote serves ranges; fewer is an error
        (RemoteUnavailable). Entering raises NodeNotFound. Not retried inside: the caller resumes.
        """
        ...

    async def upload_small(self, place: Placement, content: bytes, sha256: str) -> UploadState:
        """Send a file of at most `single_call_bytes` in one call."""
        ...

    async def upload_batch(
        self, parent: NodeId, files: Sequence[BatchFile]
    ) -> Sequence[UploadState | RemoteError]:
        """Send several files to one folder in one call, within the limits.

        Tells for each file, in their order, how its upload stands, or why that file was not taken;
        OutcomeUnknown among these leaves it open whether it was. Raises what refuses the call as a whole
        (then no file was taken), and RemoteUnavailable or OutcomeUnknown as every change.
        """
        ...

    async def open_upload(self, place: Placement, size: int, sha256: str) -> UploadId:
        """Open a chunked session. Raises FileTooBig, QuotaExceeded, NameRefused."""
        ...

    async def send_chunk(self, upload: UploadId, order: int, content: ContentSource, sha256: str) -> None:
        """Send chunk `order` (from 1). Safe to repeat, and repeated inside, which reads `content` again.

        Raises UploadVanished, and what reading the content raises.
        """
        ...

    async def complete_upload(self, upload: UploadId) -> None:
        """Say that every chunk was sent. A session already complete is success. Raises UploadVanished."""
        ...

    async def upload_state(self, upload: UploadId, *, wait_s: float = 0) -> UploadState:
        """Tell the state, after at most `wait_s` seconds of waiting for a change. Raises UploadVanished."""
        ...

    async def cancel_upload(self, upload: UploadId) -> None:
        """Give up the session and what it holds. Absent is success."""
        ...

    async def commit(
        self, node: NodeId, upload: UploadId, base: VersionId, *, sha256: str | None = None
    ) -> RemoteNode:
        """Make an assembled `Unplaced` upload the next version of `node`, if that is still at `base`.

        Returns the node with version and sha256, those of a version that others made right behind this one
        where they did. `sha256`, of the upload, tells the two apart. Raises VersionMismatch, NodeNotFound,
        UploadVanished.
        """
        ...

    async def commit_known(self, node: NodeId, sha256: str, base: VersionId) -> RemoteNode | None:
        """Like `commit`, with content that the remote has already; None, and nothing done, where it has not.
        Raises VersionMismatch, NodeNotFound."""
        ...

    async def add_file(self, parent: NodeId, name: str, upload: UploadId) -> RemoteNode:
        """Place an assembled `Unplaced` upload as a file of this name in this folder.

        An existing file of that name gets a new version. Returns the node with version and sha256. Raises
        NodeNotFound (the folder), UploadVanished, NameRefused.
        """
        ...

    async def versions(self, node: NodeId) -> list[Version]:
        """Return the versions of a file, the newest first. Raises NodeNotFound."""
        ...

    async def restore_version(self, node: NodeId, version: VersionId) -> RemoteNode:
        """Make an old content the present one; it is a new version. Raises NodeNotFound."""
        ...

    async def acquire_lease(self, node: NodeId, *, duration_s: float, holder: str) -> Lease:
        """Take the exclusive lock on a file. `holder` is shown to others. Raises LeaseHeld, NodeNotFound."""
        ...

    async def renew_lease(self, node: NodeId, token: LeaseToken) -> Lease:
        """Start the duration anew. Raises LeaseNotHeld."""
        ...

    async def release_lease(self, node: NodeId, token: LeaseToken) -> None:
        """Give the lock back. Not held any more is success."""
        ...

    async def lease_holder(self, node: NodeId) -> LeaseHolder | None:
        """Tell who holds the lock on a file, None where nobody does. Raises NodeNotFound."""
        ...

    async def override_lease(self, node: NodeId) -> None:
        """End the lock, whoever holds it: its token is refused from then on. No lock is success.

        Raises AccessDenied where this credential may not, LeaseNotOverridable where nobody can, NodeNotFound.
        """
        ...

    async def changes(self, cursor: ChangeCursor | None, *, wait_s: float = 0) -> Changes:
        """Tell what changed since `cursor`, after at most `wait_s` seconds of waiting for something.

        Without a cursor the answer is the present cursor and no node. A cursor that the remote no longer
        knows gives `everything`.
        """
        ...

    async def survey(self, cursor: ChangeCursor | None) -> Changes:
        """Tell from another source what changed since a cursor of this call: what `changes` lost shows there.

        Without a cursor the answer is the present cursor and no node. With `everything` the source cannot
        tell. Deletions may be missing, and what changed just now.
        """
        ...

    async def changed_lately(self) -> frozenset[NodeId]:
        """Name what changed in the last minutes, as far as listings may not show it yet; may name more.

        Raises as every call where the remote tells of nothing that was before.
        """
        ...

    def pushed(self) -> AbstractAsyncContextManager[AsyncIterator[frozenset[NodeId]]]:
        """Hear of changes as they happen: entering opens a channel, and each item names nodes that changed.

        It tells nothing of what was before, and may lose what happens: only `changes` tells all. Entering
        raises NotOffered where the remote has no such channel, and RemoteUnavailable. Iterating raises
        RemoteUnavailable when the channel has ended, within half a minute also where nothing tells that.
        """
        ...

    async def inventory(self, following: str | None) -> InventoryPage:
        """Return a part of all live nodes: the first one, or that which an earlier part named.

        What changed meanwhile may be missing, or come twice. Raises NotOffered where the remote tells its
        nodes only folder by folder, RequestRefused for a part that it no longer knows.
        """
        ...

    def ask_again(self) -> None:
        """Somebody says that what everything was refused for is put right: the next calls are made, though
        it would be of no use to ask yet."""
        ...


class Service(Protocol):
    """An account on a workspace service."""

    async def check_credential(self) -> str:
        """Return the id of the account. Raises CredentialRefused, RemoteUnavailable, ProtocolViolation."""
        ...

    async def find_workspace(self, name_or_id: str) -> Workspace:
        """Raises WorkspaceUnknown (its message lists near names), AccessDenied, RemoteUnavailable."""
        ...

    def remote(self, workspace_id: str) -> Remote:
        """Return the port to one workspace; makes no call."""
        ...

    async def aclose(self) -> None: ...

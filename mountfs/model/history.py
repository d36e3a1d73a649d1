"""The port to what a workspace remembers beside its present state: versions, trash, events; and its search.

Calls fail as those of `mountfs.model.remote`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from mountfs.model.ids import NodeId, VersionId
from mountfs.model.node import NodeKind, RemoteNode


@dataclass(frozen=True, slots=True)
class Version:
    """One state of a file. `size` and `sha256` are None where the remote does not tell; `created_ns` is by
    its clock, 0 where it is not told. `author` is who made it, "" where that is not told."""

    id: VersionId
    name: str = ""
    size: int | None = None
    sha256: str | None = None
    created_ns: int = 0
    author: str = ""


@dataclass(frozen=True, slots=True)
class Trashed:
    """Something in the trash. `parent` is the folder that it was deleted from, None where that is not
    told."""

    id: NodeId
    kind: NodeKind
    name: str
    parent: NodeId | None
    size: int
    deleted_ns: int


class SearchIn(Enum):
    NAMES = "names"
    CONTENT = "content"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Hit:
    """`path` is relative to the top of the workspace, as the remote's index has it, "" where it does not
    tell."""

    node: NodeId
    kind: NodeKind | None
    name: str
    path: str
    relevance: float


@dataclass(frozen=True, slots=True)
class Hits:
    """The best first. `total`: how many there are, None where that is not told; `complete`: nothing that was
    written is known to be missing from the index."""

    hits: tuple[Hit, ...]
    total: int | None
    complete: bool


@dataclass(frozen=True, slots=True)
class RemoteEvent:
    """Something that happened in the workspace. `at_ns` is by the remote's clock; `node`, `name` and `actor`
    are what it was about and who did it, None and "" where that is not told."""

    id: str
    event: str
    at_ns: int
    node: NodeId | None
    name: str
    actor: str


class History(Protocol):
    """One workspace."""

    async def versions(self, node: NodeId) -> list[Version]:
        """Return the versions of a file, the newest first. Raises NodeNotFound."""
        ...

    async def restore_version(self, node: NodeId, version: VersionId) -> RemoteNode:
        """Make an old content the present one; it is a new version. Raises NodeNotFound."""
        ...

    async def trashed(self) -> list[Trashed]:
        """Return what was deleted, without what lies below it."""
        ...

    async def restore(self, node: NodeId) -> RemoteNode:
        """As `Remote.restore`."""
        ...

    async def purge(self, node: NodeId) -> None:
        """Remove it from the trash for good. Raises NodeNotFound, and RequestRefused for what is not
        there."""
        ...

    async def search(self, words: str, *, among: SearchIn, limit: int) -> Hits: ...

    async def events(
        self, *, node: NodeId | None = None, since_ns: int = 0, limit: int = 250
    ) -> Sequence[RemoteEvent]:
        """Return the newest events, at most `limit`, of one node or of all, the oldest first.

        Raises AccessDenied where this credential may not see them.
        """
        ...

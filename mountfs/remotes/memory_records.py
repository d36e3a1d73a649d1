"""What a workspace in memory consists of."""

from dataclasses import dataclass, field
from types import MappingProxyType

from mountfs.model.ids import LeaseToken, NodeId, UploadId, VersionId
from mountfs.model.node import NodeKind
from mountfs.model.remote import Placement, UploadState, UploadStatus


@dataclass(frozen=True, slots=True)
class Version:
    id: VersionId
    content: bytes
    sha256: str


@dataclass(slots=True)
class HeldLease:
    token: LeaseToken
    holder: str
    duration_s: float
    expires_at: float
    since_ns: int
    until_ns: int


@dataclass(slots=True)
class StoredNode:
    id: NodeId
    kind: NodeKind
    name: str
    parent: NodeId
    modified_ns: int
    versions: list[Version] = field(default_factory=list)
    trashed: bool = False
    text: str = ""
    lease: HeldLease | None = None

    def version(self, wanted: VersionId | None) -> Version | None:
        """Return the version of that id, without an id the current one, or None."""
        if wanted is None:
            return self.versions[-1] if self.versions else None
        return next((one for one in self.versions if one.id == wanted), None)


@dataclass(slots=True)
class Upload:
    id: UploadId
    place: Placement
    size: int
    sha256: str
    status: UploadStatus = UploadStatus.RECEIVING
    message: str = ""
    chunks: dict[int, bytes] = field(default_factory=dict)
    node: NodeId | None = None

    def content(self) -> bytes:
        return b"".join(self.chunks[order] for order in sorted(self.chunks))

    def state(self) -> UploadState:
        sizes = {order: len(content) for order, content in self.chunks.items()}
        return UploadState(self.id, self.status, self.message, MappingProxyType(sizes), self.node)

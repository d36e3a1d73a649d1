"""What a workspace in memory consists of."""

import hashlib
import unicodedata
from collections.abc import Container
from dataclasses import dataclass, field
from itertools import count
from types import MappingProxyType
from typing import Any

from mountfs.model.ids import LeaseToken, NodeId, UploadId, VersionId
from mountfs.model.node import NodeKind
from mountfs.model.remote import Placement, UploadLimits, UploadState, UploadStatus

MIB = 1024 * 1024

DEFAULT_LIMITS = UploadLimits(
    single_call_bytes=4 * MIB,
    chunk_min_bytes=MIB,
    chunk_max_bytes=100 * MIB,
    chunks_max=550,
    file_max_bytes=25 * 1024 * MIB,
    parallel_chunks=3,
    batch_files=200,
    batch_bytes=100 * MIB,
)


def is_ordinary_name(name: str) -> bool:
    return 0 < len(name) <= 255 and name not in {".", ".."} and not set(name) & {"/", "\0"}


def numbered(name: str, taken: Container[str]) -> str:
    """Return a name like this that is not taken."""
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    candidates = (f"{stem} ({number}){dot}{suffix}" for number in count(2))
    return next(one for one in candidates if one not in taken)


@dataclass(frozen=True, slots=True)
class Version:
    id: VersionId
    content: bytes
    sha256: str
    name: str
    created_ns: int


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
    trashed_ns: int = 0
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

    def flaw(self, chunk_min_bytes: int) -> str:
        """Return why this content cannot be put together, "" where it can."""
        sizes = self.state().chunks
        if sum(sizes.values()) != self.size:
            return f"{sum(sizes.values())} bytes arrived, {self.size} were announced"
        if any(size < chunk_min_bytes for order, size in sizes.items() if order != max(sizes)):
            return "a chunk other than the last is too small"
        if hashlib.sha256(self.content()).hexdigest() != self.sha256:
            return "the content does not match its hash"
        return ""

    def content(self) -> bytes:
        return b"".join(self.chunks[order] for order in sorted(self.chunks))

    def state(self) -> UploadState:
        sizes = {order: len(content) for order, content in self.chunks.items()}
        return UploadState(self.id, self.status, self.message, MappingProxyType(sizes), self.node)


class FoldedNames(dict[str, NodeId]):
    """The children of a folder, each to be found by any name that is like its own."""

    def _known(self, name: str) -> str:
        return next((known for known in self if _folded(known) == _folded(name)), name)

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(self._known(name), default)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(self._known(str(name)))

    def __setitem__(self, name: str, node: NodeId) -> None:
        super().__setitem__(self._known(name), node)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(self._known(name))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())

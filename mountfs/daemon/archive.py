"""What a mount can be asked about the past of its workspace: the port behind the commands for it."""

from dataclasses import dataclass
from typing import Protocol

from mountfs.model.history import SearchIn


@dataclass(frozen=True, slots=True)
class VersionState:
    """One version of a file. Times are ISO 8601, UTC; None and "" is what the workspace does not tell."""

    id: str
    created_at: str | None
    size: int | None
    name: str
    author: str
    current: bool


@dataclass(frozen=True, slots=True)
class TrashState:
    """Something in the trash. `path`: where it was, relative to the mount, None where that is not known."""

    id: str
    kind: str
    name: str
    path: str | None
    size: int
    deleted_at: str | None


@dataclass(frozen=True, slots=True)
class HitState:
    """`path` is relative to the mount, "" where it is not known."""

    id: str
    path: str
    kind: str
    name: str
    relevance: float


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """`total`: how many there are, None where that is not told. `complete`: the index knew everything."""

    hits: tuple[HitState, ...]
    total: int | None
    complete: bool


@dataclass(frozen=True, slots=True)
class EventState:
    """An event of the workspace. `path` is where its subject is now, None where that is not known."""

    at: str
    event: str
    id: str
    node: str | None
    path: str | None
    name: str
    actor: str


@dataclass(frozen=True, slots=True)
class Restored:
    """`path`: where it is now. `version`: the present one, None for a folder."""

    path: str
    version: str | None


class Archive(Protocol):
    """Paths are relative to the mount. Each call raises FileNotFound, InvalidArgument, and what the remote
    says."""

    async def versions(self, path: bytes) -> list[VersionState]:
        """Return the versions of a file, the newest first."""
        ...

    async def fetch_version(self, path: bytes, version: str, file: bytes) -> None:
        """Write the content of a version into a file that is there already."""
        ...

    async def restore(self, path: bytes, version: str | None) -> Restored:
        """Make an old version the present one (None: the one before the present), or bring back from the
        trash what was at this path. Raises FileInUse where changes of it wait to be sent."""
        ...

    async def trashed(self) -> list[TrashState]:
        """Return what is in the trash, the last deleted first."""
        ...

    async def restore_from_trash(self, which: str) -> Restored:
        """Bring back the one with this id, or at this path the last one that was there, or of this name."""
        ...

    async def purge(self, which: str | None) -> list[TrashState]:
        """Remove one from the trash for good (None: all of them), and return what went."""
        ...

    async def search(self, words: str, among: SearchIn, limit: int) -> SearchOutcome: ...

    async def events(self, path: bytes | None, *, since_ns: int, limit: int) -> list[EventState]:
        """Return the newest events, at most `limit`, the oldest first."""
        ...

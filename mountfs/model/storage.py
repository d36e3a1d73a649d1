"""The ports to our own disk."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from mountfs.model.conflict import Conflict
from mountfs.model.disk import Disk, DiskStep
from mountfs.model.entry import ContentStamp, EntryRecord, OpenUpload
from mountfs.model.ids import Ino, NodeId, VersionId
from mountfs.model.remote import KnownLease


class Journal(Protocol):
    """The tree and what the remote does not have of it, on disk.

    The `record` and `erase` methods take effect in memory at once and on disk in one
    transaction with everything else recorded in the same synchronous stretch of code: after a crash either
    all of it is there or nothing. What the disk refuses is kept and tried again.
    """

    def check_writable(self) -> None:
        """Raise StorageError while the disk refuses records; to be asked before memory is changed."""
        ...

    def has_reserve(self) -> bool:
        """Tell whether the room is there that the disk keeps for the journal: else content must not grow."""
        ...

    def record(self, *entries: EntryRecord) -> None: ...

    def erase(self, ino: Ino) -> None:
        """Erase the entry; what is known of an upload of it stays."""
        ...

    def record_upload(self, upload: OpenUpload) -> None: ...

    def erase_upload(self, ino: Ino) -> None: ...

    def record_conflict(self, conflict: Conflict) -> None:
        """Keep it in place of an earlier one of the same entry."""
        ...

    def erase_conflict(self, ino: Ino) -> None: ...

    def record_lease(self, lease: KnownLease) -> None: ...

    def erase_lease(self, ino: Ino) -> None: ...

    def record_pin(self, ino: Ino, path: bytes) -> None:
        """Keep that the entry is pinned, and where it was then."""
        ...

    def erase_pin(self, ino: Ino) -> None: ...
    def record_request(self, node: NodeId, place: tuple[NodeId, str]) -> None:
        """Keep where the remote is asked to put a node, in place of an earlier one."""
        ...

    def erase_request(self, node: NodeId) -> None: ...

    async def requests(self) -> dict[NodeId, tuple[NodeId, str]]:
        """Return where an earlier run asked the remote to put nodes, without having learnt whether it did."""
        ...

    def is_readable(self) -> bool:
        """Tell whether `children`, `by_node` and `by_ino` see all that was recorded."""
        ...

    def unwritten(self) -> set[Ino]:
        """Return the entries of which these do not see yet what was recorded last."""
        ...

    async def committed(self) -> None:
        """Wait until all that was recorded before survives the death of this process.

        Raises StorageError when the disk refuses it; it is tried again all the same.
        """
        ...

    async def synced(self) -> None:
        """Wait until all that was recorded before survives the loss of power."""
        ...

    async def children(self, parent: Ino) -> Sequence[EntryRecord]: ...

    async def by_node(self, nodes: Sequence[NodeId]) -> Sequence[EntryRecord]: ...

    async def by_ino(self, ino: Ino) -> EntryRecord | None: ...

    async def pins(self) -> Sequence[tuple[Ino, bytes]]: ...

    async def files_below(self, tops: Sequence[Ino]) -> Sequence[tuple[Ino, int]]:
        """Return number and size of the files that are, or lie below, one of these, as it is on disk."""
        ...

    def new_ino(self) -> Ino:
        """Return an inode number that was never used in this cache, also not before a crash."""
        ...


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which bytes of which version of a clean file are in the cache."""

    version: VersionId
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class StoredContent:
    """`used_at`: when it was last opened, seconds since the epoch."""

    ino: Ino
    bytes_on_disk: int
    used_at: float


class ContentStore(Protocol):
    """The files that hold content, one per inode, and the index of those that are clean.

    All calls may block on the disk and raise StorageError. They are called from worker threads, but `create`,
    and `open` where the file was made or used just before.
    """

    disk: Disk
    """What the descriptors given out are to be changed by."""

    @property
    def damaged(self) -> Path:
        """Where `set_aside` keeps what it moves; nothing removes it."""
        ...

    def create(self, ino: Ino) -> int:
        """Return what `open` does, for an entry that never had content before."""
        ...

    def open(self, ino: Ino, *, create: bool) -> int:
        """Return a new descriptor, open for reading and writing, owned by the caller."""
        ...

    def remove(self, ino: Ino, *, step: DiskStep = DiskStep.REMOVE_CONTENT) -> None:
        """Remove content and index entry; absent is success."""
        ...

    def remove_all(self, inos: Iterable[Ino]) -> None: ...

    def stamp(self, ino: Ino) -> ContentStamp | None:
        """Return the state of the content file, None where there is none."""
        ...

    def set_aside(self, ino: Ino, path: bytes) -> str | None:
        """Move damaged content to where it is kept for people, below a folder of the cache under this path,
        and return where it is then, on stable storage; None where there is none."""
        ...

    def coverage(self, ino: Ino) -> Coverage | None: ...

    def save_coverage(self, ino: Ino, coverage: Coverage | None) -> None: ...

    def save_sums(self, ino: Ino, coverage: Coverage) -> None:
        """Remember how the bytes look that are here of a file, by which damage of them is noticed."""
        ...

    def sound(self, ino: Ino, coverage: Coverage) -> tuple[tuple[int, int], ...]:
        """Return what of these ranges is as it was remembered, and what was never remembered."""
        ...

    def save_coverages(self, coverages: Iterable[tuple[Ino, Coverage]]) -> None: ...

    def sync(self, ino: Ino, descriptor: int) -> None:
        """Return when the content and its name in the cache are on stable storage."""
        ...

    def write_back(self, ino: Ino, descriptor: int) -> None:
        """Return when no page of the file is dirty that was before: a program that writes to one by a mapping
        changes the file's time again."""
        ...

    def scratch(self) -> IO[bytes]:
        """Return an empty file without a name, on the same file system, that goes when it is closed."""
        ...

    def stored(self) -> Iterable[StoredContent]:
        """Return what is on the disk, in no order."""
        ...


class SavedCopies(Protocol):
    """Copies of content that programs are about to lose, for people: nothing ever removes them."""

    def save(self, folder: str | None, path: bytes, descriptor: int) -> str:
        """Copy the content of `descriptor` below the folder (None: one in the cache) and return the path of
        the copy, which is on stable storage then.

        `path` gives the name; another is chosen where it is taken. Blocks. Raises StorageError.
        """
        ...

"""What a process that serves a mount knows alone, as the next one gets it that goes on with the same mount.

The kernel's own view (which files are open under which handles, which nodes it refers to) outlives the
process; this is the other half of it. Everything else is in the journal and in the cache.
"""

from dataclasses import dataclass

from mountfs.model.entry import ContentStamp, EntryRecord
from mountfs.model.filesystem import Handle, LockKind, LockOwner, RecordLock
from mountfs.model.ids import Ino, LeaseToken, NodeId


@dataclass(frozen=True, slots=True)
class OpenHandle:
    """As in `mountfs.filesystem.handles.OpenFile`."""

    handle: Handle
    writing: bool
    mappable: bool
    direct: bool


@dataclass(frozen=True, slots=True)
class UsedInode:
    """A file that is open, or an entry without a name to which the kernel refers.

    `record` is there where the journal does not have the entry. `present`: which bytes of its content are in
    the cache, None where that was not looked up. The rest is as in `mountfs.tree.inode.Inode`.
    """

    ino: Ino
    record: EntryRecord | None
    lookups: int
    unsealed: bool
    present: tuple[tuple[int, int], ...] | None
    exposed: ContentStamp | None
    handles: tuple[OpenHandle, ...]


@dataclass(frozen=True, slots=True)
class OpenListing:
    """An open directory; `entries`: what the listing saw when it began."""

    handle: Handle
    ino: Ino
    entries: tuple[Ino, ...]


@dataclass(frozen=True, slots=True)
class OpenState:
    """What programs have open. `referred`: the nodes that the kernel knows, as `InoSet.to_bytes` gives them.
    `last_file`, `last_directory`: the highest handles that were given."""

    inodes: tuple[UsedInode, ...]
    listings: tuple[OpenListing, ...]
    referred: bytes
    last_file: Handle
    last_directory: Handle


@dataclass(frozen=True, slots=True)
class VirtualNumbers:
    """The highest numbers that the virtual directory has given: none may come to mean something else."""

    last_ino: Ino
    last_handle: Handle


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease in hand; `start` is on the clock that goes on while the host sleeps, the same for every process
    of it."""

    node: NodeId
    token: LeaseToken
    start: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class HeldFlock:
    owner: LockOwner
    kind: LockKind
    since: float


@dataclass(frozen=True, slots=True)
class HeldRecords:
    owner: LockOwner
    locks: tuple[RecordLock, ...]
    since: float


@dataclass(frozen=True, slots=True)
class HeldLocks:
    """The granted locks of one file. `lease` is None for a file that never goes to the remote."""

    ino: Ino
    lease: HeldLease | None
    flocks: tuple[HeldFlock, ...]
    records: tuple[HeldRecords, ...]


@dataclass(frozen=True, slots=True)
class GrantedLocks:
    """`recorded_through`: inode, handle and owner of each open file description through which record locks
    were asked for; `flocked_through`: those of flocks."""

    files: tuple[HeldLocks, ...]
    recorded_through: tuple[tuple[Ino, Handle, LockOwner], ...]
    flocked_through: tuple[tuple[Ino, Handle, LockOwner], ...]


@dataclass(frozen=True, slots=True)
class BackedInode:
    """The opens of one inode as the kernel serves them; `backing` is its number for the backing file, and
    `identity` device and inode of that, None both where it serves none of them by itself."""

    ino: Ino
    backing: int | None
    identity: tuple[int, int] | None
    handles: tuple[Handle, ...]


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """What was agreed with the kernel when it opened the connection, in its wire format, and what it has
    open. `device_minor` tells this mount from any other."""

    device_minor: int
    request: bytes
    answer: bytes
    backed: tuple[BackedInode, ...]
    directories: tuple[tuple[Handle, Ino], ...]

"""What a running mount can be asked: the port between the control socket and the composed daemon."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mountfs.daemon.archive import Archive
from mountfs.model.conflict import Keep

if TYPE_CHECKING:
    from mountfs.daemon.handover import Handover


def shown(text: bytes | str) -> str:
    """Return a name as text for people and JSON; bytes that are not UTF-8 appear as backslash escapes."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class CacheUse:
    """`dirty_bytes`: content that the workspace does not have yet. `files`: how many have content here.
    `writers`: "free", "slowed" while unsent content fills the cache, or "refused" for want of room."""

    used_bytes: int
    limit_bytes: int
    dirty_bytes: int
    files: int
    writers: str = "free"


@dataclass(frozen=True, slots=True)
class ActiveUpload:
    path: str
    size_bytes: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class FailedUpload:
    """Will not succeed by itself; `hint` says what to do."""

    path: str
    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class WaitingUpload:
    """One change that the workspace does not have. `state`: waiting, uploading or failed; `size_bytes` is 0
    where no content is to be sent; `reason` says why it failed, and is empty else."""

    state: str
    path: str
    size_bytes: int
    sent_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Uploads:
    """`pending_count` is the number of entries in the journal, the active and failed ones included."""

    pending_count: int
    pending_bytes: int
    active: tuple[ActiveUpload, ...]
    failed: tuple[FailedUpload, ...]


@dataclass(frozen=True, slots=True)
class LockState:
    """One file with holders or waiters here. `lease_s`: what is left of the lease, None without one. `lost`:
    how many of the owners lost their lock and neither unlocked nor closed since."""

    path: str
    kind: str
    owners: int
    waiters: int
    lease_s: float | None
    lost: int = 0


@dataclass(frozen=True, slots=True)
class LockUser:
    """One that holds a lock on this mount, or waits for it, and for how long already. `lost`: the lease ended
    under it, and it neither unlocked nor closed since."""

    kind: str
    since_s: float
    lost: bool = False


@dataclass(frozen=True, slots=True)
class RemoteHolder:
    """Who holds the lock of a file on the workspace, as far as that tells; times are seconds since the epoch
    by the workspace's clock, None where they are not told. `here`: it is this mount."""

    holder: str
    since: float | None
    until: float | None
    here: bool


@dataclass(frozen=True, slots=True)
class LockReport:
    """The lock of one file. `lease_s`: what is left of this mount's lease, None without one.

    `remote_error` says why the workspace could not be asked; then `remote` is None.
    """

    path: str
    holders: tuple[LockUser, ...]
    waiters: tuple[LockUser, ...]
    lease_s: float | None
    remote: RemoteHolder | None
    remote_error: str | None


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that may be off on this machine, and why."""

    name: str
    on: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Requests:
    """How many there were since the start: of the kernel, by operation, without what it answers by itself; to
    the workspace, by method and route."""

    kernel: Mapping[str, int]
    workspace: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that `mountfs status` shows of one mount. Paths are relative to the mount, as `shown`.

    `leases_lost`: how many ended since the start under somebody who relied on them. `pinned`: the files and
    folders that stay in the cache. `sent_bytes`, `fetched_bytes`: content, since the start. `damaged`: the
    files that keep what the disk spoilt and the workspace did not have. `upgrades`: how often another version
    was to go on with the mount; `upgrade_failure`: why the last one had to make it anew, and empty else.
    """

    workspace_name: str
    workspace_id: str
    url: str
    mountpoint: str
    cache_dir: str
    pid: int
    version: str
    online: bool
    feed_live: bool
    last_error: str | None
    read_only: bool
    cache: CacheUse
    uploads: Uploads
    locks: tuple[LockState, ...]
    features: tuple[Feature, ...]
    requests: Requests
    conflicts: int = 0
    leases_lost: int = 0
    pinned: tuple[str, ...] = ()
    sent_bytes: int = 0
    fetched_bytes: int = 0
    damaged: tuple[str, ...] = ()
    upgrades: int = 0
    upgrade_failure: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """What a mount that serves says of itself at once. `stopping`: it is being ended."""

    online: bool
    feed_live: bool
    stopping: bool


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """`confirmed`: nothing at or below the path is left to send. `remaining` includes the failed ones."""

    confirmed: bool
    remaining: int
    failed: tuple[FailedUpload, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchOutcome:
    """What is in the cache of what was to be brought. `failed` has the first of those that are not, with the
    reason and no hint; `failed_files` counts all."""

    files: int
    size_bytes: int
    failed_files: int
    failed: tuple[FailedUpload, ...]


@dataclass(frozen=True, slots=True)
class DrainProgress:
    entries_left: int
    bytes_left: int


@dataclass(frozen=True, slots=True)
class StopReport:
    """How a mount ended."""

    left_in_journal: int
    handover: "Handover | None" = None
    """What the next process goes on with; None where the mount itself ended."""


@dataclass(frozen=True, slots=True)
class ConflictState:
    """A conflict that nobody has resolved yet. Paths are relative to the mount, as `shown`.

    `arose_at`: the path when it was noticed, `noticed_at`: in ISO 8601, UTC. `ours` is the file that holds
    our side now, `theirs` the one that holds theirs; None where a side has no file of its own: it was
    deleted, or is in the version history. `base_version` is what both began from, None where that was
    nothing.
    """

    kind: str
    arose_at: str
    noticed_at: str
    ours: str | None
    theirs: str | None
    their_version: str | None
    base_version: str | None


@dataclass(frozen=True, slots=True)
class ExtractedSide:
    """`side`: base, ours or theirs. `file` is empty where there is none, and `why` tells."""

    side: str
    file: str
    why: str


class Remedies(Protocol):
    """What somebody can do about what does not settle by itself. Paths are relative to the mount."""

    async def conflicts(self, path: bytes | None) -> list[ConflictState]:
        """Return those that have a side at or below `path` (None: all), oldest first."""
        ...

    async def resolve(self, path: bytes, keep: Keep) -> list[str]:
        """Resolve the conflict that has a side at `path`; return where copies were saved of what goes and
        the workspace does not have."""
        ...

    async def extract(self, path: bytes, folder: str) -> list[ExtractedSide]:
        """Write base, ours and theirs of the conflict to a folder."""
        ...

    async def retry(self, path: bytes | None, *, timeout_s: float | None) -> SyncOutcome:
        """Send again at once what failed at or below `path` (None: all); wait as `RunningMount.sync`."""
        ...

    async def discard(self, path: bytes, folder: str | None) -> list[str]:
        """Give up the failed change at `path`, and what waits for it; return where copies were saved first,
        below `folder` or in the cache."""
        ...


class RunningMount(Protocol):
    """A mount that serves."""

    @property
    def remedies(self) -> Remedies: ...

    @property
    def archive(self) -> Archive: ...

    def status(self) -> Status: ...

    def health(self) -> Health: ...

    async def sync(self, path: bytes | None, *, timeout_s: float | None) -> SyncOutcome:
        """Send everything at or below `path` (relative to the mount; None: everything) and wait for the
        workspace's confirmation, at most `timeout_s`. Returns early when only failed entries are left."""
        ...

    async def drain(self, timeout_s: float, progress: Callable[[DrainProgress], None]) -> int:
        """Send everything at once, without upload delay; return the entries left in the journal when it is
        empty, only failed ones remain, or `timeout_s` is over. The mount goes on serving."""
        ...

    async def locks(self, path: bytes | None) -> tuple[LockReport, ...]:
        """Tell of the locks that are held or waited for here. With `path` also of those that others hold, on
        this file, or on the files at or below this folder that the mount knows."""
        ...

    async def unlock(self, path: bytes) -> RemoteHolder | None:
        """End the lock that anybody holds on this file on the workspace; return who held it, None for
        nobody. Raises FileNotFound, AccessDenied, LeaseNotOverridable, RemoteUnavailable."""
        ...

    @property
    def drain_timeout_s(self) -> float:
        """How long the configuration lets a stop wait for uploads."""
        ...

    async def reload(self) -> None:
        """Read the configuration again and follow it where that is possible at once; the log tells. Never
        raises for a configuration that is wrong."""
        ...

    async def fetch(
        self, path: bytes, *, pin: bool, progress: Callable[[DrainProgress], None]
    ) -> FetchOutcome:
        """Bring every byte at or below this path into the cache; with `pin` keep it there from now on.

        Raises FileNotFound, NoRoom, and what the workspace says of a folder that nobody has listed yet.
        """
        ...

    async def unpin(self, path: bytes) -> None:
        """Raises FileNotFound, InvalidArgument where it is not pinned itself."""
        ...

    def request_stop(self, *, drain_timeout_s: float) -> None:
        """End the mount in order: drain, unmount, close. Returns at once. A second call with a shorter
        time shortens the drain under way."""
        ...

    @property
    def is_left(self) -> bool:
        """Whether the mount is left to the next process."""
        ...

    async def upgrade(self) -> None:
        """Hand the mount over to the installed version, which goes on in this process; returns when it is
        about to. Raises UpgradeRefused, with nothing changed."""
        ...

    async def audit(self, *, deep: bool) -> list[str]:
        """Check every invariant of the cache and the journal; return what is violated, one line each. `deep`:
        compare all content that nobody uses with its hashes as well; what is damaged is dropped where the
        workspace has it, else set aside."""
        ...

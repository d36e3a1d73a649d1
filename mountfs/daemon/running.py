"""What a running mount can be asked: the port between the control socket and the composed daemon."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


def shown(text: bytes | str) -> str:
    """Return a name as text for people and JSON; bytes that are not UTF-8 appear as backslash escapes."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class CacheUse:
    """`dirty_bytes`: content that the workspace does not have yet. `files`: how many have content here."""

    used_bytes: int
    limit_bytes: int
    dirty_bytes: int
    files: int


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
class Uploads:
    """`pending_count` is the number of entries in the journal, the active and failed ones included."""

    pending_count: int
    pending_bytes: int
    active: tuple[ActiveUpload, ...]
    failed: tuple[FailedUpload, ...]


@dataclass(frozen=True, slots=True)
class LockState:
    """One file with holders or waiters here. `lease_s`: what is left of the lease, None without one."""

    path: str
    kind: str
    owners: int
    waiters: int
    lease_s: float | None


@dataclass(frozen=True, slots=True)
class LockUser:
    """One that holds a lock on this mount, or waits for it, and for how long already."""

    kind: str
    since_s: float


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
class Status:
    """Everything that `mountfs status` shows of one mount. Paths are relative to the mount, as `shown`."""

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


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """`confirmed`: nothing at or below the path is left to send. `remaining` includes the failed ones."""

    confirmed: bool
    remaining: int
    failed: tuple[FailedUpload, ...] = ()


@dataclass(frozen=True, slots=True)
class DrainProgress:
    entries_left: int
    bytes_left: int


@dataclass(frozen=True, slots=True)
class StopReport:
    """How a mount ended."""

    left_in_journal: int


class RunningMount(Protocol):
    """A mount that serves."""

    def status(self) -> Status: ...

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

    def request_stop(self, *, drain_timeout_s: float) -> None:
        """End the mount in order: drain, unmount, close. Returns at once. A second call with a shorter
        time shortens the drain under way."""
        ...

    async def audit(self) -> list[str]:
        """Check every invariant of the cache and the journal; return what is violated, one line each."""
        ...

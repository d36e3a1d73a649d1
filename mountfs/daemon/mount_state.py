"""What a running mount tells and does on request: implements `RunningMount`."""

import logging
import os
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final, Protocol

import trio

from mountfs import __version__
from mountfs.daemon.audit_trail import AuditTrail
from mountfs.daemon.audits import Audits
from mountfs.daemon.handover import FreshStart, Handover, Passed
from mountfs.daemon.lock_reports import LockReports
from mountfs.daemon.mount_archive import ArchiveParts, MountArchive
from mountfs.daemon.processes import users_of
from mountfs.daemon.reloading import Reloading
from mountfs.daemon.remedies import MountRemedies
from mountfs.daemon.running import (
    ActiveUpload,
    CacheUse,
    DrainProgress,
    FailedUpload,
    Feature,
    FetchOutcome,
    Health,
    LockReport,
    LockState,
    RemoteHolder,
    Requests,
    Status,
    SyncOutcome,
    Uploads,
    WaitingUpload,
    shown,
)
from mountfs.daemon.settings import MountSettings
from mountfs.daemon.upgrading import Upgrading
from mountfs.kernel import extension
from mountfs.kernel.session import Session
from mountfs.locks.file_locks import FileLocks
from mountfs.locks.statistics import FileLockStatistics
from mountfs.model.filesystem import LockKind
from mountfs.model.ids import ROOT_INO
from mountfs.model.remote import Workspace
from mountfs.rules.back_pressure import Pressure
from mountfs.rules.latency import Histogram
from mountfs.storage.content import ContentFiles
from mountfs.storage.journal import SqliteJournal
from mountfs.sync.conflict_resolution import ConflictResolution
from mountfs.sync.connection import Connection
from mountfs.sync.content import FileContent
from mountfs.sync.giving_up import GivingUp
from mountfs.sync.pinning import Bringing, Pins
from mountfs.sync.publisher import Publisher
from mountfs.sync.refresher import Refresher
from mountfs.sync.sender import Sender
from mountfs.sync.uploads import ContentUploads
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

USERS_SHOWN: Final = 10
MOST_LISTED: Final = 2_000
"""So many changes are listed one by one: the list is made while nothing else is done."""


class MountParts(ArchiveParts, Protocol):
    """What is asked of the composed mount."""

    holder: str
    journal: SqliteJournal
    orphans_removed: trio.Event
    connection: Connection
    tree: Tree
    content: FileContent
    refresher: Refresher
    uploads: ContentUploads
    sender: Sender
    publisher: Publisher
    locks: FileLocks
    pins: Pins
    resolution: ConflictResolution
    giving_up: GivingUp
    trail: AuditTrail


class MountState:
    """`session` is set once the mount is made. `stopping` hears of every stop request and its seconds.
    `apply` makes the parts follow settings that changed. `sent` counts the requests to the workspace, and
    `latencies` tells how long they took, both by their routes. `upgrading` is set with `session`; `passed`:
    what the program before left in this process."""

    def __init__(
        self,
        settings: MountSettings,
        workspace: Workspace,
        parts: MountParts,
        content_files: ContentFiles,
        *,
        stopping: Callable[[float], None],
        apply: Callable[[MountSettings], None],
        sent: Mapping[str, int],
        latencies: Mapping[str, Histogram],
        passed: Passed | None,
    ) -> None:
        self._reloading = Reloading(settings, apply)
        self._workspace = workspace
        self._parts = parts
        self._content_files = content_files
        self._lock_reports = LockReports(parts)
        self._audits = Audits(parts, content_files)
        self._tell_stopping = stopping
        self._sent = sent
        self.workspace_latencies = latencies
        self._stopping = trio.Event()
        self._drain_scope = trio.CancelScope()
        self.session: Session | None = None
        self.upgrading: Upgrading | None = None
        self._passed = passed
        self.remedies = MountRemedies(parts)
        self.archive = MountArchive(parts, self.remedies)

    # Settings.

    @property
    def drain_timeout_s(self) -> float:
        return self._reloading.settings.drain_timeout_s

    async def reload(self) -> None:
        await self._reloading.reload()

    # Handing over.

    @property
    def settings(self) -> MountSettings:
        """Those that count at present."""
        return self._reloading.settings

    @property
    def is_ending(self) -> bool:
        return self._stopping.is_set()

    async def upgrade(self) -> None:
        assert self.upgrading is not None, "the mount serves"
        await self.upgrading.leave()
        self._stopping.set()

    @property
    def is_left(self) -> bool:
        """Whether the mount is left to the next process."""
        return self.upgrading is not None and self.upgrading.is_left

    def handover(self) -> Handover | None:
        """Return what that goes on with, when everything else has ended; None where the mount ended."""
        return self.upgrading.handover() if self.upgrading is not None and self.is_left else None

    # Stopping.

    async def is_well(self) -> bool:
        """Whether the mount answers. While it ends that is its own watchdog's concern."""
        session = self.session
        return (
            session is None or self._stopping.is_set() or await session.answers() or self._stopping.is_set()
        )

    def request_stop(self, *, drain_timeout_s: float) -> None:
        """Does nothing where the mount is left to another process: who stops it stops that."""
        if self.is_left:
            return
        deadline = trio.current_time() + drain_timeout_s
        if not self._stopping.is_set() or deadline < self._drain_scope.deadline:
            self._drain_scope.deadline = deadline
            self._tell_stopping(drain_timeout_s)
        self._stopping.set()

    async def wait_drained_for_stop(self) -> None:
        """Return when a stop was requested and nothing is left to send, or its time is over; at once where
        the mount is left to another process. What breaks with the end of the mount is logged: an ordinary
        unmount would have been refused."""
        await self._stopping.wait()
        if self.is_left:
            return
        await self.drain_for_stop()
        mountpoint = self._reloading.settings.mountpoint
        users = await trio.to_thread.run_sync(users_of, mountpoint, abandon_on_cancel=True)
        if others := [f"{program} ({pid})" for pid, program in users if pid != os.getpid()]:
            shown_users = ", ".join(others[:USERS_SHOWN]) + (", …" if len(others) > USERS_SHOWN else "")
            log.warning("the mount ends under programs that use it, which get errors: %s", shown_users)

    async def drain_for_stop(self) -> None:
        """Send what is left, up to the time that the stop was given."""
        if self._drain_scope.cancelled_caught or self.is_left:
            return
        deadline = self._drain_scope.deadline
        with trio.CancelScope(deadline=deadline) as self._drain_scope:
            await self._parts.publisher.settle(self._parts.publisher.pending_below(None))

    async def stop_when_unmounted(self) -> None:
        """An unmount from outside is a request to stop."""
        assert self.session is not None
        await self.session.wait_ended()
        self.request_stop(drain_timeout_s=self.drain_timeout_s)

    # Sending.

    async def sync(self, path: bytes | None, *, timeout_s: float | None) -> SyncOutcome:
        publisher = self._parts.publisher
        top = await self.remedies.find(path) if path else None
        with trio.move_on_after(float("inf") if timeout_s is None else timeout_s):
            await publisher.settle(publisher.pending_below(top))
        # Who knows that it is sent may kill the daemon: `mountfs log` is to know it as well.
        await self._parts.trail.flush()
        return self.remedies.sync_outcome(top)

    async def drain(self, timeout_s: float, progress: Callable[[DrainProgress], None]) -> int:
        publisher = self._parts.publisher

        def tell() -> None:
            pending = publisher.pending_below(None)
            progress(DrainProgress(len(pending), sum(map(_bytes_to_send, pending))))

        with trio.move_on_after(timeout_s):
            await publisher.settle(publisher.pending_below(None), progress=tell)
        return len(publisher.pending_below(None))

    # Bringing content.

    async def fetch(
        self, path: bytes, *, pin: bool, progress: Callable[[DrainProgress], None]
    ) -> FetchOutcome:
        pins = self._parts.pins

        def tell(bringing: Bringing) -> None:
            ended = bringing.done_files + bringing.failed_files
            progress(DrainProgress(bringing.files - ended, max(0, bringing.size_bytes - bringing.done_bytes)))

        top = await pins.find(path)
        brought = await (pins.pin if pin else pins.prefetch)(top, tell)
        failed = tuple(FailedUpload(shown(name), shown(reason), "") for name, reason in brought.failed)
        return FetchOutcome(brought.files, brought.size_bytes, brought.failed_files, failed)

    async def unpin(self, path: bytes) -> None:
        await self._parts.pins.unpin(await self._parts.pins.find(path))

    # Locks.

    async def locks(self, path: bytes | None) -> tuple[LockReport, ...]:
        return await self._lock_reports.report(await self.remedies.find(path) if path is not None else None)

    async def unlock(self, path: bytes) -> RemoteHolder | None:
        return await self._lock_reports.override(await self.remedies.find(path))

    # Telling.

    def status(self) -> Status:
        parts, settings = self._parts, self._reloading.settings
        locks = parts.locks.statistics()
        return Status(
            workspace_name=self._workspace.name,
            workspace_id=self._workspace.id,
            url=settings.url,
            mountpoint=shown(str(settings.mountpoint)),
            cache_dir=shown(str(settings.cache_dir)),
            pid=os.getpid(),
            version=__version__,
            online=parts.connection.online,
            feed_live=parts.refresher.live_since is not None,
            last_error=parts.connection.last_error,
            read_only=settings.read_only,
            cache=self._cache_use(),
            uploads=self._uploads(),
            locks=tuple(self._lock(lock) for lock in locks.files),
            features=self._features(),
            requests=self._requests(),
            conflicts=len(parts.tree.conflicts),
            leases_lost=locks.leases_lost,
            sent_bytes=parts.uploads.sent_bytes,
            fetched_bytes=parts.content.fetched_bytes,
            pinned=tuple(shown(path) or "." for path in parts.pins.paths()),
            upgrades=self._passed.upgrades if self._passed is not None else 0,
            upgrade_failure=self._passed.failure if isinstance(self._passed, FreshStart) else "",
            damaged=tuple(shown(str(path)) for path in self._content_files.set_aside_files()),
        )

    def health(self) -> Health:
        return Health(
            online=self._parts.connection.online,
            feed_live=self._parts.refresher.live_since is not None,
            stopping=self._stopping.is_set(),
        )

    def _requests(self) -> Requests:
        kernel = self.session.requests if self.session is not None else {}
        return Requests(kernel=dict(kernel), workspace=dict(self._sent))

    def _cache_use(self) -> CacheUse:
        upkeep = self._parts.content.upkeep
        dirty = [inode for inode in self._parts.tree.pending.values() if inode.content_dirty]
        return CacheUse(
            used_bytes=upkeep.used_bytes,
            limit_bytes=self._reloading.settings.cache_size_bytes,
            dirty_bytes=sum(inode.size for inode in dirty),
            files=upkeep.files,
            writers=self._writers(),
        )

    def _writers(self) -> str:
        if not self._parts.journal.has_reserve():
            return "refused"
        pressure = self._parts.content.room.current()
        return "free" if pressure is Pressure.NONE else pressure.value

    def _uploads(self) -> Uploads:
        pending = list(self._parts.tree.pending.values())
        transfers = self._parts.uploads.transfers.values()
        return Uploads(
            pending_count=len(pending),
            pending_bytes=sum(map(_bytes_to_send, pending)),
            active=tuple(ActiveUpload(shown(t.inode.path()), t.size, t.sent) for t in transfers),
            failed=tuple(self.remedies.failed(inode) for inode in pending if inode.failure is not None),
        )

    def waiting_uploads(self, most: int = MOST_LISTED) -> list[WaitingUpload]:
        """Return what the workspace does not have yet, oldest first, and a last line where there is more."""
        pending = self._parts.tree.pending
        listed = [self._waiting(inode) for inode in islice(pending.values(), most)]
        if len(pending) > most:
            listed.append(WaitingUpload("more", f"and {len(pending) - most} more changes", 0, 0, ""))
        return listed

    def _waiting(self, inode: Inode) -> WaitingUpload:
        transfer = self._parts.uploads.transfers.get(inode.ino)
        state = "waiting" if transfer is None else "uploading"
        state = "failed" if inode.failure is not None else state
        sent = 0 if transfer is None else transfer.sent
        return WaitingUpload(state, shown(inode.path()), _bytes_to_send(inode), sent, inode.failure or "")

    def _lock(self, lock: FileLockStatistics) -> LockState:
        inode = self._parts.tree.inodes.get(lock.ino)
        kinds = {kind for _, kind in lock.holders}
        kind = LockKind.EXCLUSIVE if LockKind.EXCLUSIVE in kinds else LockKind.SHARED
        return LockState(
            path=shown(inode.path()) if inode is not None else f"inode {lock.ino}",
            kind=kind.value if kinds else "none",
            owners=len(lock.holders),
            waiters=lock.waiting,
            lease_s=lock.lease_valid_s,
            lost=sum(use.lost for use in lock.held),
        )

    def _features(self) -> tuple[Feature, ...]:
        unmade = extension.REASON or "the mount is not made yet"
        forwarded = self.session is not None and self.session.flock_is_forwarded
        refusal = unmade if self.session is None else self.session.passthrough_refusal
        return (
            Feature("locks across hosts", forwarded, "" if forwarded else unmade),
            Feature("passthrough", refusal is None, refusal or ""),
            self._control_directory(),
        )

    def _control_directory(self) -> Feature:
        name = self._reloading.settings.control_dir
        root = self._parts.tree.inodes.get(ROOT_INO)
        hides = root is not None and os.fsencode(name) in root.children
        told = f"hides {name!r} of the workspace; choose another name by control_dir" if hides else ""
        return Feature("control directory", bool(name), told if name else "control_dir is empty")

    async def audit(self, *, deep: bool) -> list[str]:
        return await self._audits.audit(deep=deep)


def _bytes_to_send(inode: Inode) -> int:
    return inode.size if inode.content_dirty and inode.is_linked else 0

"""The wiring: the one place where the concrete classes meet, and the order of start and stop."""

import logging
import os
import platform
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from mountfs.daemon import control, log_setup, ownership, runtime_dir, service_manager
from mountfs.daemon.audit_trail import AuditTrail
from mountfs.daemon.control_files import overlaid
from mountfs.daemon.event_stream import EventStream
from mountfs.daemon.handover import Handover, Passed
from mountfs.daemon.hooks import Hooks
from mountfs.daemon.identifying import (
    allowed,
    identify,
    keep_capabilities,
    known_capabilities,
    reach_service,
)
from mountfs.daemon.mount_state import MountState
from mountfs.daemon.running import StopReport
from mountfs.daemon.settings import MountSettings
from mountfs.daemon.signals import obey_signals
from mountfs.daemon.upgrading import Upgrading
from mountfs.daemon.viewers.running import viewers
from mountfs.filesystem.filesystem import WorkspaceFilesystem
from mountfs.filesystem.identities import Identities
from mountfs.filesystem.overlay import OverlaidFilesystem
from mountfs.filesystem.past_versions import PastVersions
from mountfs.kernel import mounts
from mountfs.kernel.notifier import Notifier
from mountfs.kernel.preflight import check_mountpoint
from mountfs.kernel.session import MountOptions, mount
from mountfs.locks.file_locks import FileLocks
from mountfs.model.disk import Disk
from mountfs.model.errors import FuseUnavailable, MountfsError, RemoteUnavailable
from mountfs.model.filesystem import Filesystem
from mountfs.model.history import History
from mountfs.model.ids import NodeId
from mountfs.model.remote import Remote, Workspace
from mountfs.model.succession import ConnectionState
from mountfs.model.virtual import VirtualNode
from mountfs.remotes.audited import AuditedRemote
from mountfs.remotes.fastio.http import last_request_id
from mountfs.remotes.fastio.remote import FastioRemote
from mountfs.remotes.fastio.service import FastioService
from mountfs.rules.fence import Fence
from mountfs.rules.local_only import LocalOnly
from mountfs.storage import recovery
from mountfs.storage.content import ContentFiles
from mountfs.storage.effect_log import EffectLog
from mountfs.storage.journal import SqliteJournal
from mountfs.storage.layout import CacheDirectory, CacheLayout
from mountfs.storage.saved_copies import SavedFiles
from mountfs.storage.system_disk import SYSTEM_DISK
from mountfs.sync.conflict_resolution import ConflictResolution
from mountfs.sync.connection import Connection
from mountfs.sync.content import FileContent
from mountfs.sync.content_steps import ContentSteps
from mountfs.sync.follower import Follower
from mountfs.sync.giving_up import GivingUp
from mountfs.sync.open_files import OpenFiles
from mountfs.sync.pinning import Pins
from mountfs.sync.publisher import Publisher
from mountfs.sync.ranges import ContentRanges
from mountfs.sync.refresher import Refresher
from mountfs.sync.sealed_hashes import SealedHashes
from mountfs.sync.sender import Sender
from mountfs.sync.setting_aside import SettingAside
from mountfs.sync.step_executor import StepExecutor
from mountfs.sync.unloader import Unloader
from mountfs.sync.uploads import ContentUploads
from mountfs.tree.conflicts import Conflicts
from mountfs.tree.ino_set import InoSet
from mountfs.tree.remote_changes import RemoteChanges
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

READ_PATIENCE_S: Final = 30.0
"""How long a read waits while nothing arrives."""

LEASE_CLOCK: Final = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
"""It goes on while the host sleeps, as the workspace's does: a sleep must not stretch a lease."""


async def run_mount(
    settings: MountSettings,
    *,
    ready: Callable[[], None],
    stopping: Callable[[float], None],
    replacing: Callable[[], None],
    passed: Passed | None = None,
    disk: Disk = SYSTEM_DISK,
) -> StopReport:
    """Mount, call `ready` when the mount answers, serve until it is stopped, unmounted or handed over.

    `stopping` is called with the seconds for uploads whenever a stop is requested, `replacing` when the mount
    is handed over. `passed`: what the program before this one left in this process.
    Raises one of our errors for whatever goes wrong before `ready`.
    """
    given = passed if isinstance(passed, Handover) else None
    if settings.device is None:
        mounts.clear_dead_mount(str(settings.mountpoint))
        # Before the cache is claimed: a second mount at this place would find it in use, which says less.
        check_mountpoint(str(settings.mountpoint))
    if given is None:
        directory = CacheDirectory.claim(settings.cache_dir)
    else:
        directory = CacheDirectory.claimed(settings.cache_dir, given.descriptors.cache)
    try:
        content_files = await trio.to_thread.run_sync(
            partial(ContentFiles, directory.layout.content, directory.layout.index, disk=disk)
        )
        try:
            if given is None:
                workspace, outage = await identify(settings, content_files)
            else:
                workspace, outage = given.workspace, None
            settings = allowed(settings, workspace)
            async with _journal(directory, content_files, workspace.id, given) as journal:
                start = _Start(settings, workspace, outage, directory, passed, ready, stopping, replacing)
                return await _run(start, journal, content_files)
        finally:
            content_files.close()
    finally:
        directory.release()


@dataclass(frozen=True, slots=True)
class _Start:
    """What a run begins with."""

    settings: MountSettings
    workspace: Workspace
    outage: RemoteUnavailable | None
    directory: CacheDirectory
    passed: Passed | None
    ready: Callable[[], None]
    stopping: Callable[[float], None]
    replacing: Callable[[], None]

    @property
    def given(self) -> Handover | None:
        return self.passed if isinstance(self.passed, Handover) else None


@asynccontextmanager
async def _journal(
    directory: CacheDirectory, content_files: ContentFiles, workspace_id: str, given: Handover | None
) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(directory.layout.journal, workspace=workspace_id, disk=content_files.disk)
    kept = frozenset() if given is None else frozenset(used.ino for used in given.open.inodes)
    await trio.to_thread.run_sync(partial(recovery.recover, journal, content_files, kept=kept))
    journal.start()
    try:
        yield journal
    finally:
        with trio.CancelScope(shield=True):
            await journal.aclose()


async def _run(start: _Start, journal: SqliteJournal, content_files: ContentFiles) -> StopReport:
    settings, workspace = start.settings, start.workspace
    service = await reach_service(settings, READ_PATIENCE_S)
    try:
        capabilities = known_capabilities(settings, content_files)
        remote = service.remote(workspace.id, capabilities=capabilities)
        parts = Parts(settings, remote, journal, content_files)
        await parts.load(start.given)
        if start.outage is not None:
            parts.connection.note_failure(start.outage)  # nobody waits for what is known not to answer
        apply = partial(_apply, parts, service)
        state = MountState(
            settings,
            workspace,
            parts,
            content_files,
            stopping=start.stopping,
            apply=apply,
            sent=service.sent,
            passed=start.passed,
        )
        keep = partial(keep_capabilities, capabilities, settings, content_files)
        await _serve(start, parts, state, keep)
        return StopReport(left_in_journal=len(parts.tree.pending), handover=state.handover())
    finally:
        with trio.CancelScope(shield=True):
            await service.aclose()


def _apply(parts: "Parts", service: FastioService, settings: MountSettings) -> None:
    """Make the running mount follow these settings; see `reloading.LIVE_KEYS`."""
    log_setup.follow(settings.log_level, settings.token)
    if settings.logins is None:
        service.use_token(settings.token.reveal())
    parts.sender.delay_s = settings.upload_delay_s
    parts.content.upkeep.limit_bytes = settings.cache_size_bytes
    parts.contents.conflict = settings.conflict
    parts.filesystem.strict_opens.always_ask = settings.consistency == "open"
    parts.filesystem.publish_on_close = settings.durability == "remote"
    runtime_dir.note_drain_timeout(settings.mountpoint, settings.drain_timeout_s)


class Parts:
    """The objects of one mount, inner to outer."""

    def __init__(
        self,
        settings: MountSettings,
        service: FastioRemote,
        journal: SqliteJournal,
        content_files: ContentFiles,
    ) -> None:
        # Long: each part needs those above it, and no order is clearer than one beneath the other.
        host = platform.node() or "host"
        self.history: History = service
        self.holder = f"{host}:{os.getpid()}"
        """How the workspace names this mount to others as the holder of a lock."""
        self.journal = journal
        self._content_files = content_files
        self.orphans_removed = trio.Event()
        self.connection = Connection()
        self.notifier = Notifier()
        uid, gid = ownership.ids(settings.owner)
        self.tree = Tree(journal, uid=uid, gid=gid)
        self.events = EventStream(self.tree.happenings)
        self.hooks = Hooks(settings.hooks, self.tree.happenings, mountpoint=settings.mountpoint)
        self.tree.shares_attributes = settings.share_attributes
        self.tree.links_may_leave = settings.outside_links
        self.tree.local_only = LocalOnly(settings.local_only)
        self.identities = Identities()
        self.trail = AuditTrail(self.tree, self.identities, EffectLog(settings.cache_dir))
        self.audited = AuditedRemote(service, self.trail, last_request_id)
        self.remote: Remote = self.audited
        remote = self.remote
        self.content = FileContent(
            self.tree,
            content_files,
            remote,
            limit_bytes=settings.cache_size_bytes,
            patience_s=READ_PATIENCE_S,
        )
        self.content.when_set_back = lambda inode: self.notifier.attributes_changed(inode.ino)
        self.conflicts = Conflicts(self.tree, self.notifier, host=host)
        self.changes = RemoteChanges(self.tree, self.notifier, self.content, self.conflicts)
        self.refresher = Refresher(self.tree, remote, self.changes, self.connection)
        self.past = PastVersions(
            self.tree, self.refresher, self.connection, self.history, remote, patience_s=READ_PATIENCE_S
        )
        self.branches: dict[bytes, VirtualNode] = {b"versions": self.past.top}
        """What the control directory has besides its files, by name."""
        self.pins = Pins(self.tree, self.content, self.refresher, limit_bytes=settings.cache_size_bytes)
        self.unloader = Unloader(self.tree, self.refresher)
        self.uploads = ContentUploads(self.tree, remote, self.content)
        self.sealed_hashes = SealedHashes(self.tree, self.content)
        self.fence = Fence()
        aside = SettingAside(
            self.tree,
            content_files,
            self.content,
            self.refresher,
            self.changes,
            self.uploads,
            self.fence,
            self.notifier,
        )
        self.contents = ContentSteps(
            self.tree,
            remote,
            self.changes,
            self.refresher,
            self.content,
            self.uploads,
            aside,
            self.fence,
            conflict=settings.conflict,
            lease_clock=LEASE_CLOCK,
        )
        executor = StepExecutor(
            self.tree,
            remote,
            self.changes,
            self.refresher,
            self.content,
            self.uploads,
            self.contents,
            self.fence,
        )
        self.sender = Sender(
            self.tree, executor, self.content, self.connection, delay_s=settings.upload_delay_s
        )
        self.content.room.wait_progress = self.sender.wait_progress
        self.follower = Follower(
            remote,
            self.refresher,
            self.connection,
            noticed=self._noticed,
            locked_here=lambda node: self.locks.uses(node),
            kept_here=lambda node: self.locks.keeps(node),
            in_a_hurry=lambda: self.locks.awaiting_others,
        )
        self.publisher = Publisher(
            self.tree,
            self.sender,
            self.refresher,
            self.follower,
            self.connection,
            self.content,
            self.fence,
            self.notifier,
        )
        self.locks = FileLocks(
            remote,
            self.publisher,
            self.fence,
            journal,
            holder=self.holder,
            duration_s=settings.lease_duration_s,
            clock=LEASE_CLOCK,
            when_refused=self.follower.hurry,
        )
        self.trail.hear()
        self.open_files = OpenFiles(
            self.tree,
            self.content,
            self.sender,
            interval_s=settings.open_file_interval_s,
            is_locked=lambda inode: self.locks.is_held(inode.ino),
        )
        self.filesystem = self._filesystem(settings)
        copies = SavedFiles(CacheLayout(settings.cache_dir).saved, disk=content_files.disk)
        self.giving_up = GivingUp(
            self.tree, self.content, self.refresher, self.changes, self.uploads, self.notifier, copies
        )
        self.resolution = ConflictResolution(
            self.tree,
            remote,
            self.content,
            content_files,
            self.conflicts,
            self.notifier,
            self.giving_up,
            copies,
        )

    def _noticed(self, node: NodeId) -> None:
        self.locks.wake(node)
        self.sender.noticed(node)

    def _filesystem(self, settings: MountSettings) -> WorkspaceFilesystem:
        return WorkspaceFilesystem(
            self.tree,
            self.content,
            ContentRanges(self.content, self._content_files.disk),
            self.refresher,
            self.publisher,
            self.locks,
            self.notifier,
            cache_dir=settings.cache_dir,
            read_only=settings.read_only,
            always_ask=settings.consistency == "open",
            publish_on_close=settings.durability == "remote",
        )

    async def load(self, given: Handover | None = None) -> None:
        """Bring what is pending into memory, and what programs use where another process served them; the
        rest comes when it is used."""
        if given is not None:
            self.tree.referred = InoSet(given.open.referred)
            self.locks.take_over(given.locks)
        await self.tree.load(await self.journal.pending(), await self.journal.conflicts())
        self.uploads.load(await self.journal.open_uploads(), self.tree)
        self.locks.adopt(await self.journal.leases())
        await self.pins.load()
        if given is not None:
            await self.filesystem.take_over(given.open)

    async def remove_orphans(self) -> None:
        """Free what a crash left of deleted files, beside the traffic, and end. Cancelled between chunks."""
        chunks = recovery.orphans(self.journal, self._content_files)
        try:
            while (inos := await trio.to_thread.run_sync(next, chunks, None)) is not None:
                self.content.remove_orphans(inos)
            await self.content.upkeep.save_index()
        except MountfsError as error:
            log.warning("search for content that no entry has: %s", error.message)
        finally:
            self.orphans_removed.set()


async def _serve(
    start: _Start, parts: Parts, state: MountState, keep_found: Callable[[], Awaitable[None]]
) -> None:
    async with trio.open_nursery() as traffic:
        traffic.start_soon(keep_found)
        await traffic.start(parts.trail.run)
        await traffic.start(parts.content.run)
        await traffic.start(parts.refresher.run)
        await traffic.start(parts.past.run)
        await traffic.start(parts.unloader.run)
        await traffic.start(parts.sealed_hashes.run)
        await traffic.start(parts.open_files.run)
        await traffic.start(parts.sender.run)
        await traffic.start(parts.follower.run)
        await traffic.start(parts.pins.run)
        await traffic.start(parts.hooks.run)
        traffic.start_soon(parts.remove_orphans)
        async with trio.open_nursery() as locking:
            await locking.start(parts.locks.run)
            try:
                await _serve_kernel(start, parts, state)
            finally:
                with trio.CancelScope(shield=True):
                    await parts.locks.aclose()
        with trio.CancelScope(shield=True):
            # The last closes came with the unmount.
            await state.drain_for_stop()
            await parts.content.upkeep.save_index()
            await parts.hooks.finish()
            await parts.trail.flush()
        traffic.cancel_scope.cancel()


def mount_options(
    settings: MountSettings, *, source: str, predecessor: ConnectionState | None = None
) -> MountOptions:
    return MountOptions(
        str(settings.mountpoint),
        source=source,
        read_only=settings.read_only,
        allow_other=settings.allow_other,
        passthrough=settings.passthrough,
        clears_set_id=True,
        device=settings.device,
        predecessor=predecessor,
    )


async def _serve_kernel(start: _Start, parts: Parts, state: MountState) -> None:
    settings, given = start.settings, start.given
    connection = None if given is None else given.connection
    options = mount_options(settings, source=f"mountfs:{start.workspace.name}", predecessor=connection)
    filesystem = _with_control_dir(settings, parts, state)
    overlay = filesystem if isinstance(filesystem, OverlaidFilesystem) else None
    if overlay is not None and given is not None and given.virtual is not None:
        overlay.go_on(given.virtual, given.connection.directories)
    async with trio.open_nursery() as around:
        async with (
            mount(filesystem, parts.notifier, options) as session,
            viewers(settings, state, parts.tree.happenings),
        ):
            state.session = session
            state.upgrading = Upgrading(
                parts, state, session, overlay, start.directory, start.workspace, start.passed
            )
            if given is not None:
                parts.filesystem.doubt_kernel_caches()
            parts.sender.programs_idle_s = lambda: session.programs_idle_s
            parts.content.direct.is_possible = lambda: session.passthrough_refusal is None
            try:
                if not await session.answers():
                    raise FuseUnavailable(f"the mount at {settings.mountpoint} does not answer")
                socket_path = runtime_dir.socket_path(settings.mountpoint)
                await around.start(control.serve, state, socket_path)
                await around.start(obey_signals, state)
                start.ready()
                around.start_soon(service_manager.give_signs_of_life, state.is_well)
                around.start_soon(state.stop_when_unmounted)
                await state.wait_drained_for_stop()
            finally:
                # Also where something failed: from here on the end has a limit.
                state.request_stop(drain_timeout_s=settings.drain_timeout_s)
                if state.is_left:
                    start.replacing()
                parts.events.end()
        around.cancel_scope.cancel()


def _with_control_dir(settings: MountSettings, parts: Parts, state: MountState) -> Filesystem:
    return overlaid(
        parts.filesystem,
        name=settings.control_dir,
        listed=settings.list_control_dir,
        status=state.status,
        waiting=state.waiting_uploads,
        events=parts.events,
        cache_dir=settings.cache_dir,
        branches=parts.branches,
    )

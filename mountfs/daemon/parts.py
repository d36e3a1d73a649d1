"""The objects of one mount, and how they know each other; whatever lies outside them is given."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from mountfs.daemon import ownership
from mountfs.daemon.audit_trail import AuditTrail
from mountfs.daemon.event_stream import EventStream
from mountfs.daemon.handover import Handover
from mountfs.daemon.hooks import Hooks
from mountfs.daemon.settings import MountSettings
from mountfs.filesystem.filesystem import WorkspaceFilesystem
from mountfs.filesystem.identities import Identities
from mountfs.filesystem.past_versions import PastVersions
from mountfs.locks.file_locks import FileLocks
from mountfs.model.errors import MountfsError
from mountfs.model.filesystem import KernelNotifier
from mountfs.model.history import History
from mountfs.model.ids import NodeId
from mountfs.model.remote import Remote
from mountfs.model.virtual import VirtualNode
from mountfs.remotes.audited import AuditedRemote
from mountfs.rules.fence import Fence
from mountfs.rules.local_only import LocalOnly
from mountfs.storage import recovery
from mountfs.storage.content import ContentFiles
from mountfs.storage.effect_log import EffectLog
from mountfs.storage.journal import SqliteJournal
from mountfs.storage.layout import CacheLayout
from mountfs.storage.saved_copies import SavedFiles
from mountfs.sync.conflict_resolution import ConflictResolution
from mountfs.sync.connection import Connection
from mountfs.sync.content import FileContent
from mountfs.sync.content_steps import ContentSteps
from mountfs.sync.folder_walk import FolderWalk
from mountfs.sync.follower import Follower
from mountfs.sync.giving_up import GivingUp
from mountfs.sync.open_files import OpenFiles
from mountfs.sync.pinning import Pins
from mountfs.sync.publisher import Publisher
from mountfs.sync.ranges import ContentRanges
from mountfs.sync.reconciler import Reconciler
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
from mountfs.tree.tree import MOST_RESIDENT, Tree

log = logging.getLogger(__name__)

READ_PATIENCE_S: Final = 30.0
"""How long a read waits while nothing arrives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What lies around the parts of a mount: `compose` gives the real things, tests give doubles.

    `host`: how conflict copies and holders of locks name this one. `lease_clock` must go on while the host
    sleeps, as the workspace's does: a sleep must not stretch a lease. `request_id`: of the last request that
    this task made. `most_resident`: so many entries are kept in memory.
    """

    remote: Remote
    history: History
    kernel: KernelNotifier
    host: str
    lease_clock: Callable[[], float]
    request_id: Callable[[], str]
    most_resident: int = MOST_RESIDENT


class Parts:
    """The objects of one mount, inner to outer."""

    def __init__(
        self,
        settings: MountSettings,
        outside: Outside,
        journal: SqliteJournal,
        content_files: ContentFiles,
    ) -> None:
        # Long: each part needs those above it, and no order is clearer than one beneath the other.
        kernel = outside.kernel
        self.history = outside.history
        self.holder = f"{outside.host}:{os.getpid()}"
        """How the workspace names this mount to others as the holder of a lock."""
        self.journal = journal
        self._content_files = content_files
        self.orphans_removed = trio.Event()
        self.connection = Connection()
        uid, gid = ownership.ids(settings.owner)
        self.tree = Tree(journal, uid=uid, gid=gid, most_resident=outside.most_resident)
        self.events = EventStream(self.tree.happenings)
        self.hooks = Hooks(settings.hooks, self.tree.happenings, mountpoint=settings.mountpoint)
        self.tree.shares_attributes = settings.share_attributes
        self.tree.links_may_leave = settings.outside_links
        self.tree.local_only = LocalOnly(settings.local_only)
        self.identities = Identities()
        self.trail = AuditTrail(self.tree, self.identities, EffectLog(settings.cache_dir))
        self.audited = AuditedRemote(outside.remote, self.trail, outside.request_id)
        self.remote: Remote = self.audited
        remote = self.remote
        self.content = FileContent(
            self.tree,
            content_files,
            remote,
            limit_bytes=settings.cache_size_bytes,
            patience_s=READ_PATIENCE_S,
        )
        self.content.when_set_back = lambda inode: kernel.attributes_changed(inode.ino)
        self.conflicts = Conflicts(self.tree, kernel, host=outside.host)
        self.changes = RemoteChanges(self.tree, kernel, self.content, self.conflicts)
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
        self.changes.when_changed = lambda node: self.fence.has_changed(node.id, locked=node.locked)
        aside = SettingAside(
            self.tree,
            content_files,
            self.content,
            self.refresher,
            self.changes,
            self.uploads,
            self.fence,
            kernel,
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
            lease_clock=outside.lease_clock,
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
            Reconciler(self.tree, remote, self.refresher),
            FolderWalk(self.tree, self.refresher, self.connection),
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
            kernel,
        )
        self.locks = FileLocks(
            remote,
            self.publisher,
            self.fence,
            journal,
            holder=self.holder,
            duration_s=settings.lease_duration_s,
            clock=outside.lease_clock,
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
        self.filesystem = self._filesystem(settings, kernel)
        copies = SavedFiles(CacheLayout(settings.cache_dir).saved, disk=content_files.disk)
        self.giving_up = GivingUp(
            self.tree, self.content, self.refresher, self.changes, self.uploads, kernel, copies
        )
        self.resolution = ConflictResolution(
            self.tree,
            remote,
            self.content,
            content_files,
            self.conflicts,
            kernel,
            self.giving_up,
            copies,
        )

    def _noticed(self, node: NodeId) -> None:
        self.locks.wake(node)
        self.sender.noticed(node)

    def _filesystem(self, settings: MountSettings, kernel: KernelNotifier) -> WorkspaceFilesystem:
        return WorkspaceFilesystem(
            self.tree,
            self.content,
            ContentRanges(self.content, self._content_files.disk),
            self.refresher,
            self.publisher,
            self.locks,
            kernel,
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

    async def start_traffic(self, traffic: trio.Nursery) -> None:
        """Start all that works beside the calls of programs, in the order in which one needs the other; but
        for `locks.run`, which has to end while these still run, and `remove_orphans`. `load` comes first."""
        for run in (
            self.trail.run,
            self.content.run,
            self.refresher.run,
            self.past.run,
            self.unloader.run,
            self.sealed_hashes.run,
            self.open_files.run,
            self.sender.run,
            self.follower.run,
            self.pins.run,
            self.hooks.run,
        ):
            await traffic.start(run)

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

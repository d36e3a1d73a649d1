"""A whole mount without a kernel: all of it is real but the remote, which is in memory, and the kernel."""

import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mountfs.filesystem.filesystem import WorkspaceFilesystem
from mountfs.locks.file_locks import FileLocks
from mountfs.model.ids import ROOT_INO, Ino, NodeId
from mountfs.model.remote import Remote
from mountfs.remotes.faulty import FaultyRemote
from mountfs.remotes.memory import MemoryRemote, MemoryWorkspace
from mountfs.rules.fence import Fence
from mountfs.rules.local_only import LocalOnly
from mountfs.storage import recovery
from mountfs.storage.audit import audit
from mountfs.storage.content import ContentFiles
from mountfs.storage.journal import SqliteJournal
from mountfs.storage.layout import CacheDirectory, CacheLayout
from mountfs.storage.saved_copies import SavedFiles
from mountfs.sync.conflict_resolution import ConflictResolution
from mountfs.sync.connection import Connection
from mountfs.sync.content import FileContent
from mountfs.sync.content_steps import ConflictPolicy, ContentSteps
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
from mountfs.tree.inode import Inode
from mountfs.tree.remote_changes import RemoteChanges
from mountfs.tree.tree import MOST_RESIDENT, Tree
from tests.t1_storage.faulty_disk import FaultyDisk
from tests.t3_filesystem.path_operations import PathOperations, path_names

PATIENCE_S = 200.0
"""By the test's clock, which is faster than the real one."""

NEVER_S = 1e6
"""An upload delay that only `settle` ends, so that what is coalesced does not depend on the machine."""

T = TypeVar("T")


def run_fast(
    function: Callable[[], Awaitable[T]],
    *,
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> T:
    """Run trio with a clock twenty times as fast: threads take real time, so it cannot jump."""
    return trio.run(function, clock=clock or MockClock(rate=20), instruments=instruments)


WRITING_CALLS = (
    *("create_folder", "rename", "describe", "move", "trash", "upload_small", "upload_batch", "open_upload"),
    *("send_chunk", "complete_upload", "cancel_upload", "commit", "commit_known", "add_file"),
)


@dataclass(frozen=True)
class MountOptions:
    """What a test may choose; see `MountSettings`."""

    upload_delay_s: float = NEVER_S
    conflict: ConflictPolicy = "keep-both"
    cache_limit_bytes: int = 1 << 40
    durable_remotely: bool = False
    local_only: tuple[str, ...] = ()
    always_ask: bool = False
    passthrough: bool = True
    most_resident: int = MOST_RESIDENT
    lease_s: float = 60.0
    open_file_interval_s: float = 0.0


class RecordingNotifier:
    """What the kernel was told to forget."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Ino, bytes]] = []

    def attributes_changed(self, ino: Ino) -> None:
        self.told.append(("attributes", ino, b""))

    def content_changed(self, ino: Ino) -> None:
        self.told.append(("content", ino, b""))

    def entry_changed(self, parent: Ino, name: bytes) -> None:
        self.told.append(("entry", parent, name))

    can_expire_everything = True

    def everything_changed(self) -> None:
        self.told.append(("everything", ROOT_INO, b""))

    async def drained(self) -> bool:
        await trio.lowlevel.checkpoint()
        return True


class Parts:
    """The objects of one mount, wired as `mountfs.daemon.compose` wires them."""

    def __init__(
        self,
        remote: Remote,
        journal: SqliteJournal,
        content_files: ContentFiles,
        folder: Path,
        name: str,
        options: MountOptions,
    ) -> None:
        self.kernel = RecordingNotifier()
        self.journal = journal
        self.orphans_removed = trio.Event()
        self.orphans_removed.set()
        self.connection = Connection()
        self.tree = Tree(journal, uid=os.getuid(), gid=os.getgid(), most_resident=options.most_resident)
        self.tree.local_only = LocalOnly(options.local_only)
        self.content = FileContent(
            self.tree, content_files, remote, limit_bytes=options.cache_limit_bytes, patience_s=30.0
        )
        self.content.direct.is_possible = lambda: options.passthrough
        self.content.when_set_back = lambda inode: self.kernel.attributes_changed(inode.ino)
        self.conflicts = Conflicts(self.tree, self.kernel, host=name)
        self.changes = RemoteChanges(self.tree, self.kernel, self.content, self.conflicts)
        self.refresher = Refresher(self.tree, remote, self.changes, self.connection)
        self.pins = Pins(self.tree, self.content, self.refresher, limit_bytes=options.cache_limit_bytes)
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
            self.kernel,
        )
        contents = ContentSteps(
            self.tree,
            remote,
            self.changes,
            self.refresher,
            self.content,
            self.uploads,
            aside,
            self.fence,
            conflict=options.conflict,
        )
        executor = StepExecutor(
            self.tree,
            remote,
            self.changes,
            self.refresher,
            self.content,
            self.uploads,
            contents,
            self.fence,
        )
        self.sender = Sender(
            self.tree, executor, self.content, self.connection, delay_s=options.upload_delay_s
        )
        self.content.room.wait_progress = self.sender.wait_progress
        self.follower = Follower(
            remote,
            self.refresher,
            self.connection,
            Reconciler(self.tree, remote, self.refresher),
            noticed=lambda node: self.locks.wake(node),
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
            self.kernel,
        )
        self.locks = FileLocks(
            remote,
            self.publisher,
            self.fence,
            journal,
            holder=name,
            duration_s=options.lease_s,
            when_refused=self.follower.hurry,
        )
        self.open_files = OpenFiles(
            self.tree,
            self.content,
            self.sender,
            interval_s=options.open_file_interval_s,
            is_locked=lambda inode: self.locks.is_held(inode.ino),
        )
        copies = SavedFiles(CacheLayout(folder).saved, disk=content_files.disk)
        self.giving_up = GivingUp(
            self.tree, self.content, self.refresher, self.changes, self.uploads, self.kernel, copies
        )
        self.resolution = ConflictResolution(
            self.tree,
            remote,
            self.content,
            content_files,
            self.conflicts,
            self.kernel,
            self.giving_up,
            copies,
        )
        self.filesystem = WorkspaceFilesystem(
            self.tree,
            self.content,
            ContentRanges(self.content, content_files.disk),
            self.refresher,
            self.publisher,
            self.locks,
            self.kernel,
            cache_dir=folder,
            read_only=False,
            always_ask=options.always_ask,
            publish_on_close=options.durable_remotely,
        )


class RemoteMount(PathOperations):
    """One mount of any remote, started and stopped any number of times over the same cache.

    `disk` fails steps of the cache.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        folder: Path,
        remote: Remote,
        name: str,
        options: MountOptions,
        *,
        workspace_id: str,
    ) -> None:
        self._remote = remote
        self._workspace_id = workspace_id
        self.disk = FaultyDisk()
        self.name = name
        self.options = options
        self.is_running = False
        self._nursery = nursery
        self._folder = folder
        self._starts = 0

    # Starting and stopping.

    async def start(self, *, sound: bool = True) -> None:
        """Recover and serve. What recovery leaves must be sound, unless a test says that it cannot be."""
        self._folder.mkdir(exist_ok=True)
        self._directory = CacheDirectory.claim(self._folder)
        layout = self._directory.layout
        self._content_files = ContentFiles(layout.content, layout.index, disk=self.disk)
        self._journal = SqliteJournal(layout.journal, workspace=self._workspace_id, disk=self.disk)
        recovery.recover(self._journal, self._content_files)
        for orphans in recovery.orphans(self._journal, self._content_files):
            for ino in orphans:
                self._content_files.remove(ino)
        if sound:
            self._check_cache()
        self._journal.start()
        self.parts = Parts(
            self._remote, self._journal, self._content_files, self._folder, self.name, self.options
        )
        await self.tree.load(await self._journal.pending(), await self._journal.conflicts())
        self.parts.uploads.load(await self._journal.open_uploads(), self.tree)
        self.parts.locks.adopt(await self._journal.leases())
        await self.parts.pins.load()
        self._ended = trio.Event()
        await self._nursery.start(self._serve)
        self.is_running = True

    async def _serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with trio.open_nursery() as traffic:
                self._scope = traffic.cancel_scope
                await traffic.start(self.parts.content.run)
                await traffic.start(self.parts.refresher.run)
                await traffic.start(self.parts.unloader.run)
                await traffic.start(self.parts.sealed_hashes.run)
                await traffic.start(self.parts.open_files.run)
                await traffic.start(self.parts.sender.run)
                await traffic.start(self.parts.follower.run)
                await traffic.start(self.parts.locks.run)
                task_status.started()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Stop as an unmount whose time to send is over: what is pending stays in the journal."""
        await self.parts.content.upkeep.save_index()
        await self._end()
        self._check_cache()
        self._close()

    async def crash(self) -> None:
        """Die at once. The next start finds what the disk had at this moment."""
        self._starts += 1
        copy = self._folder.with_name(f"{self._folder.name.split('.')[0]}.{self._starts}")
        _snapshot(self._directory.layout, CacheLayout(copy))
        await self._end()
        self._close()
        shutil.rmtree(self._folder)
        self._folder = copy

    async def restart(self, *, cleanly: bool = True) -> None:
        await (self.stop() if cleanly else self.crash())
        await self.start()

    async def _end(self) -> None:
        self.is_running = False
        self._scope.cancel()
        await self._ended.wait()
        with trio.CancelScope(shield=True):
            await self._journal.aclose()
        self._journal = SqliteJournal(self._directory.layout.journal, workspace=self._workspace_id)

    def _close(self) -> None:
        self._journal._reader.close()
        self._content_files.close()
        self._directory.release()

    def _check_cache(self) -> None:
        faults = audit(self._journal, self._content_files)
        assert not faults, faults

    # Looking inside.

    @property
    def tree(self) -> Tree:
        return self.parts.tree

    @property
    def filesystem(self) -> WorkspaceFilesystem:
        return self.parts.filesystem

    def inode(self, path: str) -> Inode:
        """Return an entry that is in memory."""
        found = self.tree.inodes[ROOT_INO]
        for name in path_names(path):
            found = found.children[name]
        return found

    def node(self, path: str) -> NodeId:
        node = self.inode(path).node
        assert node is not None
        return node

    def failures(self) -> dict[str, str]:
        """Return path -> reason of what cannot be sent."""
        return {
            inode.path().decode(): inode.failure
            for inode in self.tree.pending.values()
            if inode.failure is not None
        }

    def cached_bytes(self, path: str) -> int:
        return self._content_files.size(self.inode(path).ino) or 0

    # Waiting.

    async def settle(self) -> None:
        """Send all that can be sent, and return when only failures and unclosed files are left."""
        delay_s = self.options.upload_delay_s
        # What comes up meanwhile has to be sent as well, and soon.
        self.parts.sender.delay_s = min(delay_s, 0.1)
        with trio.move_on_after(PATIENCE_S) as patience:
            while self._under_way():
                await self.parts.publisher.settle(self._under_way())
        self.parts.sender.delay_s = delay_s
        assert not patience.cancelled_caught, f"never sent: {self._under_way()}"

    def _under_way(self) -> list[Inode]:
        return [
            inode
            for inode in self.tree.pending.values()
            if inode.sending or (inode.failure is None and not inode.unsealed)
        ]

    async def wait_idle(self) -> None:
        """Like `settle`, but leave it to the mount when it sends."""
        await self.wait_until(lambda: not self._under_way())

    async def wait_until(self, condition: Callable[[], object]) -> None:
        """Return when the sender has brought the condition about."""
        with trio.move_on_after(PATIENCE_S) as patience:
            while not condition():
                await self.parts.sender.wait_progress()
        assert not patience.cancelled_caught, f"still to be sent: {self._under_way()}"

    async def catch_up(self) -> None:
        """Return when all that the workspace has is known here. The feed must be live."""
        await self.wait_live()
        await self.parts.follower.catch_up()

    async def wait_live(self) -> None:
        with trio.fail_after(PATIENCE_S):
            while self.parts.refresher.live_since is None:
                await wait_all_tasks_blocked(0.001)

    async def wait_until_blind(self) -> None:
        """Return when the feed is known to be down."""
        with trio.fail_after(PATIENCE_S):
            while self.parts.refresher.live_since is not None:
                await wait_all_tasks_blocked(0.001)


class WorkspaceMount(RemoteMount):
    """A mount of a workspace in memory.

    `memory` counts the calls that reached the workspace, `remote` fails them.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        folder: Path,
        workspace: MemoryWorkspace,
        name: str,
        options: MountOptions,
    ) -> None:
        self.memory = MemoryRemote(workspace)
        self.remote = FaultyRemote(self.memory)
        super().__init__(nursery, folder, self.remote, name, options, workspace_id=workspace.id)

    def changing_calls(self) -> dict[str, int]:
        """Return how often each method that changes the workspace was called, without those that never."""
        return {name: count for name, count in self.memory.calls.items() if name in WRITING_CALLS}


@asynccontextmanager
async def mounted(
    folder: Path,
    workspace: MemoryWorkspace,
    *,
    name: str = "here",
    options: MountOptions = MountOptions(),
) -> AsyncIterator[WorkspaceMount]:
    """Give a running mount; its cache must be sound at the end."""
    async with trio.open_nursery() as nursery:
        mount = WorkspaceMount(nursery, folder / name, workspace, name, options)
        await mount.start()
        await mount.wait_live()
        yield mount
        if mount.is_running:
            await mount.stop()


@contextmanager
def counted_calls(mount: WorkspaceMount) -> Iterator[dict[str, int]]:
    """Fill in, at the end of the block, how often each changing method was called within."""
    before = mount.changing_calls()
    calls: dict[str, int] = {}
    yield calls
    after = mount.changing_calls()
    calls.update({name: made for name in after if (made := after[name] - before.get(name, 0))})


def workspace_contents(workspace: MemoryWorkspace) -> dict[str, bytes | None]:
    """Return the workspace as `WorkspaceMount.contents` would."""
    return {**workspace.files(), **dict.fromkeys(workspace.folders())}


def _snapshot(old: CacheLayout, new: CacheLayout) -> None:
    """Copy what a process that is killed now would leave: the content, and one moment of each database."""
    shutil.copytree(old.root, new.root, ignore=shutil.ignore_patterns("*.db", "*-wal", "*-shm"))
    for database in (old.journal, *old.index.glob("*.db")):
        target = new.root / database.relative_to(old.root)
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)

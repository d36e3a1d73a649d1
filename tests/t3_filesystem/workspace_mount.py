"""A whole mount without a kernel: all of it is real but the remote, which is in memory, and the kernel."""

import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mountfs.daemon.parts import Outside, Parts
from mountfs.daemon.settings import MountSettings, Secret
from mountfs.filesystem.filesystem import WorkspaceFilesystem
from mountfs.model.history import History
from mountfs.model.ids import ROOT_INO, NodeId
from mountfs.model.remote import Remote
from mountfs.remotes.faulty import FaultyRemote
from mountfs.remotes.memory import MemoryRemote, MemoryWorkspace
from mountfs.storage import recovery
from mountfs.storage.audit import audit
from mountfs.storage.content import ContentFiles
from mountfs.storage.journal import SqliteJournal
from mountfs.storage.layout import CacheDirectory, CacheLayout
from mountfs.sync.content_steps import ConflictPolicy
from mountfs.tree.inode import Inode
from mountfs.tree.tree import MOST_RESIDENT, Tree
from tests.t1_storage.faulty_disk import FaultyDisk
from tests.t3_filesystem.memory_history import MemoryHistory
from tests.t3_filesystem.path_operations import PathOperations, path_names
from tests.t3_filesystem.recording_notifier import RecordingNotifier

PATIENCE_S = 800.0
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


@contextmanager
def clock_standing_still() -> Iterator[None]:
    """Within, nobody's patience ends, however long a busy machine takes, and nothing that waits for a time
    goes on."""
    clock = cast("MockClock", trio.lowlevel.current_clock())
    rate, clock.rate = clock.rate, 0.0
    try:
        yield
    finally:
        clock.rate = rate


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
    lease_s: int = 60
    open_file_interval_s: float = 0.0

    def settings(self, folder: Path) -> MountSettings:
        return MountSettings(
            url="",
            workspace="",
            mountpoint=folder,
            cache_dir=folder,
            token=Secret(""),
            cache_size_bytes=self.cache_limit_bytes,
            upload_delay_s=self.upload_delay_s,
            open_file_interval_s=self.open_file_interval_s,
            durability="remote" if self.durable_remotely else "local",
            consistency="open" if self.always_ask else "feed",
            conflict=self.conflict,
            lease_duration_s=self.lease_s,
            local_only=self.local_only,
        )


class RemoteMount(PathOperations):
    """One mount of any remote, started and stopped any number of times over the same cache.

    `disk` fails steps of the cache. `kernel` is what the kernel was told since the last start.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        folder: Path,
        remote: Remote,
        name: str,
        options: MountOptions,
        *,
        history: History,
        workspace_id: str,
    ) -> None:
        self._remote = remote
        self._history = history
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
        self.kernel = RecordingNotifier()
        self.parts = Parts(
            self.options.settings(self._folder), self._outside(), self._journal, self._content_files
        )
        self.parts.content.direct.is_possible = lambda: self.options.passthrough
        self.parts.orphans_removed.set()
        await self.parts.load()
        self._ended = trio.Event()
        await self._nursery.start(self._serve)
        self.is_running = True

    def _outside(self) -> Outside:
        return Outside(
            remote=self._remote,
            history=self._history,
            kernel=self.kernel,
            host=self.name,
            lease_clock=trio.current_time,
            request_id=lambda: "",
            most_resident=self.options.most_resident,
        )

    async def _serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with trio.open_nursery() as traffic:
                self._scope = traffic.cancel_scope
                await self.parts.start_traffic(traffic)
                await traffic.start(self.parts.locks.run)
                task_status.started()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Stop as an unmount whose time to send is over: what is pending stays in the journal."""
        await self.parts.content.upkeep.save_index()
        await self._end()
        # What was being sent until now may have lost its name meanwhile.
        await self.parts.content.upkeep.save_index()
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

    `memory` counts the calls that reached the workspace, `remote` fails them. `history` tells
    of its versions.
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
        self.history = MemoryHistory(workspace)
        super().__init__(
            nursery,
            folder,
            self.remote,
            name,
            options,
            history=self.history,  # type: ignore[arg-type]  # the rest of the port is not asked for
            workspace_id=workspace.id,
        )

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

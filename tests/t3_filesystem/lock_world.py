"""Two mounts of one workspace that has one file, for the tests of `FileLocks`; the clock is virtual."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from mountfs.locks.file_locks import FileLocks
from mountfs.model.errors import (
    OperationNotSupported,
    RemoteUnavailable,
)
from mountfs.model.filesystem import Handle, LockFamily, LockHolder, LockKind, LockOwner, LockWait
from mountfs.model.ids import Ino, LeaseToken, NodeId
from mountfs.model.publishing import Glance
from mountfs.model.remote import KnownLease, Lease
from mountfs.remotes.faulty import FaultyRemote
from mountfs.remotes.memory import MemoryRemote, MemoryWorkspace
from mountfs.rules.fence import Fence
from tests.waiting import eventually

FILE = Ino(7)
DIRECTORY = Ino(8)
SUCCESSOR = Ino(9)
"""It was renamed over `FILE`, and has its node since."""

SHARED, EXCLUSIVE = LockKind.SHARED, LockKind.EXCLUSIVE
LATENCY_S = 0.01
OFFLINE = RemoteUnavailable("the network is down")


def owner(number: int) -> LockOwner:
    return LockOwner(number)


def handle(number: int) -> Handle:
    """The open file description of the owner with this number."""
    return Handle(1000 + number)


async def done(begin: Callable[[], LockWait | None]) -> None:
    """Make a call that takes a lock or gives one up, and wait for what it leaves to wait for."""
    await trio.lowlevel.checkpoint_if_cancelled()
    rest = begin()
    if rest is not None:
        await rest()


def flocking(owner: LockOwner) -> LockHolder:
    return LockHolder(LockFamily.FLOCK, owner)


class TellingRemote(MemoryRemote):
    """Writes down when leases change hands."""

    def __init__(self, workspace: MemoryWorkspace, events: list[str], name: str) -> None:
        super().__init__(workspace, latency_s=LATENCY_S)
        self.renewals_that_hang = 0
        self.gaps_s: list[float] = []
        """How long the lease was free for others, each time it was given back and taken again."""
        self._released_at: float | None = None
        self._events = events
        self._name = name

    async def renew_lease(self, node: NodeId, token: LeaseToken) -> Lease:
        if self.renewals_that_hang:
            self.renewals_that_hang -= 1
            await trio.sleep_forever()
        return await super().renew_lease(node, token)

    async def acquire_lease(self, node: NodeId, *, duration_s: float, holder: str) -> Lease:
        answer = await super().acquire_lease(node, duration_s=duration_s, holder=holder)
        if self._released_at is not None:
            self.gaps_s.append(trio.current_time() - self._released_at)
        self._events.append(f"{self._name} acquired")
        return answer

    async def release_lease(self, node: NodeId, token: LeaseToken) -> None:
        held = self.workspace.lease_holder(node, trio.current_time())
        await super().release_lease(node, token)
        if held is not None:
            self._released_at = trio.current_time()
            self._events.append(f"{self._name} released")


class OneFile:
    """The traffic of a mount that has one file, and a local copy of it. `gate` may hold or fail a step."""

    def __init__(self, workspace: MemoryWorkspace, events: list[str], name: str) -> None:
        self.local = self.published = b""
        self.dirty = False
        self.fetched = b""
        """What is here for whoever gets the lock, before that."""
        self.looks = 0
        self.gate: dict[str, Callable[[], Awaitable[None]]] = {}
        self._workspace = workspace
        self._events = events
        self._name = name

    async def ensure_remote(self, ino: Ino) -> NodeId:
        if ino == DIRECTORY:
            raise OperationNotSupported("a directory")
        await self._step("ensure")
        return self._workspace.find("counter")

    async def refresh(self, ino: Ino) -> None:
        content = self._workspace.files()["counter"]
        await self._step("refresh")
        self.local = self.published = content

    async def look_ahead(self, ino: Ino) -> Glance:
        self.looks += 1
        content, here = self._workspace.files()["counter"], self._workspace.find("counter")
        locked = self._workspace.lease_holder(here, trio.current_time()) is not None
        await self._step("look ahead")
        newer = content not in (self.fetched, self.published)
        self.fetched = content
        return Glance(locked, newer)

    async def collect(self, ino: Ino) -> None:
        pass

    async def publish(self, ino: Ino) -> None:
        content = self.local
        await self._step("publish")
        self._workspace.put("counter", content)
        self.published = content
        self.dirty = False
        self._events.append(f"{self._name} published")

    async def is_overtaken(self, ino: Ino) -> bool:
        await self._step("look")
        return self._workspace.files()["counter"] != self.published

    def lease_released(self, ino: Ino) -> None:
        pass

    def lease_lost(self, ino: Ino, *, told: bool) -> None:
        self._events.append(f"{self._name} lost its lease" + (", all know" if told else ""))

    def has_unpublished(self, ino: Ino) -> bool:
        return self.dirty

    def write(self, content: bytes) -> None:
        self.local = content
        self.dirty = True

    async def _step(self, name: str) -> None:
        await trio.sleep(LATENCY_S)
        if name in self.gate:
            await self.gate[name]()


class Forgetful:
    """Nothing is remembered for a later run."""

    def record_lease(self, lease: KnownLease) -> None: ...

    def erase_lease(self, ino: Ino) -> None: ...


class Mount:
    def __init__(
        self,
        workspace: MemoryWorkspace,
        name: str,
        events: list[str],
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.memory = TellingRemote(workspace, events, name)
        self.remote = FaultyRemote(self.memory)
        self.file = OneFile(workspace, events, name)
        self.fence = Fence()
        self.locks = FileLocks(self.remote, self.file, self.fence, Forgetful(), holder=name, clock=clock)

    async def take(self, number: int, kind: LockKind = EXCLUSIVE, *, wait: bool = True) -> None:
        await done(partial(self.locks.flock, FILE, handle(number), owner(number), kind, wait=wait))

    async def unlock(self, number: int) -> None:
        await done(partial(self.locks.flock, FILE, handle(number), owner(number), None, wait=True))

    def drop(self, number: int) -> None:
        self.locks.drop_flock(FILE, owner(number))

    async def add_one(self, number: int) -> None:
        """Read, wait and write: exact only under a lock that holds and is fresh."""
        seen = int(self.file.local)
        await trio.sleep(0.001)
        self.file.write(b"%d" % (seen + 1))

    async def follow(self) -> None:
        cursor = (await self.memory.changes(None)).cursor
        while True:
            changes = await self.memory.changes(cursor, wait_s=60)
            cursor = changes.cursor
            for node in changes.nodes:
                self.locks.wake(node)

    async def wait_unused(self) -> None:
        await eventually(lambda: not self.locks.statistics().files, limit_s=5)


class World:
    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self.workspace = MemoryWorkspace()
        self.node = self.workspace.put("counter", b"0")
        self.events: list[str] = []
        self.a = Mount(self.workspace, "a", self.events, clock)
        self.b = Mount(self.workspace, "b", self.events, clock)

    def lease_holder(self) -> str | None:
        return self.workspace.lease_holder(self.node, trio.current_time())


@asynccontextmanager
async def running(
    *, feed: bool = False, clock: Callable[[], float] = trio.current_time
) -> AsyncIterator[tuple[World, trio.Nursery]]:
    world = World(clock)
    async with trio.open_nursery() as nursery:
        for mount in (world.a, world.b):
            await nursery.start(mount.locks.run)
            if feed:
                nursery.start_soon(mount.follow)
        yield world, nursery
        nursery.cancel_scope.cancel()

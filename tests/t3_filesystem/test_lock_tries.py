"""`FileLocks`: how often a mount asks for a lease that another one has."""

from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from mountfs.locks import file_locks
from mountfs.model.errors import RemoteUnavailable, WouldBlock
from mountfs.model.filesystem import LockKind
from tests.t3_filesystem.lock_world import EXCLUSIVE, SHARED, Mount, World, running
from tests.waiting import eventually

LONG_S = 1.0
SHORT_S = 0.05
SETTLED_S = 0.05
"""The first try is over by then, and the next is not due before another 0.15 s."""


@pytest.fixture(autouse=True)
def even_chances(monkeypatch: pytest.MonkeyPatch) -> None:
    """By chance a waiter tries by itself in the moment of a release, which then counts as not told of."""
    monkeypatch.setattr(file_locks, "CHANCE", lambda: 0.5)


@dataclass(frozen=True)
class HandOver:
    """How often the mount that waited asked for the lease, and how long after the unlock it had the lock."""

    tries: int
    took_s: float


async def refused() -> None:
    raise RemoteUnavailable("no answer")


async def hand_over(holder: Mount, other: Mount, held_s: float) -> HandOver:
    """Pass the lock on to the other mount, which begins to wait when it is held for so long still."""
    before = other.memory.calls["acquire_lease"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.take, 1)
        await trio.sleep(held_s)
        await holder.add_one(1)
        await holder.unlock(1)
        unlocked = trio.current_time()
    return HandOver(other.memory.calls["acquire_lease"] - before, trio.current_time() - unlocked)


async def to_and_fro(world: World, times: int, held_s: float) -> list[HandOver]:
    """Let the lock go from the one mount to the other and back; it is free before and after."""
    holder, other = world.a, world.b
    await holder.take(1)
    made = []
    for _ in range(times):
        made.append(await hand_over(holder, other, held_s))
        holder, other = other, holder
    await holder.unlock(1)
    await trio.sleep(1)
    return made


async def test_whoever_is_told_of_releases_asks_little_before(autojump_clock: MockClock) -> None:
    """Once at first, and at the news of the release. Each mount learns from its first wait that news tell of
    that."""
    async with running(feed=True) as (world, _):
        for made in (await to_and_fro(world, 6, LONG_S))[2:]:
            assert made.tries <= 4
            assert made.took_s <= 0.1


@dataclass
class Waiter:
    """`looks` and `tries`: how often the mount looked at the file and asked for the lease since it waited for
    a while; `has_it` when it has the lock."""

    mount: Mount
    has_it: trio.Event
    kind: LockKind = EXCLUSIVE
    _before: tuple[int, int] = (0, 0)

    def _counts(self) -> tuple[int, int]:
        return self.mount.file.looks, self.mount.memory.calls["acquire_lease"]

    def note(self) -> None:
        self._before = self._counts()

    @property
    def looks(self) -> int:
        return self._counts()[0] - self._before[0]

    @property
    def tries(self) -> int:
        return self._counts()[1] - self._before[1]

    async def take(self) -> None:
        await self.mount.take(1, self.kind)
        self.has_it.set()


async def waiting(mount: Mount, nursery: trio.Nursery, kind: LockKind = EXCLUSIVE) -> Waiter:
    """Let the mount wait for a lock that the other one has, and ask for it seldom."""
    waiter = Waiter(mount, trio.Event(), kind)
    nursery.start_soon(waiter.take)
    await eventually(lambda: mount.locks.awaiting_others, limit_s=1)
    await trio.sleep(SETTLED_S)
    waiter.note()
    return waiter


async def test_what_the_holder_published_is_here_before_its_lock(autojump_clock: MockClock) -> None:
    """And the news after that are taken for those of the release."""
    async with running(feed=True) as (world, nursery):
        await to_and_fro(world, 2, LONG_S)
        a = world.a
        await a.take(1)
        b = await waiting(world.b, nursery)
        a.remote.hang("release_lease")
        a.file.write(b"7")
        nursery.start_soon(a.unlock, 1)
        await a.remote.wait_hanging("release_lease")
        await eventually(lambda: world.b.file.fetched == b"7", limit_s=0.1)
        assert (b.looks, b.tries, b.has_it.is_set()) == (1, 0, False)
        a.remote.release()
        with trio.fail_after(0.1):
            await b.has_it.wait()
        assert (b.looks, b.tries, world.b.file.local) == (1, 1, b"7")


@pytest.mark.parametrize("fails", [False, True], ids=["answered", "failed"])
async def test_a_look_that_shows_no_lock_or_fails_has_the_lock_taken(
    autojump_clock: MockClock, fails: bool
) -> None:
    """Nothing was written, so that the first news are those of the release."""
    async with running(feed=True) as (world, nursery):
        await to_and_fro(world, 2, LONG_S)
        if fails:
            world.b.file.gate["look ahead"] = refused
        await world.a.take(1)
        b = await waiting(world.b, nursery)
        await world.a.unlock(1)
        with trio.fail_after(0.1):
            await b.has_it.wait()
        assert (b.looks, b.tries) == (1, 1)


async def test_look_that_hangs_holds_up_nobody_who_does_not_want_to_wait(autojump_clock: MockClock) -> None:
    async with running(feed=True) as (world, nursery):
        await to_and_fro(world, 2, LONG_S)
        world.b.file.gate["look ahead"] = trio.sleep_forever
        await world.a.take(1)
        b = await waiting(world.b, nursery, SHARED)
        world.workspace.put("counter", b"7")
        await eventually(lambda: b.looks, limit_s=0.1)
        with pytest.raises(WouldBlock), trio.fail_after(0.1):
            await world.b.take(2, SHARED, wait=False)


async def test_whoever_is_not_told_of_releases_asks_often(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        assert all(made.took_s <= 0.15 for made in await to_and_fro(world, 6, SHORT_S))


async def test_news_that_stop_to_tell_of_releases_cost_each_mount_one_wait(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        async with trio.open_nursery() as nursery:
            for mount in (world.a, world.b):
                nursery.start_soon(mount.follow)
            await to_and_fro(world, 4, LONG_S)
            nursery.cancel_scope.cancel()
        *late, third, fourth = await to_and_fro(world, 4, SHORT_S)
        assert all(0.15 < made.took_s <= 0.6 for made in late)
        assert all(made.took_s <= 0.15 for made in (third, fourth))

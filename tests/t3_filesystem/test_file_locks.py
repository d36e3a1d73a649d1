"""`FileLocks`: two objects on one workspace are two mounts; the clock is virtual."""

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mountfs.locks.file_lock import FileLock
from mountfs.locks.file_locks import FileLocks
from mountfs.model.errors import (
    FileTooBig,
    Interrupted,
    MountfsError,
    OperationNotSupported,
    QuotaExceeded,
    RemoteUnavailable,
    WouldBlock,
)
from mountfs.model.filesystem import LockFamily, LockHolder, LockKind, LockOwner
from mountfs.model.ids import Ino, LeaseToken, NodeId
from mountfs.model.remote import Lease
from mountfs.remotes.faulty import FaultyRemote
from mountfs.remotes.memory import MemoryRemote, MemoryWorkspace
from mountfs.rules.flock_table import FlockRequest
from mountfs.rules.lease import HANDOVERS_MAX, LeaseEvent, LeaseState
from mountfs.rules.record_table import RecordOwners

FILE = Ino(7)
DIRECTORY = Ino(8)
SHARED, EXCLUSIVE = LockKind.SHARED, LockKind.EXCLUSIVE
LATENCY_S = 0.01
OFFLINE = RemoteUnavailable("the network is down")


def owner(number: int) -> LockOwner:
    return LockOwner(number)


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
        await super().release_lease(node, token)
        self._released_at = trio.current_time()
        self._events.append(f"{self._name} released")


class OneFile:
    """The traffic of a mount that has one file, and a local copy of it. `gate` may hold or fail a step."""

    def __init__(self, workspace: MemoryWorkspace, events: list[str], name: str) -> None:
        self.local = b""
        self.dirty = False
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
        self.local = content

    async def publish(self, ino: Ino) -> None:
        content = self.local
        await self._step("publish")
        self._workspace.put("counter", content)
        self.dirty = False
        self._events.append(f"{self._name} published")

    def has_unpublished(self, ino: Ino) -> bool:
        return self.dirty

    def write(self, content: bytes) -> None:
        self.local = content
        self.dirty = True

    async def _step(self, name: str) -> None:
        await trio.sleep(LATENCY_S)
        if name in self.gate:
            await self.gate[name]()


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
        self.locks = FileLocks(self.remote, self.file, holder=name, clock=clock)

    async def take(self, number: int, kind: LockKind = EXCLUSIVE, *, wait: bool = True) -> None:
        await self.locks.flock(FILE, owner(number), kind, wait=wait)

    async def unlock(self, number: int) -> None:
        await self.locks.flock(FILE, owner(number), None, wait=True)

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
        with trio.fail_after(5):
            while self.locks.statistics().files:  # noqa: ASYNC110 - no event tells of it; time is virtual
                await trio.sleep(0.01)


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


# Exclusion and freshness


@pytest.mark.parametrize("feed", [True, False])
async def test_a_counter_under_the_lock_is_exact_over_two_mounts(
    autojump_clock: MockClock, feed: bool
) -> None:
    async def work(mount: Mount, number: int) -> None:
        for _ in range(25):
            await mount.take(number)
            await mount.add_one(number)
            await mount.unlock(number)

    async with running(feed=feed) as (world, _):
        async with trio.open_nursery() as workers:
            for number in range(4):
                workers.start_soon(work, world.a, number)
                workers.start_soon(work, world.b, number)
        assert world.workspace.files()["counter"] == b"200"
        assert world.lease_holder() is None
        assert world.events.count("a acquired") > 1
        assert world.events.count("b acquired") > 1


async def test_taking_the_lock_makes_what_others_published_visible(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        world.a.file.write(b"41")
        await world.a.unlock(1)
        await world.b.take(1)
        assert world.b.file.local == b"41"


async def test_shared_holders_of_one_mount_share_one_lease(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1, SHARED)
        calls = world.a.memory.calls.copy()
        await world.a.take(2, SHARED)
        await world.a.unlock(1)
        assert world.a.memory.calls == calls
        assert world.lease_holder() == "a"
        with pytest.raises(WouldBlock):
            await world.b.take(1, SHARED, wait=False)
        await world.a.unlock(2)
        await world.b.take(1, SHARED, wait=False)


async def test_a_refused_call_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        with pytest.raises(WouldBlock):
            await world.a.take(2, wait=False)
        with pytest.raises(WouldBlock):
            await world.b.take(1, wait=False)
        await world.b.wait_unused()
        await world.a.unlock(1)
        await world.b.take(2, wait=False)


async def test_a_conversion_between_the_kinds_uses_no_network(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1, SHARED)
        calls = world.a.memory.calls.copy()
        await world.a.take(1, EXCLUSIVE, wait=False)
        with pytest.raises(WouldBlock):
            await world.a.take(2, SHARED, wait=False)
        await world.a.take(1, SHARED, wait=False)
        await world.a.take(2, SHARED, wait=False)
        with pytest.raises(WouldBlock):
            await world.a.take(1, EXCLUSIVE, wait=False)
        assert world.a.locks.statistics().files[0].holders == ((flocking(owner(2)), SHARED),)
        assert world.a.memory.calls == calls


async def test_a_directory_is_locked_on_its_mount_only(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        for mount in (world.a, world.b):
            await mount.locks.flock(DIRECTORY, owner(1), EXCLUSIVE, wait=False)
            with pytest.raises(WouldBlock):
                await mount.locks.flock(DIRECTORY, owner(2), SHARED, wait=False)
            assert not mount.locks.holding
            await mount.locks.flock(DIRECTORY, owner(1), None, wait=True)
            await mount.wait_unused()


class Exclusion:
    """Who believes to have the lock, over all mounts. Raises as soon as two may not believe so together."""

    def __init__(self) -> None:
        self._believers: dict[tuple[str, int], LockKind] = {}

    def taken(self, name: str, number: int, kind: LockKind) -> None:
        self._believers[name, number] = kind
        mounts = {name for name, _ in self._believers}
        assert len(mounts) == 1, "shared holders of two mounts exclude each other too"
        assert kind is SHARED or len(self._believers) == 1

    def given_up(self, name: str, number: int) -> None:
        self._believers.pop((name, number), None)


@pytest.mark.parametrize("seed", range(20))
async def test_no_history_of_calls_faults_and_signals_breaks_the_exclusion(
    autojump_clock: MockClock, seed: int
) -> None:
    chance = random.Random(seed)
    exclusion = Exclusion()

    async def act(mount: Mount, name: str, number: int) -> None:
        kind = chance.choice([SHARED, EXCLUSIVE])
        exclusion.given_up(name, number)
        try:
            await mount.take(number, kind, wait=chance.random() < 0.7)
        except (WouldBlock, RemoteUnavailable):
            mount.drop(number)
            return
        except trio.Cancelled:
            mount.drop(number)
            raise
        exclusion.taken(name, number, kind)
        mount.file.dirty = kind is EXCLUSIVE
        await trio.sleep(chance.choice([0.0, 0.01, 0.2]))
        if chance.random() < 0.2:
            return  # converts or repeats with its next act
        exclusion.given_up(name, number)
        if chance.random() < 0.5:
            mount.drop(number)
        else:
            await mount.unlock(number)

    async def live(mount: Mount, name: str, number: int) -> None:
        for _ in range(30):
            with trio.move_on_after(chance.choice([0.005, 0.05, 1, 30])) as signal:
                await act(mount, name, number)
            if signal.cancelled_caught:
                exclusion.given_up(name, number)
                mount.drop(number)
        exclusion.given_up(name, number)
        mount.drop(number)

    async def spoil(mount: Mount) -> None:
        while True:
            await trio.sleep(chance.uniform(0.5, 2))
            method = chance.choice(["acquire_lease", "renew_lease", "release_lease"])
            mount.remote.heal()
            mount.remote.fail(method, OFFLINE)

    async with running(feed=seed % 2 == 0) as (world, nursery):
        nursery.start_soon(spoil, world.a)
        async with trio.open_nursery() as lives:
            for number in range(4):
                lives.start_soon(live, world.a, "a", number)
                lives.start_soon(live, world.b, "b", number)
        await world.a.wait_unused()
        await world.b.wait_unused()
        assert world.lease_holder() is None
        assert world.a.locks.statistics().leases_lost == 0


# Order and fairness


async def test_waiters_of_one_mount_are_served_in_the_order_of_their_coming(
    autojump_clock: MockClock,
) -> None:
    served: list[int] = []

    async def wait_turn(mount: Mount, number: int) -> None:
        await mount.take(number)
        served.append(number)
        await mount.unlock(number)

    async with running() as (world, _):
        await world.a.take(0)
        calls = world.a.memory.calls.copy()
        async with trio.open_nursery() as waiters:
            for number in range(1, 11):
                waiters.start_soon(wait_turn, world.a, number)
                await wait_all_tasks_blocked()
            await world.a.unlock(0)
            assert world.a.memory.calls == calls, "a hand-over needs no network"
        assert served == list(range(1, 11))


@pytest.mark.parametrize("greedy_tasks", [1, 4])
async def test_a_greedy_mount_lets_another_in_after_a_bounded_number_of_hand_overs(
    autojump_clock: MockClock, greedy_tasks: int
) -> None:
    grants: list[str] = []

    async def be_greedy(mount: Mount, number: int) -> None:
        while True:
            await mount.take(number)
            grants.append("a")
            await mount.unlock(number)

    async with running(feed=True) as (world, nursery):
        for number in range(greedy_tasks):
            nursery.start_soon(be_greedy, world.a, number)
        await trio.sleep(1)
        for _ in range(10):
            grants.clear()
            await world.b.take(99)
            assert len(grants) <= 3 * HANDOVERS_MAX
            await world.b.unlock(99)
            await trio.sleep(0.3)
            assert "a" in grants, "and comes to its own turn again"


async def test_a_mount_whose_turn_is_over_leaves_the_lease_free_for_a_moment(
    autojump_clock: MockClock,
) -> None:
    async def be_greedy(mount: Mount, number: int) -> None:
        while True:
            await mount.take(number)
            await trio.sleep(0.01)
            await mount.unlock(number)

    async with running() as (world, nursery):
        for number in range(4):
            nursery.start_soon(be_greedy, world.a, number)
        await trio.sleep(20)
        assert len(world.a.memory.gaps_s) > 20
        assert min(world.a.memory.gaps_s) >= 0.05


async def test_a_lock_dropped_at_close_is_free_for_the_next_try_of_its_process(
    autojump_clock: MockClock,
) -> None:
    async with running() as (world, _):
        for number in range(100):
            await world.a.take(number, wait=False)
            await world.a.add_one(number)
            world.a.drop(number)
        await world.a.wait_unused()
        assert world.workspace.files()["counter"] == b"100"


async def test_waiters_may_be_killed_by_hundreds(autojump_clock: MockClock) -> None:
    served: list[int] = []
    scopes = [trio.CancelScope() for _ in range(1000)]

    async def wait_turn(mount: Mount, number: int) -> None:
        with scopes[number]:
            await mount.take(number)
            served.append(number)
            mount.drop(number)

    async with running() as (world, _):
        await world.a.take(5000)
        async with trio.open_nursery() as waiters:
            for number in range(1000):
                waiters.start_soon(wait_turn, world.a, number)
            await wait_all_tasks_blocked()
            assert world.a.locks.statistics().files[0].waiting == 1000
            for number in range(0, 1000, 3):
                scopes[number].cancel()
            await wait_all_tasks_blocked()
            assert world.a.locks.statistics().files[0].waiting == 666
            await world.a.unlock(5000)
        assert sorted(served) == [number for number in range(1000) if number % 3]
        await world.a.wait_unused()


async def test_a_hasty_call_is_refused_when_its_mount_has_had_its_turn_and_others_wait(
    autojump_clock: MockClock,
) -> None:
    lock = FileLock(FILE, trio.current_time, RecordOwners())
    lock.yielding = True
    first = lock.take(FlockRequest(owner(1), SHARED), wait=True)
    hasty = lock.take(FlockRequest(owner(2), EXCLUSIVE), wait=False)
    last = lock.take(FlockRequest(owner(3), SHARED), wait=True)
    assert not hasty.done.is_set(), "it would be wrong to say that somebody has the lock"
    lock.end_turn()
    assert isinstance(hasty.error, WouldBlock)
    assert lock.table.flocks.holders == {first.request.owner: SHARED, last.request.owner: SHARED}


# Cancelling


async def cancel_a_take(world: World, reached: Callable[[], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.a.take, 1)
        await reached()
        nursery.cancel_scope.cancel()


async def assert_nothing_is_left(world: World) -> None:
    await world.a.wait_unused()
    assert world.lease_holder() is None
    await world.b.take(1, wait=False)
    await world.b.unlock(1)
    await world.a.take(2, wait=False)


async def test_cancelling_a_local_wait_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(9)
        await cancel_a_take(world, wait_all_tasks_blocked)
        assert world.a.locks.statistics().files[0].waiting == 0
        await world.a.unlock(9)
        await assert_nothing_is_left(world)


@pytest.mark.parametrize("step", ["ensure", "refresh"])
async def test_cancelling_during_a_step_of_the_traffic_leaves_nothing_behind(
    autojump_clock: MockClock, step: str
) -> None:
    async with running() as (world, _):
        reached = trio.Event()

        async def hang() -> None:
            reached.set()
            await trio.sleep_forever()

        world.a.file.gate[step] = hang
        await cancel_a_take(world, reached.wait)
        del world.a.file.gate[step]
        await assert_nothing_is_left(world)


async def test_a_lease_granted_to_a_cancelled_call_is_given_back(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        world.a.remote.hang("acquire_lease")
        await cancel_a_take(world, partial(world.a.remote.wait_hanging, "acquire_lease"))
        world.a.remote.release("acquire_lease")
        await assert_nothing_is_left(world)
        assert world.events.count("a acquired") == 2


async def test_a_lease_granted_to_a_cancelled_call_serves_the_next_waiter(autojump_clock: MockClock) -> None:
    async with running() as (world, nursery):
        world.a.remote.hang("acquire_lease")
        taken = trio.Event()

        async def take_next() -> None:
            await world.a.take(2)
            taken.set()

        async def reached() -> None:
            await world.a.remote.wait_hanging("acquire_lease")
            nursery.start_soon(take_next)
            await wait_all_tasks_blocked()

        await cancel_a_take(world, reached)
        world.a.remote.release("acquire_lease")
        await taken.wait()
        assert world.events == ["a acquired"]


async def test_cancelling_the_wait_for_another_mount_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.b.take(1)
        with trio.move_on_after(10):
            await world.a.take(1)
        await world.a.wait_unused()
        await world.b.unlock(1)
        await assert_nothing_is_left(world)


async def test_cancelling_one_of_two_calls_of_an_owner_leaves_the_other_its_lock(
    autojump_clock: MockClock,
) -> None:
    async with running() as (world, nursery):
        world.a.remote.hang("acquire_lease")
        nursery.start_soon(world.a.take, 1)
        await cancel_a_take(world, partial(world.a.remote.wait_hanging, "acquire_lease"))
        world.a.remote.release("acquire_lease")
        await trio.sleep(1)
        assert world.a.locks.statistics().files[0].holders == ((flocking(owner(1)), EXCLUSIVE),)
        with pytest.raises(WouldBlock):
            await world.a.take(2, wait=False)


async def test_withdrawing_a_call_that_failed_takes_nothing_from_a_later_one(
    autojump_clock: MockClock,
) -> None:
    lock = FileLock(FILE, trio.current_time, RecordOwners())
    first = lock.take(FlockRequest(owner(1), EXCLUSIVE), wait=True)
    failed = lock.take(FlockRequest(owner(2), EXCLUSIVE), wait=False)
    assert isinstance(failed.error, WouldBlock)
    lock.withdraw(first)
    later = lock.take(FlockRequest(owner(2), EXCLUSIVE), wait=True)
    lock.apply(LeaseEvent.DEMANDED)
    lock.apply(LeaseEvent.STAYS_LOCAL)
    assert later.done.is_set()
    lock.withdraw(failed)
    assert lock.holders == {flocking(owner(2)): EXCLUSIVE}


async def test_an_interrupted_unlock_goes_on_and_can_be_waited_for_again(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        world.a.file.write(b"5")
        world.a.file.gate["publish"] = partial(trio.sleep, 20)
        with trio.move_on_after(1) as scope:
            await world.a.unlock(1)
        assert scope.cancelled_caught
        assert world.lease_holder() == "a"
        await world.a.unlock(1)
        assert world.workspace.files()["counter"] == b"5"
        await world.a.wait_unused()


# The lease in time


async def test_the_heartbeat_keeps_a_lease_over_many_durations(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        for _ in range(100):
            await trio.sleep(17)
            with pytest.raises(WouldBlock):
                await world.b.take(1, wait=False)
        assert 1700 / 30 - 1 <= world.a.memory.calls["renew_lease"] <= 1700 / 20 + 1
        assert world.a.locks.statistics().leases_lost == 0


@pytest.mark.parametrize("way", ["fails", "hangs"])
async def test_one_failed_heartbeat_is_no_loss(autojump_clock: MockClock, way: str) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        if way == "fails":
            world.a.remote.fail("renew_lease", OFFLINE)
        else:
            world.a.memory.renewals_that_hang = 1
        await trio.sleep(300)
        assert world.a.locks.statistics().leases_lost == 0
        assert world.lease_holder() == "a"


async def test_the_lease_of_a_dead_mount_goes_to_the_next_when_it_expires(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await MemoryRemote(world.workspace).acquire_lease(world.node, duration_s=60, holder="dead")
        started = trio.current_time()
        await world.b.take(1)
        assert 60 <= trio.current_time() - started <= 62.5


async def test_a_lease_that_cannot_be_renewed_is_lost_before_the_remote_frees_it(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        world.a.remote.go_offline()
        with trio.fail_after(61):
            while world.a.locks.holding:
                assert world.lease_holder() == "a", "the remote must not be the first to know"
                await trio.sleep(0.5)
        assert world.lease_holder() == "a"
        told = world.a.locks.statistics()
        assert (told.leases_held, told.leases_lost) == (0, 1)
        assert told.files[0].lease is LeaseState.LOST
        assert told.files[0].holders == ((flocking(owner(1)), EXCLUSIVE),)
        assert "lost the lock on inode 7" in caplog.text

        world.a.remote.heal()
        await world.b.take(1)
        await world.b.unlock(1)
        await world.a.unlock(1)
        await world.a.take(2, wait=False)
        assert world.a.locks.statistics().leases_lost == 1


async def test_an_unlock_without_lease_still_confirms_the_content(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        world.a.file.write(b"8")
        world.workspace.drop_leases()
        await trio.sleep(60)
        assert not world.a.locks.holding
        await world.a.unlock(1)
        assert world.workspace.files()["counter"] == b"8"
        await world.a.wait_unused()


async def test_a_lease_is_not_passed_on_after_the_host_slept(autojump_clock: MockClock) -> None:
    asleep_s = 0.0
    async with running(clock=lambda: trio.current_time() + asleep_s) as (world, _):
        await world.a.take(1, SHARED)
        asleep_s = 3600.0
        world.workspace.drop_leases()
        await world.b.take(1)
        with pytest.raises(WouldBlock):
            await world.a.take(2, SHARED, wait=False)
        assert world.a.locks.statistics().leases_lost == 1


async def test_a_mount_holds_from_the_grant_to_the_release(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        assert world.a.locks.holding
        assert world.a.locks.statistics().files[0].lease_valid_s == pytest.approx(54, abs=0.1)
        assert not world.b.locks.holding
        await world.a.unlock(1)
        assert world.a.locks.statistics().leases_held == 0


# Releasing is publishing


async def test_the_lease_is_released_after_the_content_is_published(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        world.a.file.write(b"1")
        await world.a.unlock(1)
        assert world.events == ["a acquired", "a published", "a released"]


async def test_content_that_cannot_be_published_keeps_the_lease_until_it_is(
    autojump_clock: MockClock,
) -> None:
    async with running() as (world, _):

        async def fail() -> None:
            raise OFFLINE

        await world.a.take(1)
        world.a.file.write(b"1")
        world.a.file.gate["publish"] = fail
        started = trio.current_time()
        with pytest.raises(RemoteUnavailable):
            await world.a.unlock(1)
        assert trio.current_time() - started == pytest.approx(60)
        await trio.sleep(600)
        assert world.lease_holder() == "a"
        with pytest.raises(WouldBlock):
            await world.b.take(1, wait=False)
        del world.a.file.gate["publish"]
        with trio.fail_after(40):
            await world.b.take(1)
        assert world.b.file.local == b"1"
        assert world.events == ["a acquired", "a published", "a released", "b acquired"]


async def test_a_local_lock_takes_the_lease_over_while_it_cannot_be_released(
    autojump_clock: MockClock,
) -> None:
    async with running() as (world, _):

        async def fail() -> None:
            raise OFFLINE

        await world.a.take(1)
        world.a.file.write(b"1")
        world.a.file.gate["publish"] = fail
        world.a.drop(1)
        for number in range(2 * HANDOVERS_MAX):
            await trio.sleep(1)
            await world.a.take(number, wait=False)
            world.a.drop(number)
        await world.a.take(1)
        del world.a.file.gate["publish"]
        await trio.sleep(100)
        assert world.events == ["a acquired"]
        await world.a.unlock(1)
        assert world.events == ["a acquired", "a published", "a released"]


async def test_an_unlock_returns_when_a_local_lock_takes_the_lease_over(autojump_clock: MockClock) -> None:
    async with running() as (world, nursery):

        async def take_soon() -> None:
            await trio.sleep(1)
            await world.a.take(2)

        await world.a.take(1)
        world.a.file.write(b"1")
        world.a.file.gate["publish"] = partial(trio.sleep, 20)
        nursery.start_soon(take_soon)
        with trio.fail_after(1.1):
            await world.a.unlock(1)
        await trio.sleep(30)
        assert world.events == ["a acquired"]


async def test_content_that_can_never_be_published_is_told_at_once_and_not_released(
    autojump_clock: MockClock,
) -> None:
    async with running() as (world, _):

        async def fail() -> None:
            raise FileTooBig("too big")

        await world.a.take(1)
        world.a.file.write(b"1")
        world.a.file.gate["publish"] = fail
        with trio.fail_after(1), pytest.raises(FileTooBig):
            await world.a.unlock(1)
        await trio.sleep(100)
        assert world.lease_holder() == "a"


async def test_a_lease_lost_while_publishing_is_given_up(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        world.a.file.write(b"1")
        world.a.file.gate["publish"] = trio.sleep_forever
        world.workspace.drop_leases()
        with pytest.raises(RemoteUnavailable, match="lost"):
            await world.a.unlock(1)
        await world.a.wait_unused()
        assert world.a.locks.statistics().leases_lost == 1
        assert world.events == ["a acquired"]


async def test_a_release_that_fails_is_repeated_and_holds_nobody_up(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        world.a.remote.fail("release_lease", OFFLINE, times=3)
        with trio.fail_after(1):
            await world.a.unlock(1)
        await world.a.wait_unused()
        assert world.events == ["a acquired", "a released"]


async def test_unlocking_what_is_not_locked_is_harmless(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.unlock(1)
        world.a.drop(1)
        await world.a.take(1)
        await world.a.unlock(2)
        world.a.drop(2)
        assert world.a.locks.holding
        await world.a.unlock(1)
        await world.a.unlock(1)


# The remote away, or refusing


async def test_a_patient_call_outlasts_an_outage_and_a_hasty_one_tells_of_it(
    autojump_clock: MockClock,
) -> None:
    async with running() as (world, nursery):
        world.a.remote.go_offline()
        taken = trio.Event()

        async def take() -> None:
            await world.a.take(1)
            taken.set()

        nursery.start_soon(take)
        await trio.sleep(100)
        with pytest.raises(WouldBlock):
            await world.a.take(2, wait=False)
        assert not taken.is_set()
        world.a.remote.heal()
        with trio.fail_after(3):
            await taken.wait()
        world.b.remote.go_offline()
        with pytest.raises(RemoteUnavailable):
            await world.b.take(1, wait=False)


@pytest.mark.parametrize("step", ["ensure", "refresh"])
async def test_an_outage_during_a_step_of_the_traffic_is_outlasted(
    autojump_clock: MockClock, step: str
) -> None:
    async with running() as (world, _):
        failures: list[MountfsError] = [OFFLINE] * 5

        async def fail() -> None:
            if failures:
                raise failures.pop()

        world.a.file.gate[step] = fail
        with pytest.raises(RemoteUnavailable):
            await world.a.take(1, wait=False)
        await world.a.take(2)
        assert not failures


@pytest.mark.parametrize("step", ["ensure", "refresh"])
async def test_an_error_that_stays_ends_every_call(autojump_clock: MockClock, step: str) -> None:
    async with running() as (world, _):

        async def fail() -> None:
            raise QuotaExceeded("no credits")

        world.a.file.gate[step] = fail
        with pytest.raises(QuotaExceeded):
            await world.a.take(1)
        await world.a.wait_unused()
        assert world.lease_holder() is None


async def test_a_remote_that_never_answers_does_not_hold_a_hasty_call_for_ever(
    autojump_clock: MockClock,
) -> None:
    async with running() as (world, _):
        world.a.remote.hang("acquire_lease")
        with trio.fail_after(61), pytest.raises(RemoteUnavailable):
            await world.a.take(1, wait=False)
        world.a.remote.release("acquire_lease")
        await world.a.wait_unused()
        assert world.lease_holder() is None


async def test_news_of_the_node_shorten_the_wait(autojump_clock: MockClock) -> None:
    async def wait_after_release(*, feed: bool) -> float:
        total = 0.0
        async with running(feed=feed) as (world, nursery):
            for _ in range(20):
                await world.a.take(1)
                taken = trio.Event()

                async def take(taken: trio.Event) -> None:
                    await world.b.take(1)
                    taken.set()

                nursery.start_soon(take, taken)
                await trio.sleep(30)
                await world.a.unlock(1)
                released = trio.current_time()
                await taken.wait()
                total += trio.current_time() - released
                await world.b.unlock(1)
        return total / 20

    assert await wait_after_release(feed=True) < 5 * LATENCY_S
    assert await wait_after_release(feed=False) > 0.1


async def test_news_shortly_before_the_release_keep_the_waiter_alert(autojump_clock: MockClock) -> None:
    waits: list[float] = []

    async def take(mount: Mount, released: trio.Event) -> None:
        await mount.take(1)
        assert released.is_set()
        waits.append(trio.current_time())

    async with running() as (world, _):
        for _ in range(10):
            released = trio.Event()
            await world.a.take(1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(take, world.b, released)
                await trio.sleep(30)
                world.b.locks.wake(world.node)
                await trio.sleep(0.05)
                released.set()
                at = trio.current_time()
                await world.a.unlock(1)
            waits[-1] -= at
            await world.b.unlock(1)
    assert max(waits) < 0.3


async def test_a_hasty_call_is_answered_while_a_patient_one_backs_off(autojump_clock: MockClock) -> None:
    async with running() as (world, nursery):
        await world.b.take(1)
        nursery.start_soon(world.a.take, 1, SHARED)
        for _ in range(10):
            await trio.sleep(10)
            with trio.fail_after(5 * LATENCY_S), pytest.raises(WouldBlock):
                await world.a.take(2, SHARED, wait=False)


# The end of a mount


async def test_the_end_of_a_mount_publishes_and_gives_its_leases_back(autojump_clock: MockClock) -> None:
    async with running() as (world, nursery):
        raised: list[type[BaseException]] = []

        async def wait_turn() -> None:
            try:
                await world.a.take(2)
            except Interrupted as error:
                raised.append(type(error))

        await world.a.take(1)
        world.a.file.write(b"9")
        nursery.start_soon(wait_turn)
        await wait_all_tasks_blocked()
        await world.a.locks.aclose()
        assert raised == [Interrupted]
        assert world.events == ["a acquired", "a published", "a released"]
        with pytest.raises(Interrupted):
            await world.a.take(1)
        await world.a.unlock(1)


async def test_a_mount_that_owes_nothing_ends_at_once(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        await world.a.unlock(1)
        with trio.fail_after(0.01):
            await world.a.locks.aclose()


async def test_a_cancelled_mount_gives_its_leases_back(autojump_clock: MockClock) -> None:
    world = World()
    async with trio.open_nursery() as nursery:
        await nursery.start(world.a.locks.run)
        await world.a.take(1)
        world.a.file.write(b"9")
        nursery.cancel_scope.cancel()
    assert world.events == ["a acquired", "a published", "a released"]


async def test_a_mount_that_cannot_publish_ends_in_time_and_releases_nothing(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with running() as (world, _):
        await world.a.take(1)
        world.a.file.write(b"9")
        world.a.file.gate["publish"] = trio.sleep_forever
        with trio.fail_after(5.1):
            await world.a.locks.aclose()
        assert world.events == ["a acquired"]
        assert "inode 7 could not be given back in time" in caplog.text

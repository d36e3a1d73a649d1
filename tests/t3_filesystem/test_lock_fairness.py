"""`FileLocks`: in which order waiters come to their turn, and how fast."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mountfs.locks.file_lock import FileLock
from mountfs.model.errors import (
    WouldBlock,
)
from mountfs.rules.flock_table import FlockRequest
from mountfs.rules.lease import HANDOVERS_MAX
from mountfs.rules.record_table import RecordOwners
from tests.t3_filesystem.lock_world import EXCLUSIVE, FILE, LATENCY_S, SHARED, Mount, owner, running


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

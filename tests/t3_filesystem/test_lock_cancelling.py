"""`FileLocks`: calls that are given up leave nothing behind."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mountfs.locks.file_lock import FileLock
from mountfs.model.errors import (
    WouldBlock,
)
from mountfs.rules.flock_table import FlockRequest
from mountfs.rules.lease import LeaseEvent
from mountfs.rules.record_table import RecordOwners
from tests.t3_filesystem.lock_world import EXCLUSIVE, FILE, World, flocking, owner, running


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

"""`FileLocks`: the lease under a lock, in time."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mountfs.model.errors import LeaseLost, WouldBlock
from mountfs.model.filesystem import ByteSpan, LockKind, RecordLock
from mountfs.remotes.memory import MemoryRemote
from mountfs.rules.lease import LeaseState
from tests.t3_filesystem.lock_world import (
    EXCLUSIVE,
    FILE,
    OFFLINE,
    SHARED,
    World,
    done,
    flocking,
    handle,
    owner,
    running,
)
from tests.waiting import eventually

FIRST, SECOND = ByteSpan(0, 10), ByteSpan(10, 20)


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
        with pytest.raises(LeaseLost):
            await world.a.unlock(1)
        await world.a.take(2, wait=False)
        assert world.a.locks.statistics().leases_lost == 1


def end_with_a_version(world: World) -> None:
    """The remote ends the lease of `a` with a version that `a` sent."""
    world.workspace.drop_leases()
    world.a.fence.has_changed(world.node, locked=False)


async def lock_span(world: World, kind: LockKind, span: ByteSpan) -> None:
    """Lock as process 1 of `a`."""
    wanted = RecordLock(kind, span, pid=1)
    await done(partial(world.a.locks.lock_record, FILE, handle(1), owner(1), wanted, wait=True))


async def test_a_lease_that_ends_with_a_version_is_taken_again(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1, SHARED)
        for _ in range(3):
            end_with_a_version(world)
            assert not world.a.fence.commit_window_s(FILE, trio.current_time())
            # Nobody is told of a lock before there is a lease for it again.
            await world.a.take(2, SHARED, wait=False)
            assert world.lease_holder() == "a"
            await world.a.unlock(2)
        await trio.sleep(600)
        assert world.lease_holder() == "a"
        world.a.locks.check(FILE, handle(1))
        await world.a.unlock(1)
        assert world.lease_holder() is None
        assert world.a.locks.statistics().leases_lost == 0


async def test_a_lease_that_only_looks_ended_is_renewed(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        world.a.fence.has_changed(world.node, locked=False)
        await trio.sleep(1)
        assert (world.a.memory.calls["renew_lease"], world.a.memory.calls["acquire_lease"]) == (1, 1)
        assert world.a.fence.commit_window_s(FILE, trio.current_time())


@pytest.mark.parametrize("way", ["have it", "wrote meanwhile"])
async def test_a_lease_that_ended_with_a_version_is_lost_where_others_were_first(
    autojump_clock: MockClock, way: str
) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        world.workspace.drop_leases()
        if way == "have it":
            await world.b.take(1, wait=False)
        else:
            world.workspace.put("counter", b"9")
        world.a.fence.has_changed(world.node, locked=False)
        await trio.sleep(1)
        with pytest.raises(LeaseLost):
            world.a.locks.check(FILE, handle(1))
        assert world.lease_holder() == ("b" if way == "have it" else None)


async def test_a_lease_that_ends_while_it_is_filled_is_there_when_the_lock_is(
    autojump_clock: MockClock,
) -> None:
    async with running() as (world, _):

        async def commit() -> None:
            if world.a.memory.calls["acquire_lease"] == 1:
                end_with_a_version(world)

        world.a.file.gate["refresh"] = commit
        await world.a.take(1)
        assert world.lease_holder() == "a"


@pytest.mark.parametrize("is_safe", [True, False], ids=["all is sent", "more is to be sent"])
async def test_a_lease_that_ends_with_what_its_unlock_publishes(
    autojump_clock: MockClock, is_safe: bool
) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        world.a.file.write(b"1")

        async def commit() -> None:
            world.a.file.dirty = not is_safe
            world.workspace.drop_leases()
            await world.b.take(1, wait=False)
            world.a.fence.has_changed(world.node, locked=False)
            await trio.sleep(1)

        world.a.file.gate["publish"] = commit
        if is_safe:
            await world.a.unlock(1)
        else:
            with pytest.raises(LeaseLost):
                await world.a.unlock(1)
        assert world.lease_holder() == "b"
        assert world.a.locks.statistics().leases_lost == (not is_safe)


@pytest.mark.parametrize("is_lost", [True, False], ids=["others wrote meanwhile", "taken again"])
async def test_an_unlock_under_a_doubted_lease_tells_of_its_loss_though_somebody_waits(
    autojump_clock: MockClock, is_lost: bool
) -> None:
    """Who waits reads what is newest by then: only who unlocked relied on the lease."""
    async with running() as (world, nursery):
        await world.a.take(1)
        world.a.file.write(b"1")
        world.a.file.gate["publish"] = trio.sleep_forever  # as the fence does
        nursery.start_soon(world.a.take, 2)
        await wait_all_tasks_blocked()
        end_with_a_version(world)
        if is_lost:
            world.workspace.put("counter", b"9")
            with pytest.raises(LeaseLost):
                await world.a.unlock(1)
        else:
            await world.a.unlock(1)
        await eventually(
            lambda: flocking(owner(2)) in dict(world.a.locks.statistics().files[0].holders), limit_s=5
        )
        assert world.a.file.local == (b"9" if is_lost else b"1")
        assert world.a.locks.statistics().leases_lost == is_lost


async def test_who_asks_for_more_under_a_doubted_lease_is_told_of_its_loss(
    autojump_clock: MockClock,
) -> None:
    async with running() as (world, _):
        await lock_span(world, SHARED, FIRST)
        end_with_a_version(world)
        world.workspace.put("counter", b"9")
        with pytest.raises(LeaseLost):
            await lock_span(world, EXCLUSIVE, SECOND)
        with pytest.raises(LeaseLost):
            world.a.locks.check(FILE, handle(1))


async def test_a_conversion_that_is_interrupted_under_a_doubted_lease_leaves_what_was_held(
    autojump_clock: MockClock,
) -> None:
    async with running() as (world, _):
        await lock_span(world, SHARED, FIRST)
        world.a.memory.renewals_that_hang = 1
        end_with_a_version(world)
        with trio.move_on_after(1) as interrupted:
            await lock_span(world, EXCLUSIVE, FIRST)
        assert interrupted.cancelled_caught
        asked = RecordLock(EXCLUSIVE, FIRST, pid=2)
        assert world.a.locks.conflicting_record(FILE, owner(2), asked) == RecordLock(SHARED, FIRST, pid=1)


async def test_a_lost_lease_fails_its_descriptors_until_they_unlock(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        world.a.file.write(b"8")
        world.workspace.drop_leases()
        await trio.sleep(60)
        assert world.events[-1] == "a lost its lease"
        assert world.a.locks.statistics().files[0].held[0].lost
        with pytest.raises(LeaseLost):
            world.a.locks.check(FILE, handle(1))
        world.a.locks.check(FILE, handle(2))
        with pytest.raises(LeaseLost):
            await world.a.take(1)
        with pytest.raises(WouldBlock):
            await world.a.take(2, wait=False)
        with pytest.raises(LeaseLost):
            await world.a.unlock(1)
        assert world.events[-1] == "a lost its lease, all know"
        world.a.locks.check(FILE, handle(1))
        await world.a.take(1, wait=False)
        await world.a.unlock(1)
        assert "a published" not in world.events[: world.events.index("a lost its lease, all know")]


async def test_a_lost_lease_fails_its_descriptors_until_they_are_closed(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        world.workspace.drop_leases()
        await trio.sleep(60)
        world.a.drop(1)
        with pytest.raises(LeaseLost):
            world.a.locks.check(FILE, handle(1))
        assert world.events[-1] == "a lost its lease"
        world.a.locks.closed(FILE, handle(1))
        assert world.events[-1] == "a lost its lease, all know"
        world.a.locks.check(FILE, handle(1))
        await world.a.take(2, wait=False)


async def test_a_descriptor_fails_after_a_close_of_another_one_until_its_process_unlocks(
    autojump_clock: MockClock,
) -> None:
    """The close of any descriptor gives up all record locks of the process, and may tell of no loss."""
    async with running() as (world, _):
        await lock_span(world, EXCLUSIVE, FIRST)
        world.workspace.drop_leases()
        await trio.sleep(60)
        world.a.locks.drop_records(FILE, owner(1))
        await world.a.wait_unused()
        with pytest.raises(LeaseLost):
            world.a.locks.check(FILE, handle(1))
        with pytest.raises(LeaseLost):
            await lock_span(world, EXCLUSIVE, FIRST)
        with pytest.raises(LeaseLost):
            await done(partial(world.a.locks.unlock_record, FILE, owner(1), FIRST))
        assert world.events[-1] == "a lost its lease, all know"
        await lock_span(world, EXCLUSIVE, FIRST)
        world.a.locks.check(FILE, handle(1))


async def test_record_locks_are_lost_as_a_whole(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        first, second = (RecordLock(EXCLUSIVE, ByteSpan(n, n + 1), pid=1) for n in (0, 5))
        for number, lock in enumerate((first, second)):
            await done(partial(world.a.locks.lock_record, FILE, handle(number), owner(1), lock, wait=False))
        world.workspace.drop_leases()
        await trio.sleep(60)
        for number in (0, 1):
            with pytest.raises(LeaseLost):
                world.a.locks.check(FILE, handle(number))
        with pytest.raises(LeaseLost):
            await done(partial(world.a.locks.unlock_record, FILE, owner(1), first.span))
        for number in (0, 1):
            world.a.locks.check(FILE, handle(number))
        await done(partial(world.a.locks.lock_record, FILE, handle(2), owner(2), second, wait=False))


async def test_a_conversion_that_waits_fails_with_the_lease(autojump_clock: MockClock) -> None:
    async with running() as (world, nursery):
        failed: list[type[BaseException]] = []

        async def convert() -> None:
            try:
                await lock_record(EXCLUSIVE, 1, wait=True)
            except LeaseLost as error:
                failed.append(type(error))

        async def lock_record(kind: LockKind, number: int, *, wait: bool) -> None:
            lock = RecordLock(kind, ByteSpan(0, 1), pid=number)
            locks = world.a.locks
            await done(partial(locks.lock_record, FILE, handle(number), owner(number), lock, wait=wait))

        await lock_record(SHARED, 1, wait=False)
        await lock_record(SHARED, 2, wait=False)
        nursery.start_soon(convert)
        await wait_all_tasks_blocked()
        world.workspace.drop_leases()
        await trio.sleep(60)
        assert failed == [LeaseLost]


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


async def test_a_close_after_the_host_slept_passes_nothing_on(autojump_clock: MockClock) -> None:
    asleep_s = 0.0
    got: list[int] = []
    async with running(clock=lambda: trio.current_time() + asleep_s) as (world, nursery):

        async def lock_record(number: int, start: int) -> None:
            lock = RecordLock(EXCLUSIVE, ByteSpan(start, start + 1), pid=number)
            locks = world.a.locks
            await done(partial(locks.lock_record, FILE, handle(number), owner(number), lock, wait=True))
            got.append(number)

        await lock_record(1, 0)
        await lock_record(2, 5)
        nursery.start_soon(lock_record, 3, 0)
        await wait_all_tasks_blocked()
        asleep_s = 3600.0
        world.workspace.drop_leases()
        await world.b.take(1, wait=False)
        world.a.locks.drop_records(FILE, owner(1))
        await wait_all_tasks_blocked()
        assert got == [1, 2]
        world.a.locks.drop_records(FILE, owner(2))
        await world.b.unlock(1)
        await eventually(lambda: got == [1, 2, 3], limit_s=5)


@pytest.mark.parametrize("way", ["use", "unlock", "take"])
async def test_whoever_comes_first_after_the_host_slept_is_told(autojump_clock: MockClock, way: str) -> None:
    asleep_s = 0.0
    async with running(clock=lambda: trio.current_time() + asleep_s) as (world, _):

        async def use() -> None:
            world.a.locks.check(FILE, handle(1))

        ways: dict[str, Callable[[], Awaitable[None]]] = {
            "use": use,
            "unlock": partial(world.a.unlock, 1),
            "take": partial(world.a.take, 1),
        }
        await world.a.take(1)
        asleep_s = 3600.0
        with pytest.raises(LeaseLost):
            await ways[way]()
        with trio.fail_after(3):
            await world.b.take(1)


async def test_a_mount_holds_from_the_grant_to_the_release(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await world.a.take(1)
        assert world.a.locks.holding
        assert world.a.locks.statistics().files[0].lease_valid_s == pytest.approx(54, abs=0.1)
        assert not world.b.locks.holding
        await world.a.unlock(1)
        assert world.a.locks.statistics().leases_held == 0


async def test_a_lease_that_ends_in_the_moment_when_all_is_fresh_is_taken_again(
    autojump_clock: MockClock,
) -> None:
    asleep_s = 0.0
    async with running(clock=lambda: trio.current_time() + asleep_s) as (world, nursery):
        fresh = trio.Event()
        world.a.file.gate["refresh"] = fresh.wait
        nursery.start_soon(world.a.take, 1)
        await trio.sleep(1)
        fresh.set()  # nobody heard of it yet
        asleep_s = 3600.0
        world.a.locks.check(FILE, handle(1))
        await eventually(lambda: world.a.locks.is_held(FILE), limit_s=5)
        await world.a.unlock(1)
        assert world.a.locks.statistics().leases_lost == 0

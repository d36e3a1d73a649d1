"""`FileLocks`: who has a lock, on two mounts at once."""

import random
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from mountfs.model.errors import (
    RemoteUnavailable,
    WouldBlock,
)
from mountfs.model.filesystem import LockKind
from tests.t3_filesystem.lock_world import (
    DIRECTORY,
    EXCLUSIVE,
    OFFLINE,
    SHARED,
    SUCCESSOR,
    Mount,
    done,
    flocking,
    handle,
    owner,
    running,
)


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
            flock = partial(mount.locks.flock, DIRECTORY)
            await done(partial(flock, handle(1), owner(1), EXCLUSIVE, wait=False))
            with pytest.raises(WouldBlock):
                await done(partial(flock, handle(2), owner(2), SHARED, wait=False))
            assert not mount.locks.holding
            await done(partial(flock, handle(1), owner(1), None, wait=True))
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


async def test_the_lease_of_a_file_goes_to_the_one_that_replaces_it(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        flock = partial(world.a.locks.flock, SUCCESSOR, handle(2), owner(2))
        await world.a.take(1)
        with trio.fail_after(1):
            await done(partial(flock, EXCLUSIVE, wait=False))
        assert world.a.memory.calls["acquire_lease"] == 1
        await world.a.unlock(1)
        await trio.sleep(600)
        with pytest.raises(WouldBlock):
            await world.b.take(1, wait=False)
        await done(partial(flock, None, wait=True))
        await world.b.take(1, wait=False)
        assert world.a.locks.statistics().leases_lost == 0


async def test_a_file_that_gave_its_lease_away_is_locked_on_its_mount(autojump_clock: MockClock) -> None:
    async with running() as (world, nursery):
        await world.a.take(1)
        nursery.start_soon(world.a.take, 3)
        await trio.sleep(1)
        await done(partial(world.a.locks.flock, SUCCESSOR, handle(2), owner(2), EXCLUSIVE, wait=True))
        with pytest.raises(WouldBlock):
            await world.a.take(4, wait=False)
        await world.a.unlock(1)
        with trio.fail_after(1):
            await world.a.unlock(3)
        assert world.lease_holder() == "a"

"""`FileLocks`: giving a lock back means that everything is published; so does the end of a mount."""

import logging
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mountfs.model.errors import (
    FileTooBig,
    LeaseLost,
    MountEnding,
    RemoteUnavailable,
    WouldBlock,
)
from mountfs.rules.lease import HANDOVERS_MAX
from tests.t3_filesystem.lock_world import OFFLINE, World, running


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
        with pytest.raises(LeaseLost):
            await world.a.unlock(1)
        await world.a.wait_unused()
        assert world.a.locks.statistics().leases_lost == 1
        assert world.events == ["a acquired", "a lost its lease, all know"]


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


async def test_the_end_of_a_mount_publishes_and_gives_its_leases_back(autojump_clock: MockClock) -> None:
    async with running() as (world, nursery):
        raised: list[type[BaseException]] = []

        async def wait_turn() -> None:
            try:
                await world.a.take(2)
            except MountEnding as error:
                raised.append(type(error))

        await world.a.take(1)
        world.a.file.write(b"9")
        nursery.start_soon(wait_turn)
        await wait_all_tasks_blocked()
        await world.a.locks.aclose()
        assert raised == [MountEnding]
        assert world.events == ["a acquired", "a published", "a released"]
        with pytest.raises(MountEnding):
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


async def test_a_lock_taken_in_the_moment_of_the_confirmation_goes_on_with_the_lease(
    autojump_clock: MockClock,
) -> None:
    async with running() as (world, nursery):
        confirmed = trio.Event()
        await world.a.take(1)
        world.a.file.write(b"1")
        world.a.file.gate["publish"] = confirmed.wait
        nursery.start_soon(world.a.unlock, 1)
        await trio.sleep(1)
        confirmed.set()  # nobody heard of it yet
        await world.a.take(2)
        await trio.sleep(1)
        assert world.events == ["a acquired", "a published"]
        await world.a.unlock(2)
        assert world.events == ["a acquired", "a published", "a released"]

"""`FileLocks`: the remote is away, or refuses."""

import pytest
import trio
from trio.testing import MockClock

from mountfs.model.errors import (
    MountfsError,
    NodeNotFound,
    OperationNotSupported,
    QuotaExceeded,
    RemoteUnavailable,
    WouldBlock,
)
from tests.t3_filesystem.lock_world import OFFLINE, running


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


async def test_a_file_that_is_deleted_while_its_lock_is_waited_for_is_locked_here(
    autojump_clock: MockClock,
) -> None:
    async with running() as (world, _):

        async def learn() -> None:
            world.a.file.gate["ensure"] = be_gone

        async def be_gone() -> None:
            raise OperationNotSupported("it was removed")

        world.a.remote.fail("acquire_lease", NodeNotFound("no such node"))
        world.a.file.gate["refresh"] = learn
        await world.a.take(1)
        assert not world.a.locks.holding
        with pytest.raises(WouldBlock):
            await world.a.take(2, wait=False)


async def test_a_service_that_goes_on_to_deny_a_file_ends_the_wait(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        world.a.remote.fail("acquire_lease", NodeNotFound("no such node"), times=100)
        with trio.fail_after(30), pytest.raises(NodeNotFound):
            await world.a.take(1)
        world.a.remote.heal()
        await world.a.take(1)

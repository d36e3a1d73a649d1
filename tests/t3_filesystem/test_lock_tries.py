"""`FileLocks`: how often a mount asks for a lease that another one has."""

from dataclasses import dataclass

import trio
from trio.testing import MockClock

from tests.t3_filesystem.lock_world import Mount, World, running

LONG_S = 1.0
SHORT_S = 0.05


@dataclass(frozen=True)
class HandOver:
    """How often the mount that waited asked for the lease, and how long after the unlock it had the lock."""

    tries: int
    took_s: float


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
    """Once at first, and at the news that the holder took it, of its new version and of its release. Each
    mount learns from its first wait that news tell of that."""
    async with running(feed=True) as (world, _):
        for made in (await to_and_fro(world, 6, LONG_S))[2:]:
            assert made.tries <= 4
            assert made.took_s <= 0.1


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

"""`FileLocks`: record locks of two mounts share the lease of their file, and end with whoever took them."""

from functools import partial

import pytest
import trio
from trio.testing import MockClock

from mountfs.model.errors import WouldBlock, WouldDeadlock
from mountfs.model.filesystem import WHOLE_FILE, ByteSpan, LockKind, RecordLock
from mountfs.model.ids import Ino
from tests.t3_filesystem.lock_world import (
    DIRECTORY,
    EXCLUSIVE,
    FILE,
    SHARED,
    Mount,
    done,
    handle,
    owner,
    running,
)

FIRST, SECOND = ByteSpan(0, 10), ByteSpan(10, 20)


async def lock(
    mount: Mount,
    number: int,
    span: ByteSpan = FIRST,
    kind: LockKind = EXCLUSIVE,
    *,
    wait: bool = False,
    ino: Ino = FILE,
) -> None:
    """Lock as process `number`, through the open file description of that number."""
    wanted = RecordLock(kind, span, pid=number)
    await done(partial(mount.locks.lock_record, ino, handle(number), owner(number), wanted, wait=wait))


async def unlock(mount: Mount, number: int, span: ByteSpan = WHOLE_FILE) -> None:
    await done(partial(mount.locks.unlock_record, FILE, owner(number), span))


async def test_ranges_of_one_mount_share_one_lease_that_keeps_other_mounts_out(
    autojump_clock: MockClock,
) -> None:
    async with running() as (world, _):
        await lock(world.a, 1, FIRST)
        calls = world.a.memory.calls.copy()
        await lock(world.a, 2, SECOND)
        assert world.a.memory.calls == calls
        with pytest.raises(WouldBlock):
            await lock(world.a, 3, ByteSpan(5, 15))
        with pytest.raises(WouldBlock):
            await lock(world.b, 1, ByteSpan(50, 60))
        await unlock(world.a, 1)
        assert world.lease_holder() == "a"
        await unlock(world.a, 2)
        assert world.lease_holder() is None
        await lock(world.b, 1, ByteSpan(50, 60))


async def test_unlocking_a_part_keeps_the_lease(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await lock(world.a, 1, ByteSpan(0, 20))
        await unlock(world.a, 1, FIRST)
        await lock(world.a, 2, FIRST)
        with pytest.raises(WouldBlock):
            await lock(world.a, 2, SECOND)
        assert world.lease_holder() == "a"


async def test_the_last_unlock_publishes_what_the_next_mount_reads(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await lock(world.a, 1)
        world.a.file.write(b"41")
        await unlock(world.a, 1)
        await lock(world.b, 1)
        assert world.b.file.local == b"41"
        assert world.events == ["a acquired", "a published", "a released", "b acquired"]


async def test_a_close_of_any_descriptor_gives_all_locks_of_the_process_up(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await lock(world.a, 1, FIRST)
        await lock(world.a, 1, SECOND)
        assert world.a.locks.has_records(FILE)
        world.a.locks.drop_records(FILE, owner(1))
        assert not world.a.locks.has_records(FILE)
        await lock(world.a, 2, ByteSpan(0, 20))


async def test_the_end_of_a_description_gives_up_what_no_close_told_of(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await lock(world.a, 1)
        world.a.locks.drop_records_of_handle(FILE, handle(2))
        with pytest.raises(WouldBlock):
            await lock(world.a, 2)
        world.a.locks.drop_records_of_handle(FILE, handle(1))
        await lock(world.a, 2)


async def test_a_shared_lock_becomes_exclusive_when_the_others_are_gone(autojump_clock: MockClock) -> None:
    async with running() as (world, nursery):
        await lock(world.a, 1, kind=SHARED)
        await lock(world.a, 2, kind=SHARED)
        with pytest.raises(WouldBlock):
            await lock(world.a, 1)
        nursery.start_soon(lambda: lock(world.a, 1, wait=True))
        await trio.sleep(1)
        world.a.locks.drop_records(FILE, owner(2))
        await trio.sleep(1)
        with pytest.raises(WouldBlock):
            await lock(world.a, 2, kind=SHARED)
        assert world.a.locks.statistics().files[0].holders[0][1] is EXCLUSIVE


async def test_a_circle_of_waits_over_two_files_is_refused(autojump_clock: MockClock) -> None:
    other = DIRECTORY
    async with running() as (world, nursery):
        await lock(world.a, 1, ino=FILE)
        await lock(world.a, 2, ino=other)
        nursery.start_soon(lambda: lock(world.a, 1, wait=True, ino=other))
        await trio.sleep(1)
        with pytest.raises(WouldDeadlock):
            await lock(world.a, 2, wait=True, ino=FILE)
        world.a.locks.drop_records(other, owner(2))
        await trio.sleep(1)
        with pytest.raises(WouldBlock):
            await lock(world.a, 2, ino=other)


async def test_the_holder_of_this_mount_is_named(autojump_clock: MockClock) -> None:
    async with running() as (world, _):
        await lock(world.a, 7)
        asked = RecordLock(SHARED, ByteSpan(5, 6), pid=8)
        found = world.a.locks.conflicting_record(FILE, owner(8), asked)
        assert found == RecordLock(EXCLUSIVE, FIRST, pid=7)
        assert world.a.locks.conflicting_record(FILE, owner(7), asked) is None
        assert world.b.locks.conflicting_record(FILE, owner(8), asked) is None

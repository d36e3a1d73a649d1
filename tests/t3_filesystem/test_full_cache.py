"""A cache or a disk full of what was not sent: writers are slowed, then refused, and nothing is lost."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from mountfs.model.errors import Interrupted, StorageError
from mountfs.model.interruption import InterruptibleWaits, serving
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.rules.back_pressure import REFUSED_S, SLOWED_S, Pressure, pressure
from tests.small_disk import fill_disk, small_disk_at
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.workspace_mount import (
    PATIENCE_S,
    MountOptions,
    clock_standing_still,
    mounted,
    run_fast,
)
from tests.waiting import eventually

LIMIT = 800_000
PART = b"x" * 100_000


@pytest.mark.parametrize(
    ("unsent", "expected"),
    [
        (0, Pressure.NONE),
        (800, Pressure.NONE),
        (801, Pressure.SLOWED),
        (900, Pressure.SLOWED),
        (901, Pressure.REFUSED),
    ],
)
def test_pressure(unsent: int, expected: Pressure) -> None:
    assert pressure(unsent, 800) is expected


@pytest.mark.parametrize("passthrough", [True, False])
async def test_writers_are_slowed_then_refused_and_go_on_when_it_is_sent(
    mounting: Mounting, workspace: MemoryWorkspace, passthrough: bool
) -> None:
    options = MountOptions(cache_limit_bytes=LIMIT, passthrough=passthrough)
    async with mounting(options=options) as mount:
        await mount.listdir()
        mount.remote.go_offline()
        written = {}
        for number in range(8):
            await mount.write(f"f{number}", PART)
            written[f"f{number}"] = PART
        await mount.append("f7", b"y")
        written["f7"] += b"y"
        room = mount.parts.content.room
        await eventually(lambda: room.current() is Pressure.SLOWED, limit_s=PATIENCE_S)
        before = trio.current_time()
        await mount.write("slowed", PART[:50_000])
        written["slowed"] = PART[:50_000]
        assert trio.current_time() - before >= SLOWED_S
        assert room.current() is Pressure.SLOWED
        before = trio.current_time()
        with pytest.raises(StorageError) as refused:
            await mount.write("refused", PART)
        assert refused.value.errno == errno.ENOSPC
        assert trio.current_time() - before >= REFUSED_S
        await mount.restart(cleanly=False)
        found = await mount.contents()
        assert {path: found[path] for path in written} == written
        await mount.unlink("refused")
        mount.remote.heal()
        await mount.settle()
        await mount.write("more", PART)
        await mount.settle()
        assert workspace.files() == {**written, "more": PART}


async def test_a_writer_that_waits_for_room_ends_by_a_signal(mounting: Mounting) -> None:
    async with mounting(options=MountOptions(cache_limit_bytes=LIMIT, passthrough=False)) as mount:
        await mount.listdir()
        mount.remote.go_offline()
        file = await mount.open("a", os.O_WRONLY | os.O_CREAT)
        for number in range(9):
            await file.write(PART, number * len(PART))
        waits = InterruptibleWaits()

        async def write() -> None:
            serving.set((waits, 1, 1))
            with pytest.raises(Interrupted):
                await file.write(PART, 9 * len(PART))

        with clock_standing_still():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                while waits.program_of(1) is None:
                    await trio.testing.wait_all_tasks_blocked()
                waits.interrupt(1)
        await file.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk_at(tmp_path / "small", mebibytes=40) as disk:
        yield disk


def test_on_a_full_disk_what_was_sent_gives_way_to_writers(small_disk: Path) -> None:
    async def fill() -> None:
        workspace = MemoryWorkspace()
        piece = os.urandom(1024 * 1024)
        async with mounted(small_disk, workspace, options=MountOptions(passthrough=False)) as mount:
            for number in range(20):
                await mount.write(f"f{number}", piece)
            await mount.settle()
            fill_disk(small_disk / "other")
            folders = 0
            while mount.tree.journal.has_reserve():
                folders += 1
                await mount.mkdir(f"d{folders}")
                # Else the journal could take all of the reserve before it tells.
                await mount.tree.journal.synced()
            with clock_standing_still():
                await mount.write("new", b"new")
            assert await mount.read("f0") == piece
            await mount.settle()
            assert workspace.files()["new"] == b"new"

    run_fast(fill)


def test_full_disk_refuses_content_and_keeps_what_was_closed(small_disk: Path) -> None:
    """Closing, renaming and removing go on, and so does sending, which makes room again."""

    async def fill() -> None:
        workspace = MemoryWorkspace()
        piece = os.urandom(1024 * 1024)
        async with mounted(small_disk, workspace, options=MountOptions(passthrough=False)) as mount:
            await mount.listdir()
            mount.remote.go_offline()
            written: dict[str, bytes] = {}
            for number in range(20):
                await mount.write(f"f{number}", piece)
                written[f"f{number}"] = piece
            fill_disk(small_disk / "other")
            with pytest.raises(StorageError) as refused:
                await mount.write("too much", piece)
            assert refused.value.errno == errno.ENOSPC
            for number in range(300):
                await mount.mkdir(f"d{number}")
            assert not mount.tree.journal.has_reserve()
            with pytest.raises(StorageError, match="disk of the cache is full"):
                await mount.write("refused", b"x")
            await mount.rename("f0", "renamed")
            written["renamed"] = written.pop("f0")
            await mount.unlink("f1")
            del written["f1"]
            await mount.restart()
            found = await mount.contents()
            assert {path: found[path] for path in written} == written
            mount.remote.heal()
            await mount.settle()
            assert {path: workspace.files()[path] for path in written} == written
            (small_disk / "other").unlink()
            await mount.parts.content.upkeep.make_room()
            with trio.fail_after(PATIENCE_S):
                while not mount.tree.journal.has_reserve():
                    await trio.testing.wait_all_tasks_blocked(0.01)
            await mount.write("again", piece)
            await mount.settle()
            assert workspace.files()["again"] == piece

    run_fast(fill)

"""Pins and prefetch: what stays in the cache, what is brought, and what an eviction leaves."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mountfs.model.errors import FileNotFound, InvalidArgument, MountfsError, NoRoom
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.sync.pinning import Bringing
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.workspace_mount import PATIENCE_S, MountOptions, WorkspaceMount

KIB = 1024


async def _evict(mount: WorkspaceMount) -> None:
    await mount.parts.content.upkeep.save_index()
    await mount.parts.content.upkeep.evict(limit_bytes=0)


async def _pin(mount: WorkspaceMount, path: str) -> Bringing:
    return await mount.parts.pins.pin(await mount.parts.pins.find(path.encode()), lambda told: None)


async def _prefetch(mount: WorkspaceMount, path: str) -> Bringing:
    return await mount.parts.pins.prefetch(await mount.parts.pins.find(path.encode()), lambda told: None)


@pytest.fixture
def filled(workspace: MemoryWorkspace) -> MemoryWorkspace:
    workspace.put("d/a", b"a" * 8 * KIB)
    workspace.put("d/deep/b", b"b" * 8 * KIB)
    workspace.put("c", b"c" * 8 * KIB)
    return workspace


async def test_prefetch_brings_a_folder_where_nobody_was_before(
    mount: WorkspaceMount, filled: MemoryWorkspace
) -> None:
    brought = await _prefetch(mount, "d")
    assert (brought.files, brought.done_files, brought.size_bytes) == (2, 2, 16 * KIB)
    mount.remote.go_offline()
    assert await mount.read("d/deep/b") == b"b" * 8 * KIB
    await _evict(mount)
    with pytest.raises(MountfsError):
        await mount.read("d/deep/b")


async def test_eviction_never_touches_what_is_pinned(mount: WorkspaceMount, filled: MemoryWorkspace) -> None:
    await _pin(mount, "d")
    await _prefetch(mount, "c")
    await _evict(mount)
    assert mount.cached_bytes("c") == 0
    mount.remote.go_offline()
    assert await mount.read("d/a") == b"a" * 8 * KIB
    assert await mount.read("d/deep/b") == b"b" * 8 * KIB


async def test_pin_outlives_a_crash_follows_a_rename_and_counts_for_what_is_not_in_memory(
    mounting: Mounting, filled: MemoryWorkspace
) -> None:
    async with mounting(options=MountOptions(most_resident=4)) as mount:
        await _pin(mount, "d")
        await mount.rename("d", "e")
        await mount.settle()
        await mount.restart(cleanly=False)
        assert mount.parts.pins.paths() == [b"e"]
        assert not [inode for inode in mount.tree.inodes.values() if inode.name == b"b"]
        await _evict(mount)
        mount.remote.go_offline()
        assert await mount.read("e/deep/b") == b"b" * 8 * KIB


async def test_unpinned_content_goes(mount: WorkspaceMount, filled: MemoryWorkspace) -> None:
    await _pin(mount, "d")
    with pytest.raises(InvalidArgument, match="it is kept with d"):
        await mount.parts.pins.unpin(await mount.parts.pins.find(b"d/a"))
    await mount.parts.pins.unpin(await mount.parts.pins.find(b"d"))
    await _evict(mount)
    assert mount.cached_bytes("d/a") == 0
    with pytest.raises(InvalidArgument, match="is not pinned itself"):
        await mount.parts.pins.unpin(await mount.parts.pins.find(b"d"))


async def test_what_others_change_below_a_pin_is_brought_again(
    mount: WorkspaceMount, filled: MemoryWorkspace
) -> None:
    await _pin(mount, "d")
    async with trio.open_nursery() as nursery:
        await nursery.start(mount.parts.pins.run)
        await mount.wait_live()
        filled.put("d/a", b"new" * KIB)
        filled.put("d/more", b"more" * KIB)
        await mount.catch_up()
        with trio.fail_after(PATIENCE_S):
            while not all(mount.inode(path).has_whole_content() for path in ("d/a", "d/more")):
                await wait_all_tasks_blocked(0.001)
        nursery.cancel_scope.cancel()
    mount.remote.go_offline()
    assert await mount.read("d/a") == b"new" * KIB
    assert await mount.read("d/more") == b"more" * KIB


async def test_pin_of_what_is_removed_goes_with_it(mount: WorkspaceMount, filled: MemoryWorkspace) -> None:
    await _pin(mount, "c")
    await mount.unlink("c")
    await mount.settle()
    await mount.restart(cleanly=False)
    assert mount.parts.pins.paths() == []


async def test_more_than_the_cache_takes_is_refused_and_changes_nothing(
    mounting: Mounting, filled: MemoryWorkspace
) -> None:
    async with mounting(options=MountOptions(cache_limit_bytes=20 * KIB)) as mount:
        await _pin(mount, "d")
        with pytest.raises(NoRoom, match=f"would be {24 * KIB} bytes"):
            await _pin(mount, "c")
        assert mount.parts.pins.paths() == [b"d"]
        with pytest.raises(NoRoom):
            await _prefetch(mount, "")


async def test_what_cannot_be_brought_is_told_and_the_pin_stays(
    mount: WorkspaceMount, filled: MemoryWorkspace
) -> None:
    await mount.contents()
    top = await mount.parts.pins.find(b"d")
    await _evict(mount)
    mount.remote.go_offline()
    brought = await mount.parts.pins.pin(top, lambda told: None)
    assert (brought.done_files, brought.failed_files) == (0, 2)
    assert {path for path, _ in brought.failed} == {b"d/a", b"d/deep/b"}
    assert mount.parts.pins.paths() == [b"d"]
    with pytest.raises(FileNotFound):
        await mount.parts.pins.find(b"d/none")

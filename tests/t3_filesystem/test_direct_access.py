"""What programs write past the daemon is noticed in time, and what others write reaches them in place."""

import os
import stat
import time
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mountfs.model.errors import RemoteUnavailable
from mountfs.model.filesystem import AttributeChange, Caller
from mountfs.model.publishing import Glance
from mountfs.remotes.memory import MemoryWorkspace
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.path_operations import OpenPath
from tests.t3_filesystem.workspace_mount import PATIENCE_S, WorkspaceMount


@pytest.fixture
async def mount(mounting: Mounting) -> AsyncIterator[WorkspaceMount]:
    async with mounting() as made:
        yield made


async def opened_directly(mount: WorkspaceMount, path: str, flags: int = os.O_RDWR) -> OpenPath:
    """Open a file whose content is whole in the cache."""
    await mount.read(path)
    file = await mount.open(path, flags)
    assert file.backing is not None
    return file


async def test_write_is_seen_by_stat_before_the_close(mount: WorkspaceMount) -> None:
    await mount.write("a", b"old")
    before = await mount.stat("a")
    file = await opened_directly(mount, "a")
    await file.write(b"longer")
    now = await mount.stat("a")
    assert (now.size, now.mtime_ns > before.mtime_ns) == (6, True)
    await file.close()
    assert await mount.stat("a") == now


async def test_clock_that_stepped_back_since_the_last_write_makes_nothing_dirty(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("a", b"old")
    file = await opened_directly(mount, "a")
    await file.write(b"new")
    assert file.backing is not None
    in_an_hour_ns = time.time_ns() + 3600 * 10**9
    os.utime(file.backing, ns=(in_an_hour_ns, in_an_hour_ns))
    await file.fsync()
    await mount.settle()
    await mount.stat("a")
    assert not mount.inode("a").content_dirty
    await file.write(b"newer")
    await file.close()
    await mount.settle()
    assert workspace.files() == {"a": b"newer"}


async def test_opening_for_writing_alone_changes_nothing(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"content")
    file = await opened_directly(mount, "a")
    before = await mount.stat("a")
    calls = mount.changing_calls()
    await file.close()
    await mount.settle()
    assert await mount.stat("a") == before
    assert mount.changing_calls() == calls
    assert mount.inode("a").exposed is None


async def test_newer_version_comes_into_the_open_file_in_place(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old and long")
    reader = await opened_directly(mount, "a", os.O_RDONLY)
    writer = await opened_directly(mount, "a")
    ino = (await mount.stat("a")).ino
    workspace.put("a", b"new")
    await mount.catch_up()
    await mount.parts.publisher.refresh(ino)
    assert await reader.read() == await writer.read() == b"new"
    assert (await mount.stat("a")).size == 3
    await writer.write(b"ours", 3)
    await writer.close()
    await reader.close()
    await mount.settle()
    assert workspace.files() == await mount.contents() == {"a": b"newours"}


async def test_file_stays_as_it_is_until_the_newer_version_is_here(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    file = await opened_directly(mount, "a")
    before = await mount.stat("a")
    mount.remote.hang("read")
    workspace.put("a", b"newer")
    await mount.catch_up()
    await mount.remote.wait_hanging("read")
    assert await file.read() == b"old"
    assert await mount.stat("a") == before
    mount.remote.release()
    await mount.parts.publisher.refresh(before.ino)
    assert await file.read() == b"newer"
    await file.close()


async def test_look_ahead_of_a_lock_brings_the_newer_version_and_the_lock_asks_for_it_no_more(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"old")
    file = await opened_directly(mount, "a")
    publisher, reads = mount.parts.publisher, mount.memory.calls["read"]
    assert await publisher.look_ahead(file.ino) == Glance(locked=False, newer=False)
    mount.remote.hang("read")
    workspace.put("a", b"newer")
    lease = await mount.memory.acquire_lease(node, duration_s=60, holder="other")
    assert await publisher.look_ahead(file.ino) == Glance(locked=True, newer=True)
    await mount.remote.wait_hanging("read")
    await mount.memory.release_lease(node, lease.token)
    assert await publisher.look_ahead(file.ino) == Glance(locked=False, newer=True), "not whole here"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.refresh, file.ino)
        await wait_all_tasks_blocked(0.01)
        mount.remote.release()
    assert await file.read() == b"newer"
    assert mount.memory.calls["read"] == reads + 1
    await file.close()


async def test_newer_version_that_does_not_come_at_once_comes_later(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    file = await opened_directly(mount, "a")
    mount.remote.fail("read", RemoteUnavailable("no answer"), times=1)
    workspace.put("a", b"new")
    await mount.catch_up()
    with pytest.raises(RemoteUnavailable):
        await mount.parts.publisher.refresh(file.ino)
    assert await file.read() == b"old"
    with trio.fail_after(PATIENCE_S):
        while await file.read() != b"new":
            await wait_all_tasks_blocked(0.001)
    await file.close()


async def test_newer_version_that_did_not_come_before_the_close_is_read_after_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    file = await opened_directly(mount, "a")
    mount.remote.fail("read", RemoteUnavailable("no answer"), times=1)
    workspace.put("a", b"new")
    await mount.catch_up()
    await file.close()
    with trio.fail_after(PATIENCE_S):
        while await mount.read("a") != b"new":
            await wait_all_tasks_blocked(0.001)


async def test_write_before_the_newer_version_is_here_is_a_conflict(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    file = await opened_directly(mount, "a")
    mount.remote.hang("read")
    workspace.put("a", b"theirs")
    await mount.catch_up()
    await mount.remote.wait_hanging("read")
    await file.write(b"our")
    mount.remote.release()
    await file.close()
    await mount.settle()
    await mount.catch_up()
    assert sorted(workspace.files().values()) == [b"our", b"theirs"]
    assert workspace.files() == await mount.contents()


async def test_write_that_nobody_noticed_yet_is_not_overwritten(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    file = await opened_directly(mount, "a")
    await file.write(b"our")
    workspace.put("a", b"theirs")
    await mount.catch_up()
    await file.close()
    await mount.settle()
    await mount.catch_up()
    assert sorted(workspace.files().values()) == [b"our", b"theirs"]
    assert workspace.files() == await mount.contents()


async def test_write_that_nobody_noticed_yet_survives_a_deletion_elsewhere(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"old")
    file = await opened_directly(mount, "a")
    await file.write(b"our")
    workspace.trash(node)
    await mount.catch_up()
    await file.close()
    await mount.settle()
    assert workspace.files() == await mount.contents() == {"a": b"our"}


async def test_write_during_the_upload_is_sent_behind_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("a", b"first")
    file = await opened_directly(mount, "a")
    mount.remote.hang("upload_small")
    mount.parts.sender.expedite(mount.tree.pending.values())
    await mount.remote.wait_hanging("upload_small")
    await file.write(b"again")
    mount.remote.release()
    await file.close()
    await mount.settle()
    assert workspace.files() == {"a": b"again"}


async def test_crash_keeps_what_was_written_to_a_clean_open_file(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    file = await opened_directly(mount, "a")
    await file.write(b"written")
    await mount.restart(cleanly=False)
    await mount.settle()
    assert workspace.files() == await mount.contents() == {"a": b"written"}


async def test_crash_makes_no_change_of_an_open_file_that_nobody_wrote_to(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"content")
    await opened_directly(mount, "a")
    before = await mount.stat("a")
    await mount.parts.content.upkeep.save_index()
    calls = mount.changing_calls()
    await mount.restart(cleanly=False)
    await mount.settle()
    assert await mount.stat("a") == before
    assert mount.changing_calls() == calls
    assert await mount.contents() == {"a": b"content"}


async def test_file_that_is_not_whole_or_open_already_is_served_by_the_daemon(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"content")
    async with mount.opened("a") as first:
        assert first.backing is None
        assert await first.read() == b"content"
        async with mount.opened("a") as second:
            assert second.backing is None, "the kernel would fail it"
    async with mount.opened("a") as alone:
        assert alone.backing is not None


async def test_file_with_bits_that_give_rights_is_never_direct(mount: WorkspaceMount) -> None:
    """The kernel tells the daemon which writes cost it these bits."""
    await mount.write("a", b"content")
    await mount.set_attributes("a", AttributeChange(mode=0o6777))
    async with mount.opened("a", os.O_WRONLY) as file:
        assert file.backing is None
        await file.write(b"other")
        assert stat.S_IMODE((await mount.stat("a")).mode) == 0o6777
        mount.filesystem.clear_set_id(file.ino, Caller(uid=1234, gid=1234, pid=0))
    await mount.restart(cleanly=False)
    assert stat.S_IMODE((await mount.stat("a")).mode) == 0o777

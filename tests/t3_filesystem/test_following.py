"""What others do in the workspace is seen here, and what is not yet sent here survives it."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mountfs.filesystem.filesystem import BLIND_TIMES, LIVE_TIMES
from mountfs.model.errors import FileNotFound
from mountfs.model.filesystem import LockKind, LockOwner
from mountfs.model.ids import ROOT_INO, ROOT_NODE, Ino
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.sync import follower as follower_module
from mountfs.sync.side_by_side import side_by_side
from tests.t3_filesystem.lock_world import done
from tests.t3_filesystem.workspace_mount import (
    PATIENCE_S,
    WorkspaceMount,
    clock_standing_still,
    workspace_contents,
)
from tests.waiting import eventually


async def test_what_was_there_before_is_seen(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    workspace.put("d/e/a", b"content")
    await mount.catch_up()
    assert await mount.contents() == {"d": None, "d/e": None, "d/e/a": b"content"}


async def test_file_of_one_host_is_seen_on_another(mount: WorkspaceMount, other: WorkspaceMount) -> None:
    assert await other.listdir() == []
    await mount.mkdir("d")
    await mount.write("d/a", b"content")
    await mount.settle()
    await other.catch_up()
    assert await other.contents() == await mount.contents()


async def test_remote_rename_keeps_the_inode(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    node = workspace.put("a", b"content")
    before = await mount.stat("a")
    workspace.rename(node, "b")
    await mount.catch_up()
    assert await mount.contents() == {"b": b"content"}
    after = await mount.stat("b")
    assert (after.ino, after.mtime_ns, after.size) == (before.ino, before.mtime_ns, before.size)
    assert ("entry", ROOT_INO, b"a") in mount.kernel.told
    assert ("entry", ROOT_INO, b"b") in mount.kernel.told


def _has_path(mount: WorkspaceMount, ino: Ino, path: str) -> bool:
    return mount.tree.get(ino).path() == path.encode()


async def test_remote_rename_of_a_file_that_is_locked_here_is_seen(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"content")
    await mount.catch_up()
    async with mount.opened("a") as file:
        lock = partial(mount.parts.locks.flock, file.ino, file.handle, LockOwner(1))
        await done(partial(lock, LockKind.EXCLUSIVE, wait=True))
        for name in ("b", "c"):
            workspace.rename(node, name)
            await eventually(partial(_has_path, mount, file.ino, name), limit_s=PATIENCE_S)
        await done(partial(lock, None, wait=True))


async def test_kernel_asks_for_the_size_after_a_lock_was_granted_also_where_nothing_changed(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    """A notice that came while it was making the inode of an older answer did not reach it."""
    workspace.put("a", b"content")
    await mount.catch_up()
    async with mount.opened("a") as file:
        mount.kernel.told.clear()
        lock = partial(mount.parts.locks.flock, file.ino, file.handle, LockOwner(1))
        await done(partial(lock, LockKind.EXCLUSIVE, wait=True))
        assert ("attributes", file.ino, b"") in mount.kernel.told
        await done(partial(lock, None, wait=True))


async def test_remote_move_into_a_listed_folder_keeps_the_inode(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"content")
    workspace.put("d/x", b"")
    await mount.contents()
    ino = (await mount.stat("a")).ino
    workspace.move(node, workspace.find("d"))
    await mount.catch_up()
    assert await mount.contents() == {"d": None, "d/a": b"content", "d/x": b""}
    assert (await mount.stat("d/a")).ino == ino


async def test_remote_move_into_a_folder_that_was_never_listed_is_followed(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"content")
    workspace.put("d/e/x", b"")
    assert await mount.listdir() == ["a", "d"]
    workspace.move(node, workspace.find("d/e"))
    await mount.catch_up()
    assert await mount.listdir() == ["d"]
    assert await mount.listdir("d/e") == ["a", "x"]
    assert await mount.read("d/e/a") == b"content"


async def test_remote_move_to_a_name_that_only_the_journal_knows_to_be_taken(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    first, second = workspace.put("a", b"first"), workspace.put("b", b"second")
    workspace.put("d/x", b"")
    assert await mount.listdir() == ["a", "b", "d"]
    workspace.move(first, workspace.find("d"))
    await mount.catch_up()
    await mount.restart()
    workspace.trash(first)
    workspace.rename(second, "a")
    workspace.move(second, workspace.find("d"))
    for node in (second, first):
        await mount.parts.refresher.look_at([node])
    tree = mount.parts.tree
    assert tree.by_node[second] in tree.by_node[workspace.find("d")].children.values()
    assert await mount.contents() == {"d": None, "d/a": b"second", "d/x": b""}


async def test_remote_move_out_of_a_folder_that_was_never_listed_is_followed(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("d/e/a", b"content")
    assert await mount.listdir() == ["d"]
    workspace.move(node, ROOT_NODE)
    await mount.catch_up()
    assert await mount.contents() == {"a": b"content", "d": None, "d/e": None}


async def test_remote_move_of_an_open_file_out_of_sight_leaves_it_readable(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"content")
    workspace.put("d/e/x", b"")
    await mount.listdir()
    async with mount.opened("a") as file:
        await file.read()
        workspace.move(node, workspace.find("d/e"))
        await mount.catch_up()
        assert await file.read() == b"content"


async def test_remote_trade_of_two_names_is_followed(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    first, second = workspace.put("a", b"1"), workspace.put("b", b"2")
    await mount.contents()
    workspace.rename(first, "c")
    workspace.rename(second, "a")
    workspace.rename(first, "b")
    await mount.catch_up()
    assert await mount.contents() == {"a": b"2", "b": b"1"}


async def test_remote_ring_of_three_names_is_followed(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    nodes = [workspace.put(name, name.encode()) for name in "abc"]
    await mount.contents()
    for node, name in zip([*nodes, nodes[0]], ["x", "a", "b", "c"], strict=True):
        workspace.rename(node, name)
    await mount.catch_up()
    assert await mount.contents() == {"a": b"b", "b": b"c", "c": b"a"}


@pytest.mark.parametrize(("out", "into"), [("a/b", "b"), ("a/b/c", "c"), ("a/b", "b/c")])
@pytest.mark.parametrize("is_told_in_order", [True, False])
async def test_remote_move_of_a_folder_into_one_that_left_it_is_followed(
    mount: WorkspaceMount, workspace: MemoryWorkspace, out: str, into: str, is_told_in_order: bool
) -> None:
    workspace.put("a/b/c/f", b"f")
    await mount.catch_up()
    await mount.contents()
    inside, around = workspace.find(out), workspace.find("a")
    mount.remote.hang("changes")
    workspace.move(inside, ROOT_NODE)
    workspace.move(around, workspace.find(into))
    told = [inside, around] if is_told_in_order else [around, inside]
    await mount.parts.refresher.look_at(told)
    assert await mount.contents() == workspace_contents(workspace)
    mount.remote.release()
    assert mount.changing_calls() == {}


async def test_remote_delete_of_a_clean_tree_is_followed(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("d/e/a", b"content")
    await mount.contents()
    workspace.trash(workspace.find("d"))
    await mount.catch_up()
    assert await mount.contents() == {}
    with pytest.raises(FileNotFound):
        await mount.stat("d/e/a")


@pytest.mark.parametrize("is_deleted", [True, False], ids=["deleted", "out of sight"])
async def test_what_only_the_journal_knows_goes_with_the_folder_above(
    mount: WorkspaceMount, workspace: MemoryWorkspace, is_deleted: bool
) -> None:
    workspace.put("d/s/f", b"f")
    workspace.put("unlisted/e/other", b"other")
    await mount.catch_up()
    assert await mount.read("d/s/f") == b"f"
    await mount.restart()
    assert await mount.exists("d/s")
    if is_deleted:
        workspace.trash(workspace.find("d"))
    else:
        workspace.move(workspace.find("d"), workspace.find("unlisted/e"))
    await mount.catch_up()
    assert not await mount.exists("d")
    await mount.restart()  # which audits the cache


async def test_remote_version_is_seen_and_the_kernel_told(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old content")
    assert await mount.read("a") == b"old content"
    ino = (await mount.stat("a")).ino
    workspace.put("a", b"new")
    await mount.catch_up()
    assert await mount.read("a") == b"new"
    assert (await mount.stat("a")).size == 3
    assert (await mount.stat("a")).ino == ino
    assert ("content", ino, b"") in mount.kernel.told


async def test_remote_version_is_seen_through_an_open_handle(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old content")
    async with mount.opened("a") as file:
        assert await file.read() == b"old content"
        workspace.put("a", b"new")
        await mount.catch_up()
        assert await file.read() == b"new"
        # An open file's pages must not be dropped under the handlers that use it.
        assert ("content", file.ino, b"") not in mount.kernel.told


async def test_remote_version_of_equal_bytes_moves_no_time(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"content")
    await mount.read("a")
    await mount.parts.refresher.look_at([node])
    before = await mount.stat("a")
    reads = mount.memory.calls["read"]
    workspace.rename(node, "b")
    workspace.rename(node, "a")
    await mount.catch_up()
    assert await mount.stat("a") == before
    assert await mount.read("a") == b"content"
    assert mount.memory.calls["read"] == reads


async def test_kernel_is_told_when_the_feed_is_lost(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    async with mount.opened("a") as file:
        await mount.wait_live()
        assert mount.parts.filesystem.cache_times(ROOT_INO) == LIVE_TIMES
        mount.remote.go_offline()
        workspace.put("a", b"new")
        with trio.fail_after(PATIENCE_S):
            while mount.parts.refresher.live_since is not None:
                await wait_all_tasks_blocked(0.001)
        assert mount.parts.filesystem.cache_times(ROOT_INO) == BLIND_TIMES
        assert mount.kernel.told[-2:] == [("everything", 1, b""), ("attributes", file.ino, b"")]


async def test_feed_with_a_gap_makes_every_folder_compared_again(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("d/a", b"old")
    await mount.contents()
    workspace.put("d/a", b"new")
    workspace.put("d/b", b"more")
    workspace.forget_changes()
    await mount.catch_up()
    assert await mount.contents() == {"d": None, "d/a": b"new", "d/b": b"more"}


async def test_unsent_changes_of_a_file_deleted_elsewhere_are_kept(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"old")
    await mount.append("a", b" and new")
    workspace.trash(node)
    await mount.catch_up()
    await mount.settle()
    assert workspace.files() == await mount.contents() == {"a": b"old and new"}


async def test_unsent_changes_in_a_folder_deleted_elsewhere_are_kept(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("d/a", b"old")
    workspace.put("d/b", b"untouched")
    await mount.contents()
    await mount.append("d/a", b" and new")
    await mount.write("d/c", b"created")
    workspace.trash(workspace.find("d"))
    await mount.catch_up()
    await mount.settle()
    expected = {"d": None, "d/a": b"old and new", "d/c": b"created"}
    assert workspace_contents(workspace) == await mount.contents() == expected


async def test_file_being_written_while_deleted_elsewhere_is_kept(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"old")
    async with mount.opened("a", 2) as file:
        await file.write(b"new")
        workspace.trash(node)
        await mount.catch_up()
        assert await file.read() == b"new"
    await mount.settle()
    assert workspace.files() == await mount.contents() == {"a": b"new"}


async def test_rename_here_of_a_file_changed_elsewhere_keeps_both_changes(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"old")
    await mount.read("a")
    await mount.rename("a", "b")
    workspace.put("a", b"new")
    await mount.catch_up()
    await mount.settle()
    assert workspace.files() == await mount.contents() == {"b": b"new"}
    assert workspace.find("b") == node


async def test_write_here_of_a_file_renamed_elsewhere_keeps_both_changes(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"old")
    await mount.write("a", b"new")
    workspace.rename(node, "b")
    await mount.catch_up()
    await mount.settle()
    assert workspace.files() == await mount.contents()
    assert b"new" in workspace.files().values()


async def test_removed_folder_that_another_client_added_to_is_kept(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("d/a", b"ours")
    await mount.contents()
    mount.remote.go_offline()
    await mount.remove_tree("d")
    workspace.put("d/theirs", b"theirs")
    mount.remote.heal()
    await mount.settle()
    await mount.catch_up()
    assert workspace.files() == {"d/theirs": b"theirs"}
    assert await mount.contents() == {"d": None, "d/theirs": b"theirs"}


async def test_folder_created_on_both_sides_is_one_with_both_contents(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.mkdir("d")
    await mount.write("d/ours", b"1")
    workspace.put("d/theirs", b"2")
    await mount.catch_up()
    await mount.settle()
    expected = {"d": None, "d/ours": b"1", "d/theirs": b"2"}
    assert workspace_contents(workspace) == await mount.contents() == expected


async def test_both_sides_deleting_a_file_is_no_conflict(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"content")
    await mount.read("a")
    await mount.unlink("a")
    workspace.trash(node)
    await mount.settle()
    assert await mount.contents() == {}
    assert mount.failures() == {}


async def test_news_that_a_poll_holds_back_during_a_catching_up_are_part_of_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While something is created here the news of a node that nobody knows waits for a while."""
    follower = mount.parts.follower
    await mount.listdir()
    mount.remote.hang("upload_small")
    await mount.write("ours", b"ours")
    mount.parts.sender.expedite([mount.inode("ours")])
    await mount.remote.wait_hanging("upload_small")
    mount.remote.hang("changes")
    workspace.put("before", b"")  # ends the poll under way
    await mount.remote.wait_hanging("changes")
    workspace.put("theirs", b"theirs")

    async def behind_the_poll(*jobs: Callable[[], Awaitable[None]]) -> None:
        polled = follower._cursor
        mount.remote.release("changes")
        while follower._cursor == polled:
            await wait_all_tasks_blocked()
        await side_by_side(*jobs)

    monkeypatch.setattr(follower_module, "side_by_side", behind_the_poll)
    with clock_standing_still():
        await follower.catch_up()
        assert mount.inode("theirs").size == len(b"theirs")
    mount.remote.release("upload_small")
    await mount.settle()
    assert await mount.contents() == workspace.files()

"""What one mount does reaches the workspace, with no more calls than it takes. Long: a test an operation."""

from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mountfs.model.errors import FileNotFound, OutcomeUnknown
from mountfs.model.filesystem import RenameFlag
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.sync.sender import GIVE_WAY_NEW_S, GIVE_WAY_S, LARGE_BYTES, LARGE_WORKERS
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.workspace_mount import (
    MountOptions,
    WorkspaceMount,
    counted_calls,
    workspace_contents,
)


async def put(mount: WorkspaceMount, files: dict[str, bytes]) -> None:
    """Write files, with the directories above them, and see them arrive."""
    for path, content in files.items():
        above = path.rpartition("/")[0]
        if above and not await mount.exists(above):
            await mount.mkdir(above)
        await mount.write(path, content)
    await mount.settle()


async def test_written_file_arrives_whole(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    content = bytes(range(256)) * 1200
    await mount.write("a", content)
    assert workspace.files() == {}
    await mount.settle()
    assert workspace.files() == {"a": content}
    assert mount.changing_calls() == {"upload_small": 1}


async def test_file_arrives_by_itself_after_the_delay(mounting: Mounting, workspace: MemoryWorkspace) -> None:
    async with mounting(options=MountOptions(upload_delay_s=0.5)) as mount:
        await mount.write("a", b"content")
        await mount.wait_idle()
    assert workspace.files() == {"a": b"content"}


@pytest.mark.parametrize("age_s", [0.0, 10.0])
async def test_files_wait_a_while_for_programs_that_are_busy(mounting: Mounting, age_s: float) -> None:
    """A new one longer than one that waits already, and none of them for ever."""
    async with mounting(options=MountOptions(upload_delay_s=age_s)) as mount:
        mount.parts.sender.programs_idle_s = lambda: 0.0
        began = trio.current_time()
        await mount.write("a", b"content")
        await mount.wait_idle()
        waited_s = trio.current_time() - began
    assert waited_s >= max(GIVE_WAY_NEW_S, age_s + GIVE_WAY_S)


async def test_created_and_removed_never_reach_the_workspace(mount: WorkspaceMount) -> None:
    await mount.write("a", b"content")
    await mount.unlink("a")
    await mount.mkdir("d")
    await mount.write("d/b", b"content")
    await mount.remove_tree("d")
    await mount.settle()
    assert mount.changing_calls() == {}
    assert await mount.listdir() == []


async def test_file_that_was_written_ten_times_is_sent_once(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    for number in range(10):
        await mount.write("file", b"%d" % number)
    await mount.settle()
    assert workspace.files() == {"file": b"9"}
    assert mount.changing_calls() == {"upload_small": 1}


async def test_unwritten_renames_of_a_new_file_cost_nothing(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("a", b"content")
    for old, new in ("ab", "bc", "cd"):
        await mount.rename(old, new)
    await mount.settle()
    assert workspace.files() == {"d": b"content"}
    assert mount.changing_calls() == {"upload_small": 1}


@pytest.mark.parametrize("temporary_was_sent", [False, True])
async def test_save_by_rename_is_one_new_version_of_the_target(
    mount: WorkspaceMount, workspace: MemoryWorkspace, temporary_was_sent: bool
) -> None:
    await put(mount, {"a": b"old"})
    node = workspace.find("a")
    ino = (await mount.stat("a")).ino
    await mount.write("a.tmp", b"new")
    if temporary_was_sent:
        await mount.settle()
    await mount.rename("a.tmp", "a")
    await mount.settle()
    assert workspace.files() == {"a": b"new"}
    assert workspace.find("a") == node
    assert [version.content for version in workspace.versions(node)] == [b"old", b"new"]
    assert (await mount.stat("a")).ino != ino
    assert await mount.contents() == {"a": b"new"}


async def test_temporary_name_of_a_save_never_reaches_the_workspace(mount: WorkspaceMount) -> None:
    await put(mount, {"a": b"old"})
    with counted_calls(mount) as calls:
        await mount.write("a.tmp", b"new")
        await mount.rename("a.tmp", "a")
        await mount.settle()
    assert calls == {"upload_small": 1, "commit": 1}


async def test_save_with_backup_keeps_both_contents(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await put(mount, {"a": b"old"})
    node = workspace.find("a")
    await mount.rename("a", "a~")
    await mount.write("a", b"new")
    await mount.settle()
    assert workspace.files() == {"a": b"new", "a~": b"old"}
    assert workspace.find("a~") == node


async def test_rename_chain_is_one_call(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    await put(mount, {"a": b"content"})
    node = workspace.find("a")
    with counted_calls(mount) as calls:
        for old, new in ("ab", "bc", "cd"):
            await mount.rename(old, new)
        await mount.settle()
    assert calls == {"rename": 1}
    assert workspace.find("d") == node


async def test_rename_there_and_back_costs_nothing(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    await put(mount, {"a": b"content"})
    with counted_calls(mount) as calls:
        await mount.rename("a", "b")
        await mount.rename("b", "a")
        await mount.settle()
    assert calls == {}
    assert workspace.files() == {"a": b"content"}


async def test_move_with_new_name_keeps_the_node(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    await put(mount, {"d/a": b"content", "e/x": b""})
    node = workspace.find("d/a")
    with counted_calls(mount) as calls:
        await mount.rename("d/a", "e/b")
        await mount.settle()
    assert calls == {"move": 1, "rename": 1}
    assert workspace.find("e/b") == node
    assert workspace.trash_names() == []


async def test_move_with_new_name_harms_no_file_of_the_old_names(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await put(mount, {"d/a": b"1", "d/b": b"2", "e/a": b"3"})
    await mount.rename("d/a", "e/b")
    await mount.settle()
    assert workspace.files() == {"d/b": b"2", "e/a": b"3", "e/b": b"1"}
    assert workspace.trash_names() == []


async def test_exchange_keeps_both_nodes(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    await put(mount, {"a": b"1", "b": b"2"})
    nodes = workspace.find("a"), workspace.find("b")
    await mount.rename("a", "b", RenameFlag.EXCHANGE)
    await mount.settle()
    assert workspace.files() == {"a": b"2", "b": b"1"}
    assert (workspace.find("b"), workspace.find("a")) == nodes


async def test_exchange_over_directories_keeps_both_nodes(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await put(mount, {"d/a": b"1", "e/a": b"2"})
    nodes = workspace.find("d/a"), workspace.find("e/a")
    await mount.rename("d/a", "e/a", RenameFlag.EXCHANGE)
    await mount.settle()
    assert workspace.files() == {"d/a": b"2", "e/a": b"1"}
    assert (workspace.find("e/a"), workspace.find("d/a")) == nodes
    assert workspace.trash_names() == []


async def test_swap_by_a_third_name_keeps_both_nodes(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await put(mount, {"a": b"1", "b": b"2"})
    nodes = workspace.find("a"), workspace.find("b")
    await mount.rename("a", "c")
    await mount.rename("b", "a")
    await mount.rename("c", "b")
    await mount.settle()
    assert workspace.files() == {"a": b"2", "b": b"1"}
    assert (workspace.find("b"), workspace.find("a")) == nodes


async def test_ring_of_directories_turns_with_what_is_in_them(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await put(mount, {"d/x": b"1", "e/x": b"2", "f/x": b"3"})
    await mount.rename("d", "g")
    await mount.rename("e", "d")
    await mount.rename("f", "e")
    await mount.rename("g", "f")
    await mount.write("d/y", b"new")
    await mount.settle()
    assert workspace.files() == {"d/x": b"2", "d/y": b"new", "e/x": b"3", "f/x": b"1"}


async def test_parent_and_child_may_trade_places(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    await put(mount, {"d/x": b"1", "d/y": b"2"})
    await mount.mkdir("d/e")
    await mount.settle()
    await mount.rename("d/e", "e")
    await mount.rename("d", "e/d")
    await mount.settle()
    assert workspace_contents(workspace) == {"e": None, "e/d": None, "e/d/x": b"1", "e/d/y": b"2"}


async def test_parent_and_child_may_trade_names(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    await put(mount, {"d/x": b"1"})
    await put(mount, {"d/e/y": b"2"})
    await mount.rename("d/e", "t")
    await mount.rename("d", "t/e")
    await mount.rename("t", "d")
    await mount.settle()
    assert workspace.files() == {"d/y": b"2", "d/e/x": b"1"}


async def test_directory_moves_with_what_is_not_yet_sent_in_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await put(mount, {"d/a": b"1", "e/x": b"2"})
    await mount.write("d/a", b"one")
    await mount.write("d/new", b"3")
    await mount.mkdir("d/sub")
    await mount.write("d/sub/b", b"4")
    with counted_calls(mount) as calls:
        await mount.rename("d", "e/f")
        await mount.settle()
    assert workspace.files() == {"e/x": b"2", "e/f/a": b"one", "e/f/new": b"3", "e/f/sub/b": b"4"}
    assert calls["move"] + calls["rename"] == 2


async def test_name_is_free_for_a_new_file_once_the_old_moved_on(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await put(mount, {"a": b"1"})
    node = workspace.find("a")
    await mount.rename("a", "b")
    await mount.write("a", b"2")
    await mount.settle()
    assert workspace.files() == {"a": b"2", "b": b"1"}
    assert workspace.find("b") == node
    assert len(workspace.versions(workspace.find("a"))) == 1


async def test_name_is_free_for_a_new_file_once_the_old_was_removed(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await put(mount, {"a": b"1"})
    node = workspace.find("a")
    await mount.unlink("a")
    await mount.write("a", b"2")
    await mount.settle()
    assert workspace.files() == {"a": b"2"}
    assert workspace.find("a") != node
    assert workspace.trash_names() == ["a"]


async def test_name_of_a_directory_is_free_for_a_file_and_the_reverse(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await put(mount, {"a": b"1", "d/x": b"2"})
    await mount.unlink("a")
    await mount.mkdir("a")
    await mount.write("a/y", b"3")
    await mount.remove_tree("d")
    await mount.write("d", b"4")
    await mount.settle()
    assert workspace_contents(workspace) == {"a": None, "a/y": b"3", "d": b"4"}


async def test_removing_a_tree_is_one_call(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    await put(mount, {f"d/{number}": b"content" for number in range(9)})
    await put(mount, {"d/e/x": b"content"})
    with counted_calls(mount) as calls:
        await mount.remove_tree("d")
        await mount.settle()
    assert calls == {"trash": 1}
    assert workspace_contents(workspace) == {}


async def test_file_moved_out_of_a_removed_directory_is_kept(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await put(mount, {"d/a": b"1", "d/b": b"2"})
    node = workspace.find("d/a")
    await mount.rename("d/a", "a")
    await mount.remove_tree("d")
    await mount.settle()
    assert workspace_contents(workspace) == {"a": b"1"}
    assert workspace.find("a") == node


@pytest.mark.parametrize("name", ["a", "d"])
async def test_file_moved_out_of_a_removed_directory_may_take_its_name(
    mount: WorkspaceMount, workspace: MemoryWorkspace, name: str
) -> None:
    await put(mount, {f"d/{name}": b"1", "d/b": b"2"})
    node = workspace.find(f"d/{name}")
    await mount.rename(f"d/{name}", "x")
    await mount.remove_tree("d")
    await mount.rename("x", "d")
    await mount.settle()
    assert workspace_contents(workspace) == {"d": b"1"}
    assert workspace.find("d") == node


async def test_equal_content_written_again_makes_no_version(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await put(mount, {"a": b"content"})
    await put(mount, {"a": b"content"})
    assert len(workspace.versions(workspace.find("a"))) == 1


async def test_open_file_is_sent_at_its_close_only(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    await put(mount, {"a": b"old"})
    node = workspace.find("a")
    async with mount.opened("a", 1) as file:
        await file.write(b"ne")
        await mount.settle()
        assert workspace.files() == {"a": b"old"}
        await file.write(b"w", 2)
    await mount.settle()
    assert [version.content for version in workspace.versions(node)] == [b"old", b"new"]


async def test_deleted_open_file_can_be_read_to_its_close(mount: WorkspaceMount) -> None:
    await put(mount, {"a": b"content"})
    async with mount.opened("a") as file:
        await mount.unlink("a")
        await mount.settle()
        assert await file.read() == b"content"
        with pytest.raises(FileNotFound):
            await mount.stat("a")


async def test_times_and_inode_do_not_change_by_sending(mount: WorkspaceMount) -> None:
    await mount.write("a", b"content")
    await mount.mkdir("d")
    before = await mount.stat("a"), await mount.stat("d")
    await mount.settle()
    await mount.catch_up()
    assert (await mount.stat("a"), await mount.stat("d")) == before


async def test_write_during_the_upload_is_sent_behind_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await put(mount, {"a": b"0"})
    node = workspace.find("a")
    await mount.write("a", b"first")
    mount.remote.hang("upload_small")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging("upload_small")
    await mount.write("a", b"second")
    mount.remote.release()
    await mount.settle()
    contents = [version.content for version in workspace.versions(node)]
    assert contents[-1] == b"second"
    assert set(contents) <= {b"0", b"first", b"second"}
    assert mount.failures() == {}


async def test_who_waits_for_a_file_that_changed_during_its_upload_does_not_wait_for_the_delay(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.limits = replace(workspace.limits, single_call_bytes=100, chunk_min_bytes=100)
    await mount.write("a", b"1" * 1000)
    mount.remote.hang("open_upload")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging("open_upload")
    await mount.write("a", b"2" * 1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mount.parts.publisher.settle, [mount.inode("a")])
        await wait_all_tasks_blocked()
        mount.remote.release()
    assert workspace.files() == {"a": b"2" * 1000}


@pytest.mark.parametrize("call", ["upload_small", "commit"])
async def test_rename_during_the_upload_keeps_one_node(
    mount: WorkspaceMount, workspace: MemoryWorkspace, call: str
) -> None:
    await put(mount, {"a": b"0"})
    node = workspace.find("a")
    await mount.write("a", b"first")
    mount.remote.hang(call)
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging(call)
    await mount.rename("a", "b")
    mount.remote.release()
    await mount.settle()
    assert workspace.files() == {"b": b"first"}
    assert workspace.find("b") == node


async def test_new_file_renamed_during_its_upload_leaves_no_copy(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("a", b"content")
    mount.remote.hang("upload_small")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging("upload_small")
    await mount.rename("a", "b")
    mount.remote.release()
    await mount.settle()
    assert workspace.files() == {"b": b"content"}


async def test_new_file_removed_during_its_upload_leaves_nothing(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("a", b"content")
    mount.remote.hang("upload_small")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging("upload_small")
    await mount.unlink("a")
    mount.remote.release()
    await mount.settle()
    assert workspace.files() == {}


async def test_new_file_renamed_over_another_during_its_upload_leaves_no_copy(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await put(mount, {"b": b"old"})
    node = workspace.find("b")
    await mount.write("a", b"content")
    mount.remote.hang("upload_small")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging("upload_small")
    await mount.rename("a", "b")
    mount.remote.release()
    await mount.settle()
    assert workspace.files() == {"b": b"content"}
    assert workspace.find("b") == node


async def test_folder_goes_with_a_file_that_was_being_created_in_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    """What the workspace has of ours, unknown to us so far, is no change by others."""
    await mount.mkdir("folder")
    await mount.settle()
    mount.remote.hang("nodes")
    await mount.write("folder/file", b"content")
    mount.parts.sender.expedite([mount.inode("folder/file")])
    while "folder/file" not in workspace.files():
        await wait_all_tasks_blocked(0.01)
    folder = mount.inode("folder")
    await mount.remove_tree("folder")
    mount.parts.sender.expedite([folder])
    while not mount.memory.calls["list_folder"]:
        await wait_all_tasks_blocked(0.01)
    await wait_all_tasks_blocked(0.01)
    mount.remote.release()
    await mount.settle()
    assert not await mount.exists("folder")
    assert workspace.folders() == set()
    assert mount.tree.conflicts == {}


async def test_large_content_that_the_workspace_has_already_is_not_sent(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.limits = replace(workspace.limits, single_call_bytes=100, chunk_min_bytes=100)
    first, second = b"1" * 1000, b"2" * 1001
    for name, content in (("a", first), ("b", second), ("c", b"3" * 1000)):
        await mount.write(name, content)
    await mount.settle()
    node = mount.node("a")
    with counted_calls(mount) as calls:
        await mount.write("a", second)
        await mount.settle()
        await mount.write("a", first)
        await mount.settle()
    assert calls == {"commit_known": 2}
    assert [version.content for version in workspace.versions(node)] == [first, second, first]
    assert mount.node("a") == node
    await mount.write("a", b"4" * 1000)
    await mount.settle()
    assert workspace.files()["a"] == b"4" * 1000


async def test_large_files_are_sent_side_by_side(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    files = {f"{number}": bytes([number]) * (LARGE_BYTES + 1) for number in range(LARGE_WORKERS + 1)}
    for path, content in files.items():
        await mount.write(path, content)
    mount.remote.hang("send_chunk")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mount.settle)
        await mount.remote.wait_hanging("send_chunk")
        with trio.fail_after(1000):
            while len(workspace.uploads()) < LARGE_WORKERS:
                await wait_all_tasks_blocked(0.01)
        mount.remote.release()
    assert workspace.files() == files
    assert mount.changing_calls()["open_upload"] == len(files)


async def test_lost_answer_for_content_that_the_workspace_has_makes_one_version(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.limits = replace(workspace.limits, single_call_bytes=100, chunk_min_bytes=100)
    await mount.write("a", b"1" * 1000)
    await mount.write("b", b"2" * 1000)
    await mount.settle()
    mount.remote.fail("commit_known", OutcomeUnknown("the answer was lost"), after_effect=True)
    await mount.write("a", b"2" * 1000)
    await mount.settle()
    assert workspace.files() == {"a": b"2" * 1000, "b": b"2" * 1000}
    assert len(workspace.versions(mount.node("a"))) == 2
    assert mount.failures() == {}

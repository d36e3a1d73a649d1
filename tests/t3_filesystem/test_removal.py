"""What is removed on one host while another one uses it: whoever wrote last has what was written."""

import pytest
import trio

from mountfs.model.conflict import ConflictKind
from mountfs.model.errors import OutcomeUnknown, RemoteUnavailable
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.sync.removal_steps import LOOK_LASTS_S, LOOKED_AT_TOGETHER
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.workspace_mount import WorkspaceMount, workspace_contents


def text(workspace: MemoryWorkspace, path: str) -> str:
    told = workspace.describe(workspace.find(path), 0)
    assert told is not None
    return told.text


def kinds(mount: WorkspaceMount) -> list[ConflictKind]:
    return [conflict.kind for conflict in mount.tree.conflicts.values()]


async def settle_all(*mounts: WorkspaceMount) -> None:
    for _ in range(2):
        for mount in mounts:
            await mount.settle()
            await mount.catch_up()


# Edits of others of which the news is still to come.


async def test_edit_that_was_not_told_of_yet_beats_a_removal(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("d/a", b"old")
    await mount.contents()
    mount.remote.hang("changes")
    workspace.put("d/a", b"theirs")
    await mount.unlink("d/a")
    await mount.settle()
    assert workspace.files() == {"d/a": b"theirs"}
    mount.remote.release()
    await settle_all(mount)
    assert await mount.contents() == workspace_contents(workspace) == {"d": None, "d/a": b"theirs"}
    assert kinds(mount) == [ConflictKind.DELETE_EDIT]


async def test_looks_before_many_removals_are_few(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    count = 10 * LOOKED_AT_TOGETHER
    for number in range(count):
        workspace.put(f"d/{number}", b"")
    workspace.put("d/stays", b"")
    await mount.contents()
    mount.remote.hang("changes")
    for number in range(count):
        await mount.unlink(f"d/{number}")
    before = mount.memory.calls.copy()
    began = trio.current_time()
    await mount.settle()
    made = mount.memory.calls - before
    # On a machine that is slow some answers are too old by the time that their file is reached.
    late = (trio.current_time() - began) / LOOK_LASTS_S
    assert made["trash"] == count
    assert made["nodes"] <= count / LOOKED_AT_TOGETHER + 8 * (1 + late)
    assert workspace.files() == {"d/stays": b""}


async def test_edit_between_the_looks_is_kept(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    """A look that was made for a neighbour counts for a moment only."""
    for name in ("a", "b"):
        workspace.put(name, b"old")
    await mount.contents()
    mount.remote.hang("changes")
    for name in ("a", "b"):
        await mount.unlink(name)
    mount.remote.hang("trash")
    mount.parts.sender.expedite([mount.tree.by_node[workspace.find("a")]])
    await mount.remote.wait_hanging("trash")
    workspace.put("b", b"theirs")
    await trio.sleep(2 * LOOK_LASTS_S)
    mount.remote.release("trash")
    await mount.settle()
    assert workspace.files() == {"b": b"theirs"}


@pytest.mark.parametrize("fails", [None, "before", "after"])
async def test_edit_behind_the_look_comes_out_of_the_trash(
    mount: WorkspaceMount, workspace: MemoryWorkspace, fails: str | None
) -> None:
    node = workspace.put("d/a", b"old")
    await mount.contents()
    mount.remote.hang("changes")
    await mount.unlink("d/a")
    mount.remote.hang("trash")
    if fails is not None:
        unavailable = RemoteUnavailable("it does not answer")
        mount.remote.fail("restore", unavailable, after_effect=fails == "after")
    mount.parts.sender.expedite(list(mount.tree.pending.values()))
    await mount.remote.wait_hanging("trash")
    workspace.put("d/a", b"theirs")
    mount.remote.release()
    await settle_all(mount)
    assert workspace.files() == {"d/a": b"theirs"}
    assert workspace.find("d/a") == node
    assert await mount.contents() == workspace_contents(workspace)
    assert kinds(mount) == [ConflictKind.DELETE_EDIT]


async def test_looks_that_fail_delete_nothing(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    for name in ("a", "b"):
        workspace.put(name, b"old")
    await mount.contents()
    mount.remote.hang("changes")
    mount.remote.fail("nodes", RemoteUnavailable("it does not answer"), times=None)
    for name in ("a", "b"):
        await mount.unlink(name)
    mount.parts.sender.expedite(list(mount.tree.pending.values()))
    await mount.wait_until(lambda: mount.parts.sender._attempts)
    assert workspace.files() == {"a": b"old", "b": b"old"}
    assert "trash" not in mount.changing_calls()
    mount.remote.heal()
    await mount.settle()
    assert workspace.files() == {}


async def test_folder_that_news_put_back_while_it_was_looked_into_is_there_once(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("d/a", b"old")
    await mount.contents()
    folder = mount.inode("d")
    await mount.remove_tree("d")
    mount.remote.hang("list_folder")
    mount.parts.sender.expedite([folder])
    await mount.remote.wait_hanging("list_folder")
    workspace.put("d/a", b"theirs")
    await mount.catch_up()
    assert mount.inode("d") is folder
    mount.remote.release()
    await settle_all(mount)
    assert await mount.contents() == workspace_contents(workspace) == {"d": None, "d/a": b"theirs"}


# The same bytes, written again.


@pytest.mark.parametrize("told", [True, False], ids=["told", "looked at"])
@pytest.mark.parametrize("place", ["a", "d/a"], ids=["file", "folder"])
async def test_what_was_written_again_with_the_same_bytes_stays(
    mounting: Mounting, workspace: MemoryWorkspace, told: bool, place: str
) -> None:
    workspace.put(place, b"content")
    node = workspace.find(place)
    async with mounting(name="here") as here, mounting(name="there") as there:
        for mount in (here, there):
            await mount.contents()
        if not told:
            there.remote.hang("changes")
        await (there.remove_tree("d") if place == "d/a" else there.unlink("a"))
        await here.write(place, b"content")
        await here.settle()
        if told:
            await there.catch_up()
        await there.settle()
        there.remote.release()
        await settle_all(there, here)
        assert workspace.files() == {place: b"content"}
        assert await here.contents() == await there.contents() == workspace_contents(workspace)
        assert workspace.find(place) == node
        assert len(workspace.versions(node)) == 1
        assert (kinds(there), kinds(here)) == ([ConflictKind.DELETE_EDIT], [])


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("call", ["nodes", "describe"])
async def test_removal_while_the_same_bytes_are_being_told_of_makes_them_anew(
    mounting: Mounting, workspace: MemoryWorkspace, call: str, is_large: bool
) -> None:
    content = b"content" * (1_000_000 if is_large else 1)
    workspace.put("a", content)
    async with mounting(name="here") as here, mounting(name="there") as there:
        for mount in (here, there):
            await mount.contents()
        here.remote.hang("changes")
        await here.write("a", content)
        here.remote.hang(call)
        here.parts.sender.expedite([here.inode("a")])
        await here.remote.wait_hanging(call)
        await there.unlink("a")
        await there.settle()
        assert workspace.files() == {}
        here.remote.release()
        await settle_all(here, there)
        assert workspace.files() == {"a": content}
        assert await here.contents() == await there.contents() == {"a": content}


@pytest.mark.parametrize("after_effect", [True, False])
async def test_own_mark_is_no_write_of_others(
    mount: WorkspaceMount, workspace: MemoryWorkspace, after_effect: bool
) -> None:
    workspace.put("a", b"content")
    await mount.contents()
    lost = OutcomeUnknown("the answer was lost")
    mount.remote.fail("describe", lost, after_effect=after_effect, then_hang=["nodes"])
    mount.remote.hang("changes")
    await mount.write("a", b"content")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.wait_until(lambda: mount.parts.sender._attempts)
    await mount.crash()
    mount.remote.release()
    mount.remote.go_offline()
    await mount.start()
    await mount.unlink("a")
    await mount.crash()
    mount.remote.heal()
    await mount.start()
    await mount.settle()
    await mount.catch_up()
    assert workspace.files() == await mount.contents() == {}
    assert not mount.tree.conflicts


async def test_removal_by_who_knows_of_the_write_goes_on(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"content")
    async with mounting(name="here") as here, mounting(name="there") as there:
        for mount in (here, there):
            await mount.contents()
        await here.write("a", b"content")
        await here.settle()
        await there.catch_up()
        await there.unlink("a")
        await settle_all(there, here)
        assert workspace.files() == await here.contents() == await there.contents() == {}
        assert (kinds(there), kinds(here)) == ([], [])


async def test_each_write_of_the_same_bytes_leaves_a_mark_and_what_people_wrote(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"content")
    workspace.set_text(node, "a user's words")
    await mount.contents()
    seen = set()
    for _ in range(3):
        await mount.write("a", b"content")
        before = await mount.stat("a")
        calls = mount.memory.calls["describe"]
        await mount.settle()
        await mount.catch_up()
        assert mount.memory.calls["describe"] == calls + 1
        assert await mount.stat("a") == before
        theirs, _, mark = text(workspace, "a").partition("\n")
        assert theirs == "a user's words"
        assert mark.count("w=") == 1
        seen.add(mark)
    assert len(seen) == 3
    await mount.write("a", b"other")
    await mount.settle()
    assert text(workspace, "a") == "a user's words"


async def test_nothing_is_marked_where_attributes_are_not_shared(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    mount.tree.shares_attributes = False
    workspace.put("a", b"content")
    await mount.contents()
    await mount.write("a", b"content")
    await mount.settle()
    assert text(workspace, "a") == ""
    assert not mount.inode("a").content_dirty

"""A place that the workspace was asked to put something at, or in, is that one's until the answer is here."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mountfs.model.ids import ROOT_NODE, NodeId
from mountfs.model.node import RemoteNode
from mountfs.remotes.memory import MemoryWorkspace
from tests.t3_filesystem.workspace_mount import WorkspaceMount, workspace_contents


async def _begun(mount: WorkspaceMount, call: str, path: str) -> None:
    mount.remote.hang(call)
    mount.parts.sender.expedite([mount.inode(path)])
    await mount.remote.wait_hanging(call)


async def _done(mount: WorkspaceMount, monkeypatch: pytest.MonkeyPatch, call: str, path: str) -> trio.Event:
    """Begin the call, and have it done; its answer comes when the event that is returned is set."""
    act: Callable[..., Awaitable[RemoteNode]] = getattr(mount.memory, call)
    done, answered = trio.Event(), trio.Event()

    async def late(*of: object) -> RemoteNode:
        answer = await act(*of)
        done.set()
        await answered.wait()
        return answer

    monkeypatch.setattr(mount.memory, call, late)
    mount.parts.sender.expedite([mount.inode(path)])
    await done.wait()
    monkeypatch.setattr(mount.memory, call, act)
    return answered


async def _sent_meanwhile(mount: WorkspaceMount) -> None:
    """Let all that is pending get as far as it does while a call hangs."""
    mount.parts.sender.expedite(list(mount.tree.pending.values()))
    for _ in range(20):
        await wait_all_tasks_blocked(0.01)


async def _check(
    mount: WorkspaceMount, workspace: MemoryWorkspace, expected: dict[str, bytes | None]
) -> None:
    mount.remote.release()
    assert await mount.contents() == expected
    await mount.settle()
    await mount.catch_up()
    assert await mount.contents() == expected
    assert workspace_contents(workspace) == expected
    assert not mount.tree.conflicts


@pytest.mark.parametrize("is_done", [False, True])
async def test_new_file_waits_for_a_file_that_is_on_its_way_to_its_place(
    mount: WorkspaceMount,
    workspace: MemoryWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    is_done: bool,
) -> None:
    """The workspace would take it for a version of that one, or trash it in favour of that one."""
    await mount.mkdir("d")
    await mount.write("new", b"moved")
    await mount.settle()
    await mount.rename("new", "d/new")
    if is_done:
        answered = await _done(mount, monkeypatch, "move", "d/new")
    else:
        await _begun(mount, "move", "d/new")
    await mount.rename("d/new", "d/other")
    await mount.write("d/new", b"created")
    await _sent_meanwhile(mount)
    if is_done:
        answered.set()
    await _check(mount, workspace, {"d": None, "d/other": b"moved", "d/new": b"created"})


async def test_new_file_waits_for_a_file_that_passes_through_its_place(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.mkdir("d")
    await mount.write("a", b"moved")
    await mount.settle()
    await mount.rename("a", "d/b")
    await _begun(mount, "move", "d/b")
    await mount.write("d/a", b"created")
    await _sent_meanwhile(mount)
    await _check(mount, workspace, {"d": None, "d/a": b"created", "d/b": b"moved"})


async def test_new_folder_waits_for_a_folder_that_is_on_its_way_to_its_place(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workspace would give it the node of that one."""
    await mount.mkdir("old")
    await mount.write("old/file", b"content")
    await mount.settle()
    await mount.rename("old", "new")
    answered = await _done(mount, monkeypatch, "rename", "new")
    await mount.rename("new", "other")
    await mount.mkdir("new")
    await _sent_meanwhile(mount)
    answered.set()
    await _check(mount, workspace, {"new": None, "other": None, "other/file": b"content"})


async def test_file_on_its_way_into_a_folder_is_not_deleted_with_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.mkdir("d")
    await mount.write("a", b"content")
    await mount.settle()
    await mount.rename("a", "d/a")
    await _begun(mount, "move", "d/a")
    await mount.rename("d/a", "a")
    await mount.rmdir("d")
    mount.remote.hang("trash")
    await _sent_meanwhile(mount)
    first = mount.remote.hang_no_more("move")
    mount.remote.hang("move")
    first.set()
    await _sent_meanwhile(mount)
    mount.remote.release("trash")
    await _sent_meanwhile(mount)
    await _check(mount, workspace, {"a": b"content"})


async def test_file_that_is_created_in_a_folder_is_not_deleted_with_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.mkdir("d")
    await mount.settle()
    await mount.write("d/a", b"content")
    await _begun(mount, "upload_small", "d/a")
    await mount.rename("d/a", "a")
    await mount.rmdir("d")
    mount.remote.hang("trash")
    mount.remote.hang("nodes")
    await _sent_meanwhile(mount)
    mount.remote.release("upload_small")
    await _sent_meanwhile(mount)
    mount.remote.release("trash")
    await _sent_meanwhile(mount)
    await _check(mount, workspace, {"a": b"content"})


async def test_folder_made_again_while_it_is_created_keeps_what_is_in_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    """News of the first one comes before its answer."""
    await mount.mkdir("d")
    gone = mount.inode("d")
    mount.remote.hang("nodes")
    await _begun(mount, "create_folder", "d")
    await mount.rmdir("d")
    await mount.mkdir("d")
    await mount.write("d/a", b"content")
    await _sent_meanwhile(mount)
    assert gone.sending
    await _check(mount, workspace, {"d": None, "d/a": b"content"})


async def test_file_moves_into_a_new_folder_that_has_its_name(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    """Each of them needs the other to be elsewhere first."""
    await mount.write("a", b"content")
    await mount.settle()
    await mount.rename("a", "b")
    await mount.mkdir("a")
    await mount.mkdir("a/c")
    await mount.rename("b", "a/c/d")
    await _check(mount, workspace, {"a": None, "a/c": None, "a/c/d": b"content"})


async def test_removed_folder_does_not_come_back_for_a_file_that_was_still_listed_in_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's deletion is on its way when the folder is listed, and over when the listing is read."""
    await mount.mkdir("d")
    await mount.write("d/file", b"content")
    await mount.settle()
    mount.remote.hang("trash")
    file = mount.inode("d/file")
    await mount.unlink("d/file")
    mount.parts.sender.expedite([file])
    await mount.remote.wait_hanging("trash")
    answered, act, listed = trio.Event(), mount.memory.list_folder, trio.Event()

    async def late(folder: NodeId, came: Callable[[], None]) -> list[RemoteNode]:
        rows = await act(folder, came)
        listed.set()
        await answered.wait()
        return rows

    monkeypatch.setattr(mount.memory, "list_folder", late)
    folder = mount.inode("d")
    await mount.rmdir("d")
    mount.parts.sender.expedite([folder])
    await listed.wait()
    mount.remote.release("trash")
    await mount.wait_until(lambda: file.base is None)
    answered.set()
    await _check(mount, workspace, {})


FOLDERS = ("a", "b", "c", "d", "a/k", "b/l")

CIRCLES = {
    "two folders, each into a new one of the other's name": (
        [("rename", "a", "x"), ("rename", "b", "y"), ("mkdir", "a"), ("mkdir", "b")],
        [("rename", "x", "b/x"), ("rename", "y", "a/y")],
    ),
    "three folders": (
        [("rename", "a", "x"), ("rename", "b", "y"), ("rename", "c", "z")],
        [("mkdir", "a"), ("mkdir", "b"), ("mkdir", "c")],
        [("rename", "x", "b/x"), ("rename", "y", "c/y"), ("rename", "z", "a/z")],
    ),
    "a folder to the place of one that goes into a new one of its name": (
        [("rename", "a", "x"), ("rename", "b", "y"), ("mkdir", "a")],
        [("rename", "y", "a/y"), ("rename", "x", "b")],
    ),
    "out of a folder that is removed into a new one of its name": (
        [("rename", "a/k", "k"), ("rmdir", "a"), ("mkdir", "a"), ("rename", "k", "a/kept")],
    ),
    "out of two folders that are removed into new ones of the other's name": (
        [("rename", "a/k", "k"), ("rename", "b/l", "l"), ("rmdir", "a"), ("rmdir", "b")],
        [("mkdir", "a"), ("mkdir", "b"), ("rename", "k", "b/k"), ("rename", "l", "a/l")],
    ),
    "a folder into one below it that goes into a new one of its name": (
        [("rename", "a/k", "t"), ("rename", "a", "t/a"), ("mkdir", "a"), ("rename", "t", "a/t")],
    ),
    "by a removed folder and one that is renamed": (
        [("rename", "a/k", "k"), ("rename", "b", "y"), ("rmdir", "a"), ("mkdir", "a"), ("mkdir", "b")],
        [("rename", "k", "b/k"), ("rename", "y", "a/y")],
    ),
}


@pytest.mark.parametrize("circle", CIRCLES)
async def test_folders_that_wait_for_each_other_by_new_ones_get_there(
    mount: WorkspaceMount, workspace: MemoryWorkspace, circle: str
) -> None:
    for folder in FOLDERS:
        await mount.mkdir(folder)
    await mount.write("a/k/file", b"k")
    await mount.write("b/l/file", b"l")
    await mount.settle()
    for operation, *paths in (step for part in CIRCLES[circle] for step in part):
        await getattr(mount, operation)(*paths)
    expected = await mount.contents()
    await mount.settle()
    assert workspace_contents(workspace) == expected
    assert not mount.tree.conflicts


async def test_move_into_a_folder_that_seems_to_lie_in_itself_gets_there(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    """Others turned two folders inside out, and of their moves only the second is known here."""
    for path in ("b/a/f", "k/g"):
        workspace.put(path, b"old")
    await mount.contents()
    inner, outer = workspace.find("b/a"), workspace.find("b")
    mount.remote.hang("changes")
    await mount.mkdir("x")
    for source, target in (("b/a", "x/a"), ("b", "x/b"), ("k", "x/a/k")):
        await mount.rename(source, target)
    workspace.move(inner, ROOT_NODE)
    workspace.move(outer, inner)
    await mount.parts.refresher.look_at([outer])
    mount.parts.sender.expedite([mount.inode("x/a/k")])
    await mount.wait_until(lambda: mount.inode("x/a/k").is_at_home)
    mount.remote.release()
    await mount.settle()
    await mount.catch_up()
    expected = {"x": None, "x/a": None, "x/a/f": b"old", "x/a/k": None, "x/a/k/g": b"old", "x/b": None}
    assert await mount.contents() == workspace_contents(workspace) == expected

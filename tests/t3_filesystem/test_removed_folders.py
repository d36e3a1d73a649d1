"""What programs here write below a folder is not removed with it, whenever the removal comes: by others, or
here before the folder was made again."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mountfs.model.errors import FileNotFound
from mountfs.model.filesystem import RenameFlag
from mountfs.model.ids import ROOT_INO
from mountfs.remotes.memory import MemoryRemote, MemoryWorkspace
from tests.t3_filesystem.workspace_mount import WorkspaceMount, workspace_contents

OURS, LARGE = b"ours", b"ours" * 25_000

Write = Callable[[WorkspaceMount], Awaitable[str]]
"""Does something below the folder `d`, and returns the path of the file with OURS, or LARGE."""


async def new(mount: WorkspaceMount) -> str:
    await mount.write("d/new", OURS)
    return "d/new"


async def large(mount: WorkspaceMount) -> str:
    await mount.write("d/large", LARGE)
    return "d/large"


async def edit(mount: WorkspaceMount) -> str:
    await mount.write("d/old", OURS)
    return "d/old"


async def new_below(mount: WorkspaceMount) -> str:
    await mount.mkdir("d/s")
    await mount.write("d/s/new", OURS)
    return "d/s/new"


async def new_moved_in(mount: WorkspaceMount) -> str:
    await mount.write("made", OURS)
    await mount.rename("made", "d/made")
    return "d/made"


async def moved_in(mount: WorkspaceMount) -> str:
    await mount.rename("known", "d/known")
    return "d/known"


WRITES = (new, large, edit, new_below, new_moved_in, moved_in)

ON_ITS_WAY = [
    *((new, "upload_small"), (edit, "upload_small"), (edit, "commit"), (new_moved_in, "upload_small")),
    *((large, "open_upload"), (large, "send_chunk"), (large, "complete_upload"), (large, "add_file")),
    *((new_below, "create_folder"), (new_below, "upload_small")),
]


@pytest.fixture
async def mount(mount: WorkspaceMount, workspace: MemoryWorkspace) -> WorkspaceMount:
    workspace.limits = replace(workspace.limits, single_call_bytes=1000)
    workspace.put("d/old", b"old")
    workspace.put("d/other", b"other")
    workspace.put("known", OURS)
    await mount.catch_up()
    await mount.contents()
    return mount


@asynccontextmanager
async def under_way(
    mount: WorkspaceMount, monkeypatch: pytest.MonkeyPatch, call: str, *, is_done: bool
) -> AsyncIterator[None]:
    """Let the sender make the call; within, that is on its way to the workspace, or its answer back."""
    act, reached, goes_on = getattr(mount.memory, call), trio.Event(), trio.Event()

    async def held_up(*of: Any, **more: Any) -> Any:
        answer = await act(*of, **more) if is_done else None
        reached.set()
        await goes_on.wait()
        return answer if is_done else await act(*of, **more)

    monkeypatch.setattr(mount.memory, call, held_up)
    mount.parts.sender.expedite(list(mount.tree.pending.values()))
    await reached.wait()
    yield
    monkeypatch.setattr(mount.memory, call, act)
    goes_on.set()


async def check_kept(mount: WorkspaceMount, workspace: MemoryWorkspace, path: str) -> None:
    for _ in range(2):
        await mount.settle()
        await mount.catch_up()
    found = await mount.contents()
    assert found == workspace_contents(workspace)
    assert found.get(path) in (OURS, LARGE), found


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("is_told_first", [True, False], ids=["told first", "sent first"])
@pytest.mark.parametrize("is_removed_first", [True, False], ids=["removed first", "written first"])
async def test_what_was_not_sent_outlives_a_removal_by_others(
    mount: WorkspaceMount,
    workspace: MemoryWorkspace,
    write: Write,
    is_told_first: bool,
    is_removed_first: bool,
) -> None:
    mount.remote.hang("changes")
    if is_removed_first:
        workspace.trash(workspace.find("d"))
    path = await write(mount)
    if not is_removed_first:
        workspace.trash(workspace.find("d"))
    if is_told_first:
        mount.remote.release("changes")
        await mount.catch_up()
    await mount.settle()
    mount.remote.release()
    await check_kept(mount, workspace, path)


@pytest.mark.parametrize(("write", "call"), [*ON_ITS_WAY, (moved_in, "move")])
@pytest.mark.parametrize("is_told_first", [True, False], ids=["told first", "sent first"])
async def test_what_is_being_sent_outlives_a_removal_by_others(
    mount: WorkspaceMount,
    workspace: MemoryWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    write: Write,
    call: str,
    is_told_first: bool,
) -> None:
    path = await write(mount)
    if not is_told_first:
        mount.remote.hang("changes")
    async with under_way(mount, monkeypatch, call, is_done=False):
        workspace.trash(workspace.find("d"))
        if is_told_first:
            await mount.catch_up()
    await mount.settle()
    mount.remote.release()
    await check_kept(mount, workspace, path)


@pytest.mark.parametrize(("write", "call"), ON_ITS_WAY)
async def test_what_came_there_right_before_a_removal_by_others_outlives_it(
    mount: WorkspaceMount,
    workspace: MemoryWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    write: Write,
    call: str,
) -> None:
    """The news of the removal are here before the answer is."""
    path = await write(mount)
    async with under_way(mount, monkeypatch, call, is_done=True):
        workspace.trash(workspace.find("d"))
        await mount.catch_up()
    await check_kept(mount, workspace, path)


@pytest.mark.parametrize("write", [new, large, new_below, new_moved_in, moved_in])
@pytest.mark.parametrize("call", ["trash", "nodes", "list_folder"])
@pytest.mark.parametrize("is_done", [False, True])
async def test_what_is_written_to_a_folder_made_again_outlives_the_removal_of_the_first(
    mount: WorkspaceMount,
    workspace: MemoryWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    write: Write,
    call: str,
    is_done: bool,
) -> None:
    mount.remote.hang("changes")
    await mount.remove_tree("d")
    async with under_way(mount, monkeypatch, call, is_done=is_done):
        await mount.mkdir("d")
        path = await write(mount)
        mount.parts.sender.expedite(list(mount.tree.pending.values()))
        await wait_all_tasks_blocked(0.01)
    mount.remote.release()
    await check_kept(mount, workspace, path)


async def test_what_is_removed_from_a_folder_that_came_out_of_the_trash_goes_there(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    folder = workspace.find("d")
    await mount.remove_tree("d")
    await mount.settle()
    await MemoryRemote(workspace).restore(folder)
    await mount.catch_up()
    await mount.unlink("d/old")
    await mount.settle()
    await mount.catch_up()
    expected = {"known": OURS, "d": None, "d/other": b"other"}
    assert await mount.contents() == workspace_contents(workspace) == expected


@pytest.mark.parametrize("is_removed_here", [True, False])
@pytest.mark.parametrize("flag", RenameFlag)
async def test_nothing_is_moved_into_a_folder_that_was_removed(
    mount: WorkspaceMount, workspace: MemoryWorkspace, is_removed_here: bool, flag: RenameFlag
) -> None:
    """A program that has the folder open still has a way to it."""
    folder = (await mount.filesystem.lookup(ROOT_INO, b"d")).ino
    if is_removed_here:
        await mount.remove_tree("d")
    else:
        workspace.trash(workspace.find("d"))
        await mount.catch_up()
    with pytest.raises(FileNotFound):
        await mount.filesystem.rename(ROOT_INO, b"known", folder, b"known", flag)
    mount.filesystem.forget([(folder, 1)])
    await check_kept(mount, workspace, "known")


@pytest.mark.parametrize("is_removed_there", [False, True])
async def test_edit_of_a_file_that_others_moved_into_a_folder_removed_here_stays(
    mount: WorkspaceMount, workspace: MemoryWorkspace, is_removed_there: bool
) -> None:
    folder = workspace.find("d")
    await mount.write("known", LARGE)
    await mount.remove_tree("d")
    workspace.move(workspace.find("known"), folder)
    await mount.catch_up()
    if is_removed_there:
        workspace.trash(folder)
        await mount.catch_up()
    await check_kept(mount, workspace, "d/known")


@pytest.mark.parametrize("is_moved", [False, True])
async def test_what_others_put_into_a_folder_that_both_removed_goes_with_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace, is_moved: bool
) -> None:
    folder = workspace.find("d")
    await mount.remove_tree("d")
    if is_moved:
        workspace.move(workspace.find("known"), folder)
    else:
        workspace.put("d/theirs", b"theirs")
    await mount.catch_up()
    workspace.trash(folder)
    await mount.parts.refresher.look_at([folder])
    await mount.catch_up()
    await mount.settle()
    assert await mount.contents() == workspace_contents(workspace)

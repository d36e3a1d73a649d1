"""What the change feed loses is found all the same: by another source, by a comparison at the latest."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mountfs.model.errors import DirectoryNotEmpty, FileNotFound
from mountfs.model.ids import ChangeCursor
from mountfs.model.remote import Changes, InventoryPage
from mountfs.remotes import memory
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.sync import comparison, folder_walk, follower, reconciler
from mountfs.sync.follower import COMPARE_S, RECONCILE_S, SURVEY_S
from tests.t3_filesystem.workspace_mount import PATIENCE_S, WorkspaceMount

AFTER = {"a": b"newer", "c": b"created", "d": None, "d/moved": b"moved"}


@pytest.fixture
async def lossy(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> WorkspaceMount:
    """A mount that knows the workspace, whose feed then tells of nothing that happens, and what happened."""
    honest, losing, polls = mount.memory.changes, trio.Event(), list[float]()

    async def silent(cursor: ChangeCursor | None, *, wait_s: float = 0) -> Changes:
        polls.extend([wait_s] if wait_s else [])
        told = await honest(cursor, wait_s=wait_s)
        return Changes(told.cursor, frozenset()) if losing.is_set() else told

    monkeypatch.setattr(mount.memory, "changes", silent)
    await mount.wait_live()
    workspace.put("a", b"content")
    workspace.put("d/x", b"")
    gone, moving = workspace.put("b", b"deleted later"), workspace.put("moved", b"moved")
    await mount.catch_up()
    await mount.contents()
    await _surveyed(mount)
    # The poll that was under way before told of what was put; from the next one on everything is lost.
    await _until(lambda: _is(bool(polls)))
    losing.set()
    workspace.put("a", b"newer")
    workspace.put("c", b"created")
    workspace.trash(gone)
    workspace.trash(workspace.find("d/x"))
    workspace.move(moving, workspace.find("d"))
    await mount.catch_up()
    assert (await mount.contents())["a"] == b"content", "the loss is real"
    return mount


async def _surveyed(mount: WorkspaceMount) -> None:
    await _until(lambda: _is(mount.memory.calls["survey"] > 0))


async def _is(condition: bool) -> bool:
    return condition


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not await condition():
            await wait_all_tasks_blocked(0.001)


def _jump(seconds: float) -> None:
    cast("MockClock", trio.lowlevel.current_clock()).jump(seconds)


async def test_another_source_shows_what_the_feed_lost(lossy: WorkspaceMount) -> None:
    _jump(SURVEY_S)
    await _until(lambda: _has_it_all(lossy))


async def _nothing(cursor: ChangeCursor | None) -> Changes:
    await trio.lowlevel.checkpoint()
    return Changes(cursor or ChangeCursor("0"), frozenset())


@pytest.fixture
def without_survey(lossy: WorkspaceMount, monkeypatch: pytest.MonkeyPatch) -> WorkspaceMount:
    monkeypatch.setattr(lossy.memory, "survey", _nothing)
    return lossy


async def test_list_of_the_workspace_shows_what_every_source_lost(without_survey: WorkspaceMount) -> None:
    mount = without_survey
    listed = mount.memory.calls["list_folder"]
    _jump(RECONCILE_S)
    await _until(lambda: _has_it_all(mount))
    assert mount.memory.calls["inventory"]
    assert mount.memory.calls["list_folder"] == listed, "no folder had to be listed for it"


async def test_comparison_of_folders_shows_what_every_source_lost(without_survey: WorkspaceMount) -> None:
    mount = without_survey
    mount.memory.has_inventory = False
    _jump(RECONCILE_S)
    await _until(lambda: _has_it_all(mount))


async def test_folders_are_compared_one_by_one_though_nobody_uses_them(
    without_survey: WorkspaceMount,
) -> None:
    mount = without_survey
    mount.memory.has_inventory = False
    assert in_memory(mount) == {"a": 7, "b": 13, "d": 0, "d/x": 0, "moved": 5}
    _jump(RECONCILE_S)
    await _until(lambda: _is(in_memory(mount) == {"a": 5, "c": 7, "d": 0, "d/moved": 5}))


async def test_walk_through_folders_is_bounded(
    without_survey: WorkspaceMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = without_survey
    mount.memory.has_inventory = False
    monkeypatch.setattr(folder_walk, "FOLDERS_MOST", 1)
    listed = mount.memory.calls["list_folder"]
    _jump(RECONCILE_S)
    await _until(lambda: _is(mount.memory.calls["list_folder"] > listed))
    # Long enough for the other folders, were they listed as well.
    await trio.sleep(20 * folder_walk.PAUSE_S)
    assert mount.memory.calls["list_folder"] == listed + 1
    assert await mount.listdir("d") == ["moved"], "the others are compared at their next use"
    assert mount.memory.calls["list_folder"] == listed + 2


def in_memory(mount: WorkspaceMount) -> dict[str, int]:
    """Return the size of all that has a path, as the tree knows it without asking."""
    entries = (inode for inode in mount.tree.inodes.values() if inode.is_linked and inode.parent is not None)
    return {inode.path().decode(): inode.size for inode in entries}


@pytest.mark.parametrize("limit", ["ROWS_MOST", "DOUBTED_MOST"])
async def test_workspace_that_is_too_large_for_its_list_is_compared_by_folders(
    without_survey: WorkspaceMount,
    workspace: MemoryWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
) -> None:
    mount = without_survey
    for number in range(memory.INVENTORY_ROWS):
        workspace.put(f"many/{number}", b"")
    monkeypatch.setattr(reconciler, limit, 2)
    listed = mount.memory.calls["list_folder"]
    _jump(RECONCILE_S)
    many: dict[str, bytes | None] = {f"many/{number}": b"" for number in range(memory.INVENTORY_ROWS)}
    await _until(lambda: _has(mount, AFTER | many | {"many": None}))
    assert mount.memory.calls["list_folder"] > listed


async def test_list_that_turns_in_circles_is_none(
    without_survey: WorkspaceMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = without_survey
    tell = mount.memory.inventory

    async def turning(following: str | None) -> InventoryPage:
        return replace(await tell(None), following="again")

    monkeypatch.setattr(mount.memory, "inventory", turning)
    listed = mount.memory.calls["list_folder"]
    _jump(RECONCILE_S)
    await _until(lambda: _is(mount.memory.calls["list_folder"] > listed))
    await _until(lambda: _has_it_all(mount))
    assert mount.memory.calls["inventory"] == 2


async def test_comparison_of_a_day_shows_what_no_list_tells(
    without_survey: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    mount = without_survey
    _jump(RECONCILE_S)
    await _until(lambda: _has_it_all(mount))
    listed = mount.memory.calls["list_folder"]
    _jump(COMPARE_S)

    async def is_listed() -> bool:
        await mount.contents()
        return mount.memory.calls["list_folder"] > listed

    await _until(is_listed)


async def test_list_is_no_news_of_what_changes_meanwhile(
    without_survey: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    mount = without_survey
    mount.remote.hang("inventory")
    _jump(RECONCILE_S)
    await mount.remote.wait_hanging("inventory")
    await mount.write("new", b"made here meanwhile")
    await mount.settle()
    await mount.unlink("moved")
    await mount.settle()
    mount.remote.release("inventory")
    expected = {
        **{path: content for path, content in AFTER.items() if path != "d/moved"},
        "new": b"made here meanwhile",
    }
    await _until(lambda: _has(mount, expected))


async def test_gap_of_the_other_source_compares_everything(
    lossy: WorkspaceMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gap(cursor: ChangeCursor | None) -> Changes:
        await trio.lowlevel.checkpoint()
        return Changes(ChangeCursor("0"), frozenset(), everything=True)

    monkeypatch.setattr(lossy.memory, "survey", gap)
    _jump(SURVEY_S)
    await _until(lambda: _has_it_all(lossy))


async def _has_it_all(mount: WorkspaceMount) -> bool:
    return await _has(mount, AFTER)


async def _has(mount: WorkspaceMount, expected: dict[str, bytes | None]) -> bool:
    try:
        return await mount.contents() == expected
    except FileNotFound:
        return False  # it went between the listing and the look


async def test_resumed_feed_is_checked_by_the_other_source(
    lossy: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    lossy.remote.go_offline()
    _jump(61)
    await lossy.wait_until_blind()
    lossy.remote.heal()
    await lossy.wait_live()
    await _until(lambda: _has_it_all(lossy))


async def test_very_many_changes_compare_everything(
    lossy: WorkspaceMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "SURVEYED_MOST", 2)
    _jump(SURVEY_S)
    await _until(lambda: _has_it_all(lossy))


async def test_first_listing_of_a_folder_made_here_is_merged_and_not_waited_for(
    lossy: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    mount = lossy
    await mount.mkdir("made")
    await mount.settle()
    workspace.put("made/theirs", b"1")
    mount.remote.hang("list_folder")
    began = trio.current_time()
    await mount.write("made/ours", b"2")
    assert await mount.listdir("made") == ["ours"]
    assert trio.current_time() - began < comparison.PATIENCE_S
    await mount.remote.wait_hanging("list_folder")
    mount.remote.release()
    await _until(lambda: _has_in_folder(mount, "made", ["ours", "theirs"]))


async def test_removing_a_folder_made_here_waits_for_its_first_listing(
    lossy: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await lossy.mkdir("made")
    await lossy.settle()
    workspace.put("made/theirs", b"1")
    with pytest.raises(DirectoryNotEmpty):
        await lossy.rmdir("made")


async def _has_in_folder(mount: WorkspaceMount, path: str, names: list[str]) -> bool:
    return await mount.listdir(path) == names

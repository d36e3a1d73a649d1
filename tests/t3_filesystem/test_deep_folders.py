"""Folders within folders, deeper than calls may be nested: one path may name two thousand of them."""

import stat
import sys

import pytest

from mountfs.model.entry import EntryKind
from mountfs.model.errors import AccessDenied
from mountfs.model.ids import ROOT_INO
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.sync.removal_steps import RemovalSteps
from mountfs.sync.step_outcome import Outcome, WaitFor
from mountfs.tree import local_changes
from mountfs.tree.inode import Inode
from tests.t3_filesystem.workspace_mount import WorkspaceMount

DEPTH = sys.getrecursionlimit()
DEEPEST = "/".join(["d"] * DEPTH)
FOLDER = stat.S_IFDIR | 0o755

pytestmark = pytest.mark.parametrize("mount", [True], indirect=True)


async def walked_down(mount: WorkspaceMount) -> list[Inode]:
    """Return the root and the folders, listed one after the other as a program would that walks down."""
    way = [mount.tree.inodes[ROOT_INO]]
    for _ in range(DEPTH):
        await mount.parts.refresher.ensure_fresh(way[-1])
        way.append(way[-1].children[b"d"])
    await mount.parts.refresher.ensure_fresh(way[-1])
    return way


def remove_all(mount: WorkspaceMount, way: list[Inode]) -> None:
    local_changes.remove(mount.tree, way[-1], b"f", directory=False)
    for folder in reversed(way[:-1]):
        local_changes.remove(mount.tree, folder, b"d", directory=True)


async def test_others_remove_them(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    workspace.put(f"{DEEPEST}/f", b"old")
    top = (await walked_down(mount))[0]
    workspace.trash(workspace.find("d"))
    await mount.catch_up()
    assert not top.children


async def test_they_are_removed_here(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    workspace.put(f"{DEEPEST}/f", b"old")
    way = await walked_down(mount)
    remove_all(mount, way)
    mount.parts.sender.expedite([way[1]])
    await mount.wait_until(lambda: way[1].base is None or way[1].failure)
    assert not workspace.folders()


async def test_others_edit_what_was_removed_with_them(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put(f"{DEEPEST}/f", b"old")
    way = await walked_down(mount)
    remove_all(mount, way)
    workspace.put(f"{DEEPEST}/f", b"theirs")
    await mount.catch_up()
    assert way[-1].children[b"f"].path() == f"{DEEPEST}/f".encode()


async def test_what_is_unsent_at_the_bottom_is_loaded_at_a_start(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put(f"{DEEPEST}/f", b"old")
    bottom = (await walked_down(mount))[-1]
    local_changes.create(mount.tree, bottom, b"new", EntryKind.DIRECTORY, FOLDER, (0, 0))
    await mount.restart()
    assert [inode.path() for inode in mount.tree.pending.values()] == [f"{DEEPEST}/new".encode()]


async def test_the_first_is_refused_when_the_others_wait_for_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    folder = mount.tree.inodes[ROOT_INO]
    for _ in range(DEPTH):
        folder = local_changes.create(mount.tree, folder, b"d", EntryKind.DIRECTORY, FOLDER, (0, 0))
    mount.remote.hang("create_folder")
    pending = list(mount.tree.pending.values())
    mount.parts.sender.expedite(pending)
    await mount.remote.wait_hanging("create_folder")
    await mount.wait_until(lambda: sum(map(len, mount.parts.sender._parked.values())) == DEPTH - 1)
    mount.remote.fail("create_folder", AccessDenied("not here"), times=None)
    mount.remote.release("create_folder")
    await mount.wait_until(lambda: all(inode.failure for inode in pending))


async def test_each_that_is_removed_with_the_first_is_looked_at_a_few_times(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.put(f"{DEEPEST}/f", b"old")
    looks = 0
    trash = RemovalSteps.trash

    async def counted(steps: RemovalSteps, inode: Inode) -> Outcome | WaitFor:
        nonlocal looks
        looks += 1
        return await trash(steps, inode)

    monkeypatch.setattr(RemovalSteps, "trash", counted)
    remove_all(mount, await walked_down(mount))
    await mount.settle()
    assert not workspace.folders()
    assert looks <= 3 * DEPTH


async def test_what_is_unsent_is_moved_to_the_bottom_by_others(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("x/f", b"old")
    workspace.put(f"{DEEPEST}/g", b"old")
    await mount.read("x/f")
    mount.remote.fail("commit", AccessDenied("not now"), times=None)
    await mount.write("x/f", b"new")
    await mount.settle()
    unsent = mount.inode("x/f")
    workspace.move(workspace.find("x"), workspace.find(DEEPEST))
    await mount.catch_up()
    assert unsent.path() == f"{DEEPEST}/x/f".encode()
    mount.remote.heal()
    mount.parts.sender.retry([unsent])
    await mount.settle()
    assert workspace.files()[f"{DEEPEST}/x/f"] == b"new"


async def test_what_waits_for_the_first_is_given_up_with_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    folder = top = mount.tree.inodes[ROOT_INO]
    mount.remote.fail("create_folder", AccessDenied("not here"), times=None)
    for _ in range(DEPTH):
        folder = local_changes.create(mount.tree, folder, b"d", EntryKind.DIRECTORY, FOLDER, (0, 0))
    await mount.parts.giving_up.discard(top.children[b"d"], None)
    assert not top.children
    assert not mount.tree.pending

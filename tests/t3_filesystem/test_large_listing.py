"""Listings of very many entries: while they change, and while they come."""

import random
from collections.abc import Callable
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mountfs.filesystem import listing
from mountfs.filesystem.handles import OpenDirectory
from mountfs.model.entry import EntryKind
from mountfs.model.errors import ContentUnavailable
from mountfs.model.filesystem import RenameFlag
from mountfs.model.ids import ROOT_INO, NodeId
from mountfs.model.node import RemoteNode
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.sync import comparison
from mountfs.tree import local_changes
from mountfs.tree.inode import Inode
from tests.t3_filesystem.workspace_mount import WorkspaceMount, clock_standing_still

ENTRIES = 100_000
CHANGES = 40
"""Of each kind, between two portions."""


def listed(directory: Inode, between: Callable[[], None]) -> list[bytes]:
    """Return all names that one reader of the directory gets."""
    handle, names, offset = OpenDirectory(directory), list[bytes](), 0
    while portion := listing.portion(handle, offset, Inode.attributes):
        names += [entry.name for entry in portion]
        offset = portion[-1].next_offset
        between()
    return names


@pytest.mark.long
async def test_nothing_is_lost_or_twice_among_100000(mount: WorkspaceMount) -> None:
    tree, chance = mount.tree, random.Random(1)
    tree.most_resident = tree.crowded_at = 2 * ENTRIES
    top = tree.inodes[ROOT_INO]
    names = [b"%06d" % number for number in range(ENTRIES)]
    for name in names:
        local_changes.create(tree, top, name, EntryKind.SPECIAL, 0o010644, (0, 0))
    moving = set(chance.sample(names, ENTRIES // 4))
    to_go, made = sorted(moving), 0

    def change() -> None:
        nonlocal made
        for _ in range(CHANGES):
            if not to_go:
                return
            name = to_go.pop(chance.randrange(len(to_go)))
            if made % 2:
                local_changes.remove(tree, top, name, directory=False)
            else:
                local_changes.rename(tree, top, name, top, b"moved " + name, RenameFlag.REPLACE)
            local_changes.create(tree, top, b"new %d" % made, EntryKind.SPECIAL, 0o010644, (0, 0))
            made += 1

    seen = listed(top, change)
    assert made > 1000
    assert len(seen) == len(set(seen))
    assert set(names) - moving <= set(seen)
    assert seen[:2] == [b".", b".."]


@pytest.fixture
async def slow(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> set[str]:
    """A folder d takes almost twice as long to list as programs wait for an answer; in parts, unless the set
    that is returned says that they "stop"."""
    whole, says = mount.memory.list_folder, set[str]()

    async def listed_slowly(folder: NodeId, came: Callable[[], None] = lambda: None) -> list[RemoteNode]:
        for _ in range(3):
            cast("MockClock", trio.lowlevel.current_clock()).jump(0.6 * comparison.PATIENCE_S)
            await wait_all_tasks_blocked()
            if "stop" not in says:
                came()
        return await whole(folder, came)

    workspace.put("d/a", b"content")
    await mount.catch_up()
    await mount.listdir()
    monkeypatch.setattr(mount.memory, "list_folder", listed_slowly)
    return says


async def test_a_first_listing_is_waited_for_while_more_of_it_comes(
    mount: WorkspaceMount, slow: set[str]
) -> None:
    with clock_standing_still():
        assert await mount.listdir("d") == ["a"]


async def test_a_first_listing_of_which_nothing_comes_is_an_error(
    mount: WorkspaceMount, slow: set[str]
) -> None:
    slow.add("stop")
    with clock_standing_still(), pytest.raises(ContentUnavailable, match="did not list it in time"):
        await mount.listdir("d")

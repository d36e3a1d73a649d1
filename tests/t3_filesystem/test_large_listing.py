"""A listing of 100,000 entries while they change: nothing twice, nothing lost that was there all the time."""

import random
from collections.abc import Callable

import pytest

from mountfs.filesystem import listing
from mountfs.filesystem.handles import OpenDirectory
from mountfs.model.entry import EntryKind
from mountfs.model.filesystem import RenameFlag
from mountfs.model.ids import ROOT_INO
from mountfs.tree import local_changes
from mountfs.tree.inode import Inode
from tests.t3_filesystem.workspace_mount import WorkspaceMount

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

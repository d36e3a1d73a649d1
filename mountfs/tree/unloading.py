"""Letting entries go out of memory that nobody uses, and that the journal has as they are. Synchronous.

Only files, symlinks and the like go: the folders stay, and know when they were last compared with the remote.
"""

from typing import Final

import trio

from mountfs.model.ids import Ino
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

ROOM_PART: Final = 8
"""When there are too many, so great a part of the limit is made free: not every new entry needs a search."""


PORTION: Final = 2000
"""After so many the other work gets its turn."""


def make_room(tree: Tree) -> bool:
    """Unload some of what was not used for longest; return whether more is to go.

    Nobody may be between a question to the remote and the merge of its answer.
    """
    room = max(tree.most_resident // ROOM_PART, 1)
    wanted, before = tree.most_resident - room, len(tree.inodes)
    unwritten = tree.journal.unwritten()
    now = trio.current_time()
    for folder in tree.uses.least_used(now):
        if len(tree.inodes) <= max(wanted, before - PORTION):
            break
        if not tree.is_loading(folder):
            tree.uses.unloaded(folder, now, wholly=_unload_children(tree, folder, unwritten))
    tree.crowded_at = max(tree.most_resident, len(tree.inodes) + room)
    return wanted < len(tree.inodes) < before


def _unload_children(tree: Tree, folder: Inode, unwritten: set[Ino]) -> bool:
    """Return whether all went that ever may."""
    # By name: a child that is referred to here would be taken for one that is in use.
    for name in list(folder.children):
        if _may_go(tree, folder.children[name], unwritten):
            tree.unload(folder, name)
    return all(child.is_directory for child in folder.children.values())


def _may_go(tree: Tree, inode: Inode, unwritten: set[Ino]) -> bool:
    return (
        inode.is_idle
        and not inode.is_directory
        and inode.ino not in unwritten
        and inode.ino not in tree.conflicts
    )

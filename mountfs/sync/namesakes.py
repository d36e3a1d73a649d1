"""Siblings whose names a workspace may take for one: they differ in case, or in how letters are composed.

Whether a service does is not published, and one that does would put the second file over the first.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import trio

from mountfs.model.ids import Ino
from mountfs.rules import names
from mountfs.tree.inode import Inode

FOLDERS_KEPT: Final = 8
BUILT_AGAIN_S: Final = 5.0
"""Names that others gave meanwhile are known after this time; those of this mount at once."""


@dataclass(slots=True)
class _Known:
    built_at: float
    by_key: dict[str, set[bytes]] = field(default_factory=dict)

    def add(self, name: bytes) -> set[bytes]:
        alike = self.by_key.setdefault(names.collision_key(name), set())
        alike.add(name)
        return alike


class Namesakes:
    """Looks for namesakes among what is known of a folder; remembers the names of the last few folders."""

    def __init__(self) -> None:
        self._folders: OrderedDict[Ino, _Known] = OrderedDict()

    def of(self, inode: Inode) -> Inode | None:
        """Return a sibling that a workspace might take for this entry, None where there is none."""
        folder = inode.parent
        if folder is None:
            return None
        for name in self._known(folder).add(inode.name):
            sibling = folder.children.get(name)
            if sibling is not None and sibling is not inode and name != inode.name:
                return sibling
        return None

    def _known(self, folder: Inode) -> _Known:
        now = trio.current_time()
        known = self._folders.get(folder.ino)
        if known is None or now - known.built_at > BUILT_AGAIN_S:
            known = self._folders[folder.ino] = _Known(now)
            for name in folder.children:
                known.add(name)
        self._folders.move_to_end(folder.ino)
        if len(self._folders) > FOLDERS_KEPT:
            self._folders.popitem(last=False)
        return known

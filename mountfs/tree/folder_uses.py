"""Which folders were used when: the order in which their children may go out of memory."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Final

from mountfs.model.ids import Ino
from mountfs.tree.inode import Inode

SOON_S: Final = 30.0
"""A folder that is needed again so soon after its children went stays for at least this time: programs that
go to and fro between large folders must not have each of them read from the journal again and again."""


class FolderUses:
    """The folders with children in memory, by their last use. `now` is any clock's that never jumps."""

    def __init__(self) -> None:
        self._by_use: OrderedDict[Ino, Inode] = OrderedDict()
        self._kept: dict[Ino, int] = {}
        self._unloaded_at: dict[Ino, float] = {}
        self._stays_until: dict[Ino, float] = {}
        self._missed: dict[Ino, int] = {}

    def note(self, folder: Inode) -> None:
        """It is used now."""
        self._by_use[folder.ino] = folder
        self._by_use.move_to_end(folder.ino)

    @contextmanager
    def keeping(self, folder: Inode) -> Iterator[None]:
        """Let the children stay in memory within, once they are."""
        self.keep(folder)
        try:
            yield
        finally:
            self.let_go(folder)

    def keep(self, folder: Inode) -> None:
        """Like `keeping`, until `let_go` was called as often."""
        self._kept[folder.ino] = self._kept.get(folder.ino, 0) + 1

    def let_go(self, folder: Inode) -> None:
        self._kept[folder.ino] -= 1
        if not self._kept[folder.ino]:
            del self._kept[folder.ino]

    def loaded(self, folder: Inode, now: float) -> None:
        """Its children came into memory."""
        self.note(folder)
        self._missed.pop(folder.ino, None)
        if now - self._unloaded_at.pop(folder.ino, -inf) < SOON_S:
            self._stays_until[folder.ino] = now + SOON_S

    def missed(self, folder: Inode) -> int:
        """A child was wanted that was not in memory; return how often, since all of them were."""
        self._missed[folder.ino] = self._missed.get(folder.ino, 0) + 1
        return self._missed[folder.ino]

    def unloaded(self, folder: Inode, now: float, *, wholly: bool) -> None:
        """Its children went out of memory, those that could; `wholly`: there is nothing left to go later."""
        if wholly:
            self._by_use.pop(folder.ino, None)
        self._unloaded_at[folder.ino] = now

    def forget(self, folder: Inode) -> None:
        """It exists no more."""
        self._by_use.pop(folder.ino, None)
        self._missed.pop(folder.ino, None)

    def least_used(self, now: float) -> list[Inode]:
        """Return the folders whose children may go, those first that were not used for longest; without the
        one that was used last."""
        self._unloaded_at = {ino: when for ino, when in self._unloaded_at.items() if now - when < SOON_S}
        self._stays_until = {ino: until for ino, until in self._stays_until.items() if until > now}
        folders = list(self._by_use.values())[:-1]
        return [each for each in folders if each.ino not in self._kept and each.ino not in self._stays_until]

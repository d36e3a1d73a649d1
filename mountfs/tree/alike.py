"""Names that the remote may take for one: they differ only in case, or in how Unicode writes a letter."""

from collections.abc import Callable

from mountfs.model.ids import Ino, NodeId
from mountfs.rules import names
from mountfs.tree.inode import Inode

Place = tuple[NodeId, str]


class AlikeNames:
    """Keeps of each folder the names in memory that are not as `names.folded` would have them: few, mostly.

    Refers to no inode, which could not be unloaded then.
    """

    def __init__(self) -> None:
        self._unusual: dict[tuple[Ino, str], set[bytes]] = {}

    def add(self, folder: Inode, name: bytes) -> None:
        if not names.is_folded(name):
            self._unusual.setdefault((folder.ino, names.folded(name)), set()).add(name)

    def remove(self, folder: Inode, name: bytes) -> None:
        if names.is_folded(name):
            return
        key = (folder.ino, names.folded(name))
        known = self._unusual.get(key, set())
        known.discard(name)
        if not known:
            self._unusual.pop(key, None)

    def others(self, folder: Inode, name: bytes) -> list[Inode]:
        """Return the children with another name that is like this one."""
        folded = names.folded(name)
        alike = set(self._unusual.get((folder.ino, folded), ()))
        alike.add(folded.encode("utf-8", "surrogateescape"))
        alike.discard(name)
        return [child for one in alike if (child := folder.children.get(one)) is not None]

    def remote_name(self, inode: Inode, stays_here: Callable[[Inode], bool]) -> str:
        """Return what the entry is, or is to be, called on the remote; "" where it has no name here.

        Those of its like that the remote does not have yet get their marks in the order of their numbers.
        """
        parent = inode.parent
        if parent is None:
            return ""
        if inode.base is not None and inode.is_at_home:
            return inode.base.name
        taken, nameless = set(), [inode]
        for child in self.others(parent, inode.name):
            if child.base is not None and child.is_at_home:
                taken.add(names.mark_of(child.base.name))
            elif not stays_here(child):
                nameless.append(child)
        for child in sorted(nameless, key=lambda child: child.ino):
            mark = names.free_mark(taken)
            if child is inode:
                break
            taken.add(mark)
        return names.to_remote(inode.name, mark)


class DisplacedPlaces(dict[Place, Inode]):
    """Which pending entry still occupies a place on the remote though it has left it here."""

    def __init__(self) -> None:
        super().__init__()
        self._by_folded: dict[Place, set[str]] = {}

    def __setitem__(self, place: Place, inode: Inode) -> None:
        super().__setitem__(place, inode)
        parent, name = place
        self._by_folded.setdefault((parent, names.folded_text(name)), set()).add(name)

    def __delitem__(self, place: Place) -> None:
        super().__delitem__(place)
        parent, name = place
        key = (parent, names.folded_text(name))
        self._by_folded[key].discard(name)
        if not self._by_folded[key]:
            del self._by_folded[key]

    def occupant(self, place: Place, *, besides: Inode) -> Inode | None:
        """Return who else occupies this place, or one that the remote may take for it."""
        parent, name = place
        exact = self.get(place)
        if exact is not None and exact is not besides:
            return exact
        alike = self._by_folded.get((parent, names.folded_text(name)), ())
        found = [self[parent, one] for one in sorted(alike)]
        return next((inode for inode in found if inode is not besides), None)


class UnansweredPlaces(dict[Place, Inode]):
    """Where the remote may have created a file of ours, with the answer lost or still to come."""

    def __init__(self) -> None:
        super().__init__()
        self._by_ino: dict[Ino, set[Place]] = {}

    def __setitem__(self, place: Place, inode: Inode) -> None:
        if place in self:
            del self[place]
        super().__setitem__(place, inode)
        self._by_ino.setdefault(inode.ino, set()).add(place)

    def __delitem__(self, place: Place) -> None:
        ino = self[place].ino
        super().__delitem__(place)
        self._by_ino[ino].discard(place)
        if not self._by_ino[ino]:
            del self._by_ino[ino]

    def forget(self, inode: Inode) -> None:
        """It is known what the remote created of this one."""
        for place in list(self._by_ino.get(inode.ino, ())):
            del self[place]

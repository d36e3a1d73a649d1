"""Which places on the remote are not free, though nothing is known to be there: something is on its way."""

from collections.abc import Iterator
from contextlib import contextmanager

from mountfs.model.ids import Ino, NodeId
from mountfs.rules import names
from mountfs.tree.alike import Place
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree


class Places:
    """What was asked for counts until its answer is recorded: programs may have taken the entry elsewhere
    since, and put another one there. Had both their way, one would replace the other on the remote."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._asking: dict[Ino, tuple[Inode, NodeId, Place]] = {}
        """What the remote is being asked just now: for whom to put which node where."""
        self._hindrances: dict[Ino, Inode] = {}
        """What has to leave a removed entry on the remote before that can be deleted there."""

    @contextmanager
    def asking(self, inode: Inode, node: NodeId, place: Place) -> Iterator[None]:
        """Within, the remote is asked to put the node there for this entry."""
        self._asking[inode.ino] = inode, node, place
        try:
            yield
        finally:
            del self._asking[inode.ino]

    def mover_of(self, node: NodeId) -> Inode | None:
        """Return for whom the remote is being asked to move this node."""
        return next((inode for inode, moving, _ in self._asking.values() if moving == node), None)

    def is_doubtful(self, inode: Inode) -> bool:
        """Tell whether a request to move it ended without an answer."""
        return inode.node in self._tree.requested and self.mover_of(inode.node) is None

    def blocker(self, inode: Inode, parent: NodeId, name: str) -> Inode | None:
        """Return another entry of ours that has this place on the remote, or may have or get it just now."""
        creating = self._tree.unanswered.get((parent, name))
        if creating is not None and creating is not inode and _is_to_be_sent(creating):
            return creating
        folded = names.folded_text(name)
        for (folder, asked), mover in self._movers():
            if mover is not inode and folder == parent and names.folded_text(asked) == folded:
                return mover
        return self._tree.displaced.occupant((parent, name), besides=inode)

    def arriving_in(self, removed: Inode) -> Inode | None:
        """Return an entry that may be on its way into this folder, or into one below it."""
        for (folder, _), creating in self._tree.unanswered.items():
            if _is_to_be_sent(creating) and self.lies_in(folder, removed):
                return creating
        return next((mover for (folder, _), mover in self._movers() if self.lies_in(folder, removed)), None)

    def lies_in(self, folder: NodeId, ancestor: Inode) -> bool:
        """Tell whether the folder is `ancestor` or below it on the remote, as far as is known."""
        known = self._tree.by_node.get(folder)
        # Others may have moved one folder out of another and then that into it: where only the second move is
        # known here, each lies in the other.
        seen: set[Ino] = set()
        while known is not None and known is not ancestor and not known.is_root and known.base is not None:
            if known.ino in seen:
                return False
            seen.add(known.ino)
            known = self._tree.by_node.get(known.base.parent)
        return known is ancestor

    def way_out(self, folder: NodeId) -> Inode:
        """Return the folder, or the one around it on the remote, that is to go to another place there."""
        leaving = self._tree.by_node[folder]
        while not self._tree.is_displaced(leaving) and leaving.base is not None:
            leaving = self._tree.by_node[leaving.base.parent]
        return leaving

    def note_hindrance(self, removed: Inode, hindrance: Inode | None) -> None:
        """The removed entry waits for this one; None: for nothing."""
        if hindrance is None:
            self._hindrances.pop(removed.ino, None)
        else:
            self._hindrances[removed.ino] = hindrance

    def waits_for_itself(self, inode: Inode, hindrance: Inode) -> bool:
        """Tell whether what this entry waits for waits in turn, over whatever lies between, for its place.

        Of a circle with something removed in it, that breaks it.
        """
        seen: set[Ino] = set()
        following: Inode | None = hindrance
        is_for_place = False
        while following is not None and following.ino not in seen:
            if following is inode:
                return is_for_place
            if not following.is_linked and inode.is_linked:
                return False
            seen.add(following.ino)
            following, is_for_place = self._waited_for(following)
        return False

    def _waited_for(self, inode: Inode) -> tuple[Inode | None, bool]:
        """Return what has to get a step further before this entry can have its place on the remote or go, and
        whether it waits for the place of that one."""
        folder = inode.parent
        if folder is None:
            return self._hindrances.get(inode.ino), False
        if folder.node is None:
            return folder, False
        if inode.is_directory and inode.base is not None and self.lies_in(folder.node, inode):
            return self.way_out(folder.node), False
        place = folder.node, self._tree.remote_name(inode)
        return self._tree.displaced.occupant(place, besides=inode), True

    def _movers(self) -> Iterator[tuple[Place, Inode]]:
        for inode, _, place in self._asking.values():
            yield place, inode
        for node, place in self._tree.requested.items():
            # The answer may have been lost: whoever has the node finds out before its next step.
            owner = self._tree.by_node.get(node)
            if owner is not None and _is_to_be_sent(owner):
                yield place, owner


def _is_to_be_sent(inode: Inode) -> bool:
    return inode.sending or inode.pending is not None

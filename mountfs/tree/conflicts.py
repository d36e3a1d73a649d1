"""Both sides changed one thing: where ours goes, and what the journal remembers of it. Synchronous."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from mountfs.model.conflict import Conflict, ConflictKind
from mountfs.model.entry import Base
from mountfs.model.filesystem import KernelNotifier
from mountfs.model.ids import ROOT_NODE, Ino
from mountfs.model.node import RemoteNode
from mountfs.rules import names
from mountfs.rules.happenings import Kind
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)


def base_of(node: RemoteNode) -> Base:
    return Base(
        node.id,
        node.parent,
        node.name,
        node.version,
        node.sha256,
        node.size,
        node.text,
        max(node.modified_ns, 0),
    )


def with_content_of(base: Base, node: RemoteNode) -> Base:
    return replace(
        base,
        version=node.version,
        sha256=node.sha256,
        size=node.size,
        modified_ns=max(node.modified_ns, 0),
    )


class Conflicts:
    """Keeps both sides. `host` names this side in conflict copies; `noticed` counts what was recorded."""

    def __init__(self, tree: Tree, kernel: KernelNotifier, *, host: str) -> None:
        self._tree = tree
        self._kernel = kernel
        self._host = host
        self.noticed = 0
        self._touched: dict[Ino, Inode] | None = None

    def note(
        self,
        ours: Inode,
        kind: ConflictKind,
        theirs: RemoteNode | None,
        *,
        base: Base | None = None,
        path: bytes | None = None,
    ) -> None:
        """Record what happened to this entry, in the transaction of the change itself."""
        path = ours.path() if path is None else path
        log.warning("conflict (%s) at %r; see mountfs conflicts", kind.value, path)
        self.noticed += 1
        self._tree.happenings.tell(Kind.CONFLICT, path, kind=kind.value)
        self._tree.note_conflict(
            Conflict(
                ino=ours.ino,
                kind=kind,
                path=path,
                noticed_ns=time.time_ns(),
                theirs=base_of(theirs) if theirs is not None else None,
                base=base,
            )
        )

    def step_aside(self, ours: Inode, theirs: RemoteNode) -> None:
        """Both sides claim one path: ours goes on as a conflict copy beside it, as a new file."""
        parent, old_name, path, base = ours.parent, ours.name, ours.path(), ours.base
        assert parent is not None
        name = self.free_name(parent, old_name)
        log.warning("%r: this host's content goes on as %r", path, name)
        if base is not None and ours.content_dirty and base.node == theirs.id:
            self.note(ours, ConflictKind.EDIT_EDIT, theirs, base=base, path=path)
        elif base is None:
            self.note(ours, ConflictKind.CREATE_CREATE, theirs, path=path)
        else:
            self.note(ours, ConflictKind.RENAME_CREATE, theirs, path=path)
        if ours.content_dirty:
            self._tree.set_base(ours, None)
        self._tree.detach(ours)
        self._tree.attach(ours, parent, name)
        self._tree.track_displacement(ours)
        self._tree.mark_pending(ours)
        self._tree.save(ours)
        self._kernel.entry_changed(parent.ino, old_name)
        self._kernel.entry_changed(parent.ino, name)

    def split(self, ours: Inode, theirs: RemoteNode, ino: Ino) -> None:
        """Both sides changed a file that programs have open: our content, of which `ino` has a copy, becomes
        a new file beside it. The file itself stays what programs have open, and is to take theirs."""
        parent, path, base = ours.parent, ours.path(), ours.base
        assert parent is not None
        name = self.free_name(parent, ours.name)
        log.warning("%r: this host's content is kept as %r", path, name)
        record = ours.record()._replace(
            ino=ino,
            name=name,
            base=None,
            generation=0,
            pending=None,
            failure=None,
            exposed=None,
        )
        copy = Inode(record, parent)
        self._tree.attach(copy, parent, name)
        self._tree.insert(copy)
        edited = base is not None and base.node == theirs.id
        kind = ConflictKind.EDIT_EDIT if edited else ConflictKind.CREATE_CREATE
        self.note(copy, kind, theirs, base=base if edited else None, path=path)
        self._tree.mark_pending(copy)
        self._tree.save(copy)
        self._kernel.entry_changed(parent.ino, name)
        self.touch(parent)

    def free_name(self, parent: Inode, wanted: bytes, *, side: str = "") -> bytes:
        """Return the name itself where nobody has it here, else that of a conflict copy; `side` says whose,
        if not this host's."""
        attempt = 0
        name = wanted
        while name in parent.children:
            name = names.conflict_name(wanted, side or self._host, datetime.now(UTC), attempt)
            attempt += 1
        return name

    def put_back(self, removed: Inode) -> None:
        """Give what was removed here, and the folders above it, their names again: others still use it."""
        way = {removed.ino: removed}
        # Step by step: paths may be deeper than calls may be nested.
        while (above := self._folder_of(removed)) and not above.is_linked and above.ino not in way:
            way[above.ino] = removed = above
        for each in reversed(way.values()):
            self._put_back(each)

    def _put_back(self, removed: Inode) -> None:
        folder = self._folder_of(removed)
        parent = folder if folder is not None and folder.is_linked else self._tree.by_node[ROOT_NODE]
        assert removed.base is not None
        name = self.free_name(parent, names.from_remote(removed.base.name))
        removed.listed = False
        self._tree.attach(removed, parent, name)
        self._tree.track_displacement(removed)
        self._tree.mark_pending(removed)
        self._tree.save(removed)
        self._kernel.entry_changed(parent.ino, name)
        self.touch(parent)
        log.warning("%r was removed here while others changed it: kept", removed.path())

    def _folder_of(self, inode: Inode) -> Inode | None:
        """Return the folder in which the remote has the entry, where that is known."""
        assert inode.base is not None
        folder = self._tree.by_node.get(inode.base.parent)
        return folder if folder is not None and folder.is_directory else None

    def _parent_there(self, inode: Inode) -> Inode:
        """Return where the remote has the entry, put back where it was removed here; else the root."""
        parent = self._folder_of(inode)
        if parent is None:
            return self._tree.by_node[ROOT_NODE]
        if not parent.is_linked:
            self.put_back(parent)
        return parent

    def undo_move(self, inode: Inode) -> None:
        """Let the entry lie again where the remote has it, under another name where that is taken."""
        base = inode.base
        assert base is not None
        assert inode.parent is not None
        left, left_name = inode.parent, inode.name
        parent = self._parent_there(inode)
        if parent.is_below(inode):
            parent = self._tree.by_node[ROOT_NODE]
        self._tree.detach(inode)
        name = self.free_name(parent, names.from_remote(base.name))
        self._tree.attach(inode, parent, name)
        self._tree.track_displacement(inode)
        self._tree.mark_pending(inode)
        self._tree.save(inode)
        for folder, changed in ((left, left_name), (parent, name)):
            self._kernel.entry_changed(folder.ino, changed)
            self.touch(folder)

    @contextmanager
    def touching_once(self) -> Iterator[None]:
        """Within, where nobody may wait, a directory may change many times: it is saved and told of once."""
        touched = self._touched = {}
        try:
            yield
        finally:
            self._touched = None
            for directory in touched.values():
                self.touch(directory)

    def touch(self, directory: Inode) -> None:
        """Something in the directory changed."""
        if self._touched is not None:
            self._touched[directory.ino] = directory
            return
        directory.mtime_ns = directory.ctime_ns = time.time_ns()
        self._tree.save(directory)
        self._kernel.attributes_changed(directory.ino)

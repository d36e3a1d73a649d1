"""What the remote says changed, merged into the tree. Synchronous; the kernel's caches are told as well.

What is changed here and not yet sent is never overwritten: places and content that are pending stay as they
are here, and where both sides claim one path ours steps aside as a conflict copy.
"""

import logging
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import trio

from mountfs.model.conflict import ConflictKind
from mountfs.model.entry import Base, EntryKind, EntryRecord
from mountfs.model.filesystem import KernelNotifier
from mountfs.model.ids import Ino, NodeId
from mountfs.model.node import NodeKind, RemoteNode
from mountfs.rules import names, relocation, remote_edits, shared_attributes
from mountfs.rules.happenings import Kind
from mountfs.rules.shared_attributes import Attributes, Content
from mountfs.tree.cached_content import CachedContent
from mountfs.tree.conflicts import Conflicts, base_of, with_content_of
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

FILE_MODE = stat.S_IFREG | 0o644
FOLDER_MODE = stat.S_IFDIR | 0o755
LINK_MODE = stat.S_IFLNK | 0o777


class RemoteChanges:
    """Merges answers of the remote."""

    def __init__(
        self, tree: Tree, kernel: KernelNotifier, content: CachedContent, conflicts: Conflicts
    ) -> None:
        self._tree = tree
        self._kernel = kernel
        self._content = content
        self.conflicts = conflicts
        self.rivals: dict[Ino, RemoteNode] = {}
        self._used_before: set[Ino] = set()
        """Folders that programs used here before it was known what the remote has in them."""
        self.when_taken: Callable[[Inode], None] = lambda inode: None
        """Called when a file gets content of the remote's in place of what it had."""
        self.when_changed: Callable[[RemoteNode], None] = lambda node: None
        """Called when the remote tells of another version of a file than was known, or of another place."""

    def apply(self, node: RemoteNode) -> NodeId | None:
        """Merge one answer about one node.

        Return another node that must be looked at first, because the tree believes that it is where this
        one is; None when all is done.
        """
        inode = self._tree.by_node.get(node.id)
        if inode is not None and inode.is_root:
            return None
        if node.trashed:
            if inode is not None:
                self.remove(inode)
            return None
        if node.kind in (NodeKind.LINK, NodeKind.NOTE) or not names.is_safe_from_remote(node.name):
            return None
        parent = self._tree.by_node.get(node.parent)
        if inode is None:
            return self._insert(node, parent)
        self._content.notice(inode)
        if inode.base is not None and remote_edits.may_end_a_lock(inode.base, node):
            self.when_changed(node)
        if self._is_another_kind(inode, node):
            return self._replace(inode, node)
        if not inode.is_linked and inode.is_file_there and self._is_taken_up(inode, node):
            return self._bring_back(inode, node)
        blocked_by = self._follow_place(inode, node, parent)
        if blocked_by is None and self._tree.by_node.get(node.id) is inode:
            self._follow_content(inode, node)
            self._follow_text(inode, node)
            inode.touched_at = trio.current_time()
            self._tree.save(inode)
        return blocked_by

    def apply_together(self, nodes: Iterable[RemoteNode]) -> list[RemoteNode]:
        """Merge many answers; return those that have to be merged again, once what is in their way has been
        looked at."""
        with self.conflicts.touching_once():
            return [node for node in nodes if self.apply(node) is not None]

    def remove(self, inode: Inode) -> None:
        """The remote deleted the node. What is not yet sent of it is kept, and becomes new there."""
        lost = [(inode, self._lose_node(inode))]
        for each, base in lost:  # not by calls of this one: paths may be deeper than calls may be nested
            lost += [
                (child, self._lose_node(child))
                for child in reversed(each.children.values())
                if child.base is not None and (base is None or child.base.parent == base.node)
            ]
        for each, base in reversed(lost):
            self._keep_or_take_from_view(each, base)

    def _lose_node(self, inode: Inode) -> Base | None:
        self._content.notice(inode)
        self._tree.end_conflicts_of(inode)
        base = inode.base
        self._tree.set_base(inode, None)
        return base

    def _keep_or_take_from_view(self, inode: Inode, base: Base | None) -> None:
        if not inode.is_linked:
            self._tree.drop_if_unneeded(inode)
            return
        if inode.content_dirty or inode.children:
            if inode.is_file_there and base is not None:
                self.conflicts.note(inode, ConflictKind.EDIT_DELETE, None, base=base)
            else:
                log.warning("%r was deleted on the remote while it had changes here: kept", inode.path())
            self._tree.mark_pending(inode)
            self._tree.save(inode)
            return
        self._tree.happenings.tell(Kind.REMOVED, inode.path())
        self._take_from_view(inode, base, "the remote deleted it")

    def _take_from_view(self, inode: Inode, base: Base | None, reason: str) -> None:
        parent = inode.parent
        assert parent is not None
        log.info("%r goes from view: %s (node %s)", inode.path(), reason, base.node if base else None)
        self._kernel.entry_changed(parent.ino, inode.name)
        self._tree.detach(inode)
        self.conflicts.touch(parent)
        self._tree.drop_if_unneeded(inode)
        self._content.dropped(inode)

    # A node that is new here.

    def _insert(self, node: RemoteNode, parent: Inode | None) -> NodeId | None:
        if parent is None or not _takes_children(parent) or not parent.loaded:
            # The first step of a folder's removal finds out about what others put there.
            return None
        name = names.from_remote(node.name)
        occupant = parent.children.get(name)
        ours = self._tree.unanswered.get((node.parent, node.name))
        if ours is not None and ours is not occupant:
            # It was renamed or removed here since: the sender finds out whether this is it.
            return None
        if occupant is not None:
            if occupant.base is None and occupant.is_directory and node.kind is NodeKind.FOLDER:
                self._unite_folders(occupant, node)
                return None
            if self._hides(occupant):
                return None
            if occupant.base is None and occupant.is_file_there and node.kind is NodeKind.FILE:
                self._note_rival(occupant, node)
                return None
            if self._is_there(occupant):
                return occupant.node
            if occupant.sending:
                # Its answer will tell whether this very node is our own doing.
                return None
            self.conflicts.step_aside(occupant, node)
        inode = Inode(self._record(node, parent, name), parent)
        inode.loaded = True
        inode.touched_at = trio.current_time()
        self._tree.attach(inode, parent, name)
        self._tree.insert(inode)
        self._tree.save(inode)
        if parent.listed:
            self._tree.happenings.tell(Kind.CREATED, inode.path())
        if parent.listed or parent.ino in self._used_before:
            # Of any other folder nobody was told anything yet: not a name, and no lack of one.
            self._kernel.entry_changed(parent.ino, name)
        self.conflicts.touch(parent)
        return None

    def _is_there(self, occupant: Inode) -> bool:
        """Tell whether the remote had the entry at its place here when it was last heard of. It may be gone
        from there, or the remote has two nodes of one name."""
        return occupant.pending is None or occupant.is_at_home

    def _hides(self, occupant: Inode) -> bool:
        """Tell whether what never travels is at the place: under another name it might be sent."""
        if occupant.base is not None or occupant.unanswered or not self._tree.stays_here(occupant):
            return False
        self._tree.hiding.add(occupant.ino)
        return True

    def _record(self, node: RemoteNode, parent: Inode, name: bytes) -> EntryRecord:
        told = self._told(node)
        if node.kind is NodeKind.FOLDER:
            kind, mode = EntryKind.DIRECTORY, FOLDER_MODE
        elif told.target is not None:
            kind, mode = EntryKind.SYMLINK, LINK_MODE
        else:
            kind, mode = EntryKind.FILE, _executable(FILE_MODE) if told.executable else FILE_MODE
        when = told.mtime_ns or node.modified_ns or time.time_ns()
        return self._tree.new_record(self._tree.journal.new_ino(), parent.ino, name, kind, mode)._replace(
            size=node.size,
            mtime_ns=when,
            ctime_ns=when,
            target=told.target or b"",
            foreign=told.target is not None,
            base=base_of(node),
        )

    def _told(self, node: RemoteNode) -> Attributes:
        """Return what other hosts say of the node, if that is listened to."""
        if node.kind is not NodeKind.FILE or not self._tree.shares_attributes:
            return Attributes()
        return shared_attributes.told(node.text, Content(node.size, node.sha256))

    def _is_another_kind(self, inode: Inode, node: RemoteNode) -> bool:
        """Tell whether it is a symlink, or another one, or none any more, with nothing here to be kept of it.

        That a link is told of no more makes no file of it: its content has to be another.
        """
        if not inode.is_file_there or not inode.is_linked or inode.pending is not None:
            return False
        target = self._told(node).target
        if inode.is_symlink:
            assert inode.base is not None
            return remote_edits.is_edited(inode.base, node) if target is None else target != inode.target
        return target is not None

    def _replace(self, inode: Inode, node: RemoteNode) -> NodeId | None:
        """Put a new entry in the place of one that the kernel knows as something else."""
        base = inode.base
        self._tree.set_base(inode, None)
        self._take_from_view(inode, base, "it is of another kind now")
        return self._insert(node, self._tree.by_node.get(node.parent))

    def _note_rival(self, ours: Inode, node: RemoteNode) -> None:
        """The remote has a file where ours is to be created: the sender compares them before it sends.

        It may be our own, sent before a crash or with the answer lost.
        """
        self.rivals[ours.ino] = node
        self._tree.mark_pending(ours)

    def _is_taken_up(self, removed: Inode, node: RemoteNode) -> bool:
        """Tell whether others edited what was removed here, or wrote the same bytes again."""
        assert removed.base is not None
        if remote_edits.is_written_again(removed.base, node):
            return True
        if not remote_edits.is_edited(removed.base, node):
            return False
        if self._tree.open_uploads.may_have_made(node):
            self._tree.set_base(removed, base_of(node))
            return False
        return True

    def _bring_back(self, removed: Inode, node: RemoteNode) -> NodeId | None:
        """It was deleted here while others edited it: their edit stays, as a file that nothing here holds."""
        base, parent = removed.base, self._tree.by_node.get(node.parent)
        assert base is not None
        if parent is not None and not parent.is_linked:
            self.conflicts.put_back(parent)
        occupant = parent.children.get(names.from_remote(node.name)) if parent is not None else None
        if occupant is not None and self._is_there(occupant):
            return occupant.node
        self._tree.set_base(removed, None)
        self._tree.drop_if_unneeded(removed)
        self._content.dropped(removed)
        blocked_by = self._insert(node, parent)
        here = self._tree.by_node.get(node.id)
        if here is not None:
            self.conflicts.note(here, ConflictKind.DELETE_EDIT, node, base=base)
        return blocked_by

    def _unite_folders(self, ours: Inode, node: RemoteNode) -> None:
        self._tree.set_base(ours, base_of(node))
        ours.listed = False
        self._used_before.add(ours.ino)
        self._tree.mark_pending(ours)
        self._tree.save(ours)

    def give_node_to(self, inode: Inode, node: RemoteNode) -> None:
        """The remote made this node of ours, though it was taken for somebody else's meanwhile."""
        echo = self._tree.by_node.get(node.id)
        if echo is not None and echo is not inode:
            base = echo.base
            self._tree.set_base(echo, None)
            if echo.is_linked and echo.children:
                # Programs use it already: what they put there is not to go with it.
                log.warning("%r stays, as a folder of its own", echo.path())
                self._tree.mark_pending(echo)
                self._tree.save(echo)
            elif echo.is_linked:
                self._take_from_view(echo, base, f"its node was made for {inode.path()!r}")
        self._tree.set_base(inode, base_of(node))
        self.rivals.pop(inode.ino, None)

    # A node that is known here.

    def _follow_place(self, inode: Inode, node: RemoteNode, parent: Inode | None) -> NodeId | None:
        base = inode.base
        assert base is not None
        if (base.parent, base.name) == (node.parent, node.name):
            return None
        moved_here = self._tree.is_displaced(inode) or not inode.is_linked
        new_base = replace(base, parent=node.parent, name=node.name)
        if self._tree.requested.get(node.id) == (node.parent, node.name):
            # Our own doing: what the program did since is not to be undone by its echo.
            self._tree.set_base(inode, new_base)
            self._tree.mark_pending(inode)
            return None
        if moved_here:
            self._tree.set_base(inode, new_base)
            if (
                inode.is_linked
                and self._tree.is_displaced(inode)
                and not self._is_on_its_way(inode, base, node)
            ):
                self.conflicts.note(inode, ConflictKind.RENAME_RENAME, node, base=base)
            return None
        if parent is not None and parent.is_below(inode):
            left_before = self._break_circle(inode, parent)
            return left_before or self._follow_place(inode, node, parent)
        if parent is not None and not parent.is_linked and self._has_changes(inode):
            # The folder was removed here: what is not sent yet must not go with it.
            self.conflicts.put_back(parent)
        if parent is None or not _takes_children(parent):
            self._follow_out_of_sight(inode, new_base)
            return None
        name = names.from_remote(node.name)
        occupant = parent.children.get(name)
        if occupant is not None and occupant is not inode:
            if occupant.base is not None and self._is_there(occupant):
                return occupant.node
            self.conflicts.step_aside(occupant, node)
        assert inode.parent is not None
        left = inode.path()
        self._kernel.entry_changed(inode.parent.ino, inode.name)
        self.conflicts.touch(inode.parent)
        self._tree.detach(inode)
        self._tree.attach(inode, parent, name)
        self._tree.set_base(inode, new_base)
        self._tree.happenings.tell(Kind.MOVED, inode.path(), **{"from": left})
        self._kernel.entry_changed(parent.ino, name)
        self.conflicts.touch(parent)
        return None

    def _is_on_its_way(self, inode: Inode, base: Base, node: RemoteNode) -> bool:
        """Tell whether our own move may have put it there: the answer may have been lost with a process."""
        parent = inode.parent.node if inode.parent is not None else None
        name = self._tree.remote_name(inode)
        return relocation.is_on_its_way(base, parent, name, (node.parent, node.name))

    def _break_circle(self, inode: Inode, folder: Inode) -> NodeId | None:
        """They moved a folder into one that lies in it here: what was moved into it here goes back. Where
        nothing was, something left it on the remote before: return what was not heard of for longest."""
        between = [folder]
        while (above := between[-1].parent) is not None and above is not inode:
            between.append(above)
        moved = next((each for each in between if self._tree.is_displaced(each)), None)
        if moved is None:
            return min(between, key=lambda each: each.touched_at).node
        self.conflicts.undo_move(moved)
        return None

    def _follow_out_of_sight(self, inode: Inode, base: Base) -> None:
        """It was moved into a folder that is not known here: the entry goes, unless it has changes."""
        if self._has_changes(inode):
            self._tree.set_base(inode, base)
            return
        self.remove(inode)

    def _has_changes(self, inode: Inode) -> bool:
        """Tell whether the remote has something to learn of the entry, or of what is below it."""
        return inode.content_dirty or any(child.pending is not None for child in self._tree.walk(inode))

    def _follow_content(self, inode: Inode, node: RemoteNode) -> None:
        base = inode.base
        assert base is not None
        if not inode.is_file_there or node.version == base.version:
            if base.sha256 is None and node.sha256 is not None:
                self._tree.set_base(inode, replace(base, sha256=node.sha256))
            return
        if inode.content_dirty:
            # The commit is refused by the remote then, and the conflict resolved where that is known.
            return
        if base.sha256 is not None and base.sha256 == node.sha256 and base.size == node.size:
            self._tree.set_base(inode, with_content_of(base, node))
            self._content.relabelled(inode)
        elif inode.is_symlink:
            # Once what is changed of it here is there, it gives way; see `_is_another_kind`.
            return
        elif inode.direct_opens:
            self._content.supersede(inode, node, lambda: self._take_content(inode, node))
        else:
            self._take_content(inode, node)

    def _follow_text(self, inode: Inode, node: RemoteNode) -> None:
        base = inode.base
        assert base is not None
        modified_ns = max(node.modified_ns, 0)
        if (base.text, base.modified_ns) == (node.text, modified_ns):
            return
        self._tree.set_base(inode, replace(base, text=node.text, modified_ns=modified_ns))
        if base.text == node.text or inode.pending is not None or not self._tree.shares_attributes:
            return
        # Of the content that is here: a newer one may still be on its way.
        content = Content(base.size, base.sha256)
        before = shared_attributes.told(base.text, content)
        told = shared_attributes.told(node.text, content)
        mode, mtime_ns = inode.mode, inode.mtime_ns
        if inode.is_file and told.executable != before.executable:
            mode = _executable(mode) if told.executable else mode & ~0o111
        if told.mtime_ns is not None and told.mtime_ns != before.mtime_ns:
            mtime_ns = told.mtime_ns
        if (mode, mtime_ns) != (inode.mode, inode.mtime_ns):
            inode.mode, inode.mtime_ns = mode, mtime_ns
            inode.ctime_ns = time.time_ns()
            self._kernel.attributes_changed(inode.ino)

    def give_up_edit(self, inode: Inode, node: RemoteNode) -> None:
        """Let the file have the content that the remote has, in place of ours: at once, or where programs
        have it open directly when it is here. What they write meanwhile is an edit of its own."""
        inode.content_dirty = False
        inode.unsealed = False
        self._tree.mark_pending(inode)
        if not inode.direct_opens:
            self._take_content(inode, node)
            return
        assert inode.base is not None
        # It must not pass for the bytes of its base, which are not there.
        self._tree.set_base(inode, replace(inode.base, sha256=None))
        self._content.disowned(inode)
        self._tree.save(inode)
        self._content.supersede(inode, node, lambda: self._take_content(inode, node), anew=True)

    def _take_content(self, inode: Inode, node: RemoteNode) -> None:
        base = inode.base
        assert base is not None
        if inode.is_symlink:
            self._replace(inode, node)
            return
        self._tree.set_base(inode, with_content_of(base, node))
        self._tree.happenings.tell(Kind.CHANGED, inode.path(), size_bytes=node.size)
        self.when_taken(inode)
        inode.size = node.size
        inode.mtime_ns = self._told(node).mtime_ns or max(node.modified_ns, 0) or time.time_ns()
        inode.ctime_ns = time.time_ns()
        if inode.opens:
            # The kernel drops its pages of an open file where the time moves, and the remote tells whole
            # seconds: a time that no other content of this file had.
            inode.mtime_ns += (inode.content_epoch + 1) % 1_000_000
        if inode.direct_opens:
            self._content.superseded(inode)
        else:
            self._content.replaced(inode)
        self._tree.save(inode)
        if inode.opens:
            self._kernel.attributes_changed(inode.ino)
        else:
            self._kernel.content_changed(inode.ino)

    def vacate(self, node: NodeId) -> None:
        """Take a node off its place, to another name beside it, until its own answer is merged."""
        inode = self._tree.by_node[node]
        assert inode.parent is not None
        assert inode.base is not None
        parent, left, name = inode.parent, inode.name, relocation.spare_name(inode.base)
        self._tree.detach(inode)
        self._tree.attach(inode, parent, names.from_remote(name))
        self._tree.set_base(inode, replace(inode.base, name=name))
        self._tree.save(inode)
        self._kernel.entry_changed(parent.ino, left)
        self._kernel.entry_changed(parent.ino, inode.name)


def _takes_children(folder: Inode) -> bool:
    """Tell whether what the remote has in it may be shown here: it is a directory that has a name."""
    return folder.is_directory and folder.is_linked


def _executable(mode: int) -> int:
    """Whoever may read it may execute it."""
    return mode | (mode & 0o444) >> 2

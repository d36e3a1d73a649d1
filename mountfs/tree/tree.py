"""The tree as a structure, long as every change of an entry keeps all indexes in step.

It is loaded from the journal here, and entries are found.
"""

import stat
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import trio

from mountfs.model.conflict import Conflict
from mountfs.model.entry import Base, EntryKind, EntryRecord
from mountfs.model.errors import FileNotFound, NotADirectory
from mountfs.model.ids import ROOT_INO, ROOT_NODE, Ino, NodeId
from mountfs.model.storage import Journal
from mountfs.rules.happenings import Happenings
from mountfs.rules.local_only import LocalOnly
from mountfs.rules.steps import Situation
from mountfs.tree.alike import AlikeNames, DisplacedPlaces, Place, UnansweredPlaces
from mountfs.tree.folder_uses import FolderUses
from mountfs.tree.ino_set import InoSet
from mountfs.tree.inode import NEVER, Inode
from mountfs.tree.open_uploads import OpenUploads

MOST_RESIDENT: Final = 30_000
"""So many entries may be in memory that nobody uses, some 30 MiB of them."""

MISSES: Final = 3
"""So many entries of a folder are brought back one by one, then all of them."""


class Tree:
    """All inodes in memory, by number, by node, and by place; the journal knows more.

    What is pending is in memory always, and so is a folder from when it was first used, but of files that
    nobody uses no more than `most_resident`; see `unloading`.
    `pending` holds the entries that the remote has something to learn of, oldest first; those that only
    `local_only` keeps from it are in `kept` instead. `displaced` maps a
    place on the remote to the pending entry that still occupies it there though it has left it here.
    Every method but the loading ones is synchronous: nothing else happens between its begin and its end.
    """

    def __init__(self, journal: Journal, *, uid: int, gid: int, most_resident: int = MOST_RESIDENT) -> None:
        self.journal = journal
        self.uid = uid
        self.gid = gid
        self.inodes: dict[Ino, Inode] = {}
        self.by_node: dict[NodeId, Inode] = {}
        self.pending: dict[Ino, Inode] = {}
        self.kept: dict[Ino, Inode] = {}
        self.hiding: set[Ino] = (
            set()
        )  # of `kept`: what the remote has at their places shows when they are gone
        self.local_only = LocalOnly()
        self.happenings = Happenings()
        self.shares_attributes = True
        """Whether attributes that the remote has no place for travel in its free text."""
        self.links_may_leave = False
        """Whether symlinks that other hosts made may lead out of the mount."""
        self.displaced = DisplacedPlaces()
        self.alike = AlikeNames()
        self.open_uploads = OpenUploads()
        self.unanswered = UnansweredPlaces()
        self.requested: dict[NodeId, Place] = {}
        """Where the remote was asked to put a node, with the answer lost or still to come, as the journal has
        it: what programs did since must not be undone by what comes of that."""
        self.conflicts: dict[Ino, Conflict] = {}
        """What nobody has resolved yet, by the entry that holds our side."""
        self.gone_at: dict[NodeId, float] = {}
        """When (trio's clock) a node went from here: an answer that is older must not bring it back."""
        self.when_pending: Callable[[Inode], None] = lambda inode: None
        """Called whenever there is something new for the remote to learn of an entry."""
        self.when_sealed: Callable[[Inode], None] = lambda inode: None
        """Called whenever content has become a state to be sent, whose hash is not known yet."""
        self.when_clean: Callable[[], object] = lambda: None
        """Called whenever the remote has nothing to learn of an entry any more, by whatever cause."""
        self.most_resident = most_resident
        self.crowded_at = most_resident
        self.when_crowded: Callable[[], None] = lambda: None
        """Called when there are more inodes than `crowded_at`."""
        self.uses = FolderUses()
        self.knows_more_nodes = False
        """Whether the journal may know nodes that are not in memory: false in a cache that was new."""
        self._last_pending = 0
        self._loading: dict[Ino, trio.Event] = {}
        self._reading = 0
        self._unloads = 0
        self.referred = InoSet()
        """What is not in memory but known to the kernel; set before `load` to what another process knew."""
        self._erased: set[Ino] = set()
        """Erased in memory, but what is read from the journal may still have them."""

    # Loading.

    async def load(self, pending: Iterable[EntryRecord], conflicts: Iterable[Conflict] = ()) -> None:
        """Load the root, what is pending and what is in conflict, with the directories above it."""
        record = await self.journal.by_ino(ROOT_INO)
        if record is None:
            record = self.new_record(ROOT_INO, None, b"", EntryKind.DIRECTORY, stat.S_IFDIR | 0o755)
            record = record._replace(base=Base(node=ROOT_NODE, parent=ROOT_NODE, name=""))
            self.journal.record(record)
        else:
            self.knows_more_nodes = True
        root = Inode(record, None)
        self.insert(root)
        self.requested.update(await self.journal.requests())
        for entry in pending:
            await self._load_entry(entry)
        for conflict in conflicts:
            if await self._load_ino(conflict.ino) is None:
                self.journal.erase_conflict(conflict.ino)
            else:
                self.conflicts[conflict.ino] = conflict

    async def _load_entry(self, record: EntryRecord) -> Inode | None:
        """Bring the entry and all above it into memory; None, and erased, where they lead nowhere."""
        return self._attach_lineage(await self._lineage(record))

    async def _load_ino(self, ino: Ino) -> Inode | None:
        with self._reading_journal():
            while ino not in self.inodes:
                unloads = self._unloads
                record = await self.journal.by_ino(ino)
                if record is None:
                    return None
                lineage = await self._lineage(record)
                if self._unloads == unloads:
                    return self._attach_lineage(lineage)
        return self.inodes[ino]

    async def _lineage(self, record: EntryRecord) -> list[EntryRecord]:
        """Return the entry, and those above it that are not in memory."""
        lineage = {record.ino: record}
        # Step by step: paths may be deeper than calls may be nested.
        while record.parent is not None and record.parent not in self.inodes and record.parent not in lineage:
            above = await self.journal.by_ino(record.parent)
            if above is None:
                break
            lineage[above.ino] = record = above
        return list(lineage.values())

    def _attach_lineage(self, lineage: Sequence[EntryRecord]) -> Inode | None:
        inode: Inode | None = None
        for record in reversed(lineage):
            inode = self.inodes.get(record.ino)
            if inode is not None or record.ino in self._erased:
                # It came, or went for good, while what is above it was read.
                continue
            parent = self.inodes.get(record.parent) if record.parent is not None else None
            if parent is None and record.parent is not None:
                self.journal.erase(record.ino)
            else:
                inode = self._attach_loaded(record, parent)
        return inode

    def _attach_loaded(self, record: EntryRecord, parent: Inode | None) -> Inode:
        inode = Inode(record, parent)
        if parent is not None:
            parent.children[inode.name] = inode
            self.alike.add(parent, inode.name)
            self.uses.note(parent)
        if inode.ino in self.referred:
            inode.lookups = 1
            self.referred.discard(inode.ino)
        self.insert(inode)
        if inode.is_symlink and inode.base is None and inode.pending is None:
            # From a time when nobody was told of symlinks.
            inode.content_dirty = True
            self.mark_pending(inode)
            self.save(inode)
        return inode

    async def bring(self, ino: Ino) -> Inode:
        """Return the entry, from the journal where it is not in memory. Raises FileNotFound."""
        inode = await self._load_ino(ino)
        if inode is None:
            raise FileNotFound(f"inode {ino}")
        folder = inode.parent
        if folder is not None and self.uses.missed(folder) >= MISSES:
            await self.ensure_loaded(folder)
        return inode

    async def ensure_loaded(self, directory: Inode) -> None:
        """Bring the children that the journal knows into memory."""
        while not directory.loaded:
            under_way = self._loading.get(directory.ino)
            if under_way is not None:
                await under_way.wait()
                continue
            self._loading[directory.ino] = done = trio.Event()
            try:
                with self._reading_journal():
                    for record in await self._children(directory):
                        if record.ino not in self.inodes and record.ino not in self._erased:
                            self._attach_loaded(record, directory)
                directory.loaded = True
                self.uses.loaded(directory, trio.current_time())
            finally:
                del self._loading[directory.ino]
                done.set()

    async def load_below(self, top: Inode) -> None:
        """Bring all that the journal knows below an entry into memory."""
        folders = [top]
        while folders:
            folder = folders.pop()
            await self.ensure_loaded(folder)
            folders += [child for child in folder.children.values() if child.is_directory]

    async def _children(self, directory: Inode) -> Sequence[EntryRecord]:
        """Return what the journal has, as young as what was unloaded meanwhile."""
        while True:
            unloads = self._unloads
            records = await self.journal.children(directory.ino)
            if self._unloads == unloads:
                return records

    def is_loading(self, directory: Inode) -> bool:
        return directory.ino in self._loading

    async def find_node(self, node: NodeId) -> Inode | None:
        """Return the entry of this node, from the journal where it is not in memory."""
        if node not in self.by_node:
            await self.find_nodes([node])
        return self.by_node.get(node)

    async def find_nodes(self, nodes: Sequence[NodeId]) -> None:
        """Bring the entries of these nodes into memory, as far as the journal has them."""
        with self._reading_journal():
            for record in await self.journal.by_node(nodes):
                await self._load_ino(record.ino)

    @contextmanager
    def _reading_journal(self) -> Iterator[None]:
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1
            self._forget_erased()

    def _forget_erased(self) -> None:
        if not self._reading and self.journal.is_readable():
            self._erased.clear()

    def unload(self, folder: Inode, name: bytes) -> None:
        """Let a child that is idle, and in the journal as it is, go out of memory, unless something refers to
        it."""
        inode = folder.children.pop(name)
        ino, node, is_referred = inode.ino, inode.node, inode.lookups > 0
        del self.inodes[ino]
        if node is not None:
            del self.by_node[node]
        reference = weakref.ref(inode)
        del inode
        inode_in_use = reference()
        if inode_in_use is not None:
            folder.children[name] = self.inodes[ino] = inode_in_use
            if node is not None:
                self.by_node[node] = inode_in_use
            return
        self.alike.remove(folder, name)
        folder.loaded = False
        self.knows_more_nodes = True
        self._unloads += 1
        if is_referred:
            self.referred.add(ino)

    def forget_reference(self, ino: Ino) -> None:
        """The kernel knows this entry no more, which is not in memory."""
        self.referred.discard(ino)

    # Finding.

    def get(self, ino: Ino) -> Inode:
        inode = self.inodes.get(ino)
        if inode is None:
            raise FileNotFound(f"inode {ino}")
        return inode

    def directory(self, ino: Ino) -> Inode:
        inode = self.get(ino)
        if not inode.is_directory:
            raise NotADirectory()
        return inode

    def walk(self, top: Inode) -> Iterator[Inode]:
        """Yield `top` and everything in memory below it, parents first."""
        ahead = [top]
        while ahead:
            inode = ahead.pop()
            yield inode
            ahead.extend(reversed(inode.children.values()))

    # Keeping the indexes right.

    def new_record(
        self, ino: Ino, parent: Ino | None, name: bytes, kind: EntryKind, mode: int
    ) -> EntryRecord:
        now = time.time_ns()
        return EntryRecord(
            ino=ino,
            parent=parent,
            name=name,
            kind=kind,
            mode=mode,
            uid=self.uid,
            gid=self.gid,
            rdev=0,
            size=0,
            atime_ns=now,
            mtime_ns=now,
            ctime_ns=now,
            target=b"",
            base=None,
            generation=0,
            content_dirty=False,
            pending=None,
            failure=None,
            listed=False,
        )

    def insert(self, inode: Inode) -> None:
        """Enter an inode, which has its place already, into the indexes."""
        self.inodes[inode.ino] = inode
        if inode.base is not None:
            self.by_node[inode.base.node] = inode
        if inode.pending is not None:
            self._to_be_sent(inode)
            self._last_pending = max(self._last_pending, inode.pending)
        self.track_displacement(inode)
        if len(self.inodes) > self.crowded_at:
            self.when_crowded()

    def save(self, *inodes: Inode) -> None:
        self.journal.record(*(inode.record() for inode in inodes))

    def attach(self, inode: Inode, parent: Inode, name: bytes) -> None:
        """Give a name to an inode that has none."""
        inode.parent = parent
        inode.name = name
        parent.children[name] = inode
        parent.content_epoch += 1
        self.alike.add(parent, name)
        if inode.is_directory and parent.subfolders is not None:
            parent.subfolders += 1
        self.uses.note(parent)

    def detach(self, inode: Inode) -> None:
        """Take the name away; the inode stays as long as somebody needs it."""
        parent = inode.parent
        if parent is not None and parent.children.get(inode.name) is inode:
            del parent.children[inode.name]
            parent.content_epoch += 1
            self.alike.remove(parent, inode.name)
            if inode.is_directory and parent.subfolders is not None:
                parent.subfolders -= 1
            if inode.ino in self.hiding:
                self.hiding.discard(inode.ino)
                parent.listed_at = NEVER
        inode.parent = None

    def set_base(self, inode: Inode, base: Base | None) -> None:
        """Change what the remote confirmed, and the indexes with it."""
        old = inode.base
        if old is not None:
            if self.displaced.get((old.parent, old.name)) is inode:
                del self.displaced[old.parent, old.name]
            if self.by_node.get(old.node) is inode and (base is None or base.node != old.node):
                del self.by_node[old.node]
                self.note_gone(old.node)
        inode.base = base
        if base is not None:
            self.by_node[base.node] = inode
        if base is not None and (old is None or old.node != base.node):
            # An answer that was asked for by whoever had the node before may be older than what is known.
            inode.touched_at = trio.current_time()
        self.track_displacement(inode)

    def note_gone(self, node: NodeId) -> None:
        self.gone_at[node] = trio.current_time()

    def forget_gone(self, *, before: float) -> None:
        """No answer is still to come to what was asked before this time."""
        if self.gone_at:
            self.gone_at = {node: when for node, when in self.gone_at.items() if when >= before}

    def track_displacement(self, inode: Inode) -> None:
        """Note whether the remote still has the entry where it no longer is here."""
        base = inode.base
        if base is None or inode.is_root:
            return
        place = (base.parent, base.name)
        if inode.is_at_home:
            if self.displaced.get(place) is inode:
                del self.displaced[place]
        else:
            self.displaced[place] = inode

    def is_displaced(self, inode: Inode) -> bool:
        """Tell whether the entry has left the place here that it has on the remote."""
        base = inode.base
        return base is not None and self.displaced.get((base.parent, base.name)) is inode

    def note_request(self, node: NodeId, place: Place) -> None:
        """The remote is about to be asked to put the node there; the journal has to have it before."""
        self.requested[node] = place
        self.journal.record_request(node, place)

    def end_request(self, node: NodeId) -> None:
        """It is known where the remote has the node."""
        if self.requested.pop(node, None) is not None:
            self.journal.erase_request(node)

    def note_conflict(self, conflict: Conflict) -> None:
        self.conflicts[conflict.ino] = conflict
        self.journal.record_conflict(conflict)

    def end_conflict(self, ino: Ino) -> None:
        if self.conflicts.pop(ino, None) is not None:
            self.journal.erase_conflict(ino)

    def end_conflicts_of(self, inode: Inode) -> None:
        """One side of a conflict is gone: there is nothing left to decide."""
        for conflict in list(self.conflicts.values()):
            if conflict.ino == inode.ino or (
                conflict.theirs is not None and conflict.theirs.node == inode.node
            ):
                self.end_conflict(conflict.ino)

    def mark_pending(self, inode: Inode) -> None:
        """The remote has something new to learn of this entry; an earlier failure counts no more."""
        inode.failure = None
        if inode.pending is None:
            self._last_pending += 1
            inode.pending = self._last_pending
        if self._to_be_sent(inode):
            self.when_pending(inode)

    def _to_be_sent(self, inode: Inode) -> bool:
        """Enter it among those that the remote is to learn of, and return whether it is one of them."""
        # What the remote has of it, or may have by now, is to be dealt with there.
        if inode.base is not None or inode.unanswered or not self.stays_here(inode):
            self.kept.pop(inode.ino, None)
            self.pending[inode.ino] = inode
            return True
        self.kept[inode.ino] = inode
        if self.pending.pop(inode.ino, None) is not None:
            self.when_clean()
        return False

    def stays_here(self, inode: Inode) -> bool:
        """Tell whether the entry is one that never travels: by its path, or as a symlink that nobody is told
        of."""
        if inode.parent is None:
            return False
        if inode.is_symlink and inode.base is None and not self.shares_attributes:
            return True
        if not self.local_only:
            return False
        return self.would_stay_here(inode.parent, inode.name, is_directory=inode.is_directory)

    def would_stay_here(self, parent: Inode, name: bytes, *, is_directory: bool) -> bool:
        """As `stays_here` for an entry that had this name in this directory."""
        if parent.ino in self.kept:
            return True
        above = parent.path()
        return self.local_only.matches(above + b"/" + name if above else name, is_directory=is_directory)

    def situation(self, inode: Inode) -> Situation:
        tells = self.shares_attributes and inode.is_file_there and inode.base is not None
        text = inode.retold() if tells else None
        name = self.remote_name(inode)
        return inode.situation(name, text=text, stays_here=self.stays_here(inode))

    def remote_name(self, inode: Inode) -> str:
        """Return what the entry is, or is to be, called on the remote; "" where it has no name here."""
        return self.alike.remote_name(inode, lambda child: child.ino in self.kept)

    def sort_again(self, top: Inode) -> None:
        """The entry, with all below it, is at another place, where other patterns match."""
        for inode in self.walk(top):
            if inode.pending is not None:
                self.mark_pending(inode)
                self.save(inode)

    def mark_clean(self, inode: Inode) -> None:
        inode.pending = None
        inode.failure = None
        if inode.base is not None:
            self.end_request(inode.base.node)
        self.kept.pop(inode.ino, None)
        if self.pending.pop(inode.ino, None) is not None:
            if not self.pending:
                self._forget_attempts()
            self.when_clean()

    def _forget_attempts(self) -> None:
        """Nothing that the remote shows can come of an earlier try any more; but chunked sessions have to be
        given back, which the sender does."""
        for ino in self.open_uploads.without_session():
            self.journal.erase_upload(ino)
            del self.open_uploads[ino]

    def drop_if_unneeded(self, inode: Inode) -> bool:
        """Erase an entry that has no name and of which the remote has nothing to learn.

        Return whether it went out of memory as well, that is, nobody has it open and the kernel does not
        refer to it.
        """
        if inode.is_linked or inode.base is not None or inode.sending or inode.unanswered:
            return False
        self.mark_clean(inode)
        self._forget_erased()
        self.journal.erase(inode.ino)
        self._erased.add(inode.ino)
        if inode.opens or inode.lookups:
            return False
        self.inodes.pop(inode.ino, None)
        self.uses.forget(inode)
        return True

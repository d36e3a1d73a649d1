"""One entry of the tree in memory."""

import stat
import sys
from collections.abc import Iterator
from types import MappingProxyType
from typing import Final, cast

from mountfs.model.entry import Base, EntryKind, EntryRecord
from mountfs.model.filesystem import Attributes
from mountfs.model.ids import ROOT_NODE, NodeId
from mountfs.model.ranges import RangeSet
from mountfs.rules import names, shared_attributes
from mountfs.rules.shared_attributes import Attributes as SharedAttributes
from mountfs.rules.shared_attributes import Content
from mountfs.rules.steps import Situation

NEVER: Final = float("-inf")

BLOCK_BYTES: Final = 512
"""The unit of st_blocks, whatever st_blksize says."""

NO_CHILDREN: Final = cast("dict[bytes, Inode]", MappingProxyType({}))
"""What all but directories have in common; an attempt to put something in raises TypeError."""

_shared_numbers: Final[dict[int, int]] = {}
"""One object for each mode and owner, of which there are few among many inodes."""


class Inode:
    """A file, directory or symlink.

    `parent` and `name` are the place here; `parent` is None once it has no name (and for the root).
    `children` holds what is known of a directory, all of it once `listed`. `loaded` says that the journal's
    children are in memory; `subfolders` counts those that are directories, None while nobody asked. `blocks`
    of 512 bytes are what whole content takes in the cache, None while that has not been looked up. `unsealed`
    content was changed since the last close or fsync. `present` says
    which bytes of the base version are in the cache, None while that has not been looked up; content that is
    dirty is always present as a whole. `content_epoch` counts its replacements by the remote, and for a
    directory the changes of its entries; `kernel_epoch` is the one that the kernel's cached pages belong to.
    `sending` is set while a step for it is under way, `unanswered` while the remote may have created it
    unknown to us. `listed_at`, `touched_at`: when (trio's clock) the directory was last compared with the
    remote, and when the entry was last confirmed by it. `direct_opens`, `cached_opens`: how often programs
    have it open past the daemon and through it; `writers`: how many of these may write. `changing` counts
    the threads that are changing bytes just now, which a seal does not wait for: what is there meanwhile is
    no state to send. `suspect`: what an earlier run sealed is to be compared with its hash before anybody
    uses it. `author` is the program that changed it last, None where that is not known.
    """

    __slots__ = (
        "__weakref__",
        "atime_ns",
        "author",
        "base",
        "blocks",
        "cached_opens",
        "changing",
        "children",
        "content_dirty",
        "content_epoch",
        "ctime_ns",
        "descriptor",
        "direct_opens",
        "exposed",
        "failure",
        "foreign",
        "generation",
        "gid",
        "ino",
        "kernel_epoch",
        "kind",
        "listed",
        "listed_at",
        "loaded",
        "lookups",
        "mode",
        "mtime_ns",
        "name",
        "opens",
        "parent",
        "pending",
        "present",
        "rdev",
        "sealed",
        "sending",
        "size",
        "subfolders",
        "suspect",
        "target",
        "touched_at",
        "uid",
        "unanswered",
        "unsealed",
        "writers",
        "xattrs",
    )

    def __init__(self, record: EntryRecord, parent: "Inode | None") -> None:
        self.ino = record.ino
        self.parent = parent
        self.name = record.name
        self.kind = record.kind
        self.mode = _shared_numbers.setdefault(record.mode, record.mode)
        self.uid = _shared_numbers.setdefault(record.uid, record.uid)
        self.gid = _shared_numbers.setdefault(record.gid, record.gid)
        self.rdev = record.rdev
        self.size = record.size
        self.mtime_ns = record.mtime_ns
        self.atime_ns = _same(record.atime_ns, self.mtime_ns)
        self.ctime_ns = _same(record.ctime_ns, self.mtime_ns)
        self.target = record.target
        self.base = _compact(record.base, self.size, self.mtime_ns)
        self.generation = record.generation
        self.content_dirty = record.content_dirty
        self.pending = record.pending
        self.failure = record.failure
        self.listed = record.listed
        self.exposed = record.exposed
        self.xattrs = record.xattrs
        self.foreign = record.foreign
        self.sealed = record.sealed
        self.author = record.author
        self.suspect = self.is_file and record.content_dirty and record.sealed is not None
        self.children: dict[bytes, Inode] = {} if self.is_directory else NO_CHILDREN
        self.loaded = record.kind is not EntryKind.DIRECTORY
        self.blocks: int | None = None
        self.subfolders: int | None = None
        self.unsealed = False
        self.changing = 0
        self.sending = False
        self.unanswered = False
        self.present: RangeSet | None = None
        self.content_epoch = 0
        self.kernel_epoch = -1
        self.listed_at = NEVER
        self.touched_at = NEVER
        self.lookups = 0
        self.opens = 0
        self.descriptor: int | None = None
        self.direct_opens = 0
        self.cached_opens = 0
        self.writers = 0

    def __repr__(self) -> str:
        state = "pending" if self.pending is not None else "clean"
        return f"<Inode {self.ino} {self.kind.name} {self.path()!r} {state}>"

    @property
    def is_directory(self) -> bool:
        return self.kind is EntryKind.DIRECTORY

    @property
    def is_file(self) -> bool:
        return self.kind is EntryKind.FILE

    @property
    def is_symlink(self) -> bool:
        return self.kind is EntryKind.SYMLINK

    @property
    def is_file_there(self) -> bool:
        """Tell whether it is a file on the remote, if it travels: a symlink is one that holds its target."""
        return self.kind in (EntryKind.FILE, EntryKind.SYMLINK)

    @property
    def is_root(self) -> bool:
        return self.base is not None and self.base.node == ROOT_NODE

    @property
    def is_linked(self) -> bool:
        return self.parent is not None or self.is_root

    @property
    def is_at_home(self) -> bool:
        """Tell whether the remote has it where it is here."""
        base, parent = self.base, self.parent
        if base is None or parent is None:
            return False
        return parent.node == base.parent and self.name == names.from_remote(base.name)

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing is known of it here that the journal does not have, but who refers to it."""
        return (
            self.pending is None
            and not (self.content_dirty or self.unsealed or self.changing or self.sending or self.unanswered)
            and self.exposed is None
            and not self.opens
            # Its next content has to get another time than those that the kernel saw.
            and not (self.is_file and self.content_epoch)
        )

    @property
    def node(self) -> NodeId | None:
        return self.base.node if self.base is not None else None

    # Both in the order of the fields: by their names it takes twice as long, for each call of a program.

    def record(self) -> EntryRecord:
        return EntryRecord(
            self.ino,
            self.parent.ino if self.parent is not None else None,
            self.name,
            self.kind,
            self.mode,
            self.uid,
            self.gid,
            self.rdev,
            self.size,
            self.atime_ns,
            self.mtime_ns,
            self.ctime_ns,
            self.target,
            self.base,
            self.generation,
            self.content_dirty,
            self.pending,
            self.failure,
            self.listed,
            self.exposed,
            self.xattrs,
            self.foreign,
            self.sealed if self.content_dirty else None,
            self.author if self.pending is not None else None,
        )

    def attributes(self) -> Attributes:
        return Attributes(
            self.ino,
            self.mode,
            self._link_count(),
            self.uid,
            self.gid,
            self.rdev,
            self.size,
            self.atime_ns,
            self.mtime_ns,
            self.ctime_ns,
            self._blocks(),
        )

    def _blocks(self) -> int:
        """Return how many blocks of 512 bytes it takes: as its size, or fewer where the cache has holes."""
        blocks = -(-self.size // BLOCK_BYTES)
        if self.blocks is None or not (self.is_file and self.has_whole_content()):
            return blocks
        return min(self.blocks, blocks)

    def _link_count(self) -> int:
        if not self.is_linked:
            return 0
        if not self.is_directory or not self.listed:
            # Of a directory that is what file systems show that do not count; find(1) knows it.
            return 1
        if self.subfolders is None:
            if not self.loaded:
                return 1
            self.subfolders = sum(child.is_directory for child in self.children.values())
        return 2 + self.subfolders

    @property
    def is_executable(self) -> bool:
        return self.is_file and bool(self.mode & stat.S_IXUSR)

    def retold(self, *, written_again: bool = False) -> str:
        """Return the free text that the node is to have, so that other hosts know the attributes.

        `written_again`: what is to be sent are the bytes that the node has; the text is to tell of that.
        """
        base = self.base
        assert base is not None
        differs = self.content_dirty and not written_again
        content = Content(base.size, base.sha256)
        there = shared_attributes.told(base.text, content)
        mtime_ns = shared_attributes.mtime_to_tell(base.text, content, self.mtime_ns, base.modified_ns)
        wanted = SharedAttributes(
            executable=self.is_executable,
            mtime_ns=there.mtime_ns if differs else mtime_ns,
            target=self.target if self.is_symlink else None,
        )
        return shared_attributes.retold(
            base.text,
            wanted,
            base.sha256,
            until_then=there.target if differs else None,
            written_again_ns=self.ctime_ns if written_again else None,
        )

    def situation(self, name: str, *, text: str | None = None, stays_here: bool = False) -> Situation:
        """Return what decides about the next step; `name` is what it is to be called on the remote."""
        return Situation(
            kind=self.kind,
            linked=self.is_linked,
            parent_node=self.parent.node if self.parent is not None else None,
            name=name,
            base=self.base,
            content_dirty=self.content_dirty,
            unsealed=self.unsealed,
            text=text,
            stays_here=stays_here,
        )

    def path(self) -> bytes:
        """Return the path from the root of the mount, without a leading slash."""
        return b"/".join(reversed([inode.name for inode in self._lineage() if inode.parent is not None]))

    def is_below(self, ancestor: "Inode") -> bool:
        """Tell whether this is `ancestor` or lies anywhere below it."""
        return any(inode is ancestor for inode in self._lineage())

    def _lineage(self) -> Iterator["Inode"]:
        inode: Inode | None = self
        while inode is not None:
            yield inode
            inode = inode.parent

    def has_whole_content(self) -> bool:
        """Tell whether all bytes are in the cache. `present` must be known, but of a symlink."""
        return (
            self.content_dirty
            or self.is_symlink
            or (self.present is not None and self.present.contains(0, self.size))
        )


def _same(number: int, other: int) -> int:
    """Return `number`, as the same object as `other` where they are equal."""
    return other if number == other else number


def _compact(base: Base | None, size: int, mtime_ns: int) -> Base | None:
    """Return an equal base that shares what it has in common with its siblings and its inode."""
    if base is None:
        return None
    return Base(
        base.node,
        NodeId(sys.intern(base.parent)),
        base.name,
        base.version,
        base.sha256,
        _same(base.size, size),
        base.text,
        _same(base.modified_ns, mtime_ns),
    )

"""Cache files that programs read and write without the daemon's knowledge (FUSE passthrough).

What they write is noticed by the file's time and size, at every point where it counts: before attributes are
told, before a seal, before a merge of what the remote says, and before and after an upload. The journal has
the file's stamp from before the first such write can happen, so that recovery notices as well.
"""

import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from mountfs.model.entry import ContentStamp
from mountfs.model.ids import Ino
from mountfs.model.succession import OpenHandle
from mountfs.tree import local_changes
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree


def _coarse_clock_ns() -> int:
    """Return for how long two writes may get one time: since Linux 6.13 a time that was looked at is not
    given again."""
    major, minor = os.uname().release.split(".")[:2]
    return 0 if (int(major), int(minor.partition("-")[0])) >= (6, 13) else 20_000_000


COARSE_NS: Final = _coarse_clock_ns()

ANY_CHANGE: Final = ContentStamp(-1, -1)
"""No file looks like this, so the next look at one finds it changed."""


class DirectAccess:
    """Decides which opens are direct, and notices what is written by them.

    All opens of one inode at a time are direct or none is, as the kernel demands. A file that is open
    directly is whole in the cache, and is changed in place only.
    """

    def __init__(self, tree: Tree, *, grown: Callable[[int], None]) -> None:
        self._tree = tree
        self._grown = grown
        self._exposed: dict[Ino, Inode] = {}
        self._mappable: Counter[Ino] = Counter()
        """How often files are open directly by descriptors whose mappings may be written to."""
        self.is_possible: Callable[[], bool] = lambda: False
        """Whether the kernel of this mount can; set once it is mounted."""

        self.is_affordable: Callable[[], bool] = lambda: True
        """Whether programs may write without being held up."""

    def admit(self, inode: Inode, *, writing: bool, mappable: bool) -> bool:
        """Count an open of a file whose content is held; return whether it is a direct one.

        Raises StorageError, with nothing counted. Before a direct open for writing is answered, the journal
        must have committed.
        """
        direct = bool(inode.direct_opens) or self._may_begin(inode, writing=writing)
        if direct and writing:
            self._tree.journal.check_writable()
        if direct:
            inode.direct_opens += 1
            # Pages that the kernel kept of earlier opens miss what is written from now on.
            inode.kernel_epoch = -1
        else:
            inode.cached_opens += 1
        inode.writers += writing
        if direct and mappable:
            self._mappable[inode.ino] += 1
        if direct and writing and inode.exposed is None:
            self._expose(inode)
            if not inode.unsealed:
                # What is unsealed is looked at after a crash in any case.
                self._save(inode)
        return direct

    def _may_begin(self, inode: Inode, *, writing: bool) -> bool:
        if writing and not self.is_affordable():
            return False
        # Where a write has to clear these bits, the daemon has to see it.
        has_set_id = inode.mode & (stat.S_ISUID | stat.S_ISGID)
        return self.is_possible() and not inode.cached_opens and not has_set_id and inode.has_whole_content()

    def go_on(self, inode: Inode, opens: Iterable[OpenHandle], exposed: ContentStamp | None) -> None:
        """Count opens that another process admitted, of a file whose content is held; what was written since
        it had the stamp `exposed` is noticed."""
        for opened in opens:
            inode.direct_opens += opened.direct
            inode.cached_opens += not opened.direct
            inode.writers += opened.writing
            if opened.direct and opened.mappable:
                self._mappable[inode.ino] += 1
        inode.exposed = exposed
        if exposed is not None:
            self._exposed[inode.ino] = inode

    def exposed(self) -> list[Inode]:
        """Return the files that programs may be writing to past the daemon."""
        return list(self._exposed.values())

    def may_change_unseen(self, inode: Inode) -> bool:
        """Tell whether even the kernel may not notice a write: one to a mapping of the cache file moves the
        times of that only. Other direct writes make the kernel ask for attributes again."""
        return inode.ino in self._mappable

    def leave(self, inode: Inode, *, writing: bool, mappable: bool, direct: bool) -> None:
        """Undo what `admit` counted; the content must still be held."""
        if direct and mappable:
            self._mappable[inode.ino] -= 1
            if not self._mappable[inode.ino]:
                del self._mappable[inode.ino]
        if direct:
            inode.direct_opens -= 1
        else:
            inode.cached_opens -= 1
        inode.writers -= writing
        if inode.exposed is not None and not inode.writers:
            self.notice(inode)
            inode.exposed = None
            self._exposed.pop(inode.ino, None)
            self._save(inode)

    def notice(self, inode: Inode) -> None:
        """Take over into the tree what was written directly since the last look, and what it takes in the
        cache."""
        if inode.exposed is None or inode.descriptor is None:
            return
        status = os.fstat(inode.descriptor)
        inode.blocks = status.st_blocks
        seen = ContentStamp(status.st_mtime_ns, status.st_size)
        if seen == inode.exposed:
            return
        local_changes.note_modification(self._tree, inode)
        if abs(time.time_ns() - seen.mtime_ns) < COARSE_NS:
            inode.exposed = ANY_CHANGE
        else:
            inode.exposed = seen
        self._grown(max(0, seen.size - inode.size))
        inode.size = seen.size
        inode.mtime_ns = inode.ctime_ns = seen.mtime_ns

    def expose_again(self, inode: Inode) -> None:
        """What programs write from now on is noticed; for whoever changed the file himself."""
        self._expose(inode)
        self._save(inode)

    def _expose(self, inode: Inode) -> None:
        inode.exposed = _stamp(inode) if inode.direct_opens and inode.writers else None
        if inode.exposed is not None:
            self._exposed[inode.ino] = inode

    def changed_by_us(self, inode: Inode) -> None:
        """The daemon itself changed the file, and the tree knows."""
        if inode.exposed is not None:
            inode.exposed = _stamp(inode)

    def _save(self, inode: Inode) -> None:
        if inode.is_linked:
            self._tree.save(inode)


def _stamp(inode: Inode) -> ContentStamp:
    assert inode.descriptor is not None
    status = os.fstat(inode.descriptor)
    return ContentStamp(status.st_mtime_ns, status.st_size)

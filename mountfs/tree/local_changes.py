"""What programs do to the tree. Each function changes memory and journal in one synchronous stretch."""

import errno
import stat
import time
from typing import Final

import trio

from mountfs.model.entry import SEALED, Base, EntryKind
from mountfs.model.errors import (
    AttributeMissing,
    DirectoryNotEmpty,
    FileExists,
    FileNotFound,
    InvalidArgument,
    IsADirectory,
    NameTooLong,
    NotADirectory,
    StorageError,
)
from mountfs.model.filesystem import AttributeChange, RenameFlag
from mountfs.rules import names
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

XATTRS_MAX_BYTES: Final = 64 * 1024 + 255
"""Names and values of one entry: one attribute as large as Linux lets it be. Each save writes all of them."""


def find(directory: Inode, name: bytes) -> Inode:
    """Return the child. Raises FileNotFound, NameTooLong."""
    child = directory.children.get(name)
    if child is None:
        if len(name) > names.NAME_MAX_BYTES:
            raise NameTooLong()
        raise FileNotFound(name.decode(errors="replace"))
    return child


def create(
    tree: Tree,
    parent: Inode,
    name: bytes,
    kind: EntryKind,
    mode: int,
    owner: tuple[int, int],
    *,
    rdev: int = 0,
    target: bytes = b"",
) -> Inode:
    """Create an entry; a file begins unsealed. Raises FileExists, NameTooLong, FileNotFound, StorageError."""
    tree.journal.check_writable()
    names.check_local(name)
    if not parent.is_linked:
        raise FileNotFound("the directory was removed")
    if name in parent.children:
        raise FileExists()
    uid, gid = owner
    if parent.mode & stat.S_ISGID:
        gid = parent.gid
        mode |= stat.S_ISGID if kind is EntryKind.DIRECTORY else 0
    record = tree.new_record(tree.journal.new_ino(), parent.ino, name, kind, mode)._replace(
        uid=uid,
        gid=gid,
        rdev=rdev,
        target=target,
        size=len(target),
        listed=kind is EntryKind.DIRECTORY,
        content_dirty=kind in (EntryKind.FILE, EntryKind.SYMLINK),
    )
    inode = Inode(record, parent)
    inode.loaded = True
    inode.unsealed = kind is EntryKind.FILE
    tree.insert(inode)
    tree.attach(inode, parent, name)
    _touch(tree, parent)
    if kind is not EntryKind.SPECIAL:
        tree.mark_pending(inode)
    tree.save(inode)
    return inode


def create_unnamed(tree: Tree, parent: Inode, mode: int, owner: tuple[int, int]) -> Inode:
    """Create a file that has no name, and goes with its last use unless `name_it` gives it one.

    Raises FileNotFound, StorageError.
    """
    tree.journal.check_writable()
    if not parent.is_linked:
        raise FileNotFound("the directory was removed")
    uid, gid = owner
    if parent.mode & stat.S_ISGID:
        gid = parent.gid
    record = tree.new_record(tree.journal.new_ino(), None, b"", EntryKind.FILE, mode)
    inode = Inode(record._replace(uid=uid, gid=gid, content_dirty=True), None)
    tree.insert(inode)
    return inode


def name_it(tree: Tree, inode: Inode, parent: Inode, name: bytes) -> None:
    """Give a name to a file that was made without one.

    Raises FileExists, NameTooLong, FileNotFound, StorageError.
    """
    tree.journal.check_writable()
    names.check_local(name)
    if not parent.is_linked:
        raise FileNotFound("the directory was removed")
    if name in parent.children:
        raise FileExists()
    tree.attach(inode, parent, name)
    inode.ctime_ns = time.time_ns()
    inode.unsealed = True
    _touch(tree, parent)
    tree.mark_pending(inode)
    tree.save(inode)


def remove(tree: Tree, parent: Inode, name: bytes, *, directory: bool) -> Inode:
    """Unlink a file or remove an empty directory; return what lost its name.

    Raises FileNotFound, IsADirectory, NotADirectory, DirectoryNotEmpty, StorageError.
    """
    tree.journal.check_writable()
    inode = find(parent, name)
    if inode.is_directory != directory:
        raise IsADirectory() if inode.is_directory else NotADirectory()
    if inode.children:
        raise DirectoryNotEmpty()
    _unlink(tree, inode)
    _touch(tree, parent)
    return inode


def _unlink(tree: Tree, inode: Inode) -> None:
    tree.end_conflicts_of(inode)
    tree.detach(inode)
    inode.ctime_ns = time.time_ns()
    inode.unsealed = False
    _bequeath(tree, inode)
    tree.track_displacement(inode)
    if inode.base is not None or inode.sending or inode.unanswered:
        tree.mark_pending(inode)
        tree.save(inode)
    else:
        tree.drop_if_unneeded(inode)


def _bequeath(tree: Tree, removed: Inode) -> None:
    """A file that was moved out of the way of a new one, and is removed now, hands its identity on to that.

    So editors that save by way of a backup make one new version, too.
    """
    base = removed.base
    folder = tree.by_node.get(base.parent) if base is not None else None
    if base is None or folder is None or not removed.is_file_there or removed.sending:
        return
    heir = folder.children.get(names.from_remote(base.name))
    if heir is None or not heir.is_file_there or heir.base is not None or heir.sending or heir.unanswered:
        return
    if tree.stays_here(heir):
        return
    tree.set_base(removed, None)
    tree.set_base(heir, base)
    heir.generation += 1
    tree.mark_pending(heir)
    tree.save(heir)


def rename(
    tree: Tree, parent: Inode, name: bytes, new_parent: Inode, new_name: bytes, flag: RenameFlag
) -> Inode | None:
    """Rename as renameat2(2) does; return the inode that lost its name to it, if one did."""
    tree.journal.check_writable()
    names.check_local(new_name)
    source = find(parent, name)
    if not new_parent.is_linked:
        raise FileNotFound("the directory was removed")
    target = new_parent.children.get(new_name)
    if new_parent.is_below(source):
        raise InvalidArgument("a directory cannot be moved below itself")
    if flag is RenameFlag.EXCHANGE:
        if target is None:
            raise FileNotFound()
        if parent.is_below(target):
            raise InvalidArgument("a directory cannot be moved below itself")
        _exchange(tree, source, target)
        return None
    if target is source:
        return None
    if target is not None:
        if flag is RenameFlag.NO_REPLACE:
            raise FileExists()
        _check_replaceable(source, target)
        _replace(tree, source, target)
    tree.detach(source)
    tree.attach(source, new_parent, new_name)
    _moved(tree, source)
    _touch(tree, parent, new_parent)
    return target


def _check_replaceable(source: Inode, target: Inode) -> None:
    if target.is_directory and not source.is_directory:
        raise IsADirectory()
    if source.is_directory and not target.is_directory:
        raise NotADirectory()
    if target.children:
        raise DirectoryNotEmpty()


def _replace(tree: Tree, source: Inode, target: Inode) -> None:
    """Take the target's name away; a file hands its identity on the remote to the source.

    So saving by rename makes one new version of the target. It takes the source's content being here,
    since that is what has to be sent.
    """
    tree.end_conflicts_of(target)
    base = target.base
    if base is not None and source.is_file_there and target.is_file_there and source.has_whole_content():
        tree.set_base(target, None)
        _becomes_unsent(source)
        if source.base is not None:
            leave_behind(tree, source.base)
            tree.set_base(source, None)
        tree.set_base(source, base)
        source.generation += 1
    _unlink(tree, target)


def _becomes_unsent(inode: Inode) -> None:
    """The remote is not to have the content any more; the content stays what it is."""
    if not inode.content_dirty:
        inode.content_dirty = True
        inode.sealed = (inode.base.sha256 if inode.base is not None else None) or SEALED


def leave_behind(tree: Tree, base: Base) -> None:
    """Keep a node that nothing here uses any more as an entry without a name, for the remote to delete."""
    record = tree.new_record(
        tree.journal.new_ino(), None, names.from_remote(base.name), EntryKind.FILE, stat.S_IFREG
    )
    leftover = Inode(record._replace(base=base), None)
    leftover.touched_at = trio.current_time()
    tree.insert(leftover)
    tree.mark_pending(leftover)
    tree.save(leftover)


def _exchange(tree: Tree, first: Inode, second: Inode) -> None:
    first_parent, first_name = first.parent, first.name
    second_parent, second_name = second.parent, second.name
    assert first_parent is not None
    assert second_parent is not None
    tree.detach(first)
    tree.detach(second)
    tree.attach(first, second_parent, second_name)
    tree.attach(second, first_parent, first_name)
    _moved(tree, first)
    _moved(tree, second)
    _touch(tree, first_parent, second_parent)


def _moved(tree: Tree, inode: Inode) -> None:
    inode.ctime_ns = time.time_ns()
    if inode.is_file_there and inode.base is not None and not inode.sending and tree.stays_here(inode):
        # From here on it is the only copy; what the remote has of it goes there.
        _becomes_unsent(inode)
        leave_behind(tree, inode.base)
        tree.set_base(inode, None)
        inode.generation += 1
    tree.track_displacement(inode)
    if inode.kind is not EntryKind.SPECIAL:
        tree.mark_pending(inode)
    tree.save(inode)
    if tree.local_only and inode.is_directory:
        tree.sort_again(inode)


def _touch(tree: Tree, *directories: Inode) -> None:
    now = time.time_ns()
    for directory in directories:
        directory.mtime_ns = directory.ctime_ns = now
    tree.save(*directories)


def begin_modification(tree: Tree, inode: Inode) -> bool:
    """Content is about to be changed: everything sent or being sent of it is outdated.

    Return whether the caller must wait for the journal before it touches the bytes, so that a crash in
    between can never let changed bytes pass for the content that the remote confirmed, or for the part of
    it that was sent already. Raises StorageError.
    """
    if inode.is_linked and not inode.unsealed:
        tree.journal.check_writable()
    return note_modification(tree, inode)


def note_modification(tree: Tree, inode: Inode) -> bool:
    """Like `begin_modification` for what is done already: the disk's refusal cannot undo it."""
    inode.sealed = None
    if not inode.is_linked:
        inode.content_dirty = True
        return False
    if inode.unsealed:
        return False
    inode.generation += 1
    inode.content_dirty = True
    inode.unsealed = True
    tree.mark_pending(inode)
    tree.save(inode)
    return True


def go_back(tree: Tree, inode: Inode) -> None:
    """What was changed here and not sent is lost: the file is again what the remote confirmed last."""
    base = inode.base
    assert base is not None
    inode.generation += 1
    inode.content_dirty = inode.unsealed = inode.suspect = False
    inode.sealed = None
    inode.size = base.size
    inode.mtime_ns = inode.ctime_ns = time.time_ns()
    tree.mark_pending(inode)
    tree.save(inode)


def seal(tree: Tree, inode: Inode) -> bool:
    """The content as it stands is one to be sent. Return whether there was anything to seal."""
    if not inode.unsealed or not inode.is_linked:
        return False
    inode.unsealed = False
    # What a thread changes just now is the next state, of which nobody knows yet how it will look.
    inode.sealed = None if inode.changing else SEALED
    tree.mark_pending(inode)
    tree.save(inode)
    if inode.sealed is not None:
        tree.when_sealed(inode)
    return True


def set_attributes(tree: Tree, inode: Inode, change: AttributeChange) -> None:
    """Set mode, owner and times; the size is the content's business. Raises StorageError."""
    tree.journal.check_writable()
    if change.mode is not None:
        inode.mode = (inode.mode & ~0o7777) | (change.mode & 0o7777)
    if change.uid is not None:
        inode.uid = change.uid
    if change.gid is not None:
        inode.gid = change.gid
    if change.atime_ns is not None:
        inode.atime_ns = change.atime_ns
    if change.mtime_ns is not None:
        inode.mtime_ns = change.mtime_ns
    inode.ctime_ns = time.time_ns()
    if change.mode is not None or change.mtime_ns is not None:
        _tell(tree, inode)
    if inode.is_linked:
        tree.save(inode)


def _tell(tree: Tree, inode: Inode) -> None:
    """Let the remote learn of attributes that its free text does not have so."""
    base = inode.base
    if not inode.is_linked or base is None or inode.pending is not None:
        return
    if tree.situation(inode).text not in (None, base.text):
        tree.mark_pending(inode)


def touch(tree: Tree, inode: Inode) -> None:
    """Move the times as a change of the content does, where there is nothing to change."""
    tree.journal.check_writable()
    inode.mtime_ns = inode.ctime_ns = time.time_ns()
    if inode.is_linked:
        tree.save(inode)


def set_mode(tree: Tree, inode: Inode, mode: int) -> None:
    """Set a mode that follows from something else that was done. Raises StorageError."""
    if mode == inode.mode:
        return
    tree.journal.check_writable()
    inode.mode = mode
    if inode.is_linked:
        tree.save(inode)


def set_xattr(tree: Tree, inode: Inode, name: bytes, value: bytes) -> None:
    """Raises StorageError, with ENOSPC where an entry would have more than XATTRS_MAX_BYTES. A value that it
    has already changes nothing, not even ctime, as on ext4."""
    if (name, value) in inode.xattrs:
        return
    others = tuple((known, kept) for known, kept in inode.xattrs if known != name)
    xattrs = (*others, (name, value))
    if sum(len(known) + len(kept) for known, kept in xattrs) > XATTRS_MAX_BYTES:
        raise StorageError("no room for more extended attributes", errno=errno.ENOSPC)
    _set_xattrs(tree, inode, xattrs)


def remove_xattr(tree: Tree, inode: Inode, name: bytes) -> None:
    """Raises AttributeMissing, StorageError."""
    others = tuple((known, kept) for known, kept in inode.xattrs if known != name)
    if len(others) == len(inode.xattrs):
        raise AttributeMissing()
    _set_xattrs(tree, inode, others)


def _set_xattrs(tree: Tree, inode: Inode, xattrs: tuple[tuple[bytes, bytes], ...]) -> None:
    tree.journal.check_writable()
    inode.xattrs = xattrs
    inode.ctime_ns = time.time_ns()
    if inode.is_linked:
        tree.save(inode)

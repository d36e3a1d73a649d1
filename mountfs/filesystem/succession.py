"""What programs have open on its way from one process to the next."""

import logging
from collections import defaultdict

from mountfs.filesystem.handles import HandleTable, OpenDirectory, OpenFile
from mountfs.model.entry import EntryRecord
from mountfs.model.errors import FileNotFound, MountfsError
from mountfs.model.filesystem import Handle
from mountfs.model.ids import Ino
from mountfs.model.ranges import RangeSet
from mountfs.model.succession import OpenHandle, OpenListing, OpenState, UsedInode
from mountfs.sync.content import FileContent
from mountfs.tree.ino_set import InoSet
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)


def handed_over(
    tree: Tree, content: FileContent, files: HandleTable[OpenFile], directories: HandleTable[OpenDirectory]
) -> OpenState:
    """Return what is open, and see to it that the journal has the rest. Nothing may change any more."""
    handles: defaultdict[Ino, list[OpenHandle]] = defaultdict(list)
    for handle, file in files.items():
        handles[file.inode.ino].append(OpenHandle(handle, file.writing, file.mappable, file.direct))
    used = [
        inode
        for inode in tree.inodes.values()
        if inode.ino in handles or (inode.lookups and not inode.is_linked)
    ]
    return OpenState(
        tuple(_used(tree, content, inode, tuple(handles[inode.ino])) for inode in used),
        tuple(
            OpenListing(handle, opened.inode.ino, tuple(entry.ino for entry in opened.entries))
            for handle, opened in directories.items()
        ),
        _referred(tree).to_bytes(),
        files.last,
        directories.last,
    )


def _referred(tree: Tree) -> InoSet:
    known = InoSet(tree.referred.to_bytes())
    for inode in tree.inodes.values():
        if inode.lookups:
            known.add(inode.ino)
    return known


def _used(tree: Tree, content: FileContent, inode: Inode, handles: tuple[OpenHandle, ...]) -> UsedInode:
    if inode.exposed is None:
        content.direct.expose_again(inode)  # where a newer version was just about to take its place
    return UsedInode(
        inode.ino,
        _recorded(tree, inode),
        inode.lookups,
        inode.unsealed,
        None if inode.present is None else tuple(inode.present),
        inode.exposed,
        handles,
    )


def _recorded(tree: Tree, inode: Inode) -> EntryRecord | None:
    """Let the journal have the entry as it is now; return it where the journal has forgotten it."""
    if inode.is_linked or inode.base is not None or inode.sending or inode.unanswered:
        tree.save(inode)
        return None
    return inode.record()


async def take_over(
    tree: Tree,
    content: FileContent,
    files: HandleTable[OpenFile],
    directories: HandleTable[OpenDirectory],
    state: OpenState,
) -> None:
    """Open all of it again. What cannot be opened is logged, and programs get EBADF for it."""
    opened: dict[Handle, OpenFile] = {}
    for used in state.inodes:
        try:
            inode = await _inode(tree, used)
            opened.update(await _open_again(content, inode, used))
        except MountfsError as error:
            log.error("inode %d, which programs use, cannot be taken over: %s", used.ino, error.message)
    files.go_on(opened.items(), state.last_file)
    listings: dict[Handle, OpenDirectory] = {}
    for listing in state.listings:
        try:
            listings[listing.handle] = await _listed_again(tree, listing)
        except MountfsError as error:
            log.error("the open directory %d cannot be taken over: %s", listing.ino, error.message)
    directories.go_on(listings.items(), state.last_directory)


async def _inode(tree: Tree, used: UsedInode) -> Inode:
    if used.record is None:
        inode = await tree.bring(used.ino)
    elif used.ino in tree.inodes:
        raise FileNotFound(f"the journal has inode {used.ino} anew")
    else:
        inode = Inode(used.record, None)
        inode.loaded = True
        tree.insert(inode)
    inode.lookups = used.lookups
    return inode


async def _open_again(content: FileContent, inode: Inode, used: UsedInode) -> dict[Handle, OpenFile]:
    if not used.handles:
        return {}
    # It was in use all the time: there is nothing to be doubted or looked up.
    inode.suspect = False
    inode.unsealed = used.unsealed
    inode.present = None if used.present is None else RangeSet(used.present)
    for _ in used.handles:
        await content.open(inode)
    content.direct.go_on(inode, used.handles, used.exposed)
    return {each.handle: OpenFile(inode, each.writing, each.mappable, each.direct) for each in used.handles}


async def _listed_again(tree: Tree, listing: OpenListing) -> OpenDirectory:
    directory = await tree.bring(listing.ino)
    tree.uses.keep(directory)
    await tree.ensure_loaded(directory)
    found = (tree.inodes.get(ino) for ino in listing.entries)
    return OpenDirectory(directory, [inode for inode in found if inode is not None])

"""Finding in the history of a file what was sent of it: under a version of others, or over one."""

from dataclasses import replace
from functools import partial

from mountfs.model.errors import RemoteError, RemoteUnavailable, VersionMismatch
from mountfs.model.history import Version
from mountfs.model.ids import VersionId
from mountfs.model.node import RemoteNode
from mountfs.model.remote import Remote
from mountfs.rules import creation
from mountfs.rules.creation import Created
from mountfs.sync.refresher import Refresher
from mountfs.sync.uploads import Sent
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree


class CreatedFiles:
    """Looks at histories only where there is a reason to. Raises what the remote says."""

    def __init__(self, tree: Tree, remote: Remote, refresher: Refresher) -> None:
        self._tree = tree
        self._remote = remote
        self._refresher = refresher

    async def look(self, inode: Inode, node: RemoteNode, sent: Sent) -> Created | None:
        """Tell how this node, as it is now, came by what was sent; None where nothing speaks against that it
        was created by that, or its history does not show it. An empty file that programs have open may be
        about to be locked and written to, as by others a moment ago, and times tell whole seconds only."""
        if creation.has_content(node, sent.size, sent.sha256):
            at_once = await self._remote.lists_at_once(node)
            is_to_be_written = sent.size == 0 and inode.opens > 0
            if not is_to_be_written and not creation.may_lie_over_others(node, lists_at_once=at_once):
                return None
        versions = await self._remote.versions(node.id)
        is_own = partial(self._may_have_sent, inode)
        return creation.found(versions, node, sent.size, sent.sha256, is_own=is_own)

    async def placed_on(self, node: RemoteNode, base: VersionId, sent: Sent) -> RemoteNode | None:
        """Return the node as it was when what was sent was placed on this version; None where its history
        does not show that."""
        try:
            versions = await self._remote.versions(node.id)
        except RemoteUnavailable:
            raise
        except RemoteError:
            return None
        ours = creation.placed_on(versions, base, sent.sha256)
        return None if ours is None else as_placed(node, ours, sent)

    async def bring_back(self, node: RemoteNode, theirs: Version) -> RemoteNode:
        """Make this version the present one again, where nothing came since; return the node."""
        if theirs.sha256 is not None and node.version is not None:
            try:
                restored = await self._remote.commit_known(node.id, theirs.sha256, node.version)
            except VersionMismatch:
                return await self._refresher.lookup.node(node.id) or node
            if restored is not None:
                return restored
        return await self._remote.restore_version(node.id, theirs.id)

    def _may_have_sent(self, inode: Inode, version: Version) -> bool:
        """Tell whether an earlier try to create this file may have made the version. What is being sent of
        other files may have the same bytes, and tells nothing."""
        return any(
            (sent.size, sent.sha256) == (version.size, version.sha256)
            for sent in self._tree.open_uploads.values()
            if sent.ino == inode.ino or sent.ino not in self._tree.inodes
        )


def as_placed(node: RemoteNode, ours: Version, sent: Sent) -> RemoteNode:
    return replace(node, version=ours.id, size=sent.size, sha256=sent.sha256)

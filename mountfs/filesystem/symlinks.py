"""What a symlink shows to programs."""

from mountfs.model.errors import AccessDenied, InvalidArgument
from mountfs.rules import links
from mountfs.tree.inode import Inode


def target_of(inode: Inode, *, may_leave: bool) -> bytes:
    """Return where the link leads. `may_leave`: also where another host says that it leads out of the mount.

    Raises InvalidArgument, AccessDenied.
    """
    if not inode.is_symlink:
        raise InvalidArgument()
    if inode.foreign and not may_leave and not links.stays_inside(inode.target, _depth(inode)):
        raise AccessDenied(
            f"{inode.path()!r}: a link that another host made leads out of the mount",
            hint="set outside_links = true to follow such links",
        )
    return inode.target


def _depth(inode: Inode) -> int:
    """Return how many folders there are above it, below the root."""
    return inode.path().count(b"/")

"""Whether others edited a file: what the remote tells of a node beside what was known of it. Pure."""

from collections.abc import Sequence

from mountfs.model.entry import Base
from mountfs.model.history import Version
from mountfs.model.node import RemoteNode
from mountfs.rules import shared_attributes
from mountfs.rules.shared_attributes import Content


def is_taken_up(base: Base, node: RemoteNode) -> bool:
    """Tell whether the node surely has, or was given again, content that this base does not know of."""
    hashes = base.sha256, node.sha256
    is_other = None not in hashes and (base.size, base.sha256) != (node.size, node.sha256)
    return is_other or is_written_again(base, node)


def is_written_again(base: Base, node: RemoteNode) -> bool:
    """Tell whether somebody wrote the bytes that the node has once more since this was its base."""
    when_ns = shared_attributes.written_again_ns(node.text, Content(node.size, node.sha256))
    known_ns = shared_attributes.written_again_ns(base.text, Content(base.size, base.sha256))
    return when_ns is not None and when_ns != known_ns


def may_end_a_lock(base: Base, node: RemoteNode) -> bool:
    """Tell whether the node has another version or place: services end locks with these."""
    return (base.version, base.parent, base.name) != (node.version, node.parent, node.name)


def is_edited(base: Base, node: RemoteNode) -> bool:
    """Tell whether the content there is another than the one that was confirmed here.

    A rename makes a version too: where the hash of ours was never told, a version at another place with
    equal size is taken for one.
    """
    if node.version == base.version:
        return False
    if base.sha256 is not None and node.sha256 is not None:
        return (base.sha256, base.size) != (node.sha256, node.size)
    return base.size != node.size or (base.parent, base.name) == (node.parent, node.name)


def has_content_of(base: Base, node: RemoteNode) -> bool | None:
    """Tell whether the node has the content of this base; None where only its history can tell."""
    if base.size != node.size:
        return False
    if base.sha256 is not None and node.sha256 is not None:
        return base.sha256 == node.sha256
    return True if node.version == base.version else None


def is_only_renamed(base: Base, node: RemoteNode, versions: Sequence[Version], *, renamed: bool) -> bool:
    """Tell by the history, the newest first, whether the node has the content of this base, though under
    another version: the one that its renaming made, where it was renamed. A move makes none."""
    ids = [version.id for version in versions]
    if node.version not in ids:
        return False
    now = versions[ids.index(node.version)]
    if base.sha256 is not None and now.sha256 is not None:
        return base.sha256 == now.sha256
    before = ids[ids.index(node.version) + 1 :]
    return renamed and before[:1] == [base.version]

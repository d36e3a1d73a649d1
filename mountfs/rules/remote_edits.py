"""Whether others edited a file: what the remote tells of a node beside what was known of it. Pure."""

from mountfs.model.entry import Base
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

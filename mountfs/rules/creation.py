"""Whether a file that was created lies over one that others had made, which nothing had shown here. Pure.

Services create no file exclusively: what meets a file of its name becomes a version of that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mountfs.model.history import Version
from mountfs.model.ids import VersionId
from mountfs.model.node import RemoteNode


@dataclass(frozen=True, slots=True)
class Created:
    """What the history of a node tells of one creation."""

    ours: Version
    over: Version | None
    """The newest version of others, where ours lies over one of theirs; else None."""
    is_present: bool
    """Whether the node shows ours."""


def may_lie_over_others(node: RemoteNode, *, lists_at_once: bool) -> bool:
    """Tell whether the history has to be looked at: others may have made it before, and no listing have
    shown it, or a node that was made just now has another time than its content."""
    return not lists_at_once or 0 < node.created_ns < node.modified_ns


def has_content(node: RemoteNode, size: int, sha256: str) -> bool:
    """Tell whether the node has this content, as far as is told."""
    return node.size == size and node.sha256 in (None, sha256)


def found(
    versions: Sequence[Version],
    node: RemoteNode,
    size: int,
    sha256: str,
    *,
    is_own: Callable[[Version], bool],
) -> Created | None:
    """Find what was created in the history, the newest first; None where it does not show it.

    The first version with the content is taken for it: others who find theirs covered by somebody's make it
    the present one again. Of an empty file it is the one that the node shows: others may have created it
    empty as well, and have written to it since, which is lost if it counts as newer than what was created
    here. `is_own` tells of an earlier version whether its content was sent from here as well, by a call
    whose answer was lost.
    """
    mine = [at for at, version in enumerate(versions) if _may_be(version, size, sha256)]
    if not mine:
        return None
    at = mine[-1]
    shown = _index_of(versions, node.version)
    if shown in mine and (size == 0 or any(versions[each].sha256 is None for each in mine)):
        # Nor do equal sizes alone tell which: then it is the one that the node shows, too.
        at = shown
    theirs = [
        each
        for each, version in enumerate(versions)
        if each != at and version.sha256 != sha256 and not is_own(version)
    ]
    is_covering = bool(theirs) and theirs[-1] > at
    return Created(versions[at], versions[theirs[0]] if is_covering else None, shown in mine)


def placed_on(versions: Sequence[Version], base: VersionId, sha256: str) -> Version | None:
    """Find what was placed on this version in the history, the newest first, by its content; None where the
    history does not show it."""
    since = versions[: _index_of(versions, base) or 0]
    return next((version for version in reversed(since) if version.sha256 == sha256), None)


def _index_of(versions: Sequence[Version], wanted: VersionId | None) -> int | None:
    return next((at for at, version in enumerate(versions) if version.id == wanted), None)


def _may_be(version: Version, size: int, sha256: str) -> bool:
    return version.size in (None, size) and version.sha256 in (None, sha256)

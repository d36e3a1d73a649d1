"""How a node gets to another place on the remote, which can rename and can move, but not both at once."""

from collections.abc import Callable
from dataclasses import dataclass

from mountfs.model.entry import Base
from mountfs.model.ids import NodeId


@dataclass(frozen=True, slots=True)
class RenameTo:
    name: str


@dataclass(frozen=True, slots=True)
class MoveTo:
    parent: NodeId


def next_call(
    base: Base,
    parent: NodeId,
    name: str,
    *,
    is_occupied: Callable[[NodeId, str], bool],
    spare_name: str,
) -> RenameTo | MoveTo:
    """Return the next call on the way from `base` to `name` in `parent`, which must be free.

    No call ends on an occupied place: the remote would refuse a rename, and a move would send the file
    there to the trash. `spare_name` is one that nobody uses, for a way with obstacles on both sides.
    """
    if base.parent == parent:
        return RenameTo(name)
    if base.name == name or not is_occupied(parent, base.name):
        return MoveTo(parent)
    if not is_occupied(base.parent, name):
        return RenameTo(name)
    return RenameTo(spare_name)


def spare_name(base: Base) -> str:
    """Return a name that nobody uses, for a node on its way."""
    return f"{base.name[:200]}{_spare_ending(base)}"


def has_spare_name(base: Base) -> bool:
    return base.name.endswith(_spare_ending(base))


def _spare_ending(base: Base) -> str:
    return f".moving-{base.node[-8:]}"


def is_on_its_way(base: Base, parent: NodeId | None, name: str, there: tuple[NodeId, str]) -> bool:
    """Tell whether calls on the way from `base` to `name` in `parent` may have put the node `there`."""
    folder, found = there
    return folder in (base.parent, parent) and found in (base.name, name, spare_name(base))

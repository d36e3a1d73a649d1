"""Nodes that were told of before their folder was listed here: a listing that trails may lack them."""

from collections.abc import Set
from typing import Final

from mountfs.model.ids import NodeId

KEPT_S: Final = 120.0
"""For so long a listing may lack what was told of before it."""

KEPT_MOST: Final = 1000


class ToldEarly:
    """Times are those of any monotonic clock."""

    def __init__(self) -> None:
        self._told: dict[NodeId, tuple[NodeId, float]] = {}
        """The folder of each, and when it was told of; the youngest last."""

    def note(self, node: NodeId, folder: NodeId, now: float) -> None:
        """The remote has this node in a folder of which nothing is shown here yet."""
        self._told.pop(node, None)
        self._told[node] = folder, now
        if len(self._told) > KEPT_MOST:
            del self._told[next(iter(self._told))]

    def missing(self, folder: NodeId, listed: Set[NodeId], now: float) -> list[NodeId]:
        """Forget those of this folder, which was listed; return which of them the listing lacks."""
        mine = {node: at for node, (parent, at) in self._told.items() if parent == folder}
        for node in mine:
            del self._told[node]
        return [node for node, at in mine.items() if node not in listed and now - at < KEPT_S]

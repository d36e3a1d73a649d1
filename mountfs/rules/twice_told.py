"""What two sources of news tell of one change: which of them tells it first."""

from collections.abc import Set
from enum import Enum, auto

from mountfs.model.ids import NodeId


class Source(Enum):
    FEED = auto()
    """Loses nothing as far as its cursor goes."""
    CHANNEL = auto()
    """Tells sooner, and may lose something."""


class TwiceTold:
    """News of a node is a repetition where the other source told of it in the last `within_s` seconds and
    this one has not repeated that yet. Whoever takes a later change for a repetition is wrong at most once,
    and has to look again soon."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._told: dict[Source, dict[NodeId, float]] = {source: {} for source in Source}

    def repeated(self, nodes: Set[NodeId], source: Source, now: float) -> frozenset[NodeId]:
        """Return which of these nodes the other source told of before; `now` is any monotonic clock."""
        for known, told in self._told.items():
            self._told[known] = {node: at for node, at in told.items() if now - at < self._within_s}
        other = self._told[Source.CHANNEL if source is Source.FEED else Source.FEED]
        repeated = frozenset(nodes & other.keys())
        for node in repeated:
            del other[node]
        self._told[source].update(dict.fromkeys(nodes - repeated, now))
        return repeated

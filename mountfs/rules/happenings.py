"""What happens on a mount that somebody may want to hear of, and who hears of it. No I/O.

Told on the thread of the event loop. Telling never waits and never fails: what a listener is too slow for is
dropped for this listener alone, and counted.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

MOST_WAITING: Final = 1_000
"""So many happenings wait for a listener before the oldest is dropped."""


class Kind(Enum):
    """The words are part of the interface of `.mountfs/events` and of hooks: none changes its meaning."""

    CREATED = "created"
    """Another host made it, in a folder that this mount has listed."""
    CHANGED = "changed"
    """Another host gave the file new content."""
    MOVED = "moved"
    """Another host moved or renamed it; `from` is the old path."""
    REMOVED = "removed"
    """Another host removed it."""
    CONFIRMED = "confirmed"
    """The workspace has confirmed the content of a file."""
    CONFLICT = "conflict"
    FAILED = "failed"
    """A change cannot be sent; `reason` and `hint` say why, and what to do."""
    LOCK_LOST = "lock-lost"


Detail: TypeAlias = str | int | bytes


@dataclass(frozen=True, slots=True)
class Happening:
    """`path` is relative to the mount. `at`: seconds since the epoch. `details`: bytes are paths."""

    kind: Kind
    path: bytes
    at: float
    details: Mapping[str, Detail] = field(default_factory=dict)


class Listener:
    """What waits for one listener. `wake` is called when something came, and at the end."""

    def __init__(
        self, leave: Callable[["Listener"], None], *, kinds: Collection[Kind], most_waiting: int
    ) -> None:
        self._leave = leave
        self.kinds = kinds
        """What it hears of."""
        self._most_waiting = most_waiting
        self._waiting: deque[Happening] = deque()
        self._dropped = 0
        self.wake: Callable[[], None] = lambda: None
        self.ended = False
        """Whether nothing comes any more behind what waits."""

    def _put(self, happening: Happening) -> None:
        if len(self._waiting) >= self._most_waiting:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(happening)
        self.wake()

    def end(self) -> None:
        """Nothing comes any more behind what waits."""
        self._leave(self)
        self.ended = True
        self.wake()

    def take_dropped(self) -> int:
        """Return how many were dropped in front of the next one, since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def take(self) -> Happening | None:
        """Return the oldest that waits."""
        return self._waiting.popleft() if self._waiting else None

    def leave(self) -> None:
        """Hear of nothing any more."""
        self._leave(self)


class Happenings:
    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._listeners: list[Listener] = []
        self.counts: dict[Kind, int] = dict.fromkeys(Kind, 0)
        """How many there were of each kind, since the start."""

    def tell(self, kind: Kind, path: bytes, /, **details: Detail) -> None:
        self.counts[kind] += 1
        listeners = [listener for listener in self._listeners if kind in listener.kinds]
        if listeners:
            happening = Happening(kind, path, self._now(), details)
            for listener in listeners:
                listener._put(happening)

    def listen(self, *, kinds: Collection[Kind] = tuple(Kind), most_waiting: int = MOST_WAITING) -> Listener:
        """Hear of these kinds from now on."""
        listener = Listener(self._left, kinds=kinds, most_waiting=most_waiting)
        self._listeners.append(listener)
        return listener

    def _left(self, listener: Listener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)

    def end(self) -> None:
        """Nothing is told any more: every listener ends behind what it has."""
        for listener in list(self._listeners):
            listener.end()

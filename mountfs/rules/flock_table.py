"""Who holds the flock of one file on this mount, and who waits for it, in which order.

The rules are those of flock(2): any number of SHARED holders or one EXCLUSIVE; one lock per owner, a new
request of an owner converts it. Requests are served in the order of their coming: a SHARED one does not
overtake an EXCLUSIVE one that waits.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mountfs.model.filesystem import LockKind, LockOwner


@dataclass(frozen=True, slots=True, eq=False)
class FlockRequest:
    """One wish for the lock, compared by identity: an owner may have several at a time."""

    owner: LockOwner
    kind: LockKind


class FlockTable:
    """The locks of one file. Nothing is granted but by `admit`, which says to whom."""

    def __init__(self) -> None:
        self._holders: dict[LockOwner, LockKind] = {}
        self._queue: OrderedDict[FlockRequest, None] = OrderedDict()

    @property
    def holders(self) -> Mapping[LockOwner, LockKind]:
        return MappingProxyType(self._holders)

    @property
    def waiting(self) -> int:
        """The number of requests that are not granted yet."""
        return len(self._queue)

    def ask(self, request: FlockRequest) -> None:
        """Line up. A holder whose new kind conflicts with no other holder is served first: it keeps what it
        has, so nobody is overtaken. One that conflicts gives its lock up, as flock(2) does: two SHARED
        holders that both want EXCLUSIVE would wait for each other for ever.
        """
        self._queue[request] = None
        if request.owner not in self._holders:
            return
        if self._fits(request):
            self._queue.move_to_end(request, last=False)
        else:
            del self._holders[request.owner]

    def admit(self) -> list[FlockRequest]:
        """Grant the lock to those whose turn it is, and return them in order."""
        granted = []
        while self._queue and self._fits(first := next(iter(self._queue))):
            del self._queue[first]
            self._holders[first.owner] = first.kind
            granted.append(first)
        return granted

    def withdraw(self, request: FlockRequest) -> None:
        """Take a request that is not granted out of the line. Harmless where it does not wait."""
        self._queue.pop(request, None)

    def release(self, owner: LockOwner) -> bool:
        """Give the owner's lock up; say whether it had one."""
        return self._holders.pop(owner, None) is not None

    def _fits(self, request: FlockRequest) -> bool:
        """Does no other owner hold a lock that conflicts?"""
        others = len(self._holders) - (request.owner in self._holders)
        if not others:
            return True
        # Several holders are all SHARED; a single one is another owner here: one kind speaks for all.
        held = next(iter(self._holders.values()))
        return request.kind is LockKind.SHARED and held is LockKind.SHARED

"""What a lost lease forbids: which descriptors fail, and which content must not be committed.

One object for a mount: the locks tell it of leases and losses, the traffic asks it right before a commit.
"""

from collections.abc import Callable, Iterable
from math import inf

from mountfs.model.filesystem import Handle, LockHolder
from mountfs.model.ids import Ino, NodeId
from mountfs.rules.lease import FileLease, LeaseState


class Fence:
    """Times are those of the clock that the leases count by."""

    def __init__(self) -> None:
        self._leases: dict[Ino, FileLease] = {}
        self._when_unlocked: dict[Ino, Callable[[], None]] = {}
        self._failing: dict[Handle, tuple[Ino, LockHolder]] = {}
        self._condemned: set[Ino] = set()

    # Leases

    def watch(self, ino: Ino, lease: FileLease, when_unlocked: Callable[[], None] = lambda: None) -> None:
        """From now on commits of this file need what the lease allows; `when_unlocked` hears of new
        versions and places with which the remote shows no lock."""
        self._leases[ino] = lease
        self._when_unlocked[ino] = when_unlocked

    def forget(self, ino: Ino) -> None:
        """Nobody uses the lock of this file any more."""
        self._leases.pop(ino, None)
        self._when_unlocked.pop(ino, None)

    def commit_window_s(self, ino: Ino, now: float) -> float:
        """Return for how long from now a new version of this file may be committed: 0 for not at all, without
        an end where no lease is involved."""
        if ino in self._condemned:
            return 0.0
        lease = self._leases.get(ino)
        if lease is None:
            return inf
        if lease.in_hand:
            return 0.0 if lease.is_doubted else max(0.0, lease.term.valid_until - now)
        return 0.0 if lease.state in (LeaseState.LOST, LeaseState.ADOPTING) else inf

    def has_changed(self, node: NodeId, *, locked: bool) -> None:
        """The remote shows another version of this node than before, or another place, and it as locked, or
        not."""
        for ino, lease in self._leases.items():
            if lease.in_hand and lease.node == node and not locked:
                self._when_unlocked[ino]()

    # Content

    def condemn(self, ino: Ino) -> None:
        """The content of this file was changed under a lease that was lost: it is never committed there."""
        self._condemned.add(ino)

    def is_condemned(self, ino: Ino) -> bool:
        return ino in self._condemned

    def absolve(self, ino: Ino) -> None:
        """The content is kept elsewhere by now, or the remote had it before the lease was lost."""
        self._condemned.discard(ino)

    @property
    def is_clear(self) -> bool:
        """Say whether no lost lease has consequences that are still to come."""
        return not (self._condemned or self._failing)

    # Descriptors

    def fail(self, ino: Ino, holder: LockHolder, handles: Iterable[Handle]) -> None:
        """The holder's lock is lost: what it locked through fails, until it unlocks or closes."""
        for handle in handles:
            self._failing[handle] = ino, holder

    def fails(self, handle: Handle) -> bool:
        return handle in self._failing

    def has_failing(self, ino: Ino) -> bool:
        """Say whether somebody who was not told yet may still write to the file under the lost lock."""
        return any(found == ino for found, _ in self._failing.values())

    def is_owed(self, ino: Ino, holder: LockHolder) -> bool:
        """Say whether a lock of the holder was lost, of which no unlock has told it since."""
        return (ino, holder) in self._failing.values()

    def lift(self, ino: Ino, holder: LockHolder) -> bool:
        """The holder unlocks; say whether it is to be told of a loss."""
        owed = [handle for handle, found in self._failing.items() if found == (ino, holder)]
        for handle in owed:
            del self._failing[handle]
        return bool(owed)

    def closed(self, handle: Handle) -> bool:
        """The open file description is gone; say whether it was a failing one."""
        return self._failing.pop(handle, None) is not None

"""What the locks of a mount tell of themselves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mountfs.locks.file_lock import Call, FileLock
from mountfs.model.filesystem import LockHolder, LockKind
from mountfs.model.ids import Ino, NodeId
from mountfs.rules.lease import LeaseState
from mountfs.rules.local_locks import kind_of


@dataclass(frozen=True, slots=True)
class LockUse:
    """One that holds a lock, or waits for it, and for how long already."""

    kind: LockKind
    since_s: float
    lost: bool = False
    """The lease ended under it; it was not unlocked or closed since."""


@dataclass(frozen=True, slots=True)
class FileLockStatistics:
    """The locks of one file in use. `lease_valid_s` is None where no lease is in hand."""

    ino: Ino
    node: NodeId | None
    holders: tuple[tuple[LockHolder, LockKind], ...]
    """A holder of record locks is there once, with the strongest kind that it has."""
    held: tuple[LockUse, ...]
    """The holders, in their order."""
    waiters: tuple[LockUse, ...]
    waiting: int
    """Calls that have not got the lock yet, whether they wait for another process or for another host."""
    lease: LeaseState
    lease_valid_s: float | None
    lost: int


@dataclass(frozen=True, slots=True)
class LockStatistics:
    """`leases_lost` counts, since the start, the leases that ended under somebody who relied on them."""

    files: tuple[FileLockStatistics, ...]
    leases_held: int
    leases_lost: int


def described(
    lock: FileLock, since: Mapping[LockHolder, float], waiting: Iterable[tuple[Call, float]], now: float
) -> FileLockStatistics:
    """Return what is known of one lock; `since`, `waiting`: from when on who holds it or waits for it."""
    return FileLockStatistics(
        ino=lock.ino,
        node=lock.lease.node,
        holders=tuple(lock.holders.items()),
        held=tuple(
            LockUse(kind, now - since.get(holder, now), holder in lock.betrayed)
            for holder, kind in lock.holders.items()
        ),
        waiters=tuple(LockUse(kind_of(call.request), now - begun) for call, begun in waiting),
        waiting=lock.waiting,
        lease=lock.lease.state,
        lease_valid_s=lock.lease.term.valid_until - now if lock.lease.in_hand else None,
        lost=lock.lease.lost,
    )

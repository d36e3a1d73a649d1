"""Who holds which bytes of one file by fcntl record locks on this mount, and who waits for them.

The rules are those of fcntl(2): an owner's locks never conflict with each other; a new one replaces what the
owner had of its range, splits and merges included; one that is refused leaves everything as it was.

Requests are served in the order of their coming, and a new one does not overtake one that waits and
conflicts, with one exception: an owner that holds a record lock anywhere on the mount waits for holders only.
Others may be waiting for it, so being held back by those who wait could make a deadlock that POSIX does not
have.
"""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mountfs.model.filesystem import ByteSpan, LockKind, LockOwner, RecordLock
from mountfs.model.ranges import RangeSet


@dataclass(frozen=True, slots=True, eq=False)
class RecordRequest:
    """One wish for a lock, compared by identity."""

    owner: LockOwner
    lock: RecordLock

    def conflicts_with(self, held: RecordLock) -> bool:
        """For a lock of another owner."""
        return self.lock.conflicts_with(held)


class RecordOwners:
    """What the owners of record locks hold and wait for in all tables of a mount: who waits for whom."""

    def __init__(self) -> None:
        self._holding: Counter[LockOwner] = Counter()
        self._waiting: defaultdict[LockOwner, dict[RecordRequest, RecordTable]] = defaultdict(dict)

    def holds_any(self, owner: LockOwner) -> bool:
        return owner in self._holding

    def would_deadlock(self, request: RecordRequest) -> bool:
        """Say whether the owner of this waiting request is one of those whom it waits for, at however many
        removes. As on one machine, an owner with several threads counts as waiting when one of them does."""
        seen: set[LockOwner] = set()
        to_visit = list(self._waiting[request.owner][request].blockers(request))
        while to_visit:
            owner = to_visit.pop()
            if owner == request.owner:
                return True
            if owner not in seen:
                seen.add(owner)
                for waiting, table in self._waiting.get(owner, {}).items():
                    to_visit.extend(table.blockers(waiting))
        return False

    def waits(self, request: RecordRequest, table: "RecordTable") -> None:
        self._waiting[request.owner][request] = table

    def waits_no_more(self, request: RecordRequest) -> None:
        waiting = self._waiting.get(request.owner)
        if waiting is not None:
            waiting.pop(request, None)
            if not waiting:
                del self._waiting[request.owner]

    def holds(self, owner: LockOwner, change: int) -> None:
        """The owner came to hold something in one table more (1) or less (-1)."""
        self._holding[owner] += change
        if not self._holding[owner]:
            del self._holding[owner]


class RecordTable:
    """The record locks of one file. Nothing is granted but by `admit`, which says to whom."""

    def __init__(self, owners: RecordOwners | None = None) -> None:
        self._owners: Final = owners or RecordOwners()
        self._held: dict[LockOwner, list[RecordLock]] = {}
        """Of each owner sorted and disjoint; what touches has not the same kind."""
        self._queue: OrderedDict[RecordRequest, None] = OrderedDict()

    @property
    def owners(self) -> Iterable[LockOwner]:
        """Those who hold a lock."""
        return self._held.keys()

    @property
    def waiting(self) -> int:
        """The number of requests that are not granted yet."""
        return len(self._queue)

    def held_by(self, owner: LockOwner) -> tuple[RecordLock, ...]:
        return tuple(self._held.get(owner, ()))

    def ask(self, request: RecordRequest) -> None:
        """Line up."""
        self._queue[request] = None
        self._owners.waits(request, self)

    def admit(self) -> list[RecordRequest]:
        """Grant to those whose turn it is, and return them in order."""
        granted: list[RecordRequest] = []
        while coming := self._admit_once():
            granted += coming  # one that was a downgrade may let others in that were before it in the line
        return granted

    def _admit_once(self) -> list[RecordRequest]:
        granted = []
        shared_ahead, exclusive_ahead = RangeSet(), RangeSet()
        for request in list(self._queue):
            lock = request.lock
            behind = exclusive_ahead.overlaps(*lock.span) or (
                lock.kind is LockKind.EXCLUSIVE and shared_ahead.overlaps(*lock.span)
            )
            if (behind and not self._owners.holds_any(request.owner)) or self._is_blocked(request):
                ahead = exclusive_ahead if lock.kind is LockKind.EXCLUSIVE else shared_ahead
                ahead.add(*lock.span)
                continue
            self.withdraw(request)
            self._replace(request.owner, lock.span, lock)
            granted.append(request)
        return granted

    def withdraw(self, request: RecordRequest) -> None:
        """Take a request that is not granted out of the line. Harmless where it does not wait."""
        self._queue.pop(request, None)
        self._owners.waits_no_more(request)

    def release(self, owner: LockOwner, span: ByteSpan) -> bool:
        """Unlock these bytes for the owner; say whether it had a lock on any of them."""
        had = any(held.overlaps(span) for held in self._held.get(owner, ()))
        if had:
            self._replace(owner, span, None)
        return had

    def conflicting(self, request: RecordRequest) -> RecordLock | None:
        """Return the first lock, by its place in the file, that stands against the request."""
        found = [
            held
            for owner, locks in self._held.items()
            if owner != request.owner
            for held in locks
            if request.conflicts_with(held)
        ]
        return min(found, key=lambda held: held.span.start, default=None)

    def blockers(self, request: RecordRequest) -> set[LockOwner]:
        """Return the owners of the locks that stand against the request."""
        return {
            owner
            for owner, locks in self._held.items()
            if owner != request.owner and any(request.conflicts_with(held) for held in locks)
        }

    def _is_blocked(self, request: RecordRequest) -> bool:
        return any(
            request.conflicts_with(held)
            for owner, locks in self._held.items()
            if owner != request.owner
            for held in locks
        )

    def _replace(self, owner: LockOwner, span: ByteSpan, lock: RecordLock | None) -> None:
        """Let the owner have `lock`, or nothing, in place of what it has of these bytes."""
        before = self._held.pop(owner, [])
        parts = [part for held in before for part in held.without(span)]
        if lock:
            parts.append(lock)
        after = _merged(parts)
        if after:
            self._held[owner] = after
        if bool(after) != bool(before):
            self._owners.holds(owner, 1 if after else -1)


def _merged(locks: list[RecordLock]) -> list[RecordLock]:
    """Sort disjoint locks, and join those of one kind that touch."""
    joined: list[RecordLock] = []
    for lock in sorted(locks, key=lambda lock: lock.span.start):
        last = joined[-1] if joined else None
        if last and last.kind is lock.kind and last.span.end == lock.span.start:
            joined[-1] = RecordLock(lock.kind, ByteSpan(last.span.start, lock.span.end), lock.pid)
        else:
            joined.append(lock)
    return joined

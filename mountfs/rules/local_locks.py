"""All locks of one file on this mount: its flock and its record locks, which ignore each other.

They are one thing for the remote: the file's lease is needed while there is a holder of either.
"""

from collections.abc import Iterable

from mountfs.model.filesystem import (
    WHOLE_FILE,
    ByteSpan,
    LockFamily,
    LockHolder,
    LockKind,
)
from mountfs.rules.flock_table import FlockRequest, FlockTable
from mountfs.rules.record_table import RecordOwners, RecordRequest, RecordTable

LockRequest = FlockRequest | RecordRequest


def holder_of(request: LockRequest) -> LockHolder:
    """Return for whom the request asks."""
    if isinstance(request, FlockRequest):
        return LockHolder(LockFamily.FLOCK, request.owner)
    return LockHolder(LockFamily.RECORD, request.owner)


def kind_of(request: LockRequest) -> LockKind:
    """Return which kind of lock the request asks for."""
    return request.kind if isinstance(request, FlockRequest) else request.lock.kind


class LocalLocks:
    """Two tables with one face. Nothing is granted but by `admit`, which says to whom."""

    def __init__(self, owners: RecordOwners) -> None:
        self.flocks = FlockTable()
        self.records = RecordTable(owners)

    @property
    def holders(self) -> set[LockHolder]:
        return {
            *(LockHolder(LockFamily.FLOCK, owner) for owner in self.flocks.holders),
            *(LockHolder(LockFamily.RECORD, owner) for owner in self.records.owners),
        }

    @property
    def is_held(self) -> bool:
        return bool(self.flocks.holders or self.records.owners)

    @property
    def waiting(self) -> int:
        """The number of requests that are not granted yet."""
        return self.flocks.waiting + self.records.waiting

    def kind_of(self, holder: LockHolder) -> LockKind:
        """Return the strongest lock of a holder."""
        if holder.family is LockFamily.FLOCK:
            return self.flocks.holders[holder.owner]
        kinds = {lock.kind for lock in self.records.held_by(holder.owner)}
        return LockKind.EXCLUSIVE if LockKind.EXCLUSIVE in kinds else LockKind.SHARED

    def ask(self, request: LockRequest) -> None:
        if isinstance(request, FlockRequest):
            self.flocks.ask(request)
        else:
            self.records.ask(request)

    def admit(self) -> list[LockRequest]:
        return [*self.flocks.admit(), *self.records.admit()]

    def withdraw(self, request: LockRequest) -> None:
        """Take a request that is not granted out of the line. Harmless where it does not wait."""
        if isinstance(request, FlockRequest):
            self.flocks.withdraw(request)
        else:
            self.records.withdraw(request)

    def release(
        self, holder: LockHolder, span: ByteSpan = WHOLE_FILE, *, needed_by: Iterable[LockRequest] = ()
    ) -> bool:
        """Give up the holder's lock, of record locks those bytes; say whether it had one.

        Nothing is given up where one of these other requests was granted a part of it.
        """
        if any(holder_of(other) == holder and _touches(other, span) for other in needed_by):
            return False
        if holder.family is LockFamily.FLOCK:
            return self.flocks.release(holder.owner)
        return self.records.release(holder.owner, span)


def span_of(request: LockRequest) -> ByteSpan:
    """Return the bytes that the request is about."""
    return request.lock.span if isinstance(request, RecordRequest) else WHOLE_FILE


def _touches(request: LockRequest, span: ByteSpan) -> bool:
    return not isinstance(request, RecordRequest) or request.lock.overlaps(span)

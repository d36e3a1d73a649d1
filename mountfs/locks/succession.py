"""The granted locks of one file on their way from one process to the next."""

from collections.abc import Mapping

from mountfs.locks.file_lock import FileLock
from mountfs.model.filesystem import LockFamily, LockHolder
from mountfs.model.remote import Lease
from mountfs.model.succession import HeldFlock, HeldLease, HeldLocks, HeldRecords
from mountfs.rules.flock_table import FlockRequest
from mountfs.rules.local_locks import LockRequest
from mountfs.rules.record_table import RecordRequest


def held(lock: FileLock, since: Mapping[LockHolder, float], now: float) -> HeldLocks:
    """Return who holds the lock, from when on, and the lease under it."""

    def begun(holder: LockHolder) -> float:
        return since.get(holder, now)

    flocks, records = lock.table.flocks, lock.table.records
    return HeldLocks(
        lock.ino,
        _lease(lock),
        tuple(
            HeldFlock(owner, kind, begun(LockHolder(LockFamily.FLOCK, owner)))
            for owner, kind in flocks.holders.items()
        ),
        tuple(
            HeldRecords(owner, records.held_by(owner), begun(LockHolder(LockFamily.RECORD, owner)))
            for owner in records.owners
        ),
    )


def _lease(lock: FileLock) -> HeldLease | None:
    lease = lock.lease
    if not lease.in_hand:
        return None
    assert lease.node is not None, "a lease has a node"
    return HeldLease(lease.node, lease.token, lease.term.start, lease.term.duration_s)


def restore(lock: FileLock, state: HeldLocks) -> None:
    """Let a lock that nobody used yet be as it was. One whose lease ended meanwhile finds that by itself."""
    requests: list[LockRequest] = [FlockRequest(each.owner, each.kind) for each in state.flocks]
    requests += [RecordRequest(each.owner, part) for each in state.records for part in each.locks]
    lease = state.lease
    lock.go_on(
        requests, None if lease is None else (lease.node, Lease(lease.token, lease.duration_s), lease.start)
    )


def since(state: HeldLocks) -> dict[LockHolder, float]:
    """Return from when on each holder has what it has."""
    flocks = {LockHolder(LockFamily.FLOCK, each.owner): each.since for each in state.flocks}
    return {
        **flocks,
        **{LockHolder(LockFamily.RECORD, each.owner): each.since for each in state.records},
    }

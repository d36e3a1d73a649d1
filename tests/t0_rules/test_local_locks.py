"""flock and record locks of one file: one thing for its lease, strangers to each other."""

from mountfs.model.filesystem import (
    WHOLE_FILE,
    ByteSpan,
    LockFamily,
    LockHolder,
    LockKind,
    LockOwner,
    RecordLock,
)
from mountfs.rules.flock_table import FlockRequest
from mountfs.rules.local_locks import LocalLocks
from mountfs.rules.record_table import RecordOwners, RecordRequest

OWNER = LockOwner(1)
FLOCK, RECORD = (LockHolder(family, OWNER) for family in (LockFamily.FLOCK, LockFamily.RECORD))


def record(kind: LockKind, start: int, end: int) -> RecordRequest:
    return RecordRequest(OWNER, RecordLock(kind, ByteSpan(start, end), pid=100))


def test_either_family_holds_the_file_and_neither_stands_against_the_other() -> None:
    table = LocalLocks(RecordOwners())
    assert (table.is_held, table.holders) == (False, set())
    table.ask(record(LockKind.EXCLUSIVE, 0, 10))
    assert len(table.admit()) == 1
    assert (table.is_held, table.holders) == (True, {RECORD})
    table.ask(FlockRequest(LockOwner(2), LockKind.EXCLUSIVE))
    assert len(table.admit()) == 1
    assert table.release(RECORD)
    assert (table.is_held, len(table.holders)) == (True, 1)
    assert table.release(LockHolder(LockFamily.FLOCK, LockOwner(2)))
    assert (table.is_held, table.holders) == (False, set())


def test_a_holder_of_record_locks_has_the_strongest_of_their_kinds() -> None:
    table = LocalLocks(RecordOwners())
    table.ask(record(LockKind.SHARED, 0, 10))
    table.admit()
    assert table.kind_of(RECORD) is LockKind.SHARED
    table.ask(record(LockKind.EXCLUSIVE, 4, 6))
    table.admit()
    assert table.kind_of(RECORD) is LockKind.EXCLUSIVE


def test_nothing_is_given_up_that_another_request_of_its_owner_was_granted() -> None:
    table = LocalLocks(RecordOwners())
    first, second = record(LockKind.SHARED, 0, 10), record(LockKind.SHARED, 8, 20)
    table.ask(first)
    table.ask(second)
    table.admit()
    assert not table.release(RECORD, ByteSpan(0, 10), needed_by=[second])
    assert table.release(RECORD, ByteSpan(0, 8), needed_by=[second])
    assert (table.is_held, len(table.holders)) == (True, 1)
    flock = FlockRequest(OWNER, LockKind.SHARED)
    assert table.release(RECORD, WHOLE_FILE, needed_by=[flock]), "that is of the other family"
    assert (table.is_held, table.holders) == (False, set())
    table.ask(flock)
    table.admit()
    assert not table.release(FLOCK, needed_by=[flock])
    assert table.release(FLOCK)

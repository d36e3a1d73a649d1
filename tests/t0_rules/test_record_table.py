"""The table of record locks against one that keeps every byte by itself."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mountfs.model.filesystem import WHOLE_FILE, ByteSpan, LockKind, LockOwner, RecordLock
from mountfs.rules.record_table import RecordOwners, RecordRequest, RecordTable

A, B, C, D = (LockOwner(number) for number in range(1, 5))
SHARED, EXCLUSIVE = LockKind.SHARED, LockKind.EXCLUSIVE
BYTES = 8


def request(owner: LockOwner, kind: LockKind, start: int = 0, end: int = WHOLE_FILE.end) -> RecordRequest:
    return RecordRequest(owner, RecordLock(kind, ByteSpan(start, end), pid=100 + owner))


def ask(
    table: RecordTable, owner: LockOwner, kind: LockKind, start: int = 0, end: int = WHOLE_FILE.end
) -> RecordRequest:
    asked = request(owner, kind, start, end)
    table.ask(asked)
    return asked


def held(table: RecordTable, owner: LockOwner) -> list[tuple[LockKind, int, int]]:
    return [(lock.kind, *lock.span) for lock in table.held_by(owner)]


def test_an_unlock_in_the_middle_splits() -> None:
    table = RecordTable()
    ask(table, A, EXCLUSIVE, 0, 10)
    table.admit()
    assert table.release(A, ByteSpan(4, 6))
    assert held(table, A) == [(EXCLUSIVE, 0, 4), (EXCLUSIVE, 6, 10)]
    assert not table.release(A, ByteSpan(4, 6))


def test_touching_locks_of_one_kind_are_one() -> None:
    table = RecordTable()
    for start, end in ((0, 3), (6, 9), (3, 6)):
        ask(table, A, SHARED, start, end)
        assert len(table.admit()) == 1
    assert held(table, A) == [(SHARED, 0, 9)]


def test_a_part_is_downgraded_and_upgraded() -> None:
    table = RecordTable()
    for kind, start, end in ((EXCLUSIVE, 0, 9), (SHARED, 3, 6)):
        ask(table, A, kind, start, end)
        table.admit()
    assert held(table, A) == [(EXCLUSIVE, 0, 3), (SHARED, 3, 6), (EXCLUSIVE, 6, 9)]
    ask(table, A, EXCLUSIVE, 3, 6)
    table.admit()
    assert held(table, A) == [(EXCLUSIVE, 0, 9)]


def test_an_upgrade_that_waits_keeps_what_it_has() -> None:
    table = RecordTable()
    for owner in (A, B):
        ask(table, owner, SHARED)
    table.admit()
    upgrade = ask(table, A, EXCLUSIVE)
    assert table.admit() == []
    assert held(table, A) == [(SHARED, *WHOLE_FILE)]
    table.release(B, WHOLE_FILE)
    assert table.admit() == [upgrade]


def test_waiters_are_served_in_order_where_they_conflict() -> None:
    table = RecordTable()
    ask(table, A, SHARED, 0, 4)
    table.admit()
    writer = ask(table, B, EXCLUSIVE, 0, 4)
    reader = ask(table, C, SHARED, 0, 2)
    apart = ask(table, D, EXCLUSIVE, 4, 8)
    assert table.admit() == [apart]
    table.release(A, WHOLE_FILE)
    assert table.admit() == [writer]
    table.release(B, WHOLE_FILE)
    assert table.admit() == [reader]


def test_a_holder_is_not_held_back_by_those_who_wait() -> None:
    owners = RecordOwners()
    table, other = RecordTable(owners), RecordTable(owners)
    ask(other, C, SHARED)
    other.admit()
    ask(table, A, SHARED, 0, 4)
    table.admit()
    ask(table, B, EXCLUSIVE, 0, 4)
    reader = ask(table, C, SHARED, 0, 4)
    assert table.admit() == [reader], "whoever waits for C in the other file would wait for B too"


def test_the_conflicting_lock_is_named() -> None:
    table = RecordTable()
    for start, end in ((6, 9), (2, 4)):
        ask(table, A, EXCLUSIVE, start, end)
    table.admit()
    assert table.conflicting(request(A, EXCLUSIVE)) is None
    assert table.conflicting(request(B, SHARED)) == RecordLock(EXCLUSIVE, ByteSpan(2, 4), pid=101)
    assert table.conflicting(request(B, SHARED, 4, 6)) is None


def test_a_circle_over_three_files_is_a_deadlock() -> None:
    owners = RecordOwners()
    tables = [RecordTable(owners) for _ in range(3)]
    for owner, table in zip((A, B, C), tables, strict=True):
        ask(table, owner, EXCLUSIVE)
        table.admit()
    for owner, table in ((A, tables[1]), (B, tables[2])):
        waiting = ask(table, owner, EXCLUSIVE)
        assert table.admit() == []
        assert not owners.would_deadlock(waiting)
    closing = ask(tables[0], C, SHARED)
    assert owners.would_deadlock(closing)
    tables[0].withdraw(closing)
    tables[1].release(B, WHOLE_FILE)
    assert len(tables[1].admit()) == 1
    assert not owners.would_deadlock(ask(tables[0], C, SHARED)), "A waits no more"


def test_two_upgrades_of_one_range_are_a_deadlock() -> None:
    owners = RecordOwners()
    table = RecordTable(owners)
    for owner in (A, B):
        ask(table, owner, SHARED)
    table.admit()
    assert not owners.would_deadlock(ask(table, A, EXCLUSIVE))
    assert owners.would_deadlock(ask(table, B, EXCLUSIVE))


SPANS = st.tuples(st.integers(0, BYTES - 1), st.integers(1, BYTES)).map(
    lambda pair: ByteSpan(pair[0], min(BYTES, pair[0] + pair[1]))
)
OWNERS = st.sampled_from((A, B, C, D))
KINDS = st.sampled_from(LockKind)


class TableAgainstBytes(RuleBasedStateMachine):
    """Two files; the model knows for each byte who has which lock on it."""

    def __init__(self) -> None:
        super().__init__()
        self.owners = RecordOwners()
        self.tables = [RecordTable(self.owners) for _ in range(2)]
        self.bytes: list[list[dict[LockOwner, LockKind]]] = [[{} for _ in range(BYTES)] for _ in range(2)]
        self.lines: list[list[RecordRequest]] = [[], []]

    def fits(self, file: int, asked: RecordRequest) -> bool:
        for byte in range(*asked.lock.span):
            for owner, kind in self.bytes[file][byte].items():
                if owner != asked.owner and EXCLUSIVE in (kind, asked.lock.kind):
                    return False
        return True

    def put(self, file: int, owner: LockOwner, span: ByteSpan, kind: LockKind | None) -> None:
        for byte in range(*span):
            self.bytes[file][byte].pop(owner, None)
            if kind:
                self.bytes[file][byte][owner] = kind

    def admit(self, file: int) -> None:
        for granted in self.tables[file].admit():
            assert self.fits(file, granted)
            self.lines[file].remove(granted)
            self.put(file, granted.owner, granted.lock.span, granted.lock.kind)

    @rule(file=st.integers(0, 1), owner=OWNERS, kind=KINDS, span=SPANS, patient=st.booleans())
    def ask(self, file: int, owner: LockOwner, kind: LockKind, span: ByteSpan, patient: bool) -> None:
        if any(asked.owner == owner for line in self.lines for asked in line):
            return  # it waits
        asked = RecordRequest(owner, RecordLock(kind, span, pid=1))
        conflict = self.tables[file].conflicting(asked)
        assert (conflict is None) is self.fits(file, asked)
        self.tables[file].ask(asked)
        self.lines[file].append(asked)
        self.admit(file)
        if asked in self.lines[file] and (not patient or self.owners.would_deadlock(asked)):
            self.lines[file].remove(asked)
            self.tables[file].withdraw(asked)
            self.admit(file)

    @rule(file=st.integers(0, 1), owner=OWNERS, span=SPANS)
    def unlock(self, file: int, owner: LockOwner, span: ByteSpan) -> None:
        had = any(owner in self.bytes[file][byte] for byte in range(*span))
        assert self.tables[file].release(owner, span) is had
        self.put(file, owner, span, None)
        self.admit(file)

    @rule(file=st.integers(0, 1), data=st.data())
    def give_up(self, file: int, data: st.DataObject) -> None:
        if self.lines[file]:
            gone = data.draw(st.sampled_from(self.lines[file]))
            self.lines[file].remove(gone)
            self.tables[file].withdraw(gone)
            self.admit(file)

    @invariant()
    def holds_what_the_bytes_say(self) -> None:
        for table, content in zip(self.tables, self.bytes, strict=True):
            for owner in (A, B, C, D):
                runs: list[tuple[LockKind, int, int]] = []
                for byte in range(BYTES):
                    kind = content[byte].get(owner)
                    if kind and runs and runs[-1][0] is kind and runs[-1][2] == byte:
                        runs[-1] = (kind, runs[-1][1], byte + 1)
                    elif kind:
                        runs.append((kind, byte, byte + 1))
                assert held(table, owner) == runs

    @invariant()
    def knows_who_holds_anything(self) -> None:
        for owner in (A, B, C, D):
            has = any(owner in byte for content in self.bytes for byte in content)
            assert self.owners.holds_any(owner) is has

    @invariant()
    def nobody_waits_without_a_reason(self) -> None:
        for file, line in enumerate(self.lines):
            assert self.tables[file].waiting == len(line)
            if line:
                assert not self.fits(file, line[0]), "the first of the line waits for holders only"

    def teardown(self) -> None:
        """Where every deadlock was refused, all come to their turn when all others are done."""
        for _ in range(100):
            waiting = {asked.owner for line in self.lines for asked in line}
            done = [owner for owner in (A, B, C, D) if owner not in waiting]
            for file in range(2):
                for owner in done:
                    self.unlock(file, owner, ByteSpan(0, BYTES))
            if not waiting:
                return
            if not done:
                break
        raise AssertionError(f"a deadlock that was not found: {self.lines}")


TableAgainstBytes.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestTableAgainstBytes = TableAgainstBytes.TestCase


@given(st.lists(st.tuples(KINDS, SPANS), min_size=1, max_size=12))
def test_the_last_lock_of_a_byte_counts(locks: list[tuple[LockKind, ByteSpan]]) -> None:
    table = RecordTable()
    for kind, span in locks:
        ask(table, A, kind, *span)
        table.admit()
    for byte in range(BYTES):
        last = [kind for kind, span in locks if span.start <= byte < span.end][-1:]
        assert [kind for kind, start, end in held(table, A) if start <= byte < end] == last

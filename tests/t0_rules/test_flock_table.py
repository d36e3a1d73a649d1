"""The table of one file's locks, by example and against random histories."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from mountfs.model.filesystem import LockKind, LockOwner
from mountfs.rules.flock_table import FlockRequest, FlockTable

SHARED, EXCLUSIVE = LockKind.SHARED, LockKind.EXCLUSIVE
A, B, C, D = (LockOwner(number) for number in range(4))


def ask(table: FlockTable, owner: LockOwner, kind: LockKind) -> FlockRequest:
    request = FlockRequest(owner, kind)
    table.ask(request)
    return request


def test_shared_holders_share() -> None:
    table = FlockTable()
    first, second = ask(table, A, SHARED), ask(table, B, SHARED)
    assert table.admit() == [first, second]
    assert table.holders == {A: SHARED, B: SHARED}


def test_exclusive_excludes_both_kinds() -> None:
    table = FlockTable()
    ask(table, A, EXCLUSIVE)
    table.admit()
    ask(table, B, SHARED)
    ask(table, C, EXCLUSIVE)
    assert table.admit() == []
    assert table.waiting == 2


def test_shared_does_not_overtake_a_waiting_exclusive() -> None:
    table = FlockTable()
    ask(table, A, SHARED)
    table.admit()
    writer, reader = ask(table, B, EXCLUSIVE), ask(table, C, SHARED)
    assert table.admit() == []
    table.release(A)
    assert table.admit() == [writer]
    table.release(B)
    assert table.admit() == [reader]


def test_withdrawing_the_exclusive_in_front_lets_the_shared_in() -> None:
    table = FlockTable()
    ask(table, A, SHARED)
    table.admit()
    writer, reader = ask(table, B, EXCLUSIVE), ask(table, C, SHARED)
    table.admit()
    table.withdraw(writer)
    assert table.admit() == [reader]


def test_the_only_holder_converts_at_once_without_giving_up() -> None:
    table = FlockTable()
    ask(table, A, SHARED)
    table.admit()
    ask(table, B, EXCLUSIVE)
    table.admit()
    upgrade = ask(table, A, EXCLUSIVE)
    assert table.admit() == [upgrade]
    assert table.holders == {A: EXCLUSIVE}


def test_a_downgrade_lets_waiting_shared_ones_in() -> None:
    table = FlockTable()
    ask(table, A, EXCLUSIVE)
    table.admit()
    reader = ask(table, B, SHARED)
    table.admit()
    downgrade = ask(table, A, SHARED)
    assert table.admit() == [downgrade, reader]


def test_two_shared_holders_that_both_upgrade_do_not_deadlock() -> None:
    table = FlockTable()
    ask(table, A, SHARED)
    ask(table, B, SHARED)
    table.admit()
    first = ask(table, A, EXCLUSIVE)
    assert table.admit() == []
    assert table.holders == {B: SHARED}
    second = ask(table, B, EXCLUSIVE)
    assert table.admit() == [second]
    table.release(B)
    assert table.admit() == [first]


def test_the_same_lock_again_is_granted_in_front_of_all_others() -> None:
    table = FlockTable()
    ask(table, A, SHARED)
    table.admit()
    ask(table, B, EXCLUSIVE)
    table.admit()
    again = ask(table, A, SHARED)
    assert table.admit() == [again]


def test_releasing_what_is_not_held_is_harmless() -> None:
    table = FlockTable()
    assert not table.release(A)


class Histories(RuleBasedStateMachine):
    """Any sequence of calls, checked against a list of who asked when."""

    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.table = FlockTable()
        self.line: list[FlockRequest] = []
        """Those not granted, in the order of asking."""

    @rule(target=requests, owner=st.sampled_from([A, B, C, D]), kind=st.sampled_from(LockKind))
    def ask(self, owner: LockOwner, kind: LockKind) -> FlockRequest:
        request = FlockRequest(owner, kind)
        held_before = dict(self.table.holders)
        self.table.ask(request)
        others = [one for holder, one in held_before.items() if holder != owner]
        compatible = not others or (kind is SHARED and EXCLUSIVE not in others)
        if owner in held_before and compatible:
            self.line.insert(0, request)
        else:
            self.line.append(request)
            assert owner not in self.table.holders
        self._admit()
        return request

    @rule(request=consumes(requests))
    def withdraw(self, request: FlockRequest) -> None:
        holders = dict(self.table.holders)
        self.table.withdraw(request)
        assert self.table.holders == holders
        if request in self.line:
            self.line.remove(request)
        self._admit()

    @rule(owner=st.sampled_from([A, B, C, D]))
    def release(self, owner: LockOwner) -> None:
        held = owner in self.table.holders
        assert self.table.release(owner) == held
        assert owner not in self.table.holders
        self._admit()

    def _admit(self) -> None:
        granted = self.table.admit()
        assert granted == self.line[: len(granted)], "first come, first served"
        del self.line[: len(granted)]

    @invariant()
    def no_conflict(self) -> None:
        kinds = list(self.table.holders.values())
        assert EXCLUSIVE not in kinds or len(kinds) == 1

    @invariant()
    def nobody_is_lost(self) -> None:
        assert self.table.waiting == len(self.line)
        assert self.table.admit() == [], "whoever could be granted was granted"
        if self.line:
            assert self.table.holders, "nobody waits for a free lock"

    def teardown(self) -> None:
        """Everybody leaves in time: the whole line is served, and nothing stays."""
        while self.table.holders or self.line:
            for owner in list(self.table.holders):
                self.table.release(owner)
            self._admit()
        assert not self.table.waiting


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)

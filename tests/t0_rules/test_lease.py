"""The times of a lease are on the safe side, and its states change only as the table says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountfs.model.ids import LeaseToken
from mountfs.model.remote import Lease
from mountfs.rules.lease import (
    HANDOVERS_MAX,
    IN_HAND,
    TRANSITIONS,
    TURN_S,
    FileLease,
    LeaseEvent,
    LeaseState,
    LeaseTerm,
    Turn,
)

CHANCES = st.floats(0, 1, exclude_max=True)


def a_held_lease() -> FileLease:
    lease = FileLease()
    lease.apply(LeaseEvent.DEMANDED)
    lease.grant(Lease(LeaseToken("t"), 60.0), sent_at=100.0)
    lease.apply(LeaseEvent.REFRESHED)
    return lease


@given(CHANCES)
def test_renewal_comes_between_a_third_and_half_of_the_duration(chance: float) -> None:
    term = LeaseTerm(start=100.0, duration_s=60.0)
    assert 20.0 <= term.renewal_in_s(100.0, 0, chance) <= 30.0


@given(CHANCES, st.floats(100, 200), st.integers(0, 50))
def test_renewal_never_waits_into_doubt(chance: float, now: float, failures: int) -> None:
    term = LeaseTerm(start=100.0, duration_s=60.0)
    wait = term.renewal_in_s(now, failures, chance)
    assert wait >= 0
    assert wait == 0 or now + wait <= term.valid_until + 1e-9


def test_several_failed_renewals_fit_into_the_time_before_doubt() -> None:
    term = LeaseTerm(start=0.0, duration_s=60.0)
    now, failures = 30.0, 0
    while now < term.valid_until:
        failures += 1
        now += term.renewal_in_s(now, failures, 0.999)
    assert failures >= 5


def test_validity_counts_from_before_the_request_and_ends_before_the_remote_frees_it() -> None:
    lease = a_held_lease()
    assert lease.is_valid(153.9)
    assert not lease.is_valid(154.0)
    assert lease.term.valid_until < lease.term.ends_at == 160.0


def test_a_renewal_starts_the_term_anew_and_may_bring_a_new_token() -> None:
    lease = a_held_lease()
    lease.grant(Lease(LeaseToken("u"), 60.0), sent_at=125.0)
    assert lease.state is LeaseState.HELD
    assert lease.is_valid(170.0)
    assert lease.token == "u"


def test_a_loss_counts_only_where_somebody_relied_on_the_lease() -> None:
    lease = a_held_lease()
    assert lease.lapse()
    assert lease.lost == 1
    lease.apply(LeaseEvent.DEMANDED)
    lease.grant(Lease(LeaseToken("t"), 60.0), sent_at=200.0)
    assert not lease.lapse()
    assert lease.lost == 1
    assert lease.state is LeaseState.RELEASING


@pytest.mark.parametrize("state", LeaseState)
@pytest.mark.parametrize("event", LeaseEvent)
def test_an_event_that_the_table_does_not_know_changes_nothing(state: LeaseState, event: LeaseEvent) -> None:
    lease = FileLease()
    lease.state = state
    if event in TRANSITIONS[state]:
        lease.apply(event)
        assert lease.state is TRANSITIONS[state][event]
    else:
        with pytest.raises(KeyError):
            lease.apply(event)
        assert lease.state is state


def test_every_state_can_be_reached_and_left() -> None:
    reached = {after for row in TRANSITIONS.values() for after in row.values()}
    assert reached == set(LeaseState) == set(TRANSITIONS)
    assert all(LeaseEvent.LAPSED in TRANSITIONS[state] for state in IN_HAND)


def test_a_turn_is_over_after_so_many_hand_overs() -> None:
    turn = Turn(10.0)
    for _ in range(HANDOVERS_MAX - 1):
        turn.hand_over()
    assert not turn.is_over(10.0)
    turn.hand_over()
    assert turn.is_over(10.0)


def test_a_turn_is_over_after_its_time() -> None:
    turn = Turn(10.0)
    assert not turn.is_over(10.0 + TURN_S - 0.001)
    assert turn.is_over(10.0 + TURN_S)

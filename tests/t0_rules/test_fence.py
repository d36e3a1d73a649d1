"""What a lease, its loss, and those who were not told of it yet allow to be committed."""

from math import inf

import pytest

from mountfs.model.filesystem import Handle, LockFamily, LockHolder, LockOwner
from mountfs.model.ids import Ino, LeaseToken
from mountfs.model.remote import Lease
from mountfs.rules.fence import Fence
from mountfs.rules.lease import FileLease, LeaseEvent, LeaseTerm

FILE, OTHER = Ino(7), Ino(8)
ONE, TWO = (LockHolder(LockFamily.FLOCK, LockOwner(number)) for number in (1, 2))


def a_lease(*events: LeaseEvent) -> FileLease:
    """Return one that was granted for 60 s at 100, with what came after."""
    lease = FileLease()
    lease.apply(LeaseEvent.DEMANDED)
    lease.grant(Lease(LeaseToken("t"), 60.0), sent_at=100.0)
    for event in events:
        lease.apply(event)
    return lease


def test_a_lease_in_hand_allows_commits_until_it_is_doubtful() -> None:
    fence = Fence()
    fence.watch(FILE, a_lease())
    doubtful_at = LeaseTerm(100.0, 60.0).valid_until
    assert fence.commit_window_s(FILE, 110.0) == doubtful_at - 110.0
    assert fence.commit_window_s(FILE, doubtful_at) == 0.0
    assert fence.commit_window_s(FILE, doubtful_at + 1) == 0.0
    assert fence.commit_window_s(OTHER, doubtful_at + 1) == inf


@pytest.mark.parametrize(
    ("events", "window_s"),
    [
        ((LeaseEvent.REFRESHED, LeaseEvent.LAPSED), 0.0),
        ((LeaseEvent.REFRESHED, LeaseEvent.LAPSED, LeaseEvent.UNUSED), inf),
        ((LeaseEvent.REFRESHED, LeaseEvent.CEDED), inf),
        ((LeaseEvent.ABANDONED, LeaseEvent.RELEASED), inf),
    ],
)
def test_without_a_lease_in_hand_only_a_loss_forbids(events: tuple[LeaseEvent, ...], window_s: float) -> None:
    fence = Fence()
    fence.watch(FILE, a_lease(*events))
    assert fence.commit_window_s(FILE, 101.0) == window_s


def test_a_lease_of_an_earlier_run_allows_nothing_until_it_is_asked_for() -> None:
    lease = FileLease()
    lease.apply(LeaseEvent.REMEMBERED)
    fence = Fence()
    fence.watch(FILE, lease)
    assert fence.commit_window_s(FILE, 101.0) == 0.0
    fence.forget(FILE)
    assert fence.commit_window_s(FILE, 101.0) == inf


def test_what_is_condemned_is_not_committed_under_a_new_lease_either() -> None:
    fence = Fence()
    fence.watch(FILE, a_lease())
    fence.condemn(FILE)
    assert fence.commit_window_s(FILE, 101.0) == 0.0
    fence.absolve(FILE)
    assert fence.commit_window_s(FILE, 101.0) > 0.0


def test_descriptors_fail_until_their_holder_unlocks_or_they_are_closed() -> None:
    fence = Fence()
    fence.fail(FILE, ONE, [Handle(1), Handle(2)])
    fence.fail(FILE, TWO, [Handle(3)])
    assert [fence.fails(Handle(number)) for number in (1, 2, 3, 4)] == [True, True, True, False]
    fence.lift(OTHER, ONE)
    fence.lift(FILE, ONE)
    assert [fence.fails(Handle(number)) for number in (1, 2, 3)] == [False, False, True]
    assert (fence.has_failing(FILE), fence.has_failing(OTHER)) == (True, False)
    assert not fence.closed(Handle(1))
    assert fence.closed(Handle(3))
    assert not fence.has_failing(FILE)

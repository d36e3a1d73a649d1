"""The life of the lease on one file: its states as a table, its times, and how long a mount may keep it.

A lease is the remote's exclusive lock, held by the mount for its local lock holders. It ends by itself, so
everything here asks: can the remote have freed it already?
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mountfs.model.ids import LeaseToken, NodeId
from mountfs.model.remote import Lease
from mountfs.rules.backoff import Backoff

RENEW_FROM: Final = 1 / 3
RENEW_BY: Final = 1 / 2
"""The part of its duration after which a lease is renewed; the rest is for tries that fail."""

MARGIN: Final = 1 / 10
"""The last part of the duration is not relied on: work under way ends, and clocks differ in speed."""

RETRY_FIRST: Final = 1 / 60
RETRY_MOST: Final = 1 / 12
"""The back-off of failed renewals, as parts of the duration: several tries before the lease is doubtful."""

TRY_MOST: Final = 1 / 6
"""The longest that one renewal or release may take, as a part of the duration: one that hangs leaves time
for others."""

HANDOVERS_MAX: Final = 16
TURN_S: Final = 2.0
"""How often, and for how long, the lock passes between local holders before other hosts get their turn."""


class LeaseState(Enum):
    NONE = "none"
    ADOPTING = "adopting"
    """An earlier run of this mount had it, and whether the remote still keeps it for us is being asked."""
    ACQUIRING = "acquiring"
    REFRESHING = "refreshing"
    """The remote granted it; what others wrote before is on its way here."""
    HELD = "held"
    PUBLISHING = "publishing"
    """The last local holder is gone; its content is on its way to the remote. May be taken into use again."""
    RELEASING = "releasing"
    LOST = "lost"
    """The remote may have freed it under holders who relied on it."""
    LOCAL = "local"
    """This file never goes to the remote: the lock holds on this mount only and needs no lease."""


class LeaseEvent(Enum):
    REMEMBERED = "remembered"
    DEMANDED = "demanded"
    ABANDONED = "abandoned"
    STAYS_LOCAL = "stays local"
    GRANTED = "granted"
    REFRESHED = "refreshed"
    UNUSED = "unused"
    REUSED = "reused"
    PUBLISHED = "published"
    RELEASED = "released"
    LAPSED = "lapsed"
    CEDED = "ceded"
    """Another file of this mount has the node by now, and the lease with it."""


TRANSITIONS: Final[Mapping[LeaseState, Mapping[LeaseEvent, LeaseState]]] = {
    LeaseState.NONE: {
        LeaseEvent.DEMANDED: LeaseState.ACQUIRING,
        LeaseEvent.REMEMBERED: LeaseState.ADOPTING,
    },
    LeaseState.ADOPTING: {
        LeaseEvent.ABANDONED: LeaseState.NONE,
        LeaseEvent.GRANTED: LeaseState.PUBLISHING,
        LeaseEvent.LAPSED: LeaseState.LOST,
    },
    LeaseState.ACQUIRING: {
        LeaseEvent.ABANDONED: LeaseState.NONE,
        LeaseEvent.STAYS_LOCAL: LeaseState.LOCAL,
        LeaseEvent.GRANTED: LeaseState.REFRESHING,
    },
    LeaseState.REFRESHING: {
        LeaseEvent.ABANDONED: LeaseState.RELEASING,
        LeaseEvent.REFRESHED: LeaseState.HELD,
        LeaseEvent.LAPSED: LeaseState.RELEASING,
        LeaseEvent.CEDED: LeaseState.LOCAL,
    },
    LeaseState.HELD: {
        LeaseEvent.UNUSED: LeaseState.PUBLISHING,
        LeaseEvent.LAPSED: LeaseState.LOST,
        LeaseEvent.CEDED: LeaseState.LOCAL,
    },
    LeaseState.PUBLISHING: {
        LeaseEvent.REUSED: LeaseState.HELD,
        LeaseEvent.PUBLISHED: LeaseState.RELEASING,
        LeaseEvent.LAPSED: LeaseState.LOST,
    },
    LeaseState.RELEASING: {LeaseEvent.RELEASED: LeaseState.NONE},
    LeaseState.LOST: {
        LeaseEvent.DEMANDED: LeaseState.ACQUIRING,
        LeaseEvent.UNUSED: LeaseState.NONE,
    },
    LeaseState.LOCAL: {LeaseEvent.UNUSED: LeaseState.NONE},
}
"""Anything absent is a bug of the caller and raises."""

CEDABLE: Final = frozenset(state for state, row in TRANSITIONS.items() if LeaseEvent.CEDED in row)

IN_HAND: Final = frozenset({LeaseState.REFRESHING, LeaseState.HELD, LeaseState.PUBLISHING})
"""The states in which the lease must be kept renewed."""


@dataclass(frozen=True, slots=True)
class LeaseTerm:
    """What one answer of the remote promises.

    `start` is the moment *before* the request was sent: the remote counts from some later one, so that it
    cannot free the lease before `ends_at`.
    """

    start: float
    duration_s: float

    @property
    def valid_until(self) -> float:
        return self.start + self.duration_s * (1 - MARGIN)

    @property
    def ends_at(self) -> float:
        return self.start + self.duration_s

    def renewal_in_s(self, now: float, failures: int, chance: float) -> float:
        """Return the wait until the next renewal, after so many failures in a row; `chance` in [0, 1).

        Never beyond the moment from which the lease is doubtful.
        """
        if failures:
            backoff = Backoff(self.duration_s * RETRY_FIRST, self.duration_s * RETRY_MOST)
            wait = backoff.delay_s(failures - 1, chance)
        else:
            wait = self.start + self.duration_s * (RENEW_FROM + (RENEW_BY - RENEW_FROM) * chance) - now
        return max(0.0, min(wait, self.valid_until - now))


class FileLease:
    """What this mount knows of its lease on one file. `lost` counts the losses that hit a holder."""

    def __init__(self) -> None:
        self.state = LeaseState.NONE
        self.node: NodeId | None = None
        self.lost = 0
        self._grant: tuple[LeaseToken, LeaseTerm] | None = None
        self._doubted_at: float | None = None

    @property
    def in_hand(self) -> bool:
        return self.state in IN_HAND

    @property
    def is_granted(self) -> bool:
        """Whether the remote granted it to this file, and it was not ceded since."""
        return self._grant is not None

    @property
    def token(self) -> LeaseToken:
        return self._granted[0]

    @property
    def term(self) -> LeaseTerm:
        return self._granted[1]

    @property
    def is_doubted(self) -> bool:
        """Whether the remote showed the file unlocked, and has not granted or renewed the lease since."""
        return self._doubted_at is not None

    def is_valid(self, now: float) -> bool:
        """Say whether the remote surely still keeps it for us, as far as time can tell."""
        return self.in_hand and now < self.term.valid_until

    def apply(self, event: LeaseEvent) -> None:
        """Take the step that `TRANSITIONS` tells. Raises KeyError, and changes nothing, where it has none."""
        self.state = TRANSITIONS[self.state][event]

    def grant(self, answer: Lease, sent_at: float) -> None:
        """The remote granted or renewed the lease; `sent_at` is the time before the request."""
        if not self.in_hand:
            self.apply(LeaseEvent.GRANTED)
        self._grant = (answer.token, LeaseTerm(sent_at, answer.duration_s))
        if self._doubted_at is not None and sent_at >= self._doubted_at:
            self._doubted_at = None

    def doubt(self, now: float) -> None:
        """The remote shows the file unlocked: only what it answers to a later request counts."""
        self._doubted_at = now

    def cede(self) -> tuple[LeaseToken, LeaseTerm]:
        """Give up what the remote granted, for another file of this mount."""
        granted = self._granted
        self.apply(LeaseEvent.CEDED)
        self._grant = None
        return granted

    def lapse(self) -> bool:
        """The lease can no longer be relied on; say whether somebody did."""
        self.apply(LeaseEvent.LAPSED)
        relied_on = self.state is LeaseState.LOST
        self.lost += relied_on
        return relied_on

    @property
    def _granted(self) -> tuple[LeaseToken, LeaseTerm]:
        assert self._grant is not None, "asked for the grant of a lease that was never granted"
        return self._grant


class Turn:
    """The right of one mount to pass a lease on among its own holders, bounded so that others get theirs."""

    def __init__(self, now: float) -> None:
        self._started = now
        self._handovers = 0

    def hand_over(self) -> None:
        self._handovers += 1

    def is_over(self, now: float) -> bool:
        return self._handovers >= HANDOVERS_MAX or now - self._started >= TURN_S

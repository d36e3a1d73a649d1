"""How fast the service lets one credential ask, and when it asks for nothing at all. Pure."""

from dataclasses import dataclass
from typing import Final

from mountfs.remotes.fastio.retrying import RateLimit

SCARCE: Final = 0.1
"""Below this part of the limit what is left is spread over the time until it is renewed."""

RESETS_IN_S: Final = 60.0
"""When a limit is renewed that does not say so."""

RESETS_MOST_S: Final = 3600.0
"""A limit for longer than this is not believed."""

HELD_FIRST_S: Final = 15.0
HELD_MOST_S: Final = 300.0


@dataclass(slots=True)
class Pace:
    """One bucket of requests. Times are seconds of any monotonic clock.

    Slows down before the service has to refuse: what others use of the same credential shows in the numbers
    that come with each answer.
    """

    _left: float = 0
    _scarce_below: float = 0
    _resets_at: float = 0
    _closed_until: float = 0
    _next_at: float = 0

    def note(self, limit: RateLimit, now: float) -> None:
        """The service told how much is left."""
        resets_in_s = RESETS_IN_S if limit.resets_in_s is None else limit.resets_in_s
        self._left = limit.available
        self._scarce_below = max(1.0, (limit.maximum or 0) * SCARCE)
        self._resets_at = now + min(resets_in_s, RESETS_MOST_S)

    def note_refusal(self, hint_s: float | None, now: float) -> None:
        """The service refused for want of patience: nobody asks before the time that it named."""
        if hint_s is not None:
            self._closed_until = max(self._closed_until, now + hint_s)

    def wait_s(self, now: float) -> float:
        """Return how long the next request has to wait, and count it as sent then."""
        wait_s = max(0.0, self._closed_until - now)
        if now < self._resets_at and self._left <= self._scarce_below:
            at = self._resets_at
            if self._left >= 1:
                at = min(at, max(now, self._next_at))
                self._next_at = at + (self._resets_at - at) / (self._left + 1)
            wait_s = max(wait_s, at - now)
        self._left = max(0.0, self._left - 1)
        return wait_s


@dataclass(slots=True)
class Hold:
    """Whether asking is of no use because the account is not paid or its credits are used up: then one
    request in a while tries, more and more seldom, and the others are answered at once with the same
    refusal."""

    _message: str = ""
    _tries_at: float = 0
    _pause_s: float = HELD_FIRST_S

    def note_refusal(self, message: str, now: float) -> None:
        if not self._message:
            self._tries_at = now + self._pause_s
        self._message = message

    def lift(self) -> None:
        """The service does again what is asked."""
        self._message = ""
        self._pause_s = HELD_FIRST_S

    def refusal(self, now: float) -> str:
        """Return why this request is not to be sent, "" where it may be. The one that may is the only one."""
        if self._message and now >= self._tries_at:
            self._pause_s = min(HELD_MOST_S, self._pause_s * 2)
            self._tries_at = now + self._pause_s
            return ""
        return self._message

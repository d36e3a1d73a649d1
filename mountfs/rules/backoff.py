"""How long to wait before a try that failed is repeated."""

from dataclasses import dataclass

_DOUBLINGS_MAX = 64
"""More would overflow; every sensible `most_s` is reached long before."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubles from `first_s` up to `most_s`, in seconds."""

    first_s: float
    most_s: float

    def delay_s(self, attempt: int, chance: float) -> float:
        """Return the wait behind try number `attempt` (from 0), between half and all of the present step.

        `chance` in [0, 1) spreads those who failed together, so that they do not return together.
        """
        step = min(self.most_s, self.first_s * 2.0 ** min(attempt, _DOUBLINGS_MAX))
        return step * (0.5 + chance / 2)

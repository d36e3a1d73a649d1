"""How long writers wait while content that the remote lacks fills the cache."""

from enum import StrEnum
from typing import Final

SLACK_PART: Final = 8
"""Writers are slowed from the limit on, and refused when this part of it is exceeded as well."""

SLOWED_S: Final = 1.0
"""The most that one write waits while writers are slowed: programs go on, at the pace of a slow disk."""

REFUSED_S: Final = 10.0
"""The most that one write waits for room before it is refused."""


class Pressure(StrEnum):
    """What comes of a write."""

    NONE = "none"
    SLOWED = "slowed"
    REFUSED = "refused"


def pressure(unsent_bytes: int, limit_bytes: int) -> Pressure:
    """Return how much is in the way of content that the remote lacks, where there were so much of it."""
    if unsent_bytes <= limit_bytes:
        return Pressure.NONE
    return Pressure.SLOWED if unsent_bytes <= limit_bytes + limit_bytes // SLACK_PART else Pressure.REFUSED


def patience_s(found: Pressure) -> float:
    """Return how long a write waits for the pressure to go, in seconds."""
    return {Pressure.NONE: 0.0, Pressure.SLOWED: SLOWED_S, Pressure.REFUSED: REFUSED_S}[found]

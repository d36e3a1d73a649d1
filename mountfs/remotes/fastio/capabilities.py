"""What was found out of one service, and is not to be asked again for a day."""

import math
import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

import trio

DOUBTED_AFTER_S: Final = 24 * 3600.0
"""Services are renewed; to find something out again costs a request or two."""


class Capability(Enum):
    """The values are those that are kept."""

    RANGES = "ranges"
    """A part of a content may be asked for."""
    COMPARES_VERSIONS = "compares_versions"
    """A change that names another version than the present one is refused."""
    CHANGE_FEED = "change_feed"
    """This credential may read the change feed of the organisation."""
    PUSH = "push"
    """It tells of changes by a WebSocket."""
    INVENTORY = "inventory"
    """A workspace can be listed as a whole."""
    LISTS_AT_ONCE = "lists_at_once"
    """A listing shows what was made right before it."""
    EVENTS = "events"
    """This credential may read what happened in a workspace."""


class Capabilities:
    """`known` is what `told` gave earlier; what is no such thing is left out. `clock`: seconds since the
    epoch, as it is compared with that of earlier mounts."""

    def __init__(self, known: object = None, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._found: dict[Capability, tuple[bool, float]] = _understood(known)
        self._news = trio.Event()

    def get(self, capability: Capability) -> bool | None:
        """Return whether the service has it, None where that is to be found out."""
        has, found_at = self._found.get(capability, (None, 0.0))
        is_young = 0 <= self._clock() - found_at < DOUBTED_AFTER_S
        return has if is_young else None

    def found(self, capability: Capability, has: bool) -> None:
        """Remember it; the day begins anew only where it was not known, or is contradicted."""
        if self.get(capability) is not has:
            self._found[capability] = (has, self._clock())
            self._news.set()

    def doubt(self, capability: Capability) -> None:
        """Something spoke against what was known of it."""
        if self._found.pop(capability, None) is not None:
            self._news.set()

    def told(self) -> dict[str, list[float]]:
        """Return all that is known, to be kept as JSON."""
        return {capability.value: [has, at] for capability, (has, at) in self._found.items()}

    async def wait_news(self) -> None:
        """Return when there is something that `told` has not told since the last time this returned."""
        await self._news.wait()
        self._news = trio.Event()


def _understood(known: object) -> dict[Capability, tuple[bool, float]]:
    rows: Mapping[Any, Any] = known if isinstance(known, dict) else {}
    found: dict[Capability, tuple[bool, float]] = {}
    for capability in Capability:
        match rows.get(capability.value):
            case [bool() as has, int() | float() as at] if math.isfinite(at):
                found[capability] = (has, float(at))
    return found

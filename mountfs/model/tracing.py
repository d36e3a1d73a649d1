"""Spans of what takes time, for whoever follows one change through the daemon. Off unless switched on.

While it is off, a span costs one call. The parts name what they do; where spans go is the daemon's business.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol


class Tracer(Protocol):
    def span(self, name: str, details: dict[str, str | int]) -> AbstractContextManager[object]:
        """A span within the one that this task is in."""
        ...


class _Off:
    def span(self, name: str, details: dict[str, str | int]) -> AbstractContextManager[object]:
        return _NOTHING


_NOTHING: Final = nullcontext()
_OFF: Final[Tracer] = _Off()
_tracer: Tracer = _OFF


def span(name: str, **details: str | int) -> AbstractContextManager[object]:
    """Return what is to be entered for as long as it takes."""
    return _tracer.span(name, details)


def install(tracer: Tracer | None) -> None:
    """Send spans there from now on; None: nowhere. There is one mount in a process."""
    global _tracer
    _tracer = _OFF if tracer is None else tracer

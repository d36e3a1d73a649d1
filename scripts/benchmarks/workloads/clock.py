"""Timing of the workloads."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Span:
    """The time that passed in a `timed` block."""

    seconds = 0.0

    def per(self, count: int) -> float:
        """Microseconds for each of so many."""
        return self.seconds / count * 1e6

    def rate(self, amount: float) -> float:
        """The amount per second."""
        return amount / self.seconds


@contextmanager
def timed() -> Iterator[Span]:
    span = Span()
    begin = time.monotonic()
    yield span
    span.seconds = max(time.monotonic() - begin, 1e-9)

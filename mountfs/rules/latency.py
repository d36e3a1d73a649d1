"""How long operations took, in histograms whose cost is a search among a few bounds. No I/O."""

from bisect import bisect_left
from collections import defaultdict
from typing import Final

BOUNDS_S: Final = (
    *(0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""The upper ends of the classes, in seconds; the last class has none."""


class Histogram:
    """`counts[i]`: how many took longer than the bound before `i` and no longer than bound `i`."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds


class Latencies(defaultdict[str, Histogram]):
    """Histograms by the name of the operation."""

    def __init__(self) -> None:
        super().__init__(Histogram)

    def observe(self, name: str, seconds: float) -> None:
        self[name].observe(seconds)

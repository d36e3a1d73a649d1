"""How much to fetch when bytes are read that are not in the cache."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024

BLOCK: Final = 128 * 1024
"""The least that is fetched of a large file; less would cost a round trip for each of a program's reads."""

WHOLE_FILE: Final = 1 * MIB
"""Files up to this size come whole: one round trip costs more than their bytes."""

FIRST_WINDOW: Final = 1 * MIB
LAST_WINDOW: Final = 32 * MIB

WINDOW_PER_RUN: Final = 2
"""A stream that ends has fetched at most this many times what was read of it, plus the first window."""

RANGE_OF_WINDOW: Final = ((32 * MIB, 8 * MIB), (16 * MIB, 4 * MIB), (0, 1 * MIB))
"""From a window of the first size on, ranges have the second: a full window is four at a time."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """What one read asks for, as positions in the file.

    A download begun for the read goes on to `fetch_end`; from there to `ahead_end` is fetched while nobody
    waits, in ranges that end at multiples of `range_bytes`.
    """

    fetch_end: int
    ahead_end: int
    range_bytes: int


class ReadAhead:
    """Follows the reads of one open file; its window grows with what was read in sequence."""

    __slots__ = ("_expected", "_run_bytes")

    def __init__(self) -> None:
        self._expected = 0
        self._run_bytes = 0

    def plan(self, offset: int, size: int, file_size: int) -> ReadPlan:
        """Return what to fetch for this read, and ahead of it."""
        needed = min(offset + size, file_size)
        if file_size <= WHOLE_FILE:
            return ReadPlan(file_size, file_size, WHOLE_FILE)
        # The kernel may send two neighbouring reads of one stream in the wrong order.
        sequential = abs(offset - self._expected) <= 2 * max(size, BLOCK)
        self._expected = offset + size
        if not sequential:
            self._run_bytes = 0
            block_end = min(_round_up(needed, BLOCK), file_size)
            return ReadPlan(block_end, block_end, BLOCK)
        self._run_bytes += size
        window = min(max(self._run_bytes * WINDOW_PER_RUN, FIRST_WINDOW), LAST_WINDOW)
        range_bytes = next(length for least, length in RANGE_OF_WINDOW if window >= least)
        # Rounded down, so that each read on the way to the next multiple leaves the window where it is.
        edge = (needed + window) // range_bytes * range_bytes
        ahead_end = min(max(edge, _round_up(needed, BLOCK)), file_size)
        return ReadPlan(min(_round_up(needed, range_bytes), ahead_end), ahead_end, range_bytes)


def ranges(start: int, end: int, range_bytes: int) -> Iterator[tuple[int, int]]:
    """Split [start, end) at the multiples of `range_bytes`."""
    while start < end:
        stop = min((start // range_bytes + 1) * range_bytes, end)
        yield start, stop
        start = stop


def _round_up(position: int, unit: int) -> int:
    return -(-position // unit) * unit

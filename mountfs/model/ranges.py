"""A set of half-open byte ranges, kept sorted and merged."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class RangeSet:
    """Which bytes of a file are here: disjoint, non-adjacent ranges [start, end) in ascending order."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangeSet) and list(self) == list(other)

    def __hash__(self) -> int:
        raise TypeError("RangeSet is mutable")

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, end: int) -> None:
        """Include [start, end); an empty range changes nothing."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the parts of [start, end) that are not included, in ascending order."""
        gaps = []
        index = bisect_right(self._ends, start)
        while start < end:
            if index == len(self._starts) or self._starts[index] >= end:
                gaps.append((start, end))
                break
            if self._starts[index] > start:
                gaps.append((start, self._starts[index]))
            start = self._ends[index]
            index += 1
        return gaps

    def from_start(self) -> int:
        """Return where the part ends that is included from 0 on; 0 where the first byte is not."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    def contains(self, start: int, end: int) -> bool:
        return not self.missing(start, end)

    def overlaps(self, start: int, end: int) -> bool:
        """Say whether any byte of [start, end) is included."""
        index = bisect_right(self._ends, start)
        return start < end and index < len(self._starts) and self._starts[index] < end

    def truncate(self, size: int) -> None:
        """Exclude everything from `size` on."""
        keep = bisect_left(self._starts, size)
        del self._starts[keep:], self._ends[keep:]
        if self._ends and self._ends[-1] > size:
            self._ends[-1] = size

    def total(self) -> int:
        """Return the number of bytes included."""
        return sum(end - start for start, end in self)

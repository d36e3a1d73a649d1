"""How much to fetch when bytes are read that are not in the cache."""

from typing import Final

BLOCK: Final = 128 * 1024
"""The largest read that the kernel sends; fetching less would cost a round trip for each."""

WHOLE_FILE: Final = 4 * 1024 * 1024
"""Files up to this size come whole: one round trip costs more than their bytes."""

FIRST_WINDOW: Final = 1024 * 1024
LAST_WINDOW: Final = 32 * 1024 * 1024


class ReadAhead:
    """Follows the reads of one open file; its window doubles while they are sequential."""

    __slots__ = ("_expected", "_window")

    def __init__(self) -> None:
        self._expected = 0
        self._window = 0

    def plan(self, offset: int, size: int, file_size: int) -> tuple[int, int]:
        """Return how far to fetch for this read, and how far to fetch ahead without waiting."""
        needed = min(offset + size, file_size)
        if file_size <= WHOLE_FILE:
            return file_size, file_size
        # The kernel may send two neighbouring reads of one stream in the wrong order.
        sequential = abs(offset - self._expected) <= 2 * BLOCK
        self._expected = offset + size
        if not sequential:
            self._window = 0
            return min(_round_up(needed), file_size), needed
        self._window = min(max(self._window * 2, FIRST_WINDOW), LAST_WINDOW)
        return min(_round_up(needed), file_size), min(needed + self._window, file_size)


def _round_up(position: int) -> int:
    return -(-position // BLOCK) * BLOCK

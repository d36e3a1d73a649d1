"""Which clean content leaves the cache when it is over its limit."""

from collections.abc import Callable, Sequence

from mountfs.model.ids import Ino
from mountfs.model.storage import StoredContent

LOW_WATER = 0.9
"""Eviction goes on down to this part of the limit, so that it does not run for every file."""


def choose(
    stored: Sequence[StoredContent], used_bytes: int, limit_bytes: int, may_go: Callable[[Ino], bool]
) -> list[StoredContent]:
    """Return which content goes, least recently used first; nothing while the limit is kept."""
    excess = used_bytes - int(limit_bytes * LOW_WATER) if used_bytes > limit_bytes else 0
    chosen: list[StoredContent] = []
    for content in sorted(stored, key=lambda content: content.used_at) if excess else ():
        if excess <= 0:
            break
        if content.bytes_on_disk and may_go(content.ino):
            chosen.append(content)
            excess -= content.bytes_on_disk
    return chosen

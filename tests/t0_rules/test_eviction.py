"""Only what may go goes, the longest unused first, and no more than has to."""

from hypothesis import given
from hypothesis import strategies as st

from mountfs.model.ids import Ino
from mountfs.model.storage import StoredContent
from mountfs.rules.eviction import LOW_WATER, choose

SIZES = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 100)), max_size=30)


@given(SIZES, st.integers(0, 500), st.sets(st.integers(0, 30)))
def test_choice(sizes: list[tuple[int, int]], limit: int, pinned: set[int]) -> None:
    stored = [StoredContent(Ino(ino), size, float(used)) for ino, (size, used) in enumerate(sizes)]
    by_ino = {one.ino: one for one in stored}
    used = sum(one.bytes_on_disk for one in stored)
    chosen = [one.ino for one in choose(stored, used, limit, lambda ino: ino not in pinned)]
    assert len(chosen) == len(set(chosen))
    assert not pinned & set(chosen)
    if used <= limit:
        assert chosen == []
        return
    low = int(limit * LOW_WATER)
    left = used - sum(by_ino[ino].bytes_on_disk for ino in chosen)
    may_go = {one.ino for one in stored if one.ino not in pinned and one.bytes_on_disk}
    if set(chosen) != may_go:
        assert left <= low, "it stops early only when there is room"
    if chosen:
        assert left + by_ino[chosen[-1]].bytes_on_disk > low, "the last one had to go as well"
    kept = may_go - set(chosen)
    newest = max((by_ino[ino].used_at for ino in chosen), default=0.0)
    assert all(by_ino[ino].used_at >= newest for ino in kept)


def test_empty_cache() -> None:
    assert choose([], 0, 0, lambda ino: True) == []

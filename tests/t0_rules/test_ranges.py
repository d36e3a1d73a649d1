"""A RangeSet behaves like the set of the byte numbers in it."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountfs.model.ranges import RangeSet

POSITIONS = st.integers(0, 40)
RANGES = st.tuples(POSITIONS, POSITIONS)
ADD = st.tuples(st.just("add"), RANGES)
TRUNCATE = st.tuples(st.just("truncate"), st.tuples(POSITIONS, st.just(0)))


def bytes_of(ranges: RangeSet) -> set[int]:
    return {position for start, end in ranges for position in range(start, end)}


@given(st.lists(ADD | TRUNCATE, max_size=30), RANGES)
def test_it_agrees_with_a_set_of_numbers(
    steps: list[tuple[str, tuple[int, int]]], asked: tuple[int, int]
) -> None:
    ranges, model = RangeSet(), set[int]()
    for action, (start, end) in steps:
        if action == "add":
            ranges.add(start, end)
            model |= set(range(start, end))
        else:
            ranges.truncate(start)
            model = {position for position in model if position < start}
        assert bytes_of(ranges) == model
        assert ranges.total() == len(model)
    start, end = asked
    gaps = ranges.missing(start, end)
    assert {position for gap in gaps for position in range(*gap)} == set(range(start, end)) - model
    assert set(range(ranges.from_start())) <= model
    assert ranges.from_start() not in model
    assert ranges.contains(start, end) == (set(range(start, end)) <= model)
    assert_tidy(gaps)
    assert_tidy(list(ranges))
    assert len(ranges) == len(list(ranges))


def assert_tidy(ranges: list[tuple[int, int]]) -> None:
    """Ranges are not empty, ascend, and neither overlap nor touch."""
    assert all(start < end for start, end in ranges)
    assert all(before[1] < after[0] for before, after in pairwise(ranges))


@given(st.lists(RANGES, max_size=10), st.randoms())
def test_the_order_of_adding_does_not_matter(added: list[tuple[int, int]], chance: Random) -> None:
    shuffled = list(added)
    chance.shuffle(shuffled)
    assert RangeSet(added) == RangeSet(shuffled)
    assert RangeSet(RangeSet(added)) == RangeSet(added)


def test_filling_a_gap_leaves_a_single_range() -> None:
    ranges = RangeSet([(0, 4), (8, 12)])
    ranges.add(4, 8)
    assert list(ranges) == [(0, 12)]
    assert ranges != RangeSet([(0, 4), (4, 11)])
    assert ranges != [(0, 12)]
    assert repr(ranges) == "RangeSet([(0, 12)])"


def test_it_can_change_and_so_has_no_hash() -> None:
    with pytest.raises(TypeError):
        hash(RangeSet())

"""What is fetched covers what is read; only a stream of reads is answered with more than it asked for."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mountfs.rules.read_plan import (
    BLOCK,
    FIRST_WINDOW,
    LAST_WINDOW,
    MIB,
    WHOLE_FILE,
    WINDOW_PER_RUN,
    ReadAhead,
    ranges,
)

HUGE = 1 << 40
READS = st.tuples(st.integers(0, HUGE), st.integers(1, 4 * BLOCK))


@given(st.lists(READS, max_size=20), st.integers(0, HUGE))
def test_plan_covers_the_read_and_ends_with_the_file(reads: list[tuple[int, int]], file_size: int) -> None:
    ahead = ReadAhead()
    for offset, size in reads:
        plan = ahead.plan(offset, size, file_size)
        needed = min(offset + size, file_size)
        assert needed <= plan.fetch_end <= max(plan.ahead_end, needed) <= file_size
        assert plan.ahead_end <= needed + max(LAST_WINDOW, WHOLE_FILE)


@given(st.integers(0, WHOLE_FILE), READS)
def test_small_file_comes_whole(file_size: int, read: tuple[int, int]) -> None:
    plan = ReadAhead().plan(*read, file_size)
    assert (plan.fetch_end, plan.ahead_end) == (file_size, file_size)


@given(st.integers(3 * BLOCK, HUGE), st.integers(1, BLOCK))
def test_read_somewhere_fetches_its_blocks_alone(offset: int, size: int) -> None:
    plan = ReadAhead().plan(offset, size, 2 * HUGE)
    assert plan.fetch_end == plan.ahead_end < offset + size + BLOCK


@settings(deadline=None)  # a thousand steps on a busy machine
@given(st.integers(3 * BLOCK, HUGE), st.integers(2, 1000))
def test_stream_fetches_in_vain_in_proportion_to_what_it_read(start: int, reads: int) -> None:
    ahead = ReadAhead()
    position = start
    for _ in range(reads):
        plan = ahead.plan(position, BLOCK, 2 * HUGE)
        position += BLOCK
        in_vain = plan.ahead_end - position
        assert in_vain <= max(FIRST_WINDOW, WINDOW_PER_RUN * (position - start))


def test_window_grows_along_a_stream_to_four_ranges_of_the_largest_size() -> None:
    ahead = ReadAhead()
    plans = [ahead.plan(number * BLOCK, BLOCK, HUGE) for number in range(200)]
    assert plans[0].ahead_end == FIRST_WINDOW
    assert [plan.ahead_end for plan in plans] == sorted(plan.ahead_end for plan in plans)
    last = plans[-1]
    assert last.range_bytes == 8 * MIB
    assert LAST_WINDOW - 8 * MIB < last.ahead_end - 200 * BLOCK <= LAST_WINDOW


def test_jump_ends_the_window_and_a_new_stream_begins_small() -> None:
    ahead = ReadAhead()
    for number in range(100):
        ahead.plan(number * BLOCK, BLOCK, HUGE)
    far = HUGE // 2
    assert ahead.plan(far, 1, HUGE).ahead_end == far + BLOCK
    assert ahead.plan(far + 1, BLOCK, HUGE).ahead_end == far + FIRST_WINDOW


def test_reads_slightly_out_of_order_are_one_stream() -> None:
    ahead = ReadAhead()
    order = (0, 2, 1, 3)
    assert all(ahead.plan(number * BLOCK, BLOCK, HUGE).ahead_end >= FIRST_WINDOW for number in order)


@given(st.integers(0, HUGE), st.integers(0, 64 * MIB), st.sampled_from([MIB, 4 * MIB, 8 * MIB]))
def test_ranges_join_to_the_whole_and_end_at_multiples(start: int, length: int, range_bytes: int) -> None:
    found = list(ranges(start, start + length, range_bytes))
    position = start
    for range_start, range_end in found:
        assert range_start == position < range_end <= range_start + range_bytes
        assert range_end % range_bytes == 0 or range_end == start + length
        position = range_end
    assert position == start + length

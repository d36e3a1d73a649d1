"""What is fetched covers what is read; only a stream of reads is answered with more than it asked for."""

from hypothesis import given
from hypothesis import strategies as st

from mountfs.rules.read_plan import BLOCK, FIRST_WINDOW, LAST_WINDOW, WHOLE_FILE, ReadAhead

HUGE = 1 << 40
READS = st.tuples(st.integers(0, HUGE), st.integers(1, 4 * BLOCK))


@given(st.lists(READS, max_size=20), st.integers(0, HUGE))
def test_plan_covers_the_read_and_ends_with_the_file(reads: list[tuple[int, int]], file_size: int) -> None:
    ahead = ReadAhead()
    for offset, size in reads:
        fetch_end, ahead_end = ahead.plan(offset, size, file_size)
        needed = min(offset + size, file_size)
        assert needed <= fetch_end <= file_size
        assert needed <= ahead_end <= file_size
        if file_size > WHOLE_FILE:
            assert fetch_end < needed + BLOCK, "the reader does not wait for more than its blocks"
            assert ahead_end <= needed + LAST_WINDOW


@given(st.integers(0, WHOLE_FILE), READS)
def test_small_file_comes_whole(file_size: int, read: tuple[int, int]) -> None:
    assert ReadAhead().plan(*read, file_size) == (file_size, file_size)


def test_window_doubles_along_a_stream_up_to_the_largest() -> None:
    ahead = ReadAhead()
    windows = []
    for number in range(8):
        offset = number * BLOCK
        _, ahead_end = ahead.plan(offset, BLOCK, HUGE)
        windows.append(ahead_end - offset - BLOCK)
    expected = [FIRST_WINDOW, 2 * FIRST_WINDOW, 4 * FIRST_WINDOW, 8 * FIRST_WINDOW, 16 * FIRST_WINDOW]
    assert windows == [*expected, *[LAST_WINDOW] * 3]


def test_jump_ends_the_window_and_a_new_stream_begins_small() -> None:
    ahead = ReadAhead()
    for number in range(5):
        ahead.plan(number * BLOCK, BLOCK, HUGE)
    far = HUGE // 2
    fetch_end, ahead_end = ahead.plan(far, 1, HUGE)
    assert (fetch_end, ahead_end) == (far + BLOCK, far + 1)
    _, ahead_end = ahead.plan(far + 1, BLOCK, HUGE)
    assert ahead_end == far + 1 + BLOCK + FIRST_WINDOW


def test_reads_slightly_out_of_order_are_one_stream() -> None:
    ahead = ReadAhead()
    ends = [ahead.plan(number * BLOCK, BLOCK, HUGE)[1] for number in (0, 2, 1, 3)]
    assert all(end > (number + 1) * BLOCK for end, number in zip(ends, (0, 2, 1, 3), strict=True))

"""The back-off doubles, is bounded, and is spread by chance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountfs.rules.backoff import Backoff

BACKOFF = Backoff(first_s=0.05, most_s=2.0)


@pytest.mark.parametrize(
    ("attempt", "step"), [(0, 0.05), (1, 0.1), (2, 0.2), (5, 1.6), (6, 2.0), (7, 2.0), (10**9, 2.0)]
)
def test_step_doubles_up_to_the_most(attempt: int, step: float) -> None:
    assert BACKOFF.delay_s(attempt, 0.0) == pytest.approx(step / 2)
    assert BACKOFF.delay_s(attempt, 0.5) == pytest.approx(step * 0.75)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_delay_is_never_more_than_the_most_and_never_zero(attempt: int, chance: float) -> None:
    assert 0.025 <= BACKOFF.delay_s(attempt, chance) <= 2.0

"""When unsent content slows writers down, and when it refuses them."""

import pytest

from mountfs.rules.back_pressure import REFUSED_S, SLOWED_S, Pressure, patience_s, pressure


@pytest.mark.parametrize(
    ("unsent_bytes", "expected"),
    [
        (0, Pressure.NONE),
        (800, Pressure.NONE),
        (801, Pressure.SLOWED),
        (900, Pressure.SLOWED),
        (901, Pressure.REFUSED),
    ],
)
def test_writers_are_slowed_above_the_limit_and_refused_an_eighth_above_it(
    unsent_bytes: int, expected: Pressure
) -> None:
    assert pressure(unsent_bytes, 800) is expected


def test_the_more_is_in_the_way_the_longer_a_write_waits() -> None:
    assert [patience_s(each) for each in Pressure] == [0.0, SLOWED_S, REFUSED_S]
    assert 0.0 < SLOWED_S < REFUSED_S

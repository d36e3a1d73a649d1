"""What two sources tell of one change is asked for once at once."""

from mountfs.model.ids import NodeId
from mountfs.rules.twice_told import Source, TwiceTold

A, B = NodeId("a"), NodeId("b")


def test_second_source_repeats_whichever_is_second() -> None:
    for first, second in ((Source.FEED, Source.CHANNEL), (Source.CHANNEL, Source.FEED)):
        told = TwiceTold(1.0)
        assert told.repeated({A}, first, 0.0) == frozenset()
        assert told.repeated({A, B}, second, 0.5) == {A}
        assert told.repeated({B}, first, 0.9) == {B}


def test_each_telling_is_repeated_once() -> None:
    told = TwiceTold(1.0)
    told.repeated({A}, Source.CHANNEL, 0.0)
    assert told.repeated({A}, Source.FEED, 0.1) == {A}
    assert told.repeated({A}, Source.FEED, 0.2) == frozenset()


def test_one_source_alone_repeats_nothing() -> None:
    told = TwiceTold(1.0)
    assert [told.repeated({A}, Source.FEED, at) for at in (0.0, 0.1, 0.2)] == [frozenset()] * 3


def test_what_was_told_long_ago_is_no_repetition() -> None:
    told = TwiceTold(1.0)
    told.repeated({A}, Source.CHANNEL, 0.0)
    assert told.repeated({A}, Source.FEED, 1.0) == frozenset()

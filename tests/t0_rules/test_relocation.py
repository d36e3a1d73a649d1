"""Every way on the remote ends at its place and never goes over somebody else's."""

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from mountfs.model.entry import Base
from mountfs.model.ids import NodeId
from mountfs.rules.relocation import MoveTo, RenameTo, next_call

FOLDERS = [NodeId("2a"), NodeId("2b"), NodeId("2c")]
NAMES = ["x", "y", "z"]
SPARE = "spare"

Place = tuple[NodeId, str]
PLACES = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES))


def way(start: Place, goal: Place, others: frozenset[Place]) -> list[RenameTo | MoveTo]:
    """Follow the calls on a table of who is where; return them. Fails where one meets somebody."""
    base = Base(NodeId("2node"), start[0], start[1])
    calls: list[RenameTo | MoveTo] = []
    while (base.parent, base.name) != goal:
        assert len(calls) < 4, f"the way does not end: {calls}"
        call = next_call(
            base, *goal, is_occupied=lambda parent, name: (parent, name) in others, spare_name=SPARE
        )
        before = (base.parent, base.name)
        if isinstance(call, RenameTo):
            base = replace(base, name=call.name)
        else:
            base = replace(base, parent=call.parent)
        assert (base.parent, base.name) != before, "a call that changes nothing is refused or lost"
        assert (base.parent, base.name) not in others, f"{call} goes over somebody else"
        calls.append(call)
    return calls


@given(PLACES, PLACES, st.frozensets(PLACES))
def test_way_ends_at_its_place_and_meets_nobody(start: Place, goal: Place, others: frozenset[Place]) -> None:
    assume(goal not in others)
    calls = way(start, goal, others - {start})
    assert len(calls) <= 3
    if not others - {start}:
        differences = sum(before != after for before, after in zip(start, goal, strict=True))
        assert len(calls) == differences, "a free way has no detour"


def test_way_with_obstacles_on_both_sides_takes_a_spare_name() -> None:
    a, b, _ = FOLDERS
    calls = way((a, "x"), (b, "y"), frozenset({(b, "x"), (a, "y")}))
    assert calls == [RenameTo(SPARE), MoveTo(b), RenameTo("y")]


def test_way_with_an_obstacle_on_one_side_goes_by_the_other() -> None:
    a, b, _ = FOLDERS
    assert way((a, "x"), (b, "y"), frozenset({(b, "x")})) == [RenameTo("y"), MoveTo(b)]
    assert way((a, "x"), (b, "y"), frozenset({(a, "y")})) == [MoveTo(b), RenameTo("y")]

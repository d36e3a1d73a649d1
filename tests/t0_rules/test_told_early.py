"""`ToldEarly`: what a listing that trails may lack."""

from mountfs.model.ids import NodeId
from mountfs.rules.told_early import KEPT_MOST, KEPT_S, ToldEarly

FOLDER, OTHER = NodeId("folder"), NodeId("other")
A, B, C = (NodeId(name) for name in "abc")


def test_listing_is_told_what_it_lacks_of_its_folder_once() -> None:
    told = ToldEarly()
    for node, folder in ((A, FOLDER), (B, FOLDER), (C, OTHER)):
        told.note(node, folder, 0.0)
    assert told.missing(FOLDER, {B}, 1.0) == [A]
    assert told.missing(FOLDER, set(), 1.0) == []
    assert told.missing(OTHER, set(), 1.0) == [C]


def test_node_is_where_it_was_told_to_be_last() -> None:
    told = ToldEarly()
    told.note(A, FOLDER, 0.0)
    told.note(A, OTHER, 1.0)
    assert told.missing(FOLDER, set(), 2.0) == []
    assert told.missing(OTHER, set(), 2.0) == [A]


def test_old_ones_and_too_many_are_forgotten() -> None:
    told = ToldEarly()
    told.note(A, FOLDER, 0.0)
    assert told.missing(FOLDER, set(), KEPT_S) == []
    for number in range(KEPT_MOST + 1):
        told.note(NodeId(str(number)), FOLDER, 0.0)
    missing = told.missing(FOLDER, set(), 0.0)
    assert (len(missing), missing[0]) == (KEPT_MOST, "1")

"""What a history tells of a file that was created."""

from dataclasses import replace

import pytest

from mountfs.model.history import Version
from mountfs.model.ids import NodeId, VersionId
from mountfs.model.node import NodeKind, RemoteNode
from mountfs.rules.creation import Created, found, may_lie_over_others, placed_on

SIZE = 4


def version(word: str) -> Version:
    """`a1` is the version 1 of the content a; `?1` one whose hash is not told."""
    return Version(VersionId(word), size=SIZE, sha256=None if word[0] == "?" else word[0])


def node(shown: str) -> RemoteNode:
    told = version(shown)
    return RemoteNode(
        NodeId("2n"), NodeKind.FILE, "n", NodeId("root"), SIZE, VersionId(shown), told.sha256, created_ns=5
    )


def judged(history: str, own: str = "") -> Created | None:
    """Ours is `o`; the history begins with the newest, which the node shows."""
    rows = [version(word) for word in history.split()]
    return found(rows, node(history.split()[0]), SIZE, "o", is_own=lambda one: one.sha256 in {*own})


@pytest.mark.parametrize(
    ("history", "ours", "over", "is_present"),
    [
        ("o1", "o1", None, True),
        ("x2 o1", "o1", None, False),  # others changed it since
        ("o2 x1", "o2", "x1", True),
        ("y3 o2 x1", "o2", "y3", False),
        ("o3 x2 o1", "o1", None, True),  # another found ours below theirs, and made it the present one
        ("o4 x3 o2 x1", "o2", "x3", True),  # sent again after theirs was brought back
        ("o2 o1", "o1", None, True),
        ("?2 ?1", "?2", "?1", True),  # without hashes nothing is given up
        ("?1", "?1", None, True),
    ],
)
def test_whose_the_versions_are(history: str, ours: str, over: str | None, is_present: bool) -> None:
    told = judged(history)
    assert told == Created(version(ours), version(over) if over else None, is_present)


def test_earlier_tries_are_not_of_others() -> None:
    told = judged("o3 e2 e1", own="e")
    assert told is not None
    assert told.over is None
    assert judged("o3 e2 x1", own="e") == Created(version("o3"), version("x1"), True)


def test_of_empty_files_ours_is_the_one_that_is_shown() -> None:
    """Another created it empty as well, and wrote to it before ours came to lie over that."""
    rows = [replace(version(word), size=size) for word, size in (("o3", 0), ("x2", 1), ("o1", 0))]
    told = found(rows, replace(node("o3"), size=0), 0, "o", is_own=lambda _: False)
    assert told == Created(rows[0], rows[1], True)


def test_history_without_ours_tells_nothing() -> None:
    assert judged("x2 y1") is None
    assert found([], node("o1"), SIZE, "o", is_own=lambda _: False) is None


@pytest.mark.parametrize(
    ("modified_ns", "at_once", "may"), [(5, True, False), (6, True, True), (5, False, True), (0, True, False)]
)
def test_history_is_asked_for_where_there_is_a_reason(modified_ns: int, at_once: bool, may: bool) -> None:
    made = RemoteNode(NodeId("2n"), NodeKind.FILE, "n", NodeId("root"), modified_ns=modified_ns, created_ns=5)
    assert may_lie_over_others(made, lists_at_once=at_once) is may


@pytest.mark.parametrize(
    ("history", "ours"),
    [
        ("o2 b1", "o2"),
        ("x3 o2 b1 o0", "o2"),
        ("o4 x3 o2 b1", "o2"),  # another found ours below theirs, and made it the present one
        ("x3 b1 o0", None),
        ("b1", None),
        ("x3 o2", None),  # what it was placed on is not told any more
        ("x3 ?2 b1", None),
    ],
)
def test_what_was_placed_on_a_version_is_newer_than_that(history: str, ours: str | None) -> None:
    rows = [version(word) for word in history.split()]
    assert placed_on(rows, VersionId("b1"), "o") == (version(ours) if ours else None)

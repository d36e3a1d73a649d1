"""A symlink that another host made never leads out of the mount, unless that is allowed."""

import pytest

from mountfs.rules.links import stays_inside


@pytest.mark.parametrize(
    ("target", "depth"),
    [
        (b"a", 0),
        (b"./a/b", 0),
        (b"..", 1),
        (b"../../a//b/", 2),
        (b".././../a", 2),
        (b".", 0),
        (b"..a/b..", 0),
    ],
)
def test_inside(target: bytes, depth: int) -> None:
    assert stays_inside(target, depth)


@pytest.mark.parametrize(
    ("target", "depth"),
    [
        (b"", 3),
        (b"/a", 3),
        (b"//", 3),
        (b"..", 0),
        (b"../../a", 1),
        (b"a/../b", 3),
        (b"../a/..", 3),
        (b"./../..", 1),
    ],
)
def test_perhaps_outside(target: bytes, depth: int) -> None:
    assert not stays_inside(target, depth)
